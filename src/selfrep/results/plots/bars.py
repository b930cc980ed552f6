"""What each item of a battery shows: how far the two sides of personas move it, and how much the mere words do."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from selfrep.results.findings import number
from selfrep.results.plots.text import interval, plain, reach, shortened, words, wrapped
from selfrep.results.plots.theme import CONTROL, FAINT, INK, OWN, SIZE, SMALL, SOFT, finished, not_identified


def item_bars(items: xr.Dataset) -> go.Figure:
    """The shift of each item between the sides, with its "the user is X" control, from `items`."""
    sides = [words(s) for s in items.attrs.get("sides", ("first", "second"))]
    title = f"How far {sides[0]} and {sides[1]} personas move each answer"
    counts = [int(n) for n in np.atleast_1d(items.attrs.get("n_personas", ()))]
    subtitle = f"{counts[0]} against {counts[1]} personas" if len(counts) == 2 else ""
    names = [str(n) for n in items["item"].to_numpy()]
    gate = [bool(g) for g in items.gate.to_numpy()]
    reasons = [str(r) for r in items.reason.to_numpy()]
    if not any(gate):
        first = dict.fromkeys(r for r in reasons if r)
        return not_identified(title, "; ".join(first) or "no item passes its gate", subtitle=subtitle)
    n = len(names)
    grouped = [int(k) > 1 for k in items.n_items.to_numpy()] if "n_items" in items.coords else [False] * n
    rows = [n - 1 - i for i in range(n)]  # the first item on top
    get = {str(k): items[k].to_numpy() for k in items.data_vars}
    texts = []
    for i, name in enumerate(names):
        if not gate[i]:
            texts.append(f"<b>{plain(name)}: not identified</b><br>{wrapped(reasons[i], 60)}")
            continue
        at = {k: float(v[i]) for k, v in get.items() if v.dtype.kind == "f"}
        texts.append(
            f"<b>{plain(name)}: {interval(at['shift'], at['low'], at['high'])} nats</b> (p = {number(at['p'])})<br>"
            f"“the user is X”: {interval(at['user_shift'], at['user_low'], at['user_high'])} nats, "
            f"{interval(at['kept'], at['kept_low'], at['kept_high'])} of it kept<br>"
            f"log odds: {sides[0]} {number(at['first'])}, {sides[1]} {number(at['second'])}, no persona {number(at['neutral'])}<br>"
            f"paraphrase SD {number(at['paraphrase_sd'])} nats, answer mass {number(at['answer_mass'])}, AUC {number(at['auc'])}"
        )
    fig = go.Figure()
    for label, value, low, high, colour, shift, symbol in (
        ("“the user is X”", "user_shift", "user_low", "user_high", CONTROL, -0.17, "diamond-open"),
        ("“you are X”", "shift", "low", "high", OWN, 0.17, "circle"),
    ):
        kept = [i for i in range(n) if gate[i]]
        v, a, b = (np.array([float(get[k][i]) for i in kept]) for k in (value, low, high))
        fig.add_trace(
            go.Scatter(
                x=v, y=[rows[i] + shift for i in kept], mode="markers", name=label,
                marker={"color": colour, "size": 7, "symbol": symbol, "line": {"width": 1.4, "color": colour}},
                error_x={"type": "data", "symmetric": False, "array": b - v, "arrayminus": v - a, "thickness": 1.4, "width": 0,
                         "color": colour},
                text=[texts[i] for i in kept], hovertemplate="%{text}<extra></extra>", customdata=[names[i] for i in kept],
            )
        )  # fmt: skip
    failed = [i for i in range(n) if not gate[i]]
    if failed:
        fig.add_trace(
            go.Scatter(
                x=[0.0] * len(failed), y=[rows[i] for i in failed], mode="markers+text", name="not identified", showlegend=False,
                marker={"symbol": "x-thin", "size": 6, "line": {"width": 1.2, "color": SOFT}}, textposition="middle right",
                texttemplate=" not identified", textfont={"size": SMALL, "color": SOFT, "style": "italic"},
                text=[texts[i] for i in failed], hovertemplate="%{text}<extra></extra>", cliponaxis=False,
            )
        )  # fmt: skip
    for i in range(n):
        if gate[i]:
            fig.add_annotation(
                text=number(float(f"{get['kept'][i]:.2f}")), x=1, xref="paper", xanchor="right", xshift=44, y=rows[i],
                yref="y", showarrow=False, font={"size": SMALL, "color": SOFT},
            )  # fmt: skip
    fig.add_annotation(
        text="kept", x=1, xref="paper", xanchor="right", xshift=44, y=1, yref="paper", yanchor="bottom", showarrow=False,
        font={"size": SMALL, "color": SOFT},
    )  # fmt: skip
    labels = [shortened(name.replace("_", " "), 34) for name in names]
    labels = [f"<b>{plain(t)}</b>" if g else plain(t) for t, g in zip(labels, grouped, strict=True)]
    left = min(max(reach(shortened(x, 34), SIZE) for x in names) + 18, 210)
    for i in range(1, n):
        if grouped[i] and not grouped[i - 1]:
            fig.add_hline(y=rows[i] + 0.5, line={"color": FAINT, "width": 1})
    fig.add_vline(x=0, line={"color": SOFT, "width": 1}, layer="below")
    fig.update_yaxes(
        tickmode="array", tickvals=rows, ticktext=labels, range=[-0.6, n - 0.4], showgrid=False, ticks="", showline=False,
        tickfont={"size": SMALL, "color": INK},
    )  # fmt: skip
    fig.update_xaxes(
        title_text=f"shift of the log odds, {sides[0]} minus {sides[1]} (nats)", showgrid=True, gridcolor="#eeeeee"
    )
    fig.update_layout(
        legend={
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 1,
            "yref": "paper",
            "yanchor": "bottom",
            "traceorder": "reversed",
        }
    )
    return finished(
        fig, title=title, subtitle=subtitle, height=110 + 22 * n + 44, margin={"l": left, "r": 54, "t": 84, "b": 44},
        caption="Each row: how many nats the log odds of the two answer sets differ between the two sides of personas, with the "
        "95 % interval. Diamonds: the same words said of the user. “kept”: the share of the shift that these words alone keep; "
        "the rest is bound to the speaker. Items whose shift does not stand out from rewording are not identified; hover says why.",
    )  # fmt: skip
