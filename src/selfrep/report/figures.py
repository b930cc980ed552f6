"""From the groups of a run to its figures, in memory and on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import xarray as xr

from selfrep import plots
from selfrep.analyses.depth import reported_layer
from selfrep.errors import SelfrepError
from selfrep.results.chapters import CHAPTERS
from selfrep.store.files import write_file
from selfrep.store.run_directory import RunDirectory

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True)
class Drawn:
    """A figure of a run: its file name without an ending, its title, how to read it, and the numbers it shows.

    `about` is the chapter of the report it belongs to; empty: the general part.
    """

    name: str
    title: str
    caption: str
    figure: go.Figure
    data: xr.Dataset
    about: str = ""


@dataclass(frozen=True)
class Kind:
    """A figure of every run that holds its groups.

    Attributes:
        name: its file name without an ending.
        groups: what it is drawn from. The first one's chapter, if it has any, is the figure's.
        plot: draws the groups.
        part: what is shown of the first group, None if there is nothing to show; all of it, if left out.
    """

    name: str
    groups: tuple[str, ...]
    plot: Callable[..., go.Figure]
    part: Callable[[xr.Dataset], xr.Dataset | None] | None = None


def _plane(summary: xr.Dataset) -> xr.Dataset:
    """The reported layer of the group "activations_summary", as points in the plane."""
    layer = reported_layer(summary.layer.to_numpy())
    at = summary.sel(layer=layer)
    labels = {k: ("point", summary[k].to_numpy()) for k in ("persona", "kind", "side", "condition", "paraphrase")}
    place = {k.removeprefix("plane_"): v for k, v in summary.attrs.items() if k.startswith("plane_")}
    return xr.Dataset(
        {
            "coordinates": (("point", "component"), at.coordinates.to_numpy()),
            "explained": ("component", at.explained.to_numpy()),
        },
        coords=labels | {"component": [1, 2]},
        attrs=place | {"layer": layer},
    )


def _strip(axis: xr.Dataset) -> go.Figure:
    return plots.default_strip(axis, reported_layer(axis.layer.to_numpy()))


def _beyond_referents(found: xr.Dataset) -> xr.Dataset | None:
    """The group "identification", unless it is all about referents: their lines show it then."""
    return None if all(": " in str(name) for name in found.subscale.to_numpy()) else found


def _cells(paths: xr.Dataset) -> xr.Dataset:
    """Of the group "mediation", what each cell of the design has."""
    return paths[[str(name) for name in paths.data_vars if set(paths[name].dims) <= {"cue", "stakes"}]]


KINDS = (
    Kind("items", ("items",), plots.item_bars),
    Kind("binding", ("binding",), plots.binding_shares),
    Kind("bleed", ("bleed",), plots.bleed_shares),
    Kind("identification", ("identification",), plots.identification_dots, _beyond_referents),
    Kind("referents", ("identification", "referents"), plots.referent_lines),
    Kind("default_axis", ("default_axis",), _strip),
    Kind("separation", ("separation",), plots.separation_map),
    Kind("separation_profile", ("separation",), plots.separation_profile),
    Kind("persona_map", ("activations_summary",), plots.persona_map, _plane),
    Kind("anomaly", ("anomaly",), plots.anomaly_interaction),
    Kind("mediation", ("mediation",), plots.mediation_paths),
    Kind("cue_by_stakes", ("mediation",), plots.cue_by_stakes, _cells),
    Kind("directness", ("directness",), plots.directness_curve),
    Kind("posterior", ("posterior",), plots.posterior_ribbons),
)
"""The figures a run may have, in the order of the report; each sweep has one of its own beside them."""


def drawn(run: RunDirectory) -> Iterator[Drawn]:
    """The figures of a run, of whatever groups it holds, in the order of the report."""
    transfers = [
        Kind(group.replace("/", "_"), (group,), plots.transfer_maps)
        for group in run.groups()
        if group.startswith("transfer/")
    ]
    chapters = {chapter.name for chapter in CHAPTERS}
    for kind in (*KINDS, *transfers):
        if not all(map(run.has, kind.groups)):
            continue
        whole, *others = map(run.read, kind.groups)
        data = whole if kind.part is None else kind.part(whole)
        if data is not None:
            figure = kind.plot(data, *others)
            about = kind.groups[0] if kind.groups[0] in chapters else ""
            yield Drawn(kind.name, figure.layout.meta["title"], figure.layout.meta["caption"], figure, data, about)


def write_figures(run: RunDirectory, warn: Callable[[str], None]) -> list[Path]:
    """Write every figure as HTML and CSV, and as SVG and PDF where a browser is found; `warn` hears it when none is."""
    written: list[Path] = []
    vector = plots.browser() is not None
    if not vector:
        warn(plots.NO_BROWSER)
    for one in drawn(run):
        base = run.figures / one.name
        write_file(base.with_suffix(".csv"), one.data.to_dataframe().reset_index().to_csv(index=False))
        written.append(base.with_suffix(".csv"))
        for ending in (".html", ".svg", ".pdf") if vector else (".html",):
            try:
                plots.save(one.figure, base.with_suffix(ending))
            except SelfrepError as error:
                if ending == ".html":
                    raise
                vector = False  # one message is enough
                warn(str(error))
                break
            written.append(base.with_suffix(ending))
    return written
