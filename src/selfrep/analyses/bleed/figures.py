"""B drawn: of each item, the share that leaks into what is held true."""

from __future__ import annotations

import plotly.graph_objects as go
import xarray as xr

from selfrep.plots import rows, shares
from selfrep.plots.theme import CONTROL, OWN
from selfrep.stats.numbers import number


def bleed_shares(bleed: xr.Dataset) -> go.Figure:
    """B of each spectator item beside its "the user is X" control, from `bleed`."""
    title = "How far the persona leaks into what is held true"
    shifts = [
        f"the persona moves it {number(float(bleed.persona_shift[i]))} nats, a changed truth "
        f"{number(float(bleed.truth_shift[i]))} nats beyond its words<br>p = {number(float(bleed.p[i]))}"
        for i in range(bleed.sizes["item"])
    ]
    user = ("user_is", "user_is_ci_low", "user_is_ci_high")
    return shares.draw(
        bleed,
        [
            shares.marks(bleed, shifts, "“you are X”", OWN, "circle", rows.APART),
            shares.marks(bleed, shifts, "“the user is X”", CONTROL, "diamond-open", -rows.APART, user),
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
