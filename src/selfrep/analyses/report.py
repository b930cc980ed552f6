"""What an analysis tells a reader: a chapter of the report, with its findings, figures and tables."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import plotly.graph_objects as go
    import xarray as xr

    from selfrep.analyses.atlas import Atlas
    from selfrep.store.findings import Finding
    from selfrep.store.run_directory import RunDirectory


@dataclass(frozen=True)
class Chapter:
    """The section of the report that belongs to an analysis.

    Attributes:
        title: its question, as a heading.
        asks: what was done, in words that need no knowledge of the field.
        misleads: how a number here could be misread.
    """

    title: str
    asks: str
    misleads: str


@dataclass(frozen=True)
class Figure:
    """A figure of every run that holds its groups.

    Attributes:
        name: its file name without an ending; "" for a pattern, whose figures are called like the groups.
        groups: what it is drawn from; a single pattern such as `"transfer/*"` stands for one figure a group.
        draw: draws the groups.
        select: what is shown of the first group, None if there is nothing to show; all of it, if left out.
        opens: whether it stands where the report opens, and not in its chapter.
    """

    name: str
    groups: tuple[str, ...]
    draw: Callable[..., go.Figure]
    select: Callable[[xr.Dataset], xr.Dataset | None] | None = None
    opens: bool = False

    def matching(self, present: Iterable[str]) -> list[Figure]:
        """The figures that can be drawn from the groups that are there."""
        groups = list(present)
        if self.name:
            return [self] if set(self.groups) <= set(groups) else []
        return [
            Figure(group.replace("/", "_"), (group,), self.draw, self.select, self.opens)
            for group in groups
            if fnmatchcase(group, self.groups[0])
        ]


@dataclass(frozen=True)
class Text:
    """A paragraph of the report: a bold beginning, and what follows it."""

    title: str
    text: str


@dataclass(frozen=True)
class Table:
    """A table of the report, folded away; the first cell of each row is its heading.

    Attributes:
        title: what is read before it is unfolded.
        columns, rows: its texts.
        caption: how to read it.
        numbers: the indices of the columns that hold numbers.
        faint: the indices of rows that are not identified.
    """

    title: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    numbers: Collection[int] = ()
    faint: Collection[int] = ()


@dataclass(frozen=True)
class Difference:
    """What a finding is in one run, less what it is in another, where the two can be compared unit by unit.

    Attributes:
        name: of the finding.
        estimate, ci_low, ci_high, p: in its unit; NaN where there are too few units.
    """

    name: str
    estimate: float
    ci_low: float
    ci_high: float
    p: float = float("nan")


def nothing(*_: object) -> Iterator[Any]:
    """No findings; nothing asked."""
    return iter(())


@dataclass(frozen=True)
class Report:
    """What an analysis tells a reader.

    Attributes:
        chapter: its section; None for what stands in the general part.
        findings: what a run says of it, as sentences with a number, an interval and a control.
        figures: in the order of the report.
        design: what was done to the model, for the first section, from the study as plain YAML data.
        limits: objections to keep in mind, each with what is done about it.
        details: tables of single numbers, from a run and its study as plain YAML data.
        unclear: single questions that the model does not answer clearly, each with the reason; of the same two.
        opening: what a run says of it where the report opens: few sentences, each with its numbers and intervals, or
            the reason why there are none.
        differences: of its findings, those that two runs can be compared by, unit by unit, the first less the second.
        atlases: what of a run can be explored, and, in a sentence, what would be but was not measured.
    """

    chapter: Chapter | None = None
    findings: Callable[[RunDirectory], Iterable[Finding]] = nothing
    figures: tuple[Figure, ...] = ()
    design: Callable[[Mapping[str, Any]], Iterable[Text | Table]] = nothing
    limits: tuple[Text, ...] = ()
    details: Callable[[RunDirectory, Mapping[str, Any]], Iterable[Table]] = nothing
    unclear: Callable[[RunDirectory, Mapping[str, Any]], Iterable[Text]] = nothing
    opening: Callable[[RunDirectory], Iterable[str]] = nothing
    differences: Callable[[RunDirectory, RunDirectory], Iterable[Difference]] = nothing
    atlases: Callable[[RunDirectory], Iterable[Atlas | str]] = nothing
