"""π drawn: who is speaking, token by token, as ribbons, a panel a text."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from selfrep.plots.panels import grid, heading
from selfrep.plots.text import by_label, exact_token, hover, plain, shorten, words
from selfrep.plots.theme import FAINT, HEAD, finish, legend_below, legend_height

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#7F7F7F", "#F0E442")
"""Told apart by colour-blind readers; used again from the ninth persona on."""
_LEFT, _RIGHT, _EACH = 44.0, 14.0, 62.0
_MOST = 16
"""So many texts have room on a page; the numbers of all lie in the table beside it."""


def posterior_ribbons(posterior: xr.Dataset) -> go.Figure:
    """π over the tokens of each text that is not shuffled, from `posterior`."""
    n = posterior.sizes["text"]
    mixed = posterior.shuffled.to_numpy().astype(bool) if "shuffled" in posterior.coords else np.zeros(n, bool)
    chosen = np.flatnonzero(~mixed)[:_MOST]
    people, labels = (one.persona.to_numpy().astype(str).tolist() for one in (posterior, by_label(posterior)))
    called = dict(zip(people, labels, strict=True))
    frame = grid(len(chosen), 4, left=_LEFT, right=_RIGHT, gap=14.0)
    fig = frame.fig
    for panel, text in zip(frame.panels, chosen, strict=True):
        one = posterior.isel(text=text)
        there = np.isfinite(one.posterior.isel(persona=0).to_numpy())
        pieces = one.piece.to_numpy()[there] if "piece" in posterior.coords else np.full(int(there.sum()), "")
        x = np.arange(int(there.sum()) + 1)
        after = one.posterior.transpose("persona", "token").to_numpy()[:, there]
        values = np.column_stack([posterior.prior.to_numpy(), after])
        moments = ["before the first word", *(f"after “{exact_token(str(piece))}”" for piece in pieces)]
        for k, person in enumerate(people):
            fig.add_trace(
                go.Scatter(
                    x=x,
                    y=values[k],
                    mode="lines",
                    stackgroup="persona",
                    name=words(shorten(called[person], 20)),
                    legendgroup=person,
                    showlegend=panel is frame.panels[0],
                    line={"width": 0},
                    fillcolor=_COLOURS[k % len(_COLOURS)],
                    **hover(
                        f"<b>{plain(called[person])}: {v:.2f}</b>, {when}"
                        for v, when in zip(values[k], moments, strict=True)
                    ),
                ),
                row=panel.row,
                col=panel.column,
            )
        author = str(one.author.item()) if "author" in posterior.coords else f"text {int(text) + 1}"
        heading(fig, panel, words(shorten(called.get(author, author), 18)), 3.0)
        fig.update_xaxes(range=[0, len(x) - 1], showticklabels=False, ticks="", row=panel.row, col=panel.column)
    inner = frame.height(_EACH, 24.0)
    fig.update_yaxes(range=[0, 1], tickvals=[0, 0.5, 1], showgrid=False, gridcolor=FAINT)
    columns = 4
    given = posterior.attrs.get("prior") == "given"
    lean = "what the model leans to before a word was said" if given else "the same for everybody"
    fig.update_layout(legend=legend_below(columns))
    bottom = 26.0 + legend_height(len(people), columns)
    return finish(
        fig,
        title="Who is speaking, token by token",
        subtitle="each panel is a text, under the name of the persona in whose character it is written",
        height=HEAD + 20 + inner + bottom,
        margin={"l": _LEFT, "r": _RIGHT, "t": HEAD + 20, "b": bottom},
        caption="The height of each colour is π, the probability of that persona, from before the first token (left "
        "edge) to the last (right edge); a text that shows its author ends in one colour, that of the name above it. "
        f"The left edge is {lean}. Tokens of names do not count. Only these personas are compared: the colours always "
        "fill the panel, even where none of them speaks so.",
    )
