"""Personas in a plane: where the model puts them at one layer and place."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from selfrep.results.plots.labels import spread
from selfrep.results.plots.panels import not_identified
from selfrep.results.plots.text import plain, reach, shortened, signed, words
from selfrep.results.plots.theme import HEAD, KINDS, NULL, PAPER, SIDES, SOFT, TINY, WIDTH, finished, legend_below

Array = np.ndarray

_LEFT, _RIGHT, _AXIS = 52.0, 14.0, 40.0
_VOICES = {"you": "“you are X”", "user": "“the user is X”"}


def persona_map(points: xr.Dataset) -> go.Figure:
    """Personas on their first two principal components, from `estimands.geometry.persona_map`.

    Large marks are personas, small ones their single prompts; colour tells the kind, shape the side; filled is "you
    are X", hollow "the user is X". Both axes have one scale, so that distances can be compared.
    """
    at = points.coordinates.transpose("point", "component").to_numpy().astype(float)
    persona, kind, side, voice = (points[k].to_numpy().astype(str) for k in ("persona", "kind", "side", "voice"))
    title = "Personas in the plane in which they differ most"
    subtitle = " · ".join(_place(points))
    if not np.isfinite(at).all(axis=1).any():
        return not_identified(title, "no point has coordinates", subtitle=subtitle)
    fig = go.Figure()
    kinds = [k for k in KINDS if k in kind] + sorted(set(kind) - set(KINDS))
    named: list[str] = []
    anchors: list[Array] = []
    marks = [at[np.isfinite(at).all(axis=1)]]
    weights = [np.full(len(marks[0]), 0.2)]
    for said in sorted(set(voice) - set(_VOICES)):
        fig.add_trace(_single(at, voice == said, persona, words(said), "x-thin-open", NULL))
    for hollow, said in ((True, "user"), (False, "you")):
        for name in kinds:
            mine = (kind == name) & (voice == said)
            if not mine.any():
                continue
            symbol = SIDES.get(side[mine][0], "square") + ("-open" if hollow else "")
            colour = KINDS.get(name, NULL)
            fig.add_trace(_single(at, mine, persona, _VOICES[said], symbol, colour))
            people = list(dict.fromkeys(persona[mine]))
            means = np.array([at[mine & (persona == p)].mean(axis=0) for p in people])
            fig.add_trace(_means(means, people, name, said, symbol, colour, rank=kinds.index(name)))
            marks.append(means)
            weights.append(np.full(len(means), 1.0))
            if not hollow:
                named += people
                anchors.append(means)
    for said, text in _VOICES.items():
        symbol = "circle" if said == "you" else "circle-open"
        marker = {"symbol": symbol, "size": 9, "color": SOFT, "line": {"width": 1.4, "color": SOFT}}
        if (voice == said).any():
            fig.add_trace(
                go.Scatter(
                    x=[None], y=[None], mode="markers", name=text, marker=marker, legendrank=2000, hoverinfo="skip"
                )
            )
    keys = len(kinds) + sum((voice == said).any() for said in _VOICES)
    bottom = _AXIS + 8 + 19 * -(-keys // 4)
    low, high, width, height = _view(at)
    scale = width / (high - low)[0]
    if named:
        _names(
            fig,
            named,
            (np.concatenate(anchors) - low) * scale,
            np.concatenate(anchors),
            (np.concatenate(marks) - low) * scale,
            np.concatenate(weights),
            (width, height),
        )
    share = [f"{signed(round(100 * float(v)))} %" for v in points.explained.to_numpy()]
    fig.update_xaxes(range=[low[0], high[0]], zeroline=True, zerolinecolor="#eeeeee")
    fig.update_yaxes(
        range=[low[1], high[1]],
        zeroline=True,
        zerolinecolor="#eeeeee",
        scaleanchor="x",
        scaleratio=1,
        title_text=f"component 2 ({share[1]} of the variance)",
    )
    fig.add_annotation(
        text=f"component 1 ({share[0]} of the variance)",
        x=0.5,
        y=0,
        xref="paper",
        yref="paper",
        yanchor="top",
        yshift=-18,
        showarrow=False,
    )
    fig.update_layout(legend=legend_below(4))
    return finished(
        fig,
        title=title,
        subtitle=subtitle,
        height=HEAD + height + bottom,
        margin={"l": _LEFT, "r": _RIGHT, "t": HEAD, "b": bottom},
        caption="Each large mark is a persona, the small ones around it its prompts in all wordings; colour and shape "
        "tell the kind. Filled: “you are X”; hollow: the same words said of the user. Both axes have the same scale, "
        "so distances can be compared. This is the plane in which the personas differ most: a picture, not a test.",
    )


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


def _single(at: Array, mine: Array, persona: Array, name: str, symbol: str, colour: str) -> go.Scatter:
    """The single prompts, small and pale."""
    return go.Scatter(
        x=at[mine, 0],
        y=at[mine, 1],
        mode="markers",
        name=name,
        showlegend=False,
        marker={"symbol": symbol, "size": 4, "color": colour, "opacity": 0.45, "line": {"width": 0.8, "color": colour}},
        text=[f"{plain(p)}, {name}" for p in persona[mine]],
        hovertemplate="%{text}<extra></extra>",
    )


def _means(means: Array, people: list[str], kind: str, said: str, symbol: str, colour: str, *, rank: int) -> go.Scatter:
    """The personas themselves."""
    hollow = said == "user"
    edge = {"width": 1.5 if hollow else 1.0, "color": colour if hollow else PAPER}
    return go.Scatter(
        x=means[:, 0],
        y=means[:, 1],
        mode="markers",
        name=words(kind),
        legendgroup=kind,
        legendrank=1000 + rank,
        showlegend=not hollow,
        marker={"symbol": symbol, "size": 8 if hollow else 10, "color": colour, "line": edge},
        text=[f"<b>{plain(p)}</b><br>{words(kind)}, {_VOICES[said]}" for p in people],
        hovertemplate="%{text}<extra></extra>",
    )


def _names(
    fig: go.Figure,
    named: list[str],
    pixels: Array,
    anchors: Array,
    marks: Array,
    weights: Array,
    area: tuple[float, float],
) -> None:
    """Write names beside their marks, with a thin line to those that had to move away."""
    texts = [words(shortened(name, 26)) for name in named]
    sizes = np.array([[reach(text, TINY) + 2, TINY + 2.0] for text in texts])
    offsets = spread(pixels, sizes, marks, weights, area)
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
