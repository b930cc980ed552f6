"""A card as one HTML page, in the look of a report: the table, and two figures of what it pools.

Nothing on it asks the network for anything, and what a user calls an estimator is shown as text.
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from selfrep.files import write_file
from selfrep.plots.panels import grid, heading
from selfrep.plots.rows import whiskers
from selfrep.plots.text import hover, plain, reach
from selfrep.plots.theme import CONTROL, FAINT, HEAD, INK, NULL, OWN, SMALL, SOFT, caption, finish, legend_below
from selfrep.report.picture import Picture
from selfrep.report.templating import environment
from selfrep.validation.card import Card, Examination
from selfrep.validation.maps import COMMON, OURS
from selfrep.validation.rows import EASY, by_estimand
from selfrep.validation.tables import COLUMNS, LEGEND, cells, markdown, summary, table, verdict

_ROW, _BOTTOM = 22.0, 62.0
_PLANTED = {"causal": "where it is used", "present": "where it is there"}


def write(card: Card, folder: Path) -> Path:
    """Write validation.html, validation.md and scores.csv into a folder. Returns the page.

    Raises SelfrepError when the folder cannot be written.
    """
    write_file(folder / "validation.md", markdown(card))
    write_file(folder / "scores.csv", table(card))
    return write_file(folder / "validation.html", page(card))


def page(card: Card) -> str:
    """The page as text."""
    figures = {"ranks": ranks(card.organisms), "errors": errors(card.organisms)}
    parts = [
        (part, [(cells(row)[:-1], verdict(row)) for row in members])
        for part, members in groupby(card.rows, key=lambda row: row.part)
    ]
    template = environment("selfrep.validation", "selfrep.report").get_template("validation.html")
    return template.render(
        parts=parts,
        columns=COLUMNS[:-1],
        legend=LEGEND,
        summary=summary(card),
        misses=[(row.what, row.model, row.requirement) for row in card.misses],
        quick=card.quick,
        seed=card.seed,
        provenance=card.provenance,
        figures=[Picture.of(name, fig.layout.meta["title"], caption(fig), fig) for name, fig in figures.items()],
        plotlyjs=get_plotlyjs(),
    )


def ranks(examinations: tuple[Examination, ...]) -> go.Figure:
    """AUROC of every map of every organism, ours above, against use and against presence."""
    present = dict.fromkeys(m.estimator for one in examinations for m in one.marks)
    order = [*OURS, *(name for name in present if name not in OURS | COMMON), *COMMON]
    names = [name for name in order if name in present]
    left = max((reach(name, SMALL) for name in names), default=40.0) + 14
    frame = grid(2, 2, left=left, right=14.0)
    height = dict(zip(names, range(len(names))[::-1], strict=True))
    for panel, (planted, words) in zip(frame.panels, _PLANTED.items(), strict=True):
        for easy, name, colour in ((True, "easy", OWN), (False, "hard or trained", CONTROL)):
            points = [
                (mark, one)
                for one in examinations
                for mark in one.marks
                if mark.sheet == planted and (one.kind in EASY) == easy
            ]
            spread = np.linspace(-0.25, 0.25, max(len(points), 1))
            frame.fig.add_trace(
                go.Scatter(
                    x=[mark.auroc for mark, _ in points],
                    y=[height[mark.estimator] + spread[k] for k, (mark, _) in enumerate(points)],
                    mode="markers",
                    name=name,
                    legendgroup=name,
                    showlegend=panel is frame.panels[0],
                    marker={"size": 4, "color": colour, "opacity": 0.7},
                    **hover(f"<b>{plain(m.estimator)}: {m.auroc:.3f}</b><br>{plain(one.name)}" for m, one in points),
                ),
                **panel.at,
            )
        heading(frame.fig, panel, words, 6.0)
        frame.fig.add_vline(x=0.5, line={"color": FAINT, "width": 1}, layer="below", **panel.at)
        frame.fig.update_xaxes(title_text="AUROC", range=[-0.03, 1.03], **panel.at)
        frame.fig.update_yaxes(
            tickvals=list(height.values()) if panel.column == 1 else [],
            ticktext=[plain(name) for name in names],
            range=[-0.6, len(names) - 0.4],
            ticks="",
            **panel.at,
        )
    inner = frame.height(_ROW * max(len(names), 1), 46.0)
    frame.fig.update_layout(legend=legend_below(3))
    return finish(
        frame.fig,
        title="Maps against what was planted",
        subtitle="one mark an organism",
        height=HEAD + 22 + inner + _BOTTOM,
        margin={"l": left, "r": 14.0, "t": HEAD + 22, "b": _BOTTOM},
        caption="AUROC: the chance that a cell where the persona is used (left) or there at all (right) scores higher "
        "than one where it is not; ½ is chance. T is made to find use and S to find presence: each is at a loss with "
        "the other, which is why presence must not be read as use.",
    )


def errors(examinations: tuple[Examination, ...]) -> go.Figure:
    """How far every answer is off, over the noise on the weights, with its interval."""
    shown = [
        (estimand, points)
        for estimand, answers in by_estimand(examinations).items()
        if (points := [(e, a) for e, a in answers if a.identified and a.of in (estimand.of or (a.of,))])
    ]
    frame = grid(max(len(shown), 1), 4, left=44.0, right=14.0, gap=36.0)
    for panel, (estimand, points) in zip(frame.panels, shown, strict=False):
        spread = np.linspace(-0.03, 0.03, len(points))
        for wrong, meaning, colour in (
            (False, "holds the truth, or is near it", OWN),
            (True, "wrong, with confidence", CONTROL),
        ):
            mine = [(x, one, a) for x, (one, a) in zip(spread, points, strict=True) if a.wrong == wrong]
            values = [(a.truth or 0.0, a.estimate, a.ci_low, a.ci_high) for _, _, a in mine]
            truth, estimate, low, high = np.array(values).reshape(-1, 4).T
            frame.fig.add_trace(
                go.Scatter(
                    x=[one.noise + x for x, one, _ in mine],
                    y=estimate - truth,
                    mode="markers",
                    name=meaning,
                    legendgroup=meaning,
                    showlegend=panel is frame.panels[0],
                    marker={"size": 4, "color": colour},
                    error_y=whiskers(estimate, low, high, colour, 0.8),
                    **hover(
                        f"<b>{plain(estimand.symbol)} {plain(a.of)}: {a.estimate:.3f} "
                        f"[{a.ci_low:.3f}, {a.ci_high:.3f}]</b><br>truth {a.truth:.3f}, {plain(one.name)}"
                        for _, one, a in mine
                    ),
                ),
                **panel.at,
            )
        ground = {"fillcolor": NULL, "opacity": 0.18, "line_width": 0, "layer": "below"}
        frame.fig.add_hrect(-estimand.tolerance, estimand.tolerance, **ground, **panel.at)
        heading(frame.fig, panel, plain(estimand.title), 6.0)
        frame.fig.add_hline(y=0, line={"color": SOFT, "width": 1}, layer="below", **panel.at)
        frame.fig.update_xaxes(tickvals=[0, 0.1, 0.2, 0.3], range=[-0.06, 0.36], **panel.at)
        if panel.row >= frame.rows - 1:
            frame.fig.update_xaxes(title_text="noise", **panel.at)
    frame.fig.update_yaxes(matches=None, showticklabels=True, nticks=5)  # nats beside shares
    inner = frame.height(120.0, 62.0)
    frame.fig.update_layout(legend=legend_below(2), font={"color": INK})
    return finish(
        frame.fig,
        title="Answers against the truth",
        subtitle="estimate − truth, with 95 % intervals; grey: how far off an answer may be",
        height=HEAD + 22 + inner + _BOTTOM,
        margin={"l": 44.0, "r": 14.0, "t": HEAD + 22, "b": _BOTTOM},
        caption="Every answer given by every organism (of λ, that of no persona), over the noise on its weights (in "
        "units of 1/d_model). An answer is wrong with confidence when it is off by more than the grey band and its "
        "interval leaves out the truth.",
    )
