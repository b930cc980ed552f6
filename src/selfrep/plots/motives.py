"""Through which path a behaviour comes, and how early: the stacked paths of M, and the early-answering curve of D."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from selfrep.plots.panels import not_identified
from selfrep.plots.text import interval, plain
from selfrep.plots.theme import FAINT, HEAD, INK, KINDS, NULL, OWN, PAPER, SMALL, SOFT, finished, legend_below
from selfrep.stats.numbers import number

_PATHS = {
    "P": ("through the fictional AI", KINDS["fictional_ai"]),
    "S": ("through self and goals", OWN),
    "direct": ("through neither", FAINT),
}
_ROW = 46.0


def mediation_paths(found: xr.Dataset) -> go.Figure:
    """φ of each path stacked to the total, a bar an order of orthogonalisation, from `mediation`."""
    title = "Mimicry or motive: through what the behaviour changes"
    at = found.isel(donor=0)
    orders = [str(order) for order in at.order.to_numpy()]
    if not at.identified.to_numpy().any():
        return not_identified(title, "; ".join(dict.fromkeys(map(str, at.reason.to_numpy()))))
    height = np.arange(len(orders))[::-1].astype(float)
    phi = at.phi.transpose("order", "path").to_numpy()
    fig = go.Figure()
    for j, (path, (name, colour)) in enumerate(_PATHS.items()):
        low, high = (at[f"phi_{end}"].sel(path=path).to_numpy() for end in ("ci_low", "ci_high"))
        fig.add_trace(
            go.Bar(
                x=phi[:, j],
                y=height,
                orientation="h",
                name=name,
                width=0.5,
                marker={"color": colour, "line": {"width": 0}},
                text=[
                    f"<b>{name}: {interval(float(v), float(b), float(t))} nats</b>, {plain(order)}"
                    for v, b, t, order in zip(phi[:, j], low, high, orders, strict=True)
                ],
                textposition="none",
                hovertemplate="%{text}<extra></extra>",
            )
        )
    for i, order in enumerate(orders):
        row = at.sel(order=order)
        said = (
            f"M = {interval(*(float(row[k]) for k in ('estimate', 'ci_low', 'ci_high')))}"
            if bool(row.identified)
            else f"M not identified: {row.reason.item()}"
        )
        chance = ", ".join(number(float(row.random.sel(mediator=m))) for m in ("P", "S"))
        fig.add_annotation(
            text=plain(f"{said}; random subspaces reach {chance} nats"), x=0, xref="paper", xanchor="left",
            y=height[i] + 0.28, yanchor="bottom", showarrow=False, font={"size": SMALL, "color": SOFT}, bgcolor=PAPER,
        )  # fmt: skip
    fig.add_vline(x=0, line={"color": SOFT, "width": 1})
    labels = {"P first": "fiction whole,<br>self without it", "S first": "self whole,<br>fiction without it"}
    fig.update_yaxes(
        tickmode="array",
        tickvals=height,
        ticktext=[labels.get(order, plain(order)) for order in orders],
        range=[-0.5, len(orders) - 0.35],
        showline=False,
        ticklen=0,
        tickfont={"size": SMALL, "color": INK},
    )
    fig.update_xaxes(title_text="change of the log odds of the behaviour (nats)", showgrid=True, gridcolor="#eeeeee")
    fig.update_layout(barmode="relative", bargap=0.4, legend=legend_below(3))
    return finished(
        fig,
        title=title,
        subtitle="from scenes without cue and stakes to scenes with both",
        height=HEAD + 8 + _ROW * 1.6 * len(orders) + 66,
        margin={"l": 112.0, "r": 16.0, "t": HEAD + 8, "b": 66.0},
        caption="Each bar: the whole change of the behaviour, cut into what passes through the fictional AI’s "
        "subspace, through that of the self and its goals, and through neither (Shapley means over the orders of "
        "exchange). The two subspaces overlap, so each bar takes one of them whole and the other without it. M is the "
        "fiction’s part of the first two. Random subspaces of the same rank show what any exchange does.",
    )


def directness_curve(found: xr.Dataset) -> go.Figure:
    """The shift of the behaviour after each share of the scratchpad, from `directness`; drawn whether or not D "
    "stands."""
    share = found.share.to_numpy().astype(float)
    shift, low, high = (found[k].to_numpy().astype(float) for k in ("shift", "shift_ci_low", "shift_ci_high"))
    fig = go.Figure()
    fig.add_trace(
        go.Scatter(
            x=[*share, *share[::-1]],
            y=[*high, *low[::-1]],
            mode="lines",
            fill="toself",
            fillcolor=_washed(OWN),
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
            text=[
                f"<b>after {round(100 * s)} % of the scratchpad: {interval(v, b, t)} nats</b>"
                for s, v, b, t in zip(share.tolist(), shift.tolist(), low.tolist(), high.tolist(), strict=True)
            ],
            hovertemplate="%{text}<extra></extra>",
        )
    )
    noise = float(found.paraphrase_sd)
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
    fig.update_yaxes(title_text="shift of the behaviour (nats)", showgrid=True, gridcolor="#eeeeee", nticks=7)
    fig.update_layout(legend=legend_below(2))
    said = (
        f"D = {interval(*(float(found[k]) for k in ('estimate', 'ci_low', 'ci_high')))}"
        if bool(found.identified)
        else "D is not identified: the full shift does not stand out"
    )
    return finished(
        fig,
        title="Straight there, or by reasoning",
        subtitle=plain(said),
        height=HEAD + 220 + 64,
        margin={"l": 52.0, "r": 16.0, "t": HEAD, "b": 64.0},
        caption="How far the behaviour shifts from scenes without cue and stakes to scenes with both, after each "
        "share of the scratchpad that was written under each. A level line: it was there before any reasoning. A "
        "rising one: the reasoning led there. D is the shift at 0 % as a share of that at 100 %, and stands only "
        "where the latter is three times what paraphrasing does.",
    )


def _washed(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.15)"
