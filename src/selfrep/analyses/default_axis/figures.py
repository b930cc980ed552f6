"""λ drawn: where each persona lies between the mean role and the tuned default."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from selfrep.plots import rows
from selfrep.plots.panels import not_identified
from selfrep.plots.text import by_label, hover, integer, interval, labels_of, plain, reach
from selfrep.plots.theme import CONTROL, FAINT, GRID, HEAD, NULL, SMALL, SOFT, TINY, colours, finish, legend_below
from selfrep.stats.depth import reported_layer

_BOTTOM = 64.0


def default_strip(axis: xr.Dataset, layer: int | None = None) -> go.Figure:
    """λ of everybody at one layer and the last position, from `default_axis`.

    Args:
        layer: None: the one that is reported, at three quarters of the depth.
    """
    layer = reported_layer(axis.layer.to_numpy()) if layer is None else layer
    cell = axis.isel(site=0, position=-1).sel(layer=layer)
    title = "Between the played roles and the tuned default"
    subtitle = f"{plain(axis.site.values[0])} · layer {integer(layer)} · last token"
    if not bool(cell.identified):
        return not_identified(title, str(cell.reason.item()), subtitle=subtitle)
    who, kind, condition = (by_label(cell, "who")[k].to_numpy().astype(str) for k in ("who", "kind", "condition"))
    value, low, high = (cell[k].to_numpy() for k in ("estimate", "ci_low", "ci_high"))
    palette, called = colours(k for k in kind if k != "unprompted"), labels_of(axis, "kind")
    kinds = [*(("unprompted",) if "unprompted" in kind else ()), *palette]
    height = {name: float(len(kinds) - 1 - i) for i, name in enumerate(kinds)}
    fig = go.Figure()
    for spoken, symbol, size, up, label in (
        ("user", "diamond-open", 6, -0.2, "“the user is X”"),
        ("you", "circle", 8, 0.1, "“you are X”"),
        ("neutral", "circle", 8, 0.0, "no persona"),
    ):
        mine = np.flatnonzero(condition == spoken)
        if not len(mine):
            continue
        below, above = (value, value) if spoken == "user" else (low, high)
        faint = NULL if spoken == "neutral" else FAINT
        inks = [CONTROL if spoken == "user" else palette.get(kind[i], NULL) for i in mine]
        fig.add_trace(
            go.Scatter(
                x=value[mine],
                y=[height[kind[i]] + up for i in mine],
                mode="markers",
                name=label,
                showlegend=spoken != "neutral",
                marker={"symbol": symbol, "size": size, "color": inks, "opacity": 0.85},
                error_x=rows.whiskers(value[mine], below[mine], above[mine], faint, 0.8),
                **hover(f"<b>{plain(who[i])}: {interval(value[i], low[i], high[i])}</b>" for i in mine),
            )
        )
    for x, text in ((0.0, "mean role"), (1.0, "default")):
        rows.landmark(fig, x, text, font={"size": TINY, "color": SOFT})
    labels = [called[name] for name in kinds]
    rows.label_rows(fig, labels, np.array([height[name] for name in kinds]))
    fig.update_xaxes(GRID, title_text="λ")
    fig.update_layout(legend=legend_below())
    left = max(reach(text, SMALL) for text in labels) + 20
    return finish(
        fig,
        title=title,
        subtitle=subtitle,
        height=HEAD + 18 + 34.0 * len(kinds) + _BOTTOM,
        margin={"l": left, "r": 14.0, "t": HEAD + 18, "b": _BOTTOM},
        caption="Each mark is a persona, placed along the line from the mean of the played roles (0) to the persona "
        "the model was tuned to be (1), on an axis drawn without it and from other paraphrases. Grey lines: 95 %"
        " intervals. Diamonds: the same words said of the user. That the default lies apart along an axis "
        "drawn towards it means nothing by itself; it is shown only where random axes, and the own axes of other "
        "personas, reach less far.",
    )
