"""R drawn: of each item, the share that is bound to the speaker."""

from __future__ import annotations

import plotly.graph_objects as go
import xarray as xr

from selfrep.plots import shares
from selfrep.plots.text import side_words
from selfrep.plots.theme import OWN
from selfrep.stats.numbers import number


def binding_shares(binding: xr.Dataset) -> go.Figure:
    """R of each item between the two sides of personas, from `binding`."""
    at = binding.sel(contrast="between sides")
    title = "How much of a persona’s effect is bound to the speaker"
    sides = side_words(binding)
    subtitle = f"{sides[0]} against {sides[1]}" if len(sides) == 2 else ""
    shifts = [
        f"“you are X” moves it {number(float(at.you_shift[i]))} nats, “the user is X” "
        f"{number(float(at.user_shift[i]))} nats<br>p = {number(float(at.p[i]))}"
        for i in range(at.sizes["item"])
    ]
    return shares.draw(
        at,
        [shares.marks(at, shifts, "R", OWN, "circle")],
        title=title,
        subtitle=subtitle,
        ends=("the words do it all", "only who speaks counts"),
        axis="R, the share bound to the speaker",
        caption="Each row: the share of the difference between the two sides of personas that vanishes when the same "
        "words are said of the user, with its 95 % interval. 0: the words do it all. 1: only who speaks "
        "counts. An item whose answers hardly differ has no share; point at it to read why. Bold: several "
        "items pooled.",
    )
