"""From the groups of a run to its figures, in memory and on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import xarray as xr

from selfrep.errors import SelfrepError
from selfrep.results import plots
from selfrep.results.depth import reported_layer
from selfrep.results.files import write_file
from selfrep.results.store import RunDirectory

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


def drawn(run: RunDirectory) -> Iterator[Drawn]:
    """The figures of a run, of whatever groups it holds, in the order of the report."""
    if run.has("items"):
        items = run.read("items")
        yield _of("items", plots.item_bars(items), items)
    if run.has("binding"):
        bound = run.read("binding")
        yield _of("binding", plots.binding_shares(bound), bound, "binding")
    if run.has("bleed"):
        leak = run.read("bleed")
        yield _of("bleed", plots.bleed_shares(leak), leak, "bleed")
    if run.has("identification"):
        yield from _identity(run)
    if run.has("default_axis"):
        axis = run.read("default_axis")
        strip = plots.default_strip(axis, reported_layer(axis.layer.to_numpy()))
        yield _of("default_axis", strip, axis, "default_axis")
    if run.has("separation"):
        sep = run.read("separation")
        yield _of("separation", plots.separation_map(sep), sep)
        yield _of("separation_profile", plots.separation_profile(sep), sep)
    if run.has("activations_summary"):
        summary = run.read("activations_summary")
        points = _plane(summary, reported_layer(summary.layer.to_numpy()))
        yield _of("persona_map", plots.persona_map(points), points)
    for group in run.groups():
        if group.startswith("transfer/"):
            moved = run.read(group)
            yield _of(group.replace("/", "_"), plots.transfer_maps(moved), moved)
    yield from _motives(run)


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


def _plane(summary: xr.Dataset, layer: int) -> xr.Dataset:
    """One layer of the group "activations_summary", as points in the plane."""
    at = summary.sel(layer=layer)
    labels = {k: ("point", summary[k].to_numpy()) for k in ("persona", "kind", "side", "voice", "paraphrase")}
    place = {k.removeprefix("plane_"): v for k, v in summary.attrs.items() if k.startswith("plane_")}
    return xr.Dataset(
        {
            "coordinates": (("point", "component"), at.coordinates.to_numpy()),
            "explained": ("component", at.explained.to_numpy()),
        },
        coords=labels | {"component": [1, 2]},
        attrs=place | {"layer": layer},
    )


def _identity(run: RunDirectory) -> Iterator[Drawn]:
    found = run.read("identification")
    if not all(": " in str(name) for name in found.subscale.to_numpy()):
        yield _of("identification", plots.identification_dots(found), found, "identification")
    if run.has("referents"):
        yield _of("referents", plots.referent_lines(found, run.read("referents")), found, "identification")


def _motives(run: RunDirectory) -> Iterator[Drawn]:
    if run.has("anomaly"):
        noticed = run.read("anomaly")
        yield _of("anomaly", plots.anomaly_interaction(noticed), noticed, "anomaly")
    if run.has("mediation"):
        paths = run.read("mediation")
        yield _of("mediation", plots.mediation_paths(paths), paths, "mediation")
        cells = paths[[str(name) for name in paths.data_vars if set(paths[name].dims) <= {"cue", "stakes"}]]
        yield _of("cue_by_stakes", plots.cue_by_stakes(cells), cells, "mediation")
    if run.has("directness"):
        curve = run.read("directness")
        yield _of("directness", plots.directness_curve(curve), curve, "directness")
    if run.has("posterior"):
        who = run.read("posterior")
        yield _of("posterior", plots.posterior_ribbons(who), who, "posterior")


def _of(name: str, figure: go.Figure, data: xr.Dataset, about: str = "") -> Drawn:
    return Drawn(name, figure.layout.meta["title"], figure.layout.meta["caption"], figure, data, about)
