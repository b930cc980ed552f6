"""From the groups of a run to its figures, in memory and on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import xarray as xr

from selfrep import plots
from selfrep.analyses import analyses
from selfrep.errors import SelfrepError
from selfrep.files import write_file
from selfrep.harmless import for_cell
from selfrep.report import opening
from selfrep.store.run_directory import RunDirectory

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True)
class Drawing:
    """A figure of a run: its file name without an ending, its title, how to read it, and the numbers it shows.

    `about` is the analysis in whose chapter it stands, or `OPENING`; empty: the general part.
    """

    name: str
    title: str
    caption: str
    figure: go.Figure
    data: xr.Dataset
    about: str = ""


OPENING = "opening"


def drawings(run: RunDirectory) -> Iterator[Drawing]:
    """The figures of a run, of whatever groups it holds: the first one, then in the order of the analyses."""
    yield from first_drawing(run)
    groups = run.groups()
    for analysis in analyses():
        about = analysis.name if analysis.load_report().chapter else ""
        for kind in analysis.load_report().figures:
            for figure in kind.matching(groups):
                whole, *others = map(run.read, figure.groups)
                data = whole if figure.select is None else figure.select(whole)
                if data is not None:
                    picture = figure.draw(data, *others)
                    words = picture.layout.meta
                    place = OPENING if figure.opens else about
                    yield Drawing(figure.name, words["title"], words["caption"], picture, data, place)


def first_drawing(run: RunDirectory) -> list[Drawing]:
    """The figure that answers the question; none where nothing of it was measured."""
    if (made := opening.figure(run)) is None:
        return []
    picture, data = made
    words = picture.layout.meta
    return [Drawing(opening.NAME, words["title"], words["caption"], picture, data, OPENING)]


ENDINGS = (".html", ".svg", ".pdf")
"""As which files a run writes its figures."""


def write_figures(
    run: RunDirectory,
    warn: Callable[[str], None] = lambda message: None,
    figures: Iterable[Drawing] | None = None,
    endings: Sequence[str] | None = None,
) -> list[Path]:
    """Write every figure and its numbers as CSV. No browser is needed.

    Args:
        warn: hears of figures that paper cannot show, which an analysis from elsewhere may have drawn.
        figures: those of the run, where they are drawn already (None: they are drawn anew).
        endings: as which files (None: `ENDINGS`).
    """
    written: list[Path] = []
    screen, paper = (
        [e for e in (ENDINGS if endings is None else endings) if (e == ".html") == own] for own in (True, False)
    )
    for one in drawings(run) if figures is None else figures:
        base = run.figures / one.name
        written.append(write_file(base.with_suffix(".csv"), _table(one.data)))
        written += [plots.save(one.figure, base.with_suffix(ending), script="beside") for ending in screen]
        if not paper:
            continue
        try:
            page = plots.page(one.figure)
        except SelfrepError as error:
            warn(f"{one.name}: {error}")
            continue
        written += [plots.save(page, base.with_suffix(ending)) for ending in paper]
    return written


def _table(data: xr.Dataset) -> str:
    """The numbers of a figure as CSV, a row a cell; single numbers are one row.

    What is over other dimensions (personas, kinds) stands in rows of its own, where the other columns are empty.
    """
    of: dict[frozenset[str], list[str]] = {}
    for name in sorted(map(str, data.data_vars), key=lambda name: -data[name].ndim):
        dims = frozenset(map(str, data[name].dims))
        of.setdefault(next((wider for wider in of if dims <= wider), dims), []).append(name)
    parts = [
        data[names].to_dataframe().reset_index() if dims else data[names].expand_dims("row").to_dataframe()
        for dims, names in of.items()
    ]
    whole = [part.astype(dict.fromkeys(part.select_dtypes("integer"), "Int64")) for part in parts]
    rows = pd.concat(whole, ignore_index=True).rename(columns=for_cell)
    texts = rows.select_dtypes(exclude=["number", "bool"]).columns
    rows[texts] = rows[texts].map(for_cell)
    return str(rows.to_csv(index=False, float_format="%.9g"))
