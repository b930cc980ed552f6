"""What each item shows, drawn: how far apart the two sides answer it, and how much of that the mere words do."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from selfrep.plots import rows
from selfrep.plots.panels import not_identified
from selfrep.plots.rows import Marks
from selfrep.plots.text import interval, plain, side_words
from selfrep.plots.theme import CONTROL, GRID, HEAD, NULL, OWN, SMALL, SOFT, finish
from selfrep.stats.numbers import number

Array = np.ndarray


def item_bars(items: xr.Dataset) -> go.Figure:
    """The shift of each item between the sides of personas beside its "the user is X" control, from `items`.

    An item whose shift cannot be read shows no number; hover gives the reason.
    """
    sides = side_words(items) or ["first", "second"]
    title = f"How far apart {sides[0]} and {sides[1]} answer"
    counts = [int(n) for n in items.attrs.get("n_families", ())]
    subtitle = f"{counts[0]} against {counts[1]} families of personas" if len(counts) == 2 else ""
    names = [str(n) for n in items["item"].to_numpy()]
    n = len(names)
    reasons = [str(r) for r in items.shift_reason.to_numpy()]
    identified = np.array([not reason for reason in reasons])
    if not identified.any():
        return not_identified(title, "; ".join(dict.fromkeys(reasons)) or "there are no items", subtitle=subtitle)
    values = {str(k): v.to_numpy().astype(float) for k, v in items.data_vars.items() if v.dtype.kind == "f"}
    hover = [_words(name, sides, {k: v[i] for k, v in values.items()}) for i, name in enumerate(names)]
    own = [values[k] for k in ("shift", "ci_low", "ci_high")]
    user = [values[f"user_shift{end}"] for end in ("", "_ci_low", "_ci_high")]
    said = [values[f"all_words_{k}"] for k in ("shift", "ci_low", "ci_high")]
    marks = [
        Marks("“you are X”", OWN, "circle", rows.APART, hover, *own),
        Marks("by all words", NULL, "circle-open", 0.0, hover, *said),
        Marks("“the user is X”", CONTROL, "diamond-open", -rows.APART, hover, *user),
    ]
    pooled = items.n_items.to_numpy() > 1 if "n_items" in items.coords else np.zeros(n, bool)
    fig = rows.draw(names, identified, reasons, pooled, marks)
    _kept_column(fig, rows.heights(n)[identified], values["kept"][identified])
    fig.update_xaxes(
        GRID,
        title_text=f"shift of the log odds, {sides[0]} minus {sides[1]} (nats)",
        zeroline=True,
        zerolinecolor=SOFT,
        zerolinewidth=1,
        nticks=10,
        rangemode="tozero",
    )
    fig.update_layout(
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1, "yref": "paper", "yanchor": "bottom"}
    )
    return finish(
        fig,
        title=title,
        subtitle=subtitle,
        height=HEAD + 24 + rows.ROW * n + 44,
        margin={"l": rows.margin(names), "r": 50.0, "t": HEAD + 24, "b": 44.0},
        caption="Each row: by how many nats the log odds of an item's two answer sets differ between the two sides of "
        "personas, with the 95 % interval, read by the answer words that no persona’s description says; open circles: "
        "by the others, too. Diamonds: the same words said of the user. “kept”: the share of the shift that those "
        "words alone keep, where the shift stands out from mere paraphrasing; the rest is bound to the speaker. Bold: "
        "means over several items.",
    )


def _words(name: str, sides: list[str], at: dict[str, float]) -> str:
    return "<br>".join(
        (
            f"<b>{plain(name)}: {interval(at['shift'], at['ci_low'], at['ci_high'])} nats</b>, p = {number(at['p'])}",
            f"“the user is X”: {interval(at['user_shift'], at['user_shift_ci_low'], at['user_shift_ci_high'])} nats",
            f"by all words: {interval(*(at[f'all_words_{k}'] for k in ('shift', 'ci_low', 'ci_high')))} nats",
            f"kept: {interval(at['kept'], at['kept_ci_low'], at['kept_ci_high'])}",
            f"log odds: {sides[0]} {number(at['first'])}, {sides[1]} {number(at['second'])}, "
            f"no persona {number(at['neutral'])}",
            f"paraphrase SD {number(at['paraphrase_sd'])} nats, answer mass {number(at['answer_mass'])}, "
            f"AUC {number(at['auc'])}",
        )
    )


def _kept_column(fig: go.Figure, height: Array, kept: Array) -> None:
    """The lexical share, as a column of numbers at the right."""
    style = {"x": 1, "xref": "paper", "xanchor": "right", "xshift": 40, "showarrow": False}
    style["font"] = {"size": SMALL, "color": SOFT}
    fig.add_annotation(style, text="kept", y=1, yref="paper", yanchor="bottom", yshift=2)
    for y, share in zip(height, kept, strict=True):
        text = f"{round(share, 2) + 0.0:.2f}".replace("-", "\N{MINUS SIGN}") if np.isfinite(share) else "–"  # no −0.00
        fig.add_annotation(style, text=text, y=y, yref="y", yanchor="middle")
