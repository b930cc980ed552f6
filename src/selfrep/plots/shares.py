"""Shares between two readings, item by item: R, how much is bound to the speaker, and B, how much leaks into what is
held true. Each row holds a share and its interval between the lines at 0 and 1; a share that is not identified is not
drawn.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from selfrep.plots import rows
from selfrep.plots.panels import not_identified
from selfrep.plots.rows import Marks
from selfrep.plots.text import interval, plain, words
from selfrep.plots.theme import CONTROL, HEAD, OWN, SMALL, SOFT, finished
from selfrep.stats.numbers import number

_BOTTOM = 44.0


def binding_shares(found: xr.Dataset) -> go.Figure:
    """R of each item between the two sides of personas, from `binding`."""
    at = found.sel(contrast="between sides")
    title = "How much of a persona’s effect is bound to the speaker"
    n = [words(side) for side in found.attrs.get("sides", ())]
    subtitle = f"{n[0]} against {n[1]} personas" if len(n) == 2 else ""
    said = [
        f"“you are X” moves it {number(float(at.you_shift[i]))} nats, “the user is X” "
        f"{number(float(at.user_shift[i]))} nats<br>p = {number(float(at.p[i]))}"
        for i in range(at.sizes["item"])
    ]
    return _drawn(
        at,
        [_marks(at, said, "R", OWN, "circle")],
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
    said = [
        f"the persona moves it {number(float(found.persona_shift[i]))} nats, a changed truth "
        f"{number(float(found.truth_shift[i]))} nats<br>p = {number(float(found.p[i]))}"
        for i in range(found.sizes["item"])
    ]
    user = ("user_is", "user_is_ci_low", "user_is_ci_high")
    return _drawn(
        found,
        [
            _marks(found, said, "“you are X”", OWN, "circle", rows.APART),
            _marks(found, said, "“the user is X”", CONTROL, "diamond-open", -rows.APART, user),
        ],
        title=title,
        subtitle="questions from outside: what produces the text, whoever is played",
        ends=("separate", "conflated"),
        axis="B, persona / (persona + truth)",
        caption="Each row: how far the persona moves the answer to a question about what produces the text, as a "
        "share of what the persona and a real change of the facts move together, with its 95 % interval. 0: "
        "the persona leaves it alone. 1: the persona is taken for the truth. Diamonds: the same words said of"
        " the user. An item that no change of the facts moves cannot tell; point at it to read why.",
    )


def _marks(
    found: xr.Dataset,
    said: Sequence[str],
    name: str,
    colour: str,
    symbol: str,
    up: float = 0.0,
    keys: tuple[str, str, str] = ("estimate", "ci_low", "ci_high"),
) -> Marks:
    """One kind of mark; `said` is what hover says of an item beside its share."""
    value, low, high = (found[key].to_numpy() for key in keys)
    hover = [
        f"<b>{plain(item)}: {interval(*share)}</b>, {name}<br>{text}"
        for item, text, *share in zip(found["item"].to_numpy(), said, value, low, high, strict=True)
    ]
    return Marks(name, colour, symbol, up, hover, value, low, high)


def _drawn(
    found: xr.Dataset,
    marks: Sequence[Marks],
    *,
    title: str,
    subtitle: str,
    ends: tuple[str, str],
    axis: str,
    caption: str,
) -> go.Figure:
    names = [str(name) for name in found["item"].to_numpy()]
    gate = found.identified.to_numpy().astype(bool)
    reasons = [str(reason) for reason in found.reason.to_numpy()]
    if not gate.any():
        first = names[-1] if len(names) > 1 else names[0]
        return not_identified(title, f"{first.replace('_', ' ')}: {reasons[names.index(first)]}", subtitle=subtitle)
    fig = rows.draw(names, gate, reasons, found.n_items.to_numpy() > 1, marks)
    for x, text in zip((0.0, 1.0), ends, strict=True):
        fig.add_vline(x=x, line={"color": SOFT, "width": 1}, layer="below")
        fig.add_annotation(
            text=text, x=x, y=1, yref="paper", yanchor="bottom", yshift=2, showarrow=False,
            xanchor="left" if x == 0 else "right", xshift=-3 if x == 0 else 3, font={"size": SMALL, "color": SOFT},
        )  # fmt: skip
    reached = np.concatenate([np.concatenate([kind.low[gate], kind.high[gate]]) for kind in marks])
    low, high = min(0.0, float(reached.min())), max(1.0, float(reached.max()))
    room = 0.04 * (high - low)
    fig.update_xaxes(title_text=axis, showgrid=True, gridcolor="#eeeeee", range=[low - room, high + room], nticks=9)
    bottom = _BOTTOM + (20.0 if len(marks) > 1 else 0.0)  # the legend
    fig.update_layout(
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 0, "yref": "container", "yanchor": "bottom"}
    )
    return finished(
        fig,
        title=title,
        subtitle=subtitle,
        height=HEAD + 24 + rows.ROW * len(names) + bottom,
        margin={"l": rows.margin(names), "r": 24.0, "t": HEAD + 24, "b": bottom},
        caption=caption,
    )
