"""S drawn: over layers and places, layer by layer, and the personas themselves in a plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from selfrep.errors import SelfrepError
from selfrep.plots import heat_maps
from selfrep.plots.heat_maps import SCALE, Map, arrays, cell_words, layers_of
from selfrep.plots.panels import Places, heading, not_identified
from selfrep.plots.points import LEFT, RIGHT, View, write_names
from selfrep.plots.profiles import Pen, finish_profiles, profiles
from selfrep.plots.text import hover, integer, interval, labels_of, plain, shorten, side_words, words
from selfrep.plots.theme import (
    CONTROL,
    HEAD,
    NULL,
    OWN,
    PAPER,
    SOFT,
    colours,
    finish,
    legend_below,
    legend_height,
    marks,
)
from selfrep.stats.numbers import number

Array = np.ndarray

IDENTITY = "#009E73"
FAMILY_WISE = 0.05
"""Cells are outlined below this p over the whole map."""


def separation_map(sep: xr.Dataset, *, site: str | None = None) -> go.Figure:
    """S over layers and places, from `separation`.

    Args:
        site: draw this one only. None: a panel for each.

    Raises:
        SelfrepError: no such site.
    """
    sites = [str(s) for s in sep.site.to_numpy()]
    if site is not None and site not in sites:
        raise SelfrepError(f"There is no site {site!r} in this separation; it holds {', '.join(sites)}.")
    sites = sites if site is None else [site]
    sides = side_words(sep)
    title = f"Separation of {sides[0]} and {sides[1]}" if len(sides) == 2 else "Separation"
    counts = [int(n) for n in sep.attrs.get("n_families", ())]
    parts = (
        plain(sites[0]) if len(sites) == 1 else "",
        f"{counts[0]} against {counts[1]} families of personas" if len(counts) == 2 else "",
        plain(sep.attrs.get("model", "")),
    )
    subtitle = " · ".join(filter(None, parts))
    layers, places = layers_of(sep), Places.of(sep)
    maps, floors = [], []
    for name in sites:
        values = arrays(sep.sel(site=name), "position" if "position" in sep.dims else "segment")
        there = np.isfinite(values["estimate"])
        maps.append(
            Map(
                plain(name) if len(sites) > 1 else "",
                values["estimate"],
                cell_words(values, _words, layers, places),
                dotted=there & (values["estimate"] <= values["null_high"]),
                outlined=there & (values["p_max"] < FAMILY_WISE),
            )
        )
        floors.append(values["same_side"])
    if not any(np.isfinite(one.values).any() for one in maps):
        return not_identified(title, "there is no place that all prompts have", subtitle=subtitle)
    floor = np.concatenate([f[np.isfinite(f)] for f in floors])
    return heat_maps.draw(
        maps,
        places,
        layers,
        name="S",
        limit=heat_maps.extent([one.values for one in maps]),
        floor=float(np.median(floor)) if floor.size else None,
        title=title,
        subtitle=subtitle,
        caption="Each cell: the squared distance between the mean activations of the two sides, as a share of the mean "
        "squared norm, at one layer (upwards) and token (from the left). What chance adds is subtracted, so it may be "
        "negative. Dotted cells do not exceed what shuffled persona labels give (95th percentile); outlined cells "
        f"stand out even when the whole map is searched (p < {FAMILY_WISE}, family-wise). ▸ on the colour bar: how far "
        "two personas of one side lie apart (the median cell). What is separate is present, which says not that "
        f"it is used. {SCALE}",
    )


def _words(at: dict[str, float]) -> str:
    lines = (
        f"<b>S = {interval(at['estimate'], at['ci_low'], at['ci_high'])}</b>",
        f"shuffled labels reach {number(at['null_high'])}; p = {number(at['p'])}, over the map {number(at['p_max'])}",
        f"two personas: {_interval(at, 'identity')}; of one side: {number(at['same_side'])}",
        f"two paraphrases of one persona: {number(at['noise_floor'])}",
        f"“the user is X”: {_interval(at, 'user_is')}",
        *(f"{text}: {_interval(at, key)}" for text, key in _SHARES),
    )
    return "<br>".join(lines)


def _interval(at: dict[str, float], name: str) -> str:
    return interval(*(at[key] for key in (name, f"{name}_ci_low", f"{name}_ci_high")))


_SHARES = (("share bound to the speaker", "bound_share"), ("cosine of both differences", "condition_cosine"))


def separation_profile(
    sep: xr.Dataset, *, where: int | str | Sequence[int | str] | None = None, site: str | None = None
) -> go.Figure:
    """S by layer, from `separation`, with its interval, the "user is" control and the null; and how far two personas
    lie apart, any two and two of one side.

    Args:
        where: positions or segments, a panel each. None: the last position, or every segment.
        site: None: the first.

    Raises:
        SelfrepError: no such site, position or segment.
    """
    axis = "position" if "position" in sep.dims else "segment"
    have, sites = sep[axis].to_numpy().tolist(), [str(s) for s in sep.site.to_numpy()]
    site = sites[0] if site is None else site
    if site not in sites:
        raise SelfrepError(f"There is no site {site!r} in this separation; it holds {', '.join(sites)}.")
    if where is None:
        where = have[-1:] if axis == "position" else have
    chosen = [where] if isinstance(where, int | str) else list(where)
    if unknown := [place for place in chosen if place not in have]:
        raise SelfrepError(
            f"There is no {axis} {unknown[0]!r} in this separation; it holds {', '.join(map(str, have))}."
        )
    sides = side_words(sep)
    of = f" of {sides[0]} and {sides[1]}" if len(sides) == 2 else ""
    title = f"Separation{of}, layer by layer"
    subtitle = " · ".join(plain(s) for s in (site, sep.attrs.get("model", "")) if s)
    at = sep.sel({"site": site, axis: chosen})
    if not np.isfinite(at.estimate.to_numpy()).any():
        return not_identified(title, "some prompt does not have this place", subtitle=subtitle)
    labels = Places.of(sep).labels
    layers = layers_of(sep)
    frame = profiles(len(chosen))
    for panel, place in zip(frame.panels, chosen, strict=True):
        one = {str(k): v.to_numpy() for k, v in at.sel({axis: place}).data_vars.items()}
        draw = Pen(frame.fig, panel, layers)
        draw.rule(0.0)
        if np.isfinite(one["null_high"]).any():  # of too few families there are no labels to shuffle
            draw.line("shuffled labels (95 % below)", one["null_high"], NULL, rank=3, dash="dot")
        draw.line("two personas of one side", one["same_side"], NULL, rank=4, dash="dash")
        for name, key, colour, rank in (
            ("any two personas", "identity", IDENTITY, 5),
            ("“the user is X”", "user_is", CONTROL, 2),
            ("“you are X”", "", OWN, 1),
        ):
            low, high = one[f"{key}_ci_low".lstrip("_")], one[f"{key}_ci_high".lstrip("_")]
            draw.band(low, high, colour)
            draw.line(name, one[key or "estimate"], colour, low, high, rank=rank)
        label = labels[have.index(place)]
        heading(frame.fig, panel, label if axis == "segment" else f"position {integer(int(place))} “{label}”", 4.0)
    return finish_profiles(
        frame,
        layers,
        name="S",
        columns=2,
        title=title,
        subtitle=subtitle,
        caption="The squared distance between the mean activations of the two sides, as a share of the mean squared "
        "norm, with its 95 % interval (blue). Orange: the same words said of the user; how much of blue they explain "
        "is a matter of direction, which the share bound to the speaker tells. Dotted: what shuffled labels give. "
        "Green: how far any two personas lie apart, each against each: personas may be told apart where their sides "
        "are not. Dashed: two personas of one side, the measure of blue.",
    )


_AXIS, _KEYS = 40.0, 3
_PALE = 0.2
"""How much a name should avoid the mark of a single prompt, where that of a persona counts 1."""
_CONDITIONS = {"you": "“you are X”", "user": "“the user is X”"}


@dataclass(frozen=True)
class _Group:
    """The prompts of one kind of persona in one condition, and the personas' means over them."""

    kind: str
    label: str
    condition: str
    colour: str
    mark: str
    points: Array
    persona: Array
    people: list[str]
    means: Array

    @property
    def hollow(self) -> bool:
        return self.condition == "user"

    @property
    def symbol(self) -> str:
        return self.mark + ("-open" if self.hollow else "")


def persona_map(points: xr.Dataset) -> go.Figure:
    """Personas on their first two principal components, from the activations at one layer and place.

    Large marks are personas, small ones their single prompts; colour tells the kind, shape the side; filled is "you
    are X", hollow "the user is X". Both axes have one scale, so that distances can be compared.
    """
    at = points.coordinates.transpose("point", "component").to_numpy().astype(float)
    title, subtitle = "Personas in the plane in which they differ most", " · ".join(_place(points))
    if not np.isfinite(at).all(axis=1).any():
        return not_identified(title, "no point has coordinates", subtitle=subtitle)
    persona, condition = points.persona.to_numpy().astype(str), points.condition.to_numpy().astype(str)
    groups = _groups(at, points, persona, condition)
    fig = go.Figure()
    for other in sorted(set(condition) - set(_CONDITIONS)):
        fig.add_trace(
            _prompts(at[condition == other], persona[condition == other], words(other), "x-thin-open", NULL, key=True)
        )
    for group in groups:  # below all the means
        fig.add_trace(_prompts(group.points, group.persona, _CONDITIONS[group.condition], group.symbol, group.colour))
    for group in groups:
        fig.add_trace(_personas(group, list(dict.fromkeys(g.kind for g in groups)).index(group.kind)))
    for spoken, text in _CONDITIONS.items():
        if (condition == spoken).any():
            fig.add_trace(_condition_key(text, "circle" if spoken == "you" else "circle-open"))
    view = View.of(at)
    _names(fig, groups, at, view)
    first, second = (f"{integer(round(100 * float(v)))} %" for v in points.explained.to_numpy())
    grid = {"zeroline": True, "zerolinecolor": "#eeeeee"}
    fig.update_xaxes(grid, range=[view.low[0], view.high[0]])
    fig.update_yaxes(grid, range=[view.low[1], view.high[1]], scaleanchor="x", scaleratio=1)
    fig.update_yaxes(title_text=f"component 2 ({second} of the variance)")
    fig.add_annotation(
        text=f"component 1 ({first} of the variance)",
        x=0.5,
        y=0,
        xref="paper",
        yref="paper",
        yanchor="top",
        yshift=-18,
        showarrow=False,
    )
    fig.update_layout(legend=legend_below(_KEYS))
    keys = sum(trace.showlegend is not False for trace in fig.data)
    bottom = _AXIS + 8 + legend_height(keys, _KEYS)
    return finish(
        fig,
        title=title,
        subtitle=subtitle,
        height=HEAD + view.height + bottom,
        margin={"l": LEFT, "r": RIGHT, "t": HEAD, "b": bottom},
        caption="Each large mark is a persona, the small ones its single prompts in all paraphrases; colour and shape "
        "tell the kind. Filled: “you are X”; hollow: the same words said of the user. Both axes have the same scale, "
        "so distances can be compared. This is the plane in which the personas differ most: a picture, not a test.",
    )


def _groups(at: Array, points: xr.Dataset, persona: Array, condition: Array) -> list[_Group]:
    """Hollow ones first, so that filled ones are drawn over them; kinds in the order of the palette."""
    kind, side = (points[k].to_numpy().astype(str) for k in ("kind", "side"))
    palette, shapes, called = colours(kind), marks(side), labels_of(points, "kind")
    groups = []
    for spoken in ("user", "you"):
        for name, colour in palette.items():
            mine = (kind == name) & (condition == spoken) & np.isfinite(at).all(axis=1)
            if not mine.any():
                continue
            people = list(dict.fromkeys(persona[mine].tolist()))
            means = np.array([at[mine & (persona == p)].mean(axis=0) for p in people])
            shape = shapes[str(side[mine][0])]
            groups.append(_Group(name, called[name], spoken, colour, shape, at[mine], persona[mine], people, means))
    return groups


def _place(points: xr.Dataset) -> list[str]:
    """Where the activations were taken, escaped."""
    attrs = points.attrs
    layer = f"layer {integer(int(attrs['layer']))}" if "layer" in attrs else ""
    if "position" in attrs:
        where = "last token" if int(attrs["position"]) == -1 else f"position {integer(int(attrs['position']))}"
    else:
        where = f"mean over the {words(attrs['segment'])}" if "segment" in attrs else ""
    return [s for s in (plain(attrs.get("site", "")), layer, where) if s]


def _prompts(at: Array, persona: Array, name: str, symbol: str, colour: str, *, key: bool = False) -> go.Scatter:
    """The single prompts, small and pale."""
    return go.Scatter(
        x=at[:, 0],
        y=at[:, 1],
        mode="markers",
        name=name,
        showlegend=key,
        legendrank=2001,
        marker={"symbol": symbol, "size": 4, "color": colour, "opacity": 0.45, "line": {"width": 0.8, "color": colour}},
        **hover(f"{plain(p)}, {name}" if p else name for p in persona),
    )


def _personas(group: _Group, rank: int) -> go.Scatter:
    """The personas themselves; `rank` is the place of their kind in the legend."""
    hollow = group.hollow
    edge = {"width": 1.5, "color": group.colour} if hollow else {"width": 1.0, "color": PAPER}
    return go.Scatter(
        x=group.means[:, 0],
        y=group.means[:, 1],
        mode="markers",
        name=group.label,
        legendgroup=group.kind,
        legendrank=1000 + rank,
        showlegend=not hollow,
        marker={"symbol": group.symbol, "size": 8 if hollow else 10, "color": group.colour, "line": edge},
        **hover(f"<b>{plain(p)}</b><br>{group.label}, {_CONDITIONS[group.condition]}" for p in group.people),
    )


def _condition_key(text: str, symbol: str) -> go.Scatter:
    """A legend entry that stands for no kind."""
    marker = {"symbol": symbol, "size": 9, "color": SOFT, "line": {"width": 1.4, "color": SOFT}}
    return go.Scatter(x=[None], y=[None], mode="markers", name=text, marker=marker, legendrank=2000, hoverinfo="skip")


def _names(fig: go.Figure, groups: list[_Group], at: Array, view: View) -> None:
    """Write the personas' names beside their marks."""
    own = [group for group in groups if not group.hollow]
    if not own:
        return
    single = at[np.isfinite(at).all(axis=1)]
    means = np.concatenate([group.means for group in groups])
    write_names(
        fig,
        [words(shorten(name, 26)) for group in own for name in group.people],
        np.concatenate([group.means for group in own]),
        np.concatenate([single, means]),
        np.concatenate([np.full(len(single), _PALE), np.ones(len(means))]),
        view,
    )
