"""Figures beside each other on one page, with letters and one colour scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import plotly.graph_objects as go

from selfrep.errors import SelfrepError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def panels(
    figures: Sequence[object],
    *,
    letters: bool = True,
    share: bool = True,
    columns: int | None = None,
    width: float | None = None,
) -> Figure:
    """Put figures beside each other, drawn for paper. Each keeps its title, its tokens and its keys.

    Args:
        figures: what the drawings here return.
        letters: whether they are called a, b, ….
        share: whether maps of one quantity have one colour scale, with one bar.
        columns: how many stand side by side; None: as many as have room.
        width: of all, in inches; None: the width of the text of the venue that is drawn for (`paper`).

    Returns:
        A figure of matplotlib; its axes are those of all panels, then those of colour bars.

    Raises:
        SelfrepError: no figure, something that is none, or a width in which nothing can be read.

    Example:
        >>> two = [go.Figure(go.Scatter(x=[0, 1], y=[k, 1])).update_layout(title_text=f"<b>{k}</b>") for k in (2, 3)]
        >>> [text.get_text() for text in panels(two, width=5.5).texts]
        ['a 2', 'b 3']
    """
    from selfrep.plots.on_paper import beside
    from selfrep.plots.on_paper.draw import shown
    from selfrep.plots.venues import USUAL, venue

    drawn = [one for one in figures if isinstance(one, go.Figure)]
    if len(drawn) < len(figures):
        raise SelfrepError("Panels are made of plotly's figures, which the drawings return; leave backend out.")
    width = (venue() or USUAL).text if width is None else width
    return beside(drawn, width, letters=letters, share=share, columns=columns, page=shown)[0]
