"""The personas themselves, drawn in the plane in which they differ most."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from selfrep.analyses.separation.summary import at_reported_layer
from selfrep.plots.panels import TITLE, not_identified
from selfrep.plots.points import LEFT, RIGHT, View, write_names
from selfrep.plots.text import by_label, hover, integer, labels_of, plain, shorten, words
from selfrep.plots.theme import (
    HEAD,
    NULL,
    PAPER,
    SOFT,
    colours,
    finish,
    legend_below,
    legend_height,
    marks,
)

Array = np.ndarray

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

    Args:
        points: a summary of activations, as `selfrep.Run.activations_summary`, of which the layer that findings are
            read at is drawn (three quarters of the depth); or `coordinates` (point, component) of one layer.

    Large marks are personas, small ones their single prompts; colour tells the kind, shape the side; filled is "you
    are X", hollow "the user is X". Both axes have one scale, so that distances can be compared.
    """
    points = by_label(at_reported_layer(points) if "layer" in points.dims else points)
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
        name=TITLE,
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
