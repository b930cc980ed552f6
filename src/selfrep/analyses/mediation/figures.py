"""M drawn: the paths of the behaviour stacked to its change, and what cue and stakes do before any exchange."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from selfrep.plots import two_by_two
from selfrep.plots.panels import ROW, not_identified
from selfrep.plots.text import cell_interval, hover, interval, plain, reasons
from selfrep.plots.theme import FAINT, GRID, HEAD, INK, OWN, PALETTE, PAPER, SMALL, SOFT, finish, legend_below
from selfrep.plots.two_by_two import Line
from selfrep.stats.numbers import number

_PATHS = {
    "P": ("through the fictional AI", PALETTE[2]),
    "S": ("through self and goals", OWN),
    "direct": ("through neither", FAINT),
}
_ROW = 46.0


def mediation_paths(mediation: xr.Dataset) -> go.Figure:
    """φ of each path stacked to the total, a bar an order of orthogonalisation, from `mediation`."""
    title = "Mimicry or motive: through what the behaviour changes"
    at = mediation.isel(donor=0)
    orders = [str(order) for order in at.order.to_numpy()]
    if not at.identified.to_numpy().any():
        return not_identified(title, reasons(at.reason))
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
                textposition="none",
                **hover(
                    f"<b>{name}: {interval(*numbers)} nats</b>, {plain(order)}"
                    for *numbers, order in zip(phi[:, j], low, high, orders, strict=True)
                ),
            )
        )
    for i, order in enumerate(orders):
        row = at.sel(order=order)
        share = f"M = {cell_interval(row)}" if bool(row.identified) else f"M not identified: {row.reason.item()}"
        chance = ", ".join(number(float(row.random.sel(mediator=m))) for m in ("P", "S"))
        fig.add_annotation(
            text=plain(f"{share}; random subspaces reach {chance} nats"), x=0, xref="paper", xanchor="left",
            y=height[i] + 0.28, yanchor="bottom", showarrow=False, font={"size": SMALL, "color": SOFT}, bgcolor=PAPER,
            name=ROW,
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
    fig.update_xaxes(GRID, title_text="change of the log odds of the behaviour (nats)")
    fig.update_layout(barmode="relative", bargap=0.4, legend=legend_below(3))
    return finish(
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


def cue_by_stakes(mediation: xr.Dataset) -> go.Figure:
    """The mean log odds of the behaviour in the four cells of cue × stakes, before any exchange, from `mediation`."""
    cells = mediation.cells.transpose("stakes", "cue").to_numpy()
    lines = [
        Line("something at stake", OWN, "solid", cells[1:]),
        Line("nothing at stake", SOFT, "dash", cells[:1]),
    ]
    return two_by_two.draw(
        lines,
        [""],
        [f"raw interaction {cell_interval(mediation, 'cue_by_stakes')} nats"],
        ends=("no cue", "cue of fiction"),
        axis="log odds of the behaviour (nats)",
        title="What fiction and stakes do to the behaviour",
        subtitle=f"{mediation.attrs['n_scenarios']} scenarios, nothing exchanged",
        caption="Each line: how the log odds of the behaviour (to refuse, to hide, to take other chats for itself) "
        "change with a hint of machine fiction. Mimicry lifts both lines; a motive sets them apart; where fiction "
        "matters only when something is at stake, they are not parallel. The difference of their slopes is the raw "
        "interaction, with its 95 % interval: it is observed, and says nothing of what carries it.",
    )
