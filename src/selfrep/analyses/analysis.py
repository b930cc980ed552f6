"""What an analysis is: one question asked of a model, with everything that belongs to it in one folder.

A study, a run, its results, findings, figures and report know nothing of any single analysis: they loop over a list of
these. An analysis names its runs and its report as "module:object", so that the list costs next to nothing to read:
torch and plotly are imported by what runs and what draws.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Literal

from selfrep.analyses.answers import Answer, Answers
from selfrep.analyses.parts import Part
from selfrep.analyses.report import Report, nothing
from selfrep.errors import SelfrepError

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr

    from selfrep.models.language_model import LanguageModel
    from selfrep.models.organisms import Truth
    from selfrep.models.outline import Outline
    from selfrep.prompts.battery import Battery
    from selfrep.prompts.persona import Condition
    from selfrep.prompts.personas import PersonaSet
    from selfrep.prompts.prompt import Prompt
    from selfrep.prompts.scenarios import Scenarios
    from selfrep.store.run_directory import RunDirectory

Tick = Callable[[float], None]
"""Called with the share of a stage that is done."""


def within(tick: Tick, begin: float = 0.0, span: float = 1.0) -> Callable[[int, int], None]:
    """A progress function of (done, total) for a part of a stage, which begins at a share of it and takes another.

    Example:
        >>> within(print, begin=0.5, span=0.25)(1, 2)
        0.625
    """
    return lambda done, total: tick(begin + span * done / total)


def shares(sizes: Iterable[int]) -> list[tuple[float, float]]:
    """Where each of several parts of a stage begins, and how much of it each takes: what `within` is told.

    Example:
        >>> shares([1, 3])
        [(0.0, 0.25), (0.25, 0.75)]
    """
    known = list(sizes)
    ends = [sum(known[: i + 1]) for i in range(len(known))]
    return [((end - size) / ends[-1], size / ends[-1]) for size, end in zip(known, ends, strict=True)]


PER_PROMPT = 20.0
"""The cost of scoring a prompt; the unit is about one token through all layers."""


@dataclass(frozen=True)
class Stage:
    """One step of a run.

    Attributes:
        name: what the progress bar shows.
        cost: how long it takes, in the unit of `PER_PROMPT`.
        done: whether its groups are there and complete.
        work: computes what is missing of them.
        opens: whether the report opens with what it makes. These steps come first.
        needs: the items whose answers, in the group "behaviour", it reads; of a step that opens.
        makes: its groups, where they are made of what other stages left, without the model; none where it is run.
        grows: whether it needs nothing of other stages and keeps its rows block by block, so that several processes can
            share it.
        prompts, cells, bytes: how many prompts it reads, how many patched runs it makes, and what it keeps in memory,
            as far as that is known before.
    """

    name: str
    cost: float
    done: Callable[[], bool]
    work: Callable[[Tick], None]
    opens: bool = False
    needs: tuple[str, ...] = ()
    makes: tuple[str, ...] = ()
    grows: bool = False
    prompts: int = 0
    cells: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class Reading:
    """A step that reads activations. Readings of the same item, site and tokens share one capture.

    What the step is given is what is kept: activations up to a rotation (see `selfrep.stats.isometry`), so that what it
    makes can be made again. Where they are larger than memory they lie on disk, and `selfrep.stats.cells.by_layer`
    reads one layer at a time.

    Attributes:
        name: of the group in which activations are kept, "activations/NAME".
        item: the question under which the personas are captured.
        conditions: in which conditions they are spoken of.
        site, layers, tokens, positions: as in `selfrep.capture`; None for layers and positions: all.
        makes: the groups that are made of them.
        work: makes those. Given the activations of all personas in these conditions.
        depths: instead of layers, shares of the depth of the model, which nobody knows before it is loaded.
        opens: as of a `Stage`.
        standardised: whether activations are put on one scale first (`selfrep.stats.geometry.standardised`).
        kept: the positions that are kept, where findings are of these alone; None: all that are read.
    """

    name: str
    item: str
    conditions: tuple[Condition, ...]
    site: str
    layers: tuple[int, ...] | None
    tokens: Literal["position", "segment"]
    positions: tuple[int, ...] | None
    makes: tuple[str, ...]
    work: Callable[[xr.Dataset], None]
    depths: tuple[float, ...] | None = None
    opens: bool = False
    standardised: bool = True
    kept: tuple[int, ...] | None = None

    @property
    def group(self) -> str:
        """Where its activations are kept."""
        return f"activations/{self.name}"


class Context(ABC):
    """A study on its way into its run directory: what the runs of an analysis are given.

    Attributes:
        directory: where results are kept.
        known: what is known of the model before it is loaded; None where only the model can tell.
    """

    directory: RunDirectory
    known: Outline | None

    @property
    @abstractmethod
    def people(self) -> PersonaSet:
        """The personas that play."""

    @property
    @abstractmethod
    def items(self) -> Battery:
        """The items that are asked."""

    @property
    @abstractmethod
    def scenes(self) -> Scenarios:
        """The scenarios. Raises SelfrepError when the study has none."""

    @property
    @abstractmethod
    def sides(self) -> tuple[str, str] | None:
        """The two sides that are contrasted, the first less the second; None where the study has no two."""

    @property
    @abstractmethod
    def seed(self) -> int:
        """Of resampling, permutations and random controls."""

    @property
    @abstractmethod
    def study_hash(self) -> str:
        """sha256 of what the study says."""

    @property
    @abstractmethod
    def lm(self) -> LanguageModel:
        """The model, loaded when first asked for."""

    @abstractmethod
    def complete(self, group: str) -> bool:
        """Whether a group is there with all its rows, or all that this process is to fill."""

    @abstractmethod
    def left(self, group: str, at_once: int = 1) -> list[np.ndarray]:
        """The rows of a group that this process has yet to fill, so many blocks at a time."""

    @abstractmethod
    def keep(self, group: str, rows: np.ndarray, dataset: xr.Dataset) -> None:
        """Write these rows of a group. A run that was told to stop ends here; raises Paused."""

    @abstractmethod
    def read(self, group: str) -> xr.Dataset:
        """A group, for an estimate, which is made of it from then on. Raises SelfrepError where rows are missing."""

    @abstractmethod
    def scores(self, group: str, items: Battery) -> xr.Dataset:
        """The rows of a group of scores that belong to these items, likewise. "behaviour" holds every item."""

    @abstractmethod
    def scoring(
        self,
        name: str,
        group: str,
        prompts: Sequence[Prompt],
        labels: Mapping[str, tuple[str, np.ndarray]] | None = None,
    ) -> Stage:
        """The stage that scores these prompts into a group, with further coordinates on prompt."""

    @abstractmethod
    def estimating(self, name: str, group: str, estimate: Callable[[], xr.Dataset]) -> Stage:
        """The stage that makes a group of what is there already, without a model; and again, where that was measured
        anew."""


Runs = Callable[[Context, Any], Iterable[Stage | Reading]]


@dataclass(frozen=True)
class Analysis:
    """One question asked of a model.

    Attributes:
        name: its key in a study, the group of its results, and what its findings are about.
        summary: one line for `selfrep --help`.
        part: the class of its fields in a study; None for what every study asks.
        runs: its forward passes and estimates as stages, or "module:function" where that is.
        report: what it tells a reader, or "module:object".
        truth: for `selfrep validate`, its answers about an organism beside what is planted, or "module:function".

    Example:
        >>> from selfrep.analyses.parts import Part
        >>> Analysis("length", "how long the questions are", Part, runs=lambda context, part: ()).name
        'length'
    """

    name: str
    summary: str
    part: type[Part] | None = None
    runs: str | Runs = nothing
    report: str | Report = field(default_factory=Report)
    truth: str | Answers = nothing

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise SelfrepError(
                f"The name of an analysis is a key of study files: letters, digits and underscores; got {self.name!r}."
            )

    def stages(self, context: Context, part: Part | None) -> Iterator[Stage | Reading]:
        """The steps of a run that belong to this analysis, later ones reading what earlier ones wrote."""
        runs: Runs = resolve_name(self.runs) if isinstance(self.runs, str) else self.runs
        yield from runs(context, part)

    def answers(self, lm: LanguageModel, truth: Truth) -> Iterator[Answer]:
        """What it says of an organism, beside what is true of it; nothing where it brings no `truth`."""
        answers: Answers = resolve_name(self.truth) if isinstance(self.truth, str) else self.truth
        yield from answers(lm, truth)

    def load_report(self) -> Report:
        """What it tells a reader; imports what draws."""
        report: Report = resolve_name(self.report) if isinstance(self.report, str) else self.report
        return report
