"""T, transfer: where a persona's activations carry its behaviour over."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import field_validator, model_validator

from selfrep.analyses.analysis import Analysis
from selfrep.analyses.parts import Part, StudyMaterial, known
from selfrep.engine.plan import SEGMENT_CELLS, PatchPlan, grid
from selfrep.models.sites import ResidualSite
from selfrep.prompts.yaml_errors import Entry

Control = Literal["paraphrase", "persona", "random"]
Direction = Literal["denoise", "noise"]


class Sweep(Entry):
    """One patching sweep: a site over layers × positions, or × segments."""

    site: ResidualSite
    by: Literal["position", "segment"] = "position"
    layers: tuple[int, ...] | None = None
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
        if () in (self.layers, self.positions, self.segments, self.directions):
            raise ValueError("a list may not be empty; leave it out to mean all")
        return self

    @property
    def plan(self) -> PatchPlan:
        """The cells to patch."""
        return grid(self.site, layers=self.layers, positions=self.positions, segments=self.segments, by=self.by)

    @property
    def group(self) -> str:
        """Where the results of this sweep go in the store."""
        return f"{'effects' if self.by == 'position' else 'segments'}/{self.site}"


class TransferPart(Part):
    """Where a persona's activations carry its behaviour over (T).

    Fields:
        pairs: [source, target] names of personas; "denoise" restores the source's answers in the target's run.
        items: the questions under which they are patched.
        paraphrases: which paraphrases of the personas.
        sweeps: what is patched; a sweep with `controls` also patches sources that should do nothing.
    """

    pairs: tuple[tuple[str, str], ...]
    items: tuple[str, ...]
    paraphrases: tuple[int, ...] = (0,)
    sweeps: tuple[Sweep, ...] = (Sweep(site="resid_pre"),)

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

    def check(self, material: StudyMaterial) -> None:
        """Raise ValueError for unknown items and personas."""
        known(self.items, material.items, "items")
        known([name for pair in self.pairs for name in pair], material.people, "pairs")


TRANSFER = Analysis(
    "transfer",
    "T: the share of a persona's answers that its activations carry over, at each layer and token",
    TransferPart,
    runs="selfrep.analyses.transfer.runs:runs",
    report="selfrep.analyses.transfer.report:REPORT",
)
