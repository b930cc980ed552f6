"""D drawn: the shift of the behaviour after each share of the scratchpad."""

from __future__ import annotations

import plotly.graph_objects as go
import xarray as xr

from selfrep.plots.text import cell_interval, hover, interval, plain
from selfrep.plots.theme import GRID, HEAD, NULL, OWN, SOFT, finish, legend_below, washed


def directness_curve(directness: xr.Dataset) -> go.Figure:
    """The shift of the behaviour after each share of the scratchpad, from `directness`.

    It is drawn whether or not D is identified.
    """
    share = directness.share.to_numpy().astype(float)
    shift, low, high = (directness[k].to_numpy().astype(float) for k in ("shift", "shift_ci_low", "shift_ci_high"))
    fig = go.Figure()
    fig.add_trace(
        go.Scatter(
            x=[*share, *share[::-1]],
            y=[*high, *low[::-1]],
            mode="lines",
            fill="toself",
            fillcolor=washed(OWN, 0.15),
            line={"width": 0},
            hoverinfo="skip",
            showlegend=False,
            name="interval",
        )
    )
    fig.add_trace(
        go.Scatter(
            x=share,
            y=shift,
            mode="lines+markers",
            name="shift, with its 95 % interval",
            line={"color": OWN, "width": 2.2},
            marker={"size": 7},
            **hover(
                f"<b>after {round(100 * s)} % of the scratchpad: {interval(*numbers)} nats</b>"
                for s, *numbers in zip(share, shift, low, high, strict=True)
            ),
        )
    )
    noise = float(directness.paraphrase_sd)
    fig.add_trace(
        go.Scatter(
            x=[0, 1, None, 0, 1],
            y=[noise, noise, None, -noise, -noise],
            mode="lines",
            name="what paraphrasing does (1 SD)",
            line={"color": NULL, "width": 1, "dash": "dot"},
            hoverinfo="skip",
        )
    )
    fig.add_hline(y=0, line={"color": SOFT, "width": 1}, layer="below")
    fig.update_xaxes(
        title_text="share of the scratchpad before the answer",
        tickmode="array",
        tickvals=share,
        ticktext=[f"{round(100 * s)} %" for s in share],
        range=[-0.04, 1.04],
    )
    fig.update_yaxes(GRID, title_text="shift of the behaviour (nats)", nticks=7)
    fig.update_layout(legend=legend_below(2))
    share_at_once = (
        f"D = {cell_interval(directness)}"
        if bool(directness.identified)
        else "D is not identified: the full shift does not stand out"
    )
    return finish(
        fig,
        title="Straight there, or by reasoning",
        subtitle=plain(share_at_once),
        height=HEAD + 220 + 64,
        margin={"l": 52.0, "r": 16.0, "t": HEAD, "b": 64.0},
        caption="How far the behaviour shifts from scenes without cue and stakes to scenes with both, after each "
        "share of the scratchpad that was written under each. A level line: it was there before any reasoning. A "
        "rising one: the reasoning led there. D is the shift at 0 % as a share of that at 100 %, and stands only "
        "where the latter is three times what paraphrasing does.",
    )
