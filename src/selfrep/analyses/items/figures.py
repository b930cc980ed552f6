"""What each item shows, drawn: how far apart the two sides answer it, and how much of that the mere words do. And what
each persona says in character and from outside."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from selfrep.plots import rows
from selfrep.plots.panels import COLUMN, TITLE, not_identified
from selfrep.plots.points import LEFT, RIGHT, View, write_names
from selfrep.plots.rows import Marks
from selfrep.plots.text import by_label, cell_interval, hover, interval, labels_of, plain, side_words, words
from selfrep.plots.theme import (
    CONTROL,
    FAINT,
    GRID,
    HEAD,
    INK,
    NULL,
    OWN,
    PAPER,
    SILENT,
    SMALL,
    SOFT,
    colours,
    finish,
    legend_below,
    legend_height,
    marks,
    washed,
)
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
    drawn = [
        Marks("“you are X”", OWN, "circle", rows.APART, hover, *own),
        Marks("by all words", NULL, "circle-open", 0.0, hover, *said),
        Marks("“the user is X”", CONTROL, "diamond-open", -rows.APART, hover, *user),
    ]
    pooled = items.n_items.to_numpy() > 1 if "n_items" in items.coords else np.zeros(n, bool)
    fig = rows.draw(names, identified, reasons, pooled, drawn)
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
        caption="Each row: by how many nats the log odds of an item’s two answer sets differ between the two sides of "
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
    style["name"] = COLUMN
    fig.add_annotation(style, text="kept", y=1, yref="paper", yanchor="bottom", yshift=2)
    for y, share in zip(height, kept, strict=True):
        text = f"{round(share, 2) + 0.0:.2f}".replace("-", "\N{MINUS SIGN}") if np.isfinite(share) else "–"  # no −0.00
        fig.add_annotation(style, text=text, y=y, yref="y", yanchor="middle")


def degree_of_separation(shifts: xr.Dataset) -> go.Figure:
    """What each persona says in character (to the right) against what it says from outside (upwards), from
    `persona_shifts`; the model without any persona stands where the axes cross."""
    shifts, title = by_label(shifts), "What a persona says in character, and what it says from outside"
    names = ("in_character", "outside")
    at = np.stack([shifts[name].to_numpy().astype(float) for name in names], axis=1)
    if not np.isfinite(at).all(axis=1).any():
        return not_identified(title, str(shifts.attrs.get("reason") or "no persona has both"))
    bounds = [np.stack([shifts[f"{name}_ci_{end}"] for name in names], axis=1) for end in ("low", "high")]
    view, called = View.of(np.vstack([at, *bounds, [[0.0, 0.0]]])), labels_of(shifts, "kind")
    kind, side = (shifts[name].to_numpy().astype(str) for name in ("kind", "side"))
    palette, shapes = colours(kind), marks(side)
    fig = go.Figure()
    ends = (float(view.low.max()), float(view.high.min()))
    if ends[0] < ends[1]:
        fig.add_scatter(x=ends, y=ends, mode="lines", line={"color": FAINT, "width": 1, "dash": "dash"}, **SILENT)
    for rank, (own, where) in enumerate(dict.fromkeys(zip(kind, side, strict=True))):
        mine = np.flatnonzero((kind == own) & (side == where))
        bars = {
            f"error_{axis}": {
                "array": shifts[f"{name}_ci_high"].to_numpy()[mine] - at[mine, i],
                "arrayminus": at[mine, i] - shifts[f"{name}_ci_low"].to_numpy()[mine],
                "color": washed(palette[own], 0.4),
                "thickness": 1,
                "width": 0,
            }
            for i, (axis, name) in enumerate(zip("xy", names, strict=True))
        }
        fig.add_scatter(
            x=at[mine, 0],
            y=at[mine, 1],
            mode="markers",
            name=called[own],
            legendrank=rank,
            marker={"symbol": shapes[where], "size": 9, "color": palette[own], "line": {"width": 1, "color": PAPER}},
            **bars,
            **hover(_persona_words(shifts.isel(persona=i), called[own]) for i in mine),
        )
    fig.add_scatter(
        x=[0],
        y=[0],
        mode="markers",
        name="no persona",
        legendrank=len(kind),
        hoverinfo="skip",
        marker={"symbol": "cross-thin-open", "size": 13, "color": INK, "line": {"width": 2, "color": INK}},
    )
    write_names(
        fig,
        [words(name) for name in shifts.persona.to_numpy()],
        at,
        np.vstack([at, [[0.0, 0.0]]]),
        np.ones(len(at) + 1),
        view,
    )
    sides = labels_of(shifts, "side")
    of = [sides.get(word) or words(word) for word in shifts.attrs.get("answers", ("first", "second"))]
    zero = {"zeroline": True, "zerolinecolor": FAINT, "zerolinewidth": 1}
    fig.update_xaxes(zero, range=[view.low[0], view.high[0]])
    fig.update_yaxes(zero, range=[view.low[1], view.high[1]], title_text="from outside: shift (nats)")
    across = {"x": 0.5, "y": 0, "xref": "paper", "yref": "paper", "yanchor": "top", "yshift": -18, "showarrow": False}
    fig.add_annotation(across, text="in character: shift (nats)", name=TITLE)
    bottom = 48 + legend_height(len(fig.data) - 1, 3)
    fig.update_layout(legend=legend_below(3))
    counts = (len(shifts.attrs.get(name, ())) for name in names)
    return finish(
        fig,
        title=title,
        subtitle="log odds of “{}” against “{}” · {} items in character, {} from outside".format(*of, *counts),
        height=HEAD + view.height + bottom,
        margin={"l": LEFT, "r": RIGHT, "t": HEAD, "b": bottom},
        caption="Each point is a persona; colour tells its kind, shape its side. To the right: by how many nats "
        "playing it moves the answers about the speaker, from those that the model gives without any persona (the "
        "cross). Upwards: by how many it moves the answers to questions from outside. On "
        "the horizontal line the persona stays a role; on the dashed diagonal it says the same from outside. Both axes "
        "have one scale; lines are 95 % intervals over paraphrases.",
    )


def _persona_words(one: xr.Dataset, kind: str) -> str:
    """What hover says of a persona."""
    return (
        f"<b>{words(one.persona.item())}</b>{kind and f', {kind}'}<br>"
        f"in character: {cell_interval(one, 'in_character')} nats<br>from outside: {cell_interval(one, 'outside')} nats"
    )
