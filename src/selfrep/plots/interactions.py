"""Two by two: what one thing does where another is absent and where it is present. Parallel lines: no interaction.

These are observations, not estimates: they are drawn whether or not what they were made for is identified.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from selfrep.plots.panels import grid, heading, not_identified
from selfrep.plots.text import interval, plain, words
from selfrep.plots.theme import HEAD, OWN, SMALL, SOFT, finished, legend_below
from selfrep.stats.numbers import number

Array = np.ndarray

_LEFT, _RIGHT, _EACH, _BOTTOM = 60.0, 14.0, 170.0, 64.0
_LEAST = 1.0
"""The least that an axis spans (nats), lest a hair look like a slope."""


@dataclass(frozen=True)
class Line:
    """One line of every panel: its name, its look, and its two values [panel, 2]."""

    name: str
    colour: str
    dash: str
    values: Array


def anomaly_interaction(found: xr.Dataset) -> go.Figure:
    """The mean log odds of "strange" of persona and assistant, before the ordinary and the strange, from "
    "`anomaly`."""
    title = "The ordinary and the strange, to the persona and to the assistant"
    at = found.sel(setting=["ordinary", "strange"])
    if not np.isfinite(at.cells).any():
        return not_identified(title, "; ".join(dict.fromkeys(map(str, found.reason.to_numpy()))))
    names = {"persona": "asked itself", "spectator": "asked from outside"}
    forms = [str(form) for form in found.form.to_numpy()]
    notes = [
        ("A = " if bool(found.identified[i]) else "A not identified; raw ")
        + interval(*(float(found[k][i]) for k in ("raw", "raw_ci_low", "raw_ci_high")))
        for i in range(len(forms))
    ]
    lines = [
        Line("persona", OWN, "solid", at.cells.sel(who="persona").to_numpy()),
        Line("plain assistant", SOFT, "dash", at.cells.sel(who="assistant").to_numpy()),
    ]
    return _crossed(
        lines,
        [names.get(form, words(form)) for form in forms],
        notes,
        ends=("ordinary thing", "anachronism"),
        axis="log odds of “strange” (nats)",
        title=title,
        subtitle=f"{found.attrs['n_personas']} personas",
        caption="Each line: how the log odds that something is strange change from a thing of the persona’s own time "
        "to an anachronism. A persona that notices rises more steeply than the plain assistant, which is shown the "
        "same things; A is the difference of the two slopes, with its 95 % interval. Parallel lines: no difference. "
        "Where A is not identified, the slopes are observations that say nothing about noticing.",
    )


def cue_by_stakes(found: xr.Dataset) -> go.Figure:
    """The mean log odds of the behaviour in the four cells of cue × stakes, before any exchange, from `mediation`."""
    cells = found.cells.transpose("stakes", "cue").to_numpy()
    raw = interval(*(float(found[k]) for k in ("cue_by_stakes", "cue_by_stakes_ci_low", "cue_by_stakes_ci_high")))
    lines = [
        Line("something at stake", OWN, "solid", cells[1:]),
        Line("nothing at stake", SOFT, "dash", cells[:1]),
    ]
    return _crossed(
        lines,
        [""],
        [f"raw interaction {raw} nats"],
        ends=("no cue", "cue of fiction"),
        axis="log odds of the behaviour (nats)",
        title="What fiction and stakes do to the behaviour",
        subtitle=f"{found.attrs['n_scenarios']} scenarios, nothing exchanged",
        caption="Each line: how the log odds of the behaviour (to refuse, to hide, to take other chats for itself) "
        "change with a hint of machine fiction. Mimicry lifts both lines; a motive sets them apart; where fiction "
        "matters only when something is at stake, they are not parallel. The difference of their slopes is the raw "
        "interaction, with its 95 % interval: it is observed, and says nothing of what carries it.",
    )


def _crossed(
    lines: Sequence[Line],
    headings: Sequence[str],
    notes: Sequence[str],
    *,
    ends: tuple[str, str],
    axis: str,
    title: str,
    subtitle: str,
    caption: str,
) -> go.Figure:
    frame = grid(len(headings), 2, left=_LEFT, right=_RIGHT, gap=30.0)
    fig = frame.fig
    for i, panel in enumerate(frame.panels):
        for line in lines:
            fig.add_trace(
                go.Scatter(
                    x=[0, 1],
                    y=line.values[i],
                    mode="lines+markers",
                    name=line.name,
                    legendgroup=line.name,
                    showlegend=i == 0,
                    line={"color": line.colour, "width": 2.2, "dash": line.dash},
                    marker={"size": 8, "color": line.colour},
                    text=[
                        f"<b>{plain(line.name)}, {plain(end)}: {number(float(y))} nats</b>"
                        for end, y in zip(ends, line.values[i], strict=True)
                    ],
                    hovertemplate="%{text}<extra></extra>",
                ),
                row=panel.row,
                col=panel.column,
            )
        heading(fig, panel, headings[i], 20.0)
        fig.add_annotation(
            text=plain(notes[i]), x=0, y=1, xref=f"{panel.x} domain", yref=f"{panel.y} domain", xanchor="left",
            yanchor="bottom", xshift=-3, yshift=4, showarrow=False, font={"size": SMALL, "color": SOFT},
        )  # fmt: skip
    inner = frame.height(_EACH, 70.0)
    fig.update_xaxes(tickmode="array", tickvals=[0, 1], ticktext=[plain(end) for end in ends], range=[-0.25, 1.25])
    drawn = np.concatenate([line.values.ravel() for line in lines])
    middle, half = (drawn.max() + drawn.min()) / 2, max(_LEAST, 1.16 * (drawn.max() - drawn.min())) / 2
    fig.update_yaxes(showgrid=True, gridcolor="#eeeeee", nticks=6, range=[middle - half, middle + half])
    for panel in frame.panels:
        if panel.column == 1:
            fig.update_yaxes(title_text=axis, row=panel.row, col=panel.column)
    fig.update_layout(legend=legend_below(3))
    above = 40.0 if any(headings) else 26.0
    return finished(
        fig,
        title=title,
        subtitle=subtitle,
        height=HEAD + above + inner + _BOTTOM,
        margin={"l": _LEFT, "r": _RIGHT, "t": HEAD + above, "b": _BOTTOM},
        caption=caption,
    )
