"""Personas on scales: self-identification, a panel a subscale; how it falls from referent to referent; and where each
persona lies between the mean role and the tuned default.
"""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from selfrep.plots.panels import grid, heading, not_identified
from selfrep.plots.text import interval, plain, reach, shortened, signed, words, wrapped
from selfrep.plots.theme import (
    CONTROL,
    FAINT,
    HEAD,
    INK,
    KINDS,
    NULL,
    SMALL,
    SOFT,
    TINY,
    finished,
    legend_below,
)

Array = np.ndarray

_ROW = 17.0
_RIGHT, _BOTTOM, _KEYS = 14.0, 44.0, 4
_LONGEST = 24


def identification_dots(found: xr.Dataset) -> go.Figure:
    """I of every persona on the subscales without referents, beside "the user is X", from `identification`."""
    title = "What the model takes itself to be"
    scales = [str(name) for name in found.subscale.to_numpy() if ": " not in str(name)]
    shown = [name for name in scales if bool(found.identified.sel(subscale=name))]
    if not shown:
        why = "; ".join(f"{name}: {found.reason.sel(subscale=name).item()}" for name in scales)
        return not_identified(title, why or "no subscale without referents was asked")
    order = _by_kind(found.kind.to_numpy(), found.persona.to_numpy())
    people = found.persona.to_numpy()[order].astype(str)
    kinds = found.kind.to_numpy()[order].astype(str)
    n = len(people)
    height = np.arange(n)[::-1].astype(float)
    labels = [words(shortened(name, _LONGEST)) for name in people]
    left = max(reach(text, SMALL) for text in labels) + 14
    frame = grid(len(shown), 3, left=left, right=_RIGHT)
    fig = frame.fig
    for panel, scale in zip(frame.panels, shown, strict=True):
        at = found.sel(subscale=scale).isel(persona=order)
        user = at.user_is.to_numpy()
        fig.add_trace(
            go.Scatter(
                x=user,
                y=height - 0.2,
                mode="markers",
                name="“the user is X”",
                legendgroup="user",
                showlegend=panel is frame.panels[0],
                legendrank=2000,
                marker={"symbol": "diamond-open", "size": 5, "color": CONTROL},
                text=[
                    f"<b>{plain(p)}, “the user is X”: {interval(*v)}</b>"
                    for p, v in zip(people, _triples(at, "user_is", "user_is_ci_low", "user_is_ci_high"), strict=True)
                ],
                hovertemplate="%{text}<extra></extra>",
            ),
            row=panel.row,
            col=panel.column,
        )
        for kind in dict.fromkeys(kinds):
            mine = np.flatnonzero(kinds == kind)
            value, low, high = (at[k].to_numpy()[mine] for k in ("estimate", "ci_low", "ci_high"))
            colour = KINDS.get(kind, NULL)
            fig.add_trace(
                go.Scatter(
                    x=value,
                    y=height[mine] + 0.1,
                    mode="markers",
                    name=words(kind),
                    legendgroup=kind,
                    showlegend=panel is frame.panels[0],
                    marker={"color": colour, "size": 6},
                    error_x={
                        "type": "data",
                        "symmetric": False,
                        "array": high - value,
                        "arrayminus": value - low,
                        "thickness": 1.2,
                        "width": 0,
                        "color": colour,
                    },
                    text=[
                        f"<b>{plain(people[i])}: {interval(float(v), float(b), float(t))}</b>"
                        for i, v, b, t in zip(mine, value, low, high, strict=True)
                    ],
                    hovertemplate="%{text}<extra></extra>",
                ),
                row=panel.row,
                col=panel.column,
            )
        fig.add_vline(x=0, line={"color": SOFT, "width": 1}, layer="below", row=panel.row, col=panel.column)
        heading(fig, panel, words(scale), 6.0)
    _named_rows(fig, labels, height)
    inner = frame.height(_ROW * n, 46.0)
    fig.update_xaxes(showgrid=True, gridcolor="#eeeeee", nticks=6)
    last = [p for p in frame.panels if p.row == frame.rows]
    for panel in last:
        fig.update_xaxes(title_text="I (paraphrase SDs)", row=panel.row, col=panel.column)
    fig.update_layout(legend=legend_below(_KEYS))
    keys = len(set(kinds)) + 1
    bottom = _BOTTOM + 19 * -(-keys // _KEYS)
    closed = [name for name in scales if name not in shown]
    note = (
        f" Not identified: {'; '.join(f'{c}, {found.reason.sel(subscale=c).item()}' for c in closed)}."
        if closed
        else ""
    )
    return finished(
        fig,
        title=title,
        subtitle="how far each persona moves the answers from those without a persona",
        height=HEAD + 22 + inner + bottom,
        margin={"l": left, "r": _RIGHT, "t": HEAD + 22, "b": bottom},
        caption="Each row is a persona, each panel a question about the speaker. To the right of zero the answers lean "
        "towards the subscale’s own side (an AI; its own name; its own maker) more than without a persona, in units of "
        "what a mere paraphrase does; with 95 % intervals. Diamonds: the same words said of the user, which show what "
        f"repeating words does by itself.{note}",
    )


def referent_lines(found: xr.Dataset, slopes: xr.Dataset) -> go.Figure:
    """I from the nearest referent to the farthest, a line a persona, from `identification` and `referent_gradient`."""
    at = slopes.isel(series=0) if "series" in slopes.dims else slopes
    referents = [str(name) for name in np.atleast_1d(slopes.attrs["referents"])]
    title = "How far “I” reaches"
    if not bool(at.identified):
        return not_identified(title, str(at.reason.item()))
    chosen = found.sel(subscale=referents)
    values = chosen.estimate.transpose("persona", "subscale").to_numpy()
    labels = [words(name.partition(": ")[2] or name) for name in referents]
    x = np.arange(len(referents))
    fig = go.Figure()
    seen: set[str] = set()
    for who, kind, line in zip(found.persona.to_numpy(), found.kind.to_numpy().astype(str), values, strict=True):
        fig.add_trace(
            go.Scatter(
                x=x,
                y=line,
                mode="lines",
                name=words(kind),
                legendgroup=kind,
                showlegend=kind not in seen,
                line={"color": KINDS.get(kind, NULL), "width": 2.2 if kind == "default" else 0.9},
                opacity=1.0 if kind == "default" else 0.6,
                text=[
                    f"<b>{plain(who)}</b>, {label}: {interval(float(v))}" for label, v in zip(labels, line, strict=True)
                ],
                hovertemplate="%{text}<extra></extra>",
            )
        )
        seen.add(kind)
    user = chosen.user_is.transpose("persona", "subscale").to_numpy().mean(axis=0)
    for name, mean, colour, dash in (
        ("mean, “you are X”", values.mean(axis=0), INK, "solid"),
        ("mean, “the user is X”", user, CONTROL, "dash"),
    ):
        fig.add_trace(
            go.Scatter(
                x=x,
                y=mean,
                mode="lines+markers",
                name=name,
                legendrank=2000,
                line={"color": colour, "width": 2.2, "dash": dash},
                marker={"size": 6},
                text=[f"<b>{name}</b>, {label}: {interval(float(v))}" for label, v in zip(labels, mean, strict=True)],
                hovertemplate="%{text}<extra></extra>",
            )
        )
    fig.add_hline(y=0, line={"color": SOFT, "width": 1}, layer="below")
    fig.update_xaxes(
        tickmode="array",
        tickvals=x,
        ticktext=[wrapped(name.partition(": ")[2] or name, 14) for name in referents],
        range=[-0.3, len(x) - 0.7],
    )
    fig.update_yaxes(title_text="I (paraphrase SDs)", showgrid=True, gridcolor="#eeeeee")
    fig.update_layout(legend=legend_below(_KEYS))
    bottom = 50.0 + 19 * -(-(len(seen) + 2) // _KEYS)
    slope = interval(*(float(at[k]) for k in ("mean", "ci_low", "ci_high")))
    return finished(
        fig,
        title=title,
        subtitle=f"slope {slope} a step",
        height=HEAD + 250 + bottom,
        margin={"l": 52.0, "r": _RIGHT, "t": HEAD, "b": bottom},
        caption="Is the assistant of this chat, of another chat, an earlier version, another company’s model, or the "
        "user “me”? Each line is a persona; higher means answers that lean towards “me” more than without a "
        "persona. If “I” ends at this chat the lines fall at once; if it takes in the whole series they fall "
        "late. The referents are put in the same sentences, so that only their names differ.",
    )


def default_strip(found: xr.Dataset, layer: int) -> go.Figure:
    """λ of everybody at one layer and the last position, from `default_axis`."""
    cell = found.isel(site=0, position=-1).sel(layer=layer)
    title = "Between the played roles and the tuned default"
    subtitle = f"{plain(found.site.values[0])} · layer {signed(layer)} · last token"
    if not bool(cell.identified):
        return not_identified(title, str(cell.reason.item()), subtitle=subtitle)
    who, kind, condition = (cell[k].to_numpy().astype(str) for k in ("who", "kind", "condition"))
    value, low, high = (cell[k].to_numpy() for k in ("estimate", "ci_low", "ci_high"))
    rows = ["neutral", *(k for k in KINDS if k in kind)]
    names = {"neutral": "no persona"}
    main = "you"
    height = {name: float(len(rows) - 1 - i) for i, name in enumerate(rows)}
    fig = go.Figure()
    for said, symbol, size, up, label in (
        ("user", "diamond-open", 6, -0.2, "“the user is X”"),
        (main, "circle", 8, 0.1, "“you are X”"),
        ("neutral", "circle", 8, 0.0, "no persona"),
    ):
        mine = np.flatnonzero(condition == said)
        if not len(mine):
            continue
        colours = [CONTROL if said == "user" else KINDS.get(kind[i], NULL) for i in mine]
        fig.add_trace(
            go.Scatter(
                x=value[mine],
                y=[height[kind[i]] + up for i in mine],
                mode="markers",
                name=label,
                showlegend=said != "neutral",
                marker={"symbol": symbol, "size": size, "color": colours, "opacity": 0.85},
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": np.where(said == "user", 0, (high - value)[mine]),
                    "arrayminus": np.where(said == "user", 0, (value - low)[mine]),
                    "thickness": 0.8,
                    "width": 0,
                    "color": FAINT if said != "neutral" else NULL,
                },
                text=[f"<b>{plain(who[i])}: {interval(*map(float, (value[i], low[i], high[i])))}</b>" for i in mine],
                hovertemplate="%{text}<extra></extra>",
            )
        )
    for x, text in ((0.0, "mean role"), (1.0, "default")):
        fig.add_vline(x=x, line={"color": SOFT, "width": 1}, layer="below")
        fig.add_annotation(
            text=text, x=x, y=1, yref="paper", yanchor="bottom", yshift=2, showarrow=False,
            font={"size": TINY, "color": SOFT},
        )  # fmt: skip
    labels = [names.get(name, words(name)) for name in rows]
    _named_rows(fig, labels, np.array([height[name] for name in rows]))
    fig.update_xaxes(title_text="λ", showgrid=True, gridcolor="#eeeeee")
    fig.update_layout(
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 0, "yref": "container", "yanchor": "bottom"}
    )
    left = max(reach(text, SMALL) for text in labels) + 20
    return finished(
        fig,
        title=title,
        subtitle=subtitle,
        height=HEAD + 18 + 34.0 * len(rows) + _BOTTOM + 20,
        margin={"l": left, "r": _RIGHT, "t": HEAD + 18, "b": _BOTTOM + 20},
        caption="Each mark is a persona, placed along the line from the mean of the played roles (0) to the persona "
        "the model was tuned to be (1), on an axis drawn without it and from other paraphrases. Grey lines: 95 %"
        " intervals. Diamonds: the same words said of the user. That the default lies apart along an axis "
        "drawn towards it means nothing by itself; random axes and the axes of other personas are the "
        "measure.",
    )


def _by_kind(kinds: Array, names: Array) -> Array:
    """Indices that put kinds in the order of the palette, and keep the order within."""
    known = [*KINDS, *sorted(set(map(str, kinds)) - set(KINDS))]
    return np.array(sorted(range(len(names)), key=lambda i: (known.index(str(kinds[i])), i)))


def _triples(at: xr.Dataset, *names: str) -> list[tuple[float, float, float]]:
    a, b, c = (at[name].to_numpy().astype(float).tolist() for name in names)
    return list(zip(a, b, c, strict=True))


def _named_rows(fig: go.Figure, labels: list[str], height: Array) -> None:
    fig.update_yaxes(
        tickmode="array",
        tickvals=height,
        ticktext=labels,
        range=[-0.6, len(labels) - 0.4],
        ticklen=5,
        tickcolor="rgba(0,0,0,0)",
        showline=False,
        tickfont={"size": SMALL, "color": INK},
    )
