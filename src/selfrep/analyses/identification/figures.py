"""I drawn: every persona on its subscales, and how it falls from referent to referent."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from selfrep.plots import rows
from selfrep.plots.panels import grid, heading, not_identified
from selfrep.plots.text import by_label, hover, interval, labels_of, plain, reach, shorten, words, wrap
from selfrep.plots.theme import (
    CONTROL,
    GRID,
    HEAD,
    INK,
    SMALL,
    SOFT,
    colours,
    finish,
    legend_below,
    legend_height,
)

Array = np.ndarray

_ROW = 17.0
_RIGHT, _BOTTOM, _KEYS = 14.0, 44.0, 4
_LONGEST = 24


def identification_dots(scales: xr.Dataset) -> go.Figure:
    """I of every persona on the subscales without referents, beside "the user is X", from `identification`."""
    title = "What the model takes itself to be"
    names = [str(name) for name in scales.subscale.to_numpy() if ": " not in str(name)]
    panels = [name for name in names if bool(scales.identified.sel(subscale=name))]
    if not panels:
        why = "; ".join(f"{name}: {scales.reason.sel(subscale=name).item()}" for name in names)
        return not_identified(title, why or "no subscale without referents was asked")
    scales, kinds = by_label(scales), scales.kind.to_numpy().astype(str)
    palette, called = colours(kinds), labels_of(scales, "kind")
    order = np.concatenate([np.flatnonzero(kinds == kind) for kind in palette])
    kinds, people = kinds[order], scales.persona.to_numpy()[order].astype(str)
    n = len(people)
    height = rows.heights(n)
    labels = [words(shorten(name, _LONGEST)) for name in people]
    left = max(reach(text, SMALL) for text in labels) + 14
    frame = grid(len(panels), 3, left=left, right=_RIGHT)
    fig = frame.fig
    for panel, scale in zip(frame.panels, panels, strict=True):
        at = scales.sel(subscale=scale).isel(persona=order)
        user = (at[f"user_is{end}"].to_numpy() for end in ("", "_ci_low", "_ci_high"))
        fig.add_trace(
            go.Scatter(
                x=at.user_is.to_numpy(),
                y=height - 0.2,
                mode="markers",
                name="“the user is X”",
                legendgroup="user",
                showlegend=panel is frame.panels[0],
                legendrank=2000,
                marker={"symbol": "diamond-open", "size": 5, "color": CONTROL},
                **hover(
                    f"<b>{plain(person)}, “the user is X”: {interval(*numbers)}</b>"
                    for person, *numbers in zip(people, *user, strict=True)
                ),
            ),
            row=panel.row,
            col=panel.column,
        )
        for kind in dict.fromkeys(kinds):
            mine = np.flatnonzero(kinds == kind)
            value, low, high = (at[k].to_numpy()[mine] for k in ("estimate", "ci_low", "ci_high"))
            colour = palette[kind]
            fig.add_trace(
                go.Scatter(
                    x=value,
                    y=height[mine] + 0.1,
                    mode="markers",
                    name=called[kind],
                    legendgroup=kind,
                    showlegend=panel is frame.panels[0],
                    marker={"color": colour, "size": 6},
                    error_x=rows.whiskers(value, low, high, colour, 1.2),
                    **hover(
                        f"<b>{plain(person)}: {interval(*numbers)}</b>"
                        for person, *numbers in zip(people[mine], value, low, high, strict=True)
                    ),
                ),
                row=panel.row,
                col=panel.column,
            )
        fig.add_vline(x=0, line={"color": SOFT, "width": 1}, layer="below", row=panel.row, col=panel.column)
        heading(fig, panel, words(scale), 6.0)
    rows.label_rows(fig, labels, height)
    inner = frame.height(_ROW * n, 46.0)
    fig.update_xaxes(GRID, nticks=6)
    for panel in (panel for panel in frame.panels if panel.row == frame.rows):
        fig.update_xaxes(title_text="I (paraphrase SDs)", row=panel.row, col=panel.column)
    fig.update_layout(legend=legend_below(_KEYS))
    bottom = _BOTTOM + legend_height(len(set(kinds)) + 1, _KEYS)
    closed = [name for name in names if name not in panels]
    note = (
        f" Not identified: {'; '.join(f'{c}, {scales.reason.sel(subscale=c).item()}' for c in closed)}."
        if closed
        else ""
    )
    return finish(
        fig,
        title=title,
        subtitle="how far each persona moves the answers from those without a persona",
        height=HEAD + 22 + inner + bottom,
        margin={"l": left, "r": _RIGHT, "t": HEAD + 22, "b": bottom},
        caption="Each row is a persona, each panel a question about the speaker. To the right of zero the answers lean "
        "towards the subscale’s own side (such as its own name, or its own maker) more than without a persona, in "
        "units of what a mere paraphrase does; with 95 % intervals. Diamonds: the same words said of the user, which "
        f"show what repeating words does by itself.{note}",
    )


def referent_lines(scales: xr.Dataset, slopes: xr.Dataset) -> go.Figure:
    """I from the nearest referent to the farthest, a line a persona, from `identification` and `referent_gradient`."""
    at = slopes.isel(series=0) if "series" in slopes.dims else slopes
    referents = [str(name) for name in np.atleast_1d(slopes.attrs["referents"])]
    title = "How far “I” reaches"
    if not bool(at.identified):
        return not_identified(title, str(at.reason.item()))
    chosen = scales.sel(subscale=referents)
    values = chosen.estimate.transpose("persona", "subscale").to_numpy()
    labels = [words(name.partition(": ")[2] or name) for name in referents]
    x = np.arange(len(referents))
    fig = go.Figure()
    kinds = scales.kind.to_numpy().astype(str).tolist()
    palette, called = colours(kinds), labels_of(scales, "kind")
    readings = scales.reading.to_numpy().astype(str)
    people = zip(scales.persona.to_numpy(), kinds, readings, values, strict=True)
    for i, (who, kind, reading, line) in enumerate(people):
        fig.add_trace(
            go.Scatter(
                x=x,
                y=line,
                mode="lines",
                name=called[kind],
                legendgroup=kind,
                showlegend=kind not in kinds[:i],
                line={"color": palette[kind], "width": 2.2 if reading == "default" else 0.9},
                opacity=1.0 if reading == "default" else 0.6,
                **hover(f"<b>{plain(who)}</b>, {label}: {interval(v)}" for label, v in zip(labels, line, strict=True)),
            )
        )
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
                **hover(f"<b>{name}</b>, {label}: {interval(v)}" for label, v in zip(labels, mean, strict=True)),
            )
        )
    fig.add_hline(y=0, line={"color": SOFT, "width": 1}, layer="below")
    fig.update_xaxes(
        tickmode="array",
        tickvals=x,
        ticktext=[wrap(name.partition(": ")[2] or name, 14) for name in referents],
        range=[-0.3, len(x) - 0.7],
    )
    fig.update_yaxes(GRID, title_text="I (paraphrase SDs)")
    fig.update_layout(legend=legend_below(_KEYS))
    bottom = 50.0 + legend_height(len(set(kinds)) + 2, _KEYS)
    slope = interval(*(float(at[name]) for name in ("mean", "ci_low", "ci_high")))
    return finish(
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
