"""π: which persona speaks in a text, token by token."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from selfrep.analyses.analysis import Analysis
from selfrep.analyses.parts import Part, StudyMaterial, enough, known
from selfrep.analyses.posterior import material as texts
from selfrep.analyses.posterior.material import Text, Texts
from selfrep.prompts.catalogue import Named
from selfrep.prompts.choices import FileName

FEWEST_AUTHORS = 4
"""Whose names are permuted: fewer cannot reach p = .05."""


class PosteriorPart(Part):
    """Which persona speaks in a text, token by token (π).

    Fields:
        file, define: the texts of a file, or those defined here; the built-in ones, when neither is given.
        names: of these, the named ones; all, when None.
        paraphrase: in which paraphrase the personas are told.
        prior: "model": what the model leans to before a word was said; "uniform": to nobody.
    """

    file: FileName | None = None
    define: Named[Text] | None = None
    names: tuple[str, ...] | None = None
    paraphrase: int = Field(0, ge=0)
    prior: Literal["model", "uniform"] = "model"

    def load(self, folder: Path = Path()) -> Texts:
        """The texts. Raises SelfrepError for an unreadable file or an unknown name."""
        if self.define is not None:
            chosen = Texts(tuple(self.define.values()))
        else:
            chosen = texts.load(folder / self.file) if self.file else texts.builtin()
        return chosen if self.names is None else chosen.select(self.names)

    def spelled_out(self, folder: Path) -> PosteriorPart:
        """The part with all its texts in `define`. Raises SelfrepError as `load` does."""
        define = {text.name: text for text in self.load(folder)}
        return self.model_copy(update={"file": None, "names": None, "define": define})

    def check(self, material: StudyMaterial) -> None:
        """Raise ValueError for too few authors, and for authors that are no personas in that paraphrase."""
        authors = self.load().authors()
        enough(authors, FEWEST_AUTHORS, "authors of texts")
        known(authors, material.people, "authors")
        if short := [name for name in authors if material.people[name].n_paraphrases <= self.paraphrase]:
            raise ValueError(f"there is no paraphrase {self.paraphrase} of {', '.join(short)}")


POSTERIOR = Analysis(
    "posterior",
    "π: who is speaking, after each token of a text in character",
    PosteriorPart,
    runs="selfrep.analyses.posterior.runs:runs",
    report="selfrep.analyses.posterior.report:REPORT",
)
