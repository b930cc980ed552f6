"""Personas in a plane: where the model puts them at one layer and place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from selfrep.plots.labels import spread
from selfrep.plots.panels import not_identified
from selfrep.plots.text import plain, reach, shortened, signed, words
from selfrep.plots.theme import HEAD, KINDS, NULL, PAPER, SIDES, SOFT, TINY, WIDTH, finished, legend_below

Array = np.ndarray

_LEFT, _RIGHT, _AXIS = 52.0, 14.0, 40.0
_KEYS = 4  # legend entries in a row
_CONDITIONS = {"you": "“you are X”", "user": "“the user is X”"}
_PALE = 0.2
"""How much a name should avoid the mark of a single prompt, where that of a persona counts 1."""


@dataclass(frozen=True)
class _Group:
    """The prompts of one kind of persona in one condition, and the personas' means over them."""

    kind: str
    condition: str
    side: str
    points: Array
    persona: Array
    people: list[str]
    means: Array

    @property
    def hollow(self) -> bool:
        return self.condition == "user"

    @property
    def colour(self) -> str:
        return KINDS.get(self.kind, NULL)

    @property
    def symbol(self) -> str:
        return SIDES.get(self.side, "square") + ("-open" if self.hollow else "")


def persona_map(points: xr.Dataset) -> go.Figure:
    """Personas on their first two principal components, from `estimands.geometry.persona_map`.

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
    for said in sorted(set(condition) - set(_CONDITIONS)):
        fig.add_trace(
            _prompts(at[condition == said], persona[condition == said], words(said), "x-thin-open", NULL, key=True)
        )
    for group in groups:  # below all the means
        fig.add_trace(_prompts(group.points, group.persona, _CONDITIONS[group.condition], group.symbol, group.colour))
    for group in groups:
        fig.add_trace(_personas(group))
    for said, text in _CONDITIONS.items():
        if (condition == said).any():
            fig.add_trace(_condition_key(text, "circle" if said == "you" else "circle-open"))
    low, high, width, height = _view(at)
    _names(fig, groups, at, low, width / (high - low)[0], (width, height))
    first, second = (f"{signed(round(100 * float(v)))} %" for v in points.explained.to_numpy())
    grid = {"zeroline": True, "zerolinecolor": "#eeeeee"}
    fig.update_xaxes(grid, range=[low[0], high[0]])
    fig.update_yaxes(grid, range=[low[1], high[1]], scaleanchor="x", scaleratio=1)
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
    bottom = _AXIS + 8 + 19 * -(-keys // _KEYS)
    return finished(
        fig,
        title=title,
        subtitle=subtitle,
        height=HEAD + height + bottom,
        margin={"l": _LEFT, "r": _RIGHT, "t": HEAD, "b": bottom},
        caption="Each large mark is a persona, the small ones its single prompts in all paraphrases; colour and shape "
        "tell the kind. Filled: “you are X”; hollow: the same words said of the user. Both axes have the same scale, "
        "so distances can be compared. This is the plane in which the personas differ most: a picture, not a test.",
    )


def _groups(at: Array, points: xr.Dataset, persona: Array, condition: Array) -> list[_Group]:
    """Hollow ones first, so that filled ones are drawn over them; kinds in the order of the palette."""
    kind, side = (points[k].to_numpy().astype(str) for k in ("kind", "side"))
    known = [k for k in KINDS if k in kind] + sorted(set(kind) - set(KINDS))
    groups = []
    for said in ("user", "you"):
        for name in known:
            mine = (kind == name) & (condition == said) & np.isfinite(at).all(axis=1)
            if not mine.any():
                continue
            people = list(dict.fromkeys(persona[mine].tolist()))
            means = np.array([at[mine & (persona == p)].mean(axis=0) for p in people])
            groups.append(_Group(name, said, str(side[mine][0]), at[mine], persona[mine], people, means))
    return groups


def _place(points: xr.Dataset) -> list[str]:
    """Where the activations were taken, escaped."""
    attrs = points.attrs
    layer = f"layer {signed(int(attrs['layer']))}" if "layer" in attrs else ""
    if "position" in attrs:
        where = "last token" if int(attrs["position"]) == -1 else f"position {signed(int(attrs['position']))}"
    else:
        where = f"mean over the {words(attrs['segment'])}" if "segment" in attrs else ""
    return [s for s in (plain(attrs.get("site", "")), layer, where) if s]


def _view(at: Array) -> tuple[Array, Array, float, float]:
    """Lower left and upper right corner in data units, width and height in px: one scale on both axes."""
    finite = at[np.isfinite(at).all(axis=1)]
    low, high = finite.min(axis=0), finite.max(axis=0)
    middle, size = (low + high) / 2, np.maximum((high - low) * np.array([1.24, 1.16]), 1e-9)
    width = WIDTH - _LEFT - _RIGHT
    height = float(np.clip(width * size[1] / size[0], 200, 420))
    scale = min(width / size[0], height / size[1])  # px a unit
    half = np.array([width, height]) / scale / 2
    return middle - half, middle + half, width, height


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
        text=[f"{plain(p)}, {name}" if p else name for p in persona],
        hovertemplate="%{text}<extra></extra>",
    )


def _personas(group: _Group) -> go.Scatter:
    """The personas themselves."""
    hollow = group.hollow
    edge = {"width": 1.5, "color": group.colour} if hollow else {"width": 1.0, "color": PAPER}
    return go.Scatter(
        x=group.means[:, 0],
        y=group.means[:, 1],
        mode="markers",
        name=words(group.kind),
        legendgroup=group.kind,
        legendrank=1000 + [*KINDS, group.kind].index(group.kind),
        showlegend=not hollow,
        marker={"symbol": group.symbol, "size": 8 if hollow else 10, "color": group.colour, "line": edge},
        text=[f"<b>{plain(p)}</b><br>{words(group.kind)}, {_CONDITIONS[group.condition]}" for p in group.people],
        hovertemplate="%{text}<extra></extra>",
    )


def _condition_key(text: str, symbol: str) -> go.Scatter:
    """A legend entry that stands for no kind."""
    marker = {"symbol": symbol, "size": 9, "color": SOFT, "line": {"width": 1.4, "color": SOFT}}
    return go.Scatter(x=[None], y=[None], mode="markers", name=text, marker=marker, legendrank=2000, hoverinfo="skip")


def _names(
    fig: go.Figure, groups: list[_Group], at: Array, low: Array, scale: float, area: tuple[float, float]
) -> None:
    """Write names beside their marks, with a thin line to those that had to move away."""
    filled = [group for group in groups if not group.hollow]
    texts = [words(shortened(name, 26)) for group in filled for name in group.people]
    if not texts:
        return
    anchors = np.concatenate([group.means for group in filled])
    single = at[np.isfinite(at).all(axis=1)]
    means = np.concatenate([group.means for group in groups])
    sizes = np.array([[reach(text, TINY) + 2, TINY + 2] for text in texts])
    weights = np.concatenate([np.full(len(single), _PALE), np.ones(len(means))])
    marks = (np.concatenate([single, means]) - low) * scale
    offsets = spread((anchors - low) * scale, sizes, marks, weights, area)
    for text, anchor, offset, size in zip(texts, anchors, offsets, sizes, strict=True):
        away = np.hypot(*np.clip(np.abs(offset) - size / 2, 0, None))
        fig.add_annotation(
            text=text,
            x=anchor[0],
            y=anchor[1],
            ax=offset[0],
            ay=-offset[1],
            showarrow=True,
            arrowhead=0,
            arrowwidth=0.7,
            arrowcolor=SOFT if away > 12 else "rgba(0,0,0,0)",
            standoff=5,
            borderpad=0,
            font={"size": TINY},
        )
