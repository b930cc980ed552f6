"""A, anomaly response: does the persona notice what cannot be?"""

from __future__ import annotations

from pathlib import Path

from selfrep.analyses.analysis import Analysis
from selfrep.analyses.anomaly import material as anomalies
from selfrep.analyses.anomaly.material import Anomalies
from selfrep.analyses.parts import FEWEST_UNITS, Part, StudyMaterial, enough
from selfrep.prompts.choices import FileName


class AnomalyPart(Part):
    """Whether a persona notices what cannot be (A).

    Fields:
        file, define: the anomalies of a file, or those defined here; the built-in ones, when neither is given.
        names: of these, the named ones; all, when None.
    """

    file: FileName | None = None
    define: Anomalies | None = None
    names: tuple[str, ...] | None = None

    def load(self, folder: Path = Path()) -> Anomalies:
        """The anomalies. Raises SelfrepError for an unreadable file or an unknown name."""
        chosen = self.define or (anomalies.load(folder / self.file) if self.file else anomalies.builtin())
        return chosen if self.names is None else chosen.select(self.names)

    def spelled_out(self, folder: Path) -> AnomalyPart:
        """The part with all its anomalies in `define`. Raises SelfrepError as `load` does."""
        define = self.load(folder).model_copy(update={"shared": {}})
        return self.model_copy(update={"file": None, "names": None, "define": define})

    def check(self, material: StudyMaterial) -> None:
        """Raise ValueError for anomalies of too few families, and where no item is left to ask."""
        families = {one.family or name for name, one in self.load().anomalies.items()}
        enough(families, FEWEST_UNITS, "families of anomalies")
        if not self.load().items:
            raise ValueError("none of its items can be read on this tokenizer")


ANOMALY = Analysis(
    "anomaly",
    "A: how much stranger an anachronism is to a persona than to the plain assistant",
    AnomalyPart,
    runs="selfrep.analyses.anomaly.runs:runs",
    report="selfrep.analyses.anomaly.report:REPORT",
    truth="selfrep.analyses.anomaly.truth:answers",
)
