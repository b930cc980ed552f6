"""Shares of items: rows between a line at 0 and a line at 1. A share that is not identified is not drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from selfrep.plots import rows
from selfrep.plots.panels import not_identified
from selfrep.plots.rows import Marks
from selfrep.plots.text import interval, plain
from selfrep.plots.theme import GRID, HEAD, Words, finish, legend_below

_BOTTOM = 44.0


def marks(
    shares: xr.Dataset,
    words: Sequence[str],
    name: str,
    colour: str,
    symbol: str,
    up: float = 0.0,
    keys: tuple[str, str, str] = ("estimate", "ci_low", "ci_high"),
) -> Marks:
    """One kind of mark; `words` are what hover says of an item beside its share (escaped)."""
    value, low, high = (shares[key].to_numpy() for key in keys)
    hover = [
        f"<b>{plain(item)}: {interval(*share)}</b>, {name}<br>{text}"
        for item, text, *share in zip(shares["item"].to_numpy(), words, value, low, high, strict=True)
    ]
    return Marks(name, colour, symbol, up, hover, value, low, high)


def draw(
    shares: xr.Dataset, kinds: Sequence[Marks], *, ends: tuple[str, str], axis: str, **words: Unpack[Words]
) -> go.Figure:
    """Draw the rows of shares (item), with their `identified`, `reason` and `n_items`.

    Args:
        kinds: the kinds of marks in each row, from `marks`.
        ends: what a share of 0 and one of 1 mean.
        axis: what the share is.
    """
    names = [str(name) for name in shares["item"].to_numpy()]
    gate = shares.identified.to_numpy().astype(bool)
    reasons = [str(reason) for reason in shares.reason.to_numpy()]
    if not gate.any():
        first = names[-1] if len(names) > 1 else names[0]
        reason = f"{first.replace('_', ' ')}: {reasons[names.index(first)]}"
        return not_identified(words["title"], reason, subtitle=words["subtitle"])
    fig = rows.draw(names, gate, reasons, shares.n_items.to_numpy() > 1, kinds)
    rows.landmark(fig, 0.0, ends[0], xanchor="left", xshift=-3)
    rows.landmark(fig, 1.0, ends[1], xanchor="right", xshift=3)
    bounds = np.concatenate([bound[gate] for kind in kinds for bound in (kind.low, kind.high)])
    low, high = min(0.0, float(bounds.min())), max(1.0, float(bounds.max()))
    room = 0.04 * (high - low)
    fig.update_xaxes(GRID, title_text=axis, range=[low - room, high + room], nticks=9)
    bottom = _BOTTOM + (20.0 if len(kinds) > 1 else 0.0)  # the legend
    fig.update_layout(legend=legend_below())
    return finish(
        fig,
        **words,
        height=HEAD + 24 + rows.ROW * len(names) + bottom,
        margin={"l": rows.margin(names), "r": 24.0, "t": HEAD + 24, "b": bottom},
    )
