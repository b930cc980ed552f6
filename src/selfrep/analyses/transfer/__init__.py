"""T, transfer: where a persona's activations carry its behaviour over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import field_validator, model_validator

from selfrep.analyses.analysis import Analysis
from selfrep.analyses.parts import Layered, Part, StudyMaterial, beyond, known, with_items
from selfrep.analyses.transfer.facts import FactChoice
from selfrep.engine.plan import SEGMENT_CELLS, PatchPlan, grid
from selfrep.errors import SelfrepError
from selfrep.models.sites import ResidualSite
from selfrep.prompts.alignment import suffix_length
from selfrep.prompts.battery import Battery
from selfrep.prompts.personas import PersonaSet
from selfrep.prompts.render import render
from selfrep.prompts.speaker import Speaker, SpeakerName

if TYPE_CHECKING:
    from selfrep.models.outline import Outline

Control = Literal["paraphrase", "persona", "random", "fact"]
Direction = Literal["denoise", "noise"]


class Sweep(Layered):
    """One patching sweep: a site over layers × positions, or × segments.

    Fields:
        site, by, positions, segments: which cells; all positions or segments, where none are named.
        layers, depths: in which blocks: numbers from 0, or shares of the depth from 0 to 1; all, without both.
        directions: "denoise" (the source into the target), "noise" (the other way), or both.
        controls: what else is patched: another "paraphrase" of the target, another "persona" of its side, a "random"
            direction, and a "fact" about no persona, which by segment alone meets the same cells.
    """

    site: ResidualSite
    by: Literal["position", "segment"] = "position"
    positions: tuple[int, ...] | None = None
    segments: tuple[str, ...] | None = None
    directions: tuple[Direction, ...] = ("denoise", "noise")
    controls: tuple[Control, ...] = ()

    @model_validator(mode="after")
    def _is_a_grid(self) -> Sweep:
        if unknown := set(self.segments or ()) - set(SEGMENT_CELLS):
            raise ValueError(f"segments are of {', '.join(SEGMENT_CELLS)}; got {', '.join(sorted(unknown))}")
        if (self.by == "segment" and self.positions is not None) or (
            self.by == "position" and self.segments is not None
        ):
            raise ValueError("a sweep lists positions (by: position) or segments (by: segment), not the other")
        if () in (self.positions, self.segments, self.directions):
            raise ValueError("a list may not be empty; leave it out to mean all")
        if "fact" in self.controls and self.by == "position":
            raise ValueError("a fact is asked by a question of its own, whose tokens are others; patch it by: segment")
        return self

    def plan(self, n_layers: int) -> PatchPlan:
        """The cells to patch in a model with so many layers."""
        layers = self.layers_of(n_layers)
        return grid(self.site, layers=layers, positions=self.positions, segments=self.segments, by=self.by)

    @property
    def group(self) -> str:
        """Where the results of this sweep go in the store."""
        return f"{'effects' if self.by == 'position' else 'segments'}/{self.site}"


class TransferPart(Part):
    """Where a persona's activations carry its behaviour over (T).

    Fields:
        pairs: [source, target]; "denoise" restores the source's answers in the target's run. Each is a persona's name,
            {persona: name, condition: user}, or a reading of the model's own self: unprompted, default, reductionist.
        items: the questions under which they are patched.
        paraphrases: which paraphrases of the personas.
        sweeps: what is patched; a sweep with `controls` also patches sources that should do nothing.
        facts: those that the control "fact" states; the built-in ones, where left out.
    """

    pairs: tuple[tuple[SpeakerName, SpeakerName], ...]
    items: tuple[str, ...]
    paraphrases: tuple[int, ...] = (0,)
    sweeps: tuple[Sweep, ...] = (Sweep(site="resid_pre"),)
    facts: FactChoice | None = None

    @field_validator("pairs", "items", "paraphrases", "sweeps")
    @classmethod
    def _some(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        if not value:
            raise ValueError("is empty; leave the whole part out to skip it")
        return value

    @field_validator("sweeps")
    @classmethod
    def _one_of_a_kind(cls, sweeps: tuple[Sweep, ...]) -> tuple[Sweep, ...]:
        groups = [sweep.group for sweep in sweeps]
        if repeated := {group for group in groups if groups.count(group) > 1}:
            raise ValueError(
                f"each site may be swept once by position and once by segment; twice: {', '.join(sorted(repeated))}"
            )
        return sweeps

    @property
    def states_facts(self) -> bool:
        """Whether a sweep has them as a control."""
        return any("fact" in sweep.controls for sweep in self.sweeps)

    def spelled_out(self, folder: Path) -> TransferPart:
        """The part with its facts in `facts.define`, if any are stated. Raises SelfrepError as their file does."""
        if not self.states_facts:
            return self
        facts = (self.facts or FactChoice()).load(folder)
        return self.model_copy(update={"facts": FactChoice(define=facts.by_name())})

    def asking(self, items: Battery) -> Part | None:
        """With those of its items that are left, and without the control of facts where none of these is left."""
        left = with_items(self, items)
        if left is None or not self.states_facts or self.facts is None or self.facts.define:
            return left
        sweeps = (
            sweep.model_copy(update={"controls": tuple(kind for kind in sweep.controls if kind != "fact")})
            for sweep in self.sweeps
        )
        return left.model_copy(update={"sweeps": tuple(sweeps)})

    def speakers(self, people: PersonaSet) -> list[tuple[Speaker, Speaker]]:
        """Who stands at the source and the target of each pair. Raises SelfrepError for an unknown name."""
        return [(Speaker.named(source, people), Speaker.named(target, people)) for source, target in self.pairs]

    def among(self, people: PersonaSet) -> TransferPart | None:
        """With those of its pairs of which both speakers play; None where there is none."""
        left = tuple(pair for pair in self.pairs if all(Speaker.is_among(name, people) for name in pair))
        return self.model_copy(update={"pairs": left}) if left else None

    def check(self, material: StudyMaterial) -> None:
        """Raise ValueError for unknown items and speakers, a speaker paired with itself, and paraphrases it lacks."""
        known(self.items, material.items, "items")
        problems = []
        for source, target in self.pairs:
            try:
                ends = Speaker.named(source, material.people), Speaker.named(target, material.people)
            except SelfrepError as error:
                problems.append(str(error))
                continue
            if ends[0].name == ends[1].name:
                problems.append(f"{ends[0].name!r} is paired with itself: there is nothing to carry over.")
            for end in ends:
                if max(self.paraphrases) >= (fewest := end.n_paraphrases or 0) or min(self.paraphrases) < 0:
                    problems.append(f"{end.name!r} has the paraphrases 0 to {fewest - 1}; got {self.paraphrases}.")
                elif fewest < 2 and any("paraphrase" in sweep.controls for sweep in self.sweeps):
                    problems.append(f"A paraphrase control needs two paraphrases; {end.name!r} has one.")
        if self.states_facts and self.facts is not None and not self.facts.define:
            raise ValueError(
                "facts: a sweep has them as a control, and there are none; leave `facts` out for the built-in"
            )
        if problems:
            raise ValueError(f"pairs: {' '.join(dict.fromkeys(problems))}")

    def unfit(self, outline: Outline, material: StudyMaterial) -> Iterator[str]:
        """Layers that the model does not have, and pairs whose prompts end in different tokens."""
        for sweep in self.sweeps:
            yield from (f"sweep of {sweep.site}: {reason}" for reason in beyond(sweep.layers, outline))
        item, paraphrase = material.items[self.items[0]], self.paraphrases[0]
        for source, target in self.speakers(material.people):
            try:
                suffix_length(*(render(end.prompt(item, paraphrase), outline.chat) for end in (source, target)))
            except SelfrepError as error:
                yield f"{source.name} → {target.name}: {error}"


TRANSFER = Analysis(
    "transfer",
    "T: the share of a persona's answers that its activations carry over, at each layer and token",
    TransferPart,
    runs="selfrep.analyses.transfer.runs:runs",
    report="selfrep.analyses.transfer.report:REPORT",
)
