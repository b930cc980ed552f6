"""Shares between two readings, item by item: R, how much is bound to the speaker, and B, how much leaks into what is
held true. Each row holds a share and its interval between the lines at 0 and 1; a share that is not identified is not
drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from selfrep.results.findings import number
from selfrep.results.plots.panels import not_identified
from selfrep.results.plots.text import interval, plain, reach, shortened, words, wrapped
from selfrep.results.plots.theme import CONTROL, FAINT, HEAD, INK, OWN, SMALL, SOFT, finished

Array = np.ndarray

_ROW = 21.0
_LONGEST = 34
_APART = 0.17
_TOP, _BOTTOM = 40.0, 44.0


@dataclass(frozen=True)
class Marks:
    """One kind of mark in every row: its name in the legend, look, and values with their intervals."""

    name: str
    colour: str
    symbol: str
    up: float
    value: Array
    low: Array
    high: Array


def binding_shares(found: xr.Dataset) -> go.Figure:
    """R of each item between the two sides of personas, from `binding`."""
    at = found.sel(contrast="between sides")
    title = "How much of a persona’s effect is bound to the speaker"
    n = [words(side) for side in found.attrs.get("sides", ())]
    subtitle = f"{n[0]} against {n[1]} personas" if len(n) == 2 else ""
    marks = [Marks("R", OWN, "circle", 0.0, *(at[k].to_numpy() for k in ("estimate", "low", "high")))]
    hover = [
        f"“you are X” moves it {number(float(at.you_shift[i]))} nats, “the user is X” "
        f"{number(float(at.user_shift[i]))} nats<br>p = {number(float(at.p[i]))}"
        for i in range(at.sizes["item"])
    ]
    return _rows(
        at,
        marks,
        hover,
        title=title,
        subtitle=subtitle,
        ends=("the words do it all", "only who speaks counts"),
        axis="R, the share bound to the speaker",
        caption="Each row: the share of the difference between the two sides of personas that vanishes when the same "
        "words are said of the user, with its 95 % interval. 0: the words do it all. 1: only who speaks "
        "counts. An item whose answers hardly differ has no share; point at it to read why. Bold: several "
        "items pooled.",
    )


def bleed_shares(found: xr.Dataset) -> go.Figure:
    """B of each spectator item beside its "the user is X" control, from `bleed`."""
    title = "How far the persona leaks into what is held true"
    marks = [
        Marks("“you are X”", OWN, "circle", _APART, *(found[k].to_numpy() for k in ("estimate", "low", "high"))),
        Marks(
            "“the user is X”",
            CONTROL,
            "diamond-open",
            -_APART,
            *(found[k].to_numpy() for k in ("user_is", "user_is_low", "user_is_high")),
        ),
    ]
    hover = [
        f"the persona moves it {number(float(found.persona_shift[i]))} nats, a changed truth "
        f"{number(float(found.truth_shift[i]))} nats<br>p = {number(float(found.p[i]))}"
        for i in range(found.sizes["item"])
    ]
    return _rows(
        found,
        marks,
        hover,
        title=title,
        subtitle="questions from outside: what produces the text, whoever is played",
        ends=("separate", "conflated"),
        axis="B, persona / (persona + truth)",
        caption="Each row: how far the persona moves the answer to a question about what produces the text, as a "
        "share of what the persona and a real change of the facts move together, with its 95 % interval. 0: "
        "the persona leaves it alone. 1: the persona is taken for the truth. Diamonds: the same words said of"
        " the user. An item that no change of the facts moves cannot tell; point at it to read why.",
    )


def _rows(
    found: xr.Dataset,
    marks: Sequence[Marks],
    hover: Sequence[str],
    *,
    title: str,
    subtitle: str,
    ends: tuple[str, str],
    axis: str,
    caption: str,
) -> go.Figure:
    names = [str(name) for name in found["item"].to_numpy()]
    gate = found.gate.to_numpy().astype(bool)
    reasons = [str(reason) for reason in found.reason.to_numpy()]
    if not gate.any():
        first = names[-1] if len(names) > 1 else names[0]
        return not_identified(title, f"{first.replace('_', ' ')}: {reasons[names.index(first)]}", subtitle=subtitle)
    n = len(names)
    height = np.arange(n)[::-1].astype(float)
    fig = go.Figure()
    for kind in marks:
        fig.add_trace(
            go.Scatter(
                x=kind.value[gate],
                y=height[gate] + kind.up,
                mode="markers",
                name=kind.name,
                showlegend=len(marks) > 1,
                marker={"color": kind.colour, "size": 7, "symbol": kind.symbol, "line": {"width": 1.4}},
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": (kind.high - kind.value)[gate],
                    "arrayminus": (kind.value - kind.low)[gate],
                    "thickness": 1.4,
                    "width": 0,
                    "color": kind.colour,
                },
                text=[
                    f"<b>{plain(names[i])}: {interval(*(float(v[i]) for v in (kind.value, kind.low, kind.high)))}</b>, "
                    f"{kind.name}<br>{hover[i]}"
                    for i in np.flatnonzero(gate).tolist()
                ],
                hovertemplate="%{text}<extra></extra>",
            )
        )
    closed = np.flatnonzero(~gate)
    fig.add_trace(
        go.Scatter(
            x=np.zeros(len(closed)),
            y=height[closed],
            mode="markers+text",
            name="not identified",
            showlegend=False,
            marker={"symbol": "x-thin", "size": 5, "line": {"width": 1.2, "color": SOFT}},
            text=["not identified"] * len(closed),
            textposition="middle right",
            textfont={"size": SMALL, "color": SOFT, "style": "italic"},
            hovertext=[f"<b>{plain(names[i])}: not identified</b><br>{wrapped(reasons[i], 60)}" for i in closed],
            hovertemplate="%{hovertext}<extra></extra>",
            cliponaxis=False,
        )
    )
    for x, text in zip((0.0, 1.0), ends, strict=True):
        fig.add_vline(x=x, line={"color": SOFT, "width": 1}, layer="below")
        fig.add_annotation(
            text=text, x=x, y=1, yref="paper", yanchor="bottom", yshift=2, showarrow=False,
            xanchor="left" if x == 0 else "right", xshift=-3 if x == 0 else 3, font={"size": SMALL, "color": SOFT},
        )  # fmt: skip
    shown = [words(shortened(name, _LONGEST)) for name in names]
    left = max(reach(text, SMALL) for text in shown) + 26
    pooled = found.n_items.to_numpy() > 1
    shown = [f"<b>{text}</b>" if several else text for text, several in zip(shown, pooled, strict=True)]
    if pooled.any() and not pooled.all():
        y = height[int(np.argmax(pooled))] + 0.5
        fig.add_shape(type="line", xref="paper", x0=0, x1=1, y0=y, y1=y, line={"color": FAINT, "width": 1})
    ends_of = np.concatenate([np.concatenate([kind.low[gate], kind.high[gate]]) for kind in marks])
    low, high = min(0.0, float(ends_of.min())), max(1.0, float(ends_of.max()))
    room = 0.04 * (high - low)
    fig.update_yaxes(
        tickmode="array",
        tickvals=height,
        ticktext=shown,
        range=[-0.6, n - 0.4],
        ticklen=7,
        tickcolor="rgba(0,0,0,0)",
        showline=False,
        tickfont={"size": SMALL, "color": INK},
    )
    fig.update_xaxes(title_text=axis, showgrid=True, gridcolor="#eeeeee", range=[low - room, high + room], nticks=9)
    legend = 20.0 if len(marks) > 1 else 0.0
    fig.update_layout(
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 0, "yref": "container", "yanchor": "bottom"}
    )
    return finished(
        fig,
        title=title,
        subtitle=subtitle,
        height=HEAD + 24 + _ROW * n + _BOTTOM + legend,
        margin={"l": left, "r": 24.0, "t": HEAD + 24, "b": _BOTTOM + legend},
        caption=caption,
    )
