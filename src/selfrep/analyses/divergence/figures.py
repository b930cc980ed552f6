"""Δ drawn: layer by layer at one place, a band a kind of persona; and over layers and places, a map a kind."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from selfrep.errors import SelfrepError
from selfrep.plots import heat_maps
from selfrep.plots.heat_maps import SCALE, Map, arrays, cell_words, layers_of
from selfrep.plots.panels import Places, not_identified
from selfrep.plots.profiles import Pen, finish_profiles, profiles
from selfrep.plots.text import integer, interval, plain
from selfrep.plots.theme import NULL, colours
from selfrep.stats.cells import place_axis
from selfrep.stats.numbers import number

SELVES = {
    "unprompted": "the unprompted self",
    "default": "the tuned default",
    "reductionist": "“a language model”",
}
"""What figures and sentences call the readings of the self."""


def divergence_profile(
    div: xr.Dataset, *, reference: str = "unprompted", where: int | str | None = None, site: str | None = None
) -> go.Figure:
    """Δ from one reading of the self by layer, a band a kind of persona, from `divergence`.

    Args:
        reference: the reading of the self.
        where: a position or segment; None: the last.
        site: None: the first.

    Raises:
        SelfrepError: no such reading, site, position or segment.
    """
    at, axis, site, where = _at(div, reference, site, where)
    title = f"Distance from {SELVES[reference]}, layer by layer"
    label = Places.of(div).labels[div[axis].to_numpy().tolist().index(where)]
    place = f"position {integer(int(where))} “{label}”" if axis == "position" else label
    subtitle = " · ".join(filter(None, (plain(site), place, plain(div.attrs.get("model", "")))))
    if not np.isfinite(at.kind_estimate.to_numpy()).any():
        return not_identified(title, "some prompt does not have this place", subtitle=subtitle)
    layers = layers_of(div)
    frame = profiles(1)
    draw_kinds(Pen(frame.fig, frame.panels[0], layers), at)
    return finish_profiles(
        frame,
        layers,
        name="Δ",
        columns=2,
        title=title,
        subtitle=subtitle,
        caption=f"The squared distance of each kind of persona from {SELVES[reference]}, as a share of the mean "
        "squared norm, with its 95 % interval where there are families enough. What chance adds is subtracted, so it "
        "may be negative. Dotted: the same words said of the user. Grey: two personas of one side from each other, "
        "which is how far personas lie apart anyway. What lies apart is present; that does not mean that it is used.",
    )


def draw_kinds(pen: Pen, at: xr.Dataset) -> None:
    """Δ of every kind by layer with its band, the same words said of the user, and the scales, on a panel.

    Args:
        pen: of the panel, with the layers of the Dataset.
        at: one reading of the self at one site and place of what `divergence` returns: dims kind, side and layer.
    """
    pen.rule(0.0)
    colour = colours(map(str, at.kind.to_numpy()))
    order = list(colour)
    users = at.kind_user_is.max("layer").to_numpy()
    for rank, kind in enumerate(order):
        one = at.sel(kind=kind)
        value, low, high = (one[f"kind_{name}"].to_numpy().astype(float) for name in ("estimate", "ci_low", "ci_high"))
        if not np.isfinite(value).any():
            continue
        pen.band(low, high, colour[kind])
        pen.line(plain(one.kind_label.item()), value, colour[kind], low, high, rank=rank)
    if np.isfinite(users).any():  # of the kind that lies furthest away; of all of them nothing could be read
        furthest = str(at.kind.to_numpy()[np.nanargmax(users)])
        name = f"“the user is …” ({plain(at.kind_label.sel(kind=furthest).item())})"
        values = at.kind_user_is.sel(kind=furthest).to_numpy().astype(float)
        pen.line(name, values, colour[furthest], rank=len(order), dash="dot", width=1.4)
    for i, side in enumerate(map(str, at.side.to_numpy())):
        name = f"one from another: {plain(at.side_label.sel(side=side).item())}"
        values = at.within.sel(side=side).to_numpy().astype(float)
        pen.line(name, values, NULL, rank=len(order) + 1 + i, dash=("dash", "dashdot", "dot")[i % 3], width=1.4)


def divergence_map(div: xr.Dataset, *, reference: str = "unprompted", site: str | None = None) -> go.Figure:
    """Δ from one reading of the self over layers and places, a panel a kind of persona, from `divergence`.

    Args:
        reference: the reading of the self.
        site: None: the first.

    Raises:
        SelfrepError: no such reading or site.
    """
    at, axis, site, _ = _at(div, reference, site, None, whole=True)
    title = f"Distance from {SELVES[reference]}"
    subtitle = " · ".join(filter(None, (plain(site), plain(div.attrs.get("model", "")))))
    layers, places = layers_of(div), Places.of(div)
    maps = []
    for kind in colours(map(str, at.kind.to_numpy())):
        one = at.sel(kind=kind)
        values = arrays(one, axis)
        if np.isfinite(estimate := values["kind_estimate"]).any():
            unsure = np.isfinite(values["kind_ci_low"]) & ~(values["kind_ci_low"] > 0)
            words = cell_words(values, _words, layers, places)
            maps.append(Map(plain(one.kind_label.item()), estimate, words, dotted=unsure))
    if not maps:
        return not_identified(title, "there is no place that all prompts have", subtitle=subtitle)
    return heat_maps.draw(
        maps,
        places,
        layers,
        name="Δ",
        limit=heat_maps.extent([one.values for one in maps]),
        title=title,
        subtitle=subtitle,
        caption=f"Each cell: the squared distance of a kind of persona from {SELVES[reference]}, as a share of the "
        "mean squared norm, at one layer (upwards) and token (from the left). What chance adds is subtracted, so it "
        f"may be negative. The 95 % interval of dotted cells includes 0. {SCALE}",
    )


def _words(at: dict[str, float]) -> str:
    lines = (
        f"<b>Δ = {interval(at['kind_estimate'], at['kind_ci_low'], at['kind_ci_high'])}</b>",
        f"p = {number(at['p'])}" if np.isfinite(at["p"]) else "",
        f"in the metric of noise: {number(at['kind_crossnobis'])}" if np.isfinite(at["kind_crossnobis"]) else "",
        f"“the user is X”: {number(at['kind_user_is'])}" if np.isfinite(at["kind_user_is"]) else "",
    )
    return "<br>".join(filter(None, lines))


def _at(
    div: xr.Dataset, reference: str, site: str | None, where: int | str | None, *, whole: bool = False
) -> tuple[xr.Dataset, str, str, int | str]:
    """One reading at one site, and at one place unless the whole map is wanted; the axis of places, site and place."""
    axis = place_axis(div)
    chosen: dict[str, int | str] = {}
    for name, value in (("reference", reference), ("site", site), (axis, where)):
        have = div[name].to_numpy().tolist()
        chosen[name] = have[-1 if name == axis else 0] if value is None else value
        if chosen[name] not in have:
            raise SelfrepError(
                f"There is no {name} {value!r} in this divergence; it holds {', '.join(map(str, have))}."
            )
    place = chosen[axis]
    if whole:
        del chosen[axis]
    return div.sel(chosen), axis, str(chosen["site"]), place
