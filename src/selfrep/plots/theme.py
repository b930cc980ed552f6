"""One look for every figure: colours that colour-blind readers tell apart, one meaning a colour, a paper's type sizes.

The template is put on each figure and never set globally, so that drawing with selfrep leaves other plots alone. Sizes
are in pixels of 1/96 inch: at the 5.5 inches of a page's text, 11 px print as 8 points.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from itertools import cycle
from typing import TypedDict, Unpack

import plotly.graph_objects as go

DPI = 96
WIDTH = 5.5 * DPI
"""The narrowest page that figures are laid out for (px)."""

INK, SOFT, FAINT, PAPER, NOTHING = "#222222", "#5f6368", "#d9d9d9", "#ffffff", "#e8e8e8"
"""Text, secondary text, rules, background, and the ground where there is no number."""

FONT = "Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"
HEADLINE, SIZE, SMALL, TINY = 14.0, 11.0, 10.0, 9.0
CHARACTER = 0.54
"""Mean width of a character, as a share of the type size."""
HEAD = 54.0
"""Room for title and subtitle (px)."""

OWN, CONTROL, NULL = "#0072B2", "#D55E00", "#8a8a8a"
"""What is measured, its "the user is X" control, and what noise gives."""
GRID = {"showgrid": True, "gridcolor": "#eeeeee"}
"""An axis along which numbers are compared."""
SILENT = {"hoverinfo": "skip", "showlegend": False}
"""A trace that says nothing: neither on hover nor in the legend."""
DIRECTIONS = {"denoise": "#0072B2", "noise": "#CC79A7"}
DASHES = {"denoise": "solid", "noise": "dash"}
"""The two directions of a patch, told apart without colours too."""
CONTROLS = {
    "paraphrase": ("#4d4d4d", "dot"),
    "persona": ("#7a7a7a", "dash"),
    "random": ("#a3a3a3", "dashdot"),
    "fact": ("#4d4d4d", "6px,2px"),
}
"""The control sources of a patch: each a grey, told apart by their dashes."""
SELF = "#000000"
"""The model's own default persona, whoever else is there."""
PALETTE = ("#0072B2", "#E69F00", "#CC79A7", "#D55E00", "#009E73", "#56B4E9", "#882255")
"""Colours of kinds of personas, told apart in every common kind of colour blindness; each is darker or lighter than its
neighbours."""
MARKS = ("circle", "diamond", "triangle-up", "pentagon")
NO_SIDE = "square"
"""Marks of the sides of personas, and of personas on none."""

DIVERGING = (
    (0.0, "#0b2f5e"),
    (0.17, "#2f6aa3"),
    (0.35, "#93bbda"),
    (0.5, "#fbfbf9"),
    (0.65, "#f3b98f"),
    (0.83, "#cf6a2c"),
    (1.0, "#76290a"),
)
"""Blue below zero, white at it, orange above: told apart in every common kind of colour blindness."""

_AXIS = {
    "showgrid": False,
    "zeroline": False,
    "showline": True,
    "linecolor": SOFT,
    "linewidth": 1,
    "ticks": "outside",
    "ticklen": 3,
    "tickwidth": 1,
    "tickcolor": SOFT,
    "tickfont": {"size": SMALL, "color": INK},
    "title": {"font": {"size": SIZE, "color": INK}, "standoff": 6},
    "automargin": False,
}

TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": FONT, "size": SIZE, "color": INK},
        "title": {
            "font": {"size": HEADLINE, "color": INK},
            "x": 0,
            "xref": "container",
            "xanchor": "left",
            "y": 1,
            "yref": "container",
            "yanchor": "top",
            "pad": {"l": 12, "t": 24},
        },
        "paper_bgcolor": PAPER,
        "plot_bgcolor": PAPER,
        "colorway": [OWN, CONTROL, "#009E73", "#CC79A7", "#56B4E9", "#E69F00", NULL],
        "xaxis": _AXIS,
        "yaxis": _AXIS,
        "hoverlabel": {
            "font": {"family": FONT, "size": 12, "color": INK},
            "bgcolor": PAPER,
            "bordercolor": SOFT,
            "align": "left",
        },
        "legend": {"font": {"size": SMALL}, "bgcolor": "rgba(0,0,0,0)", "itemwidth": 30, "tracegroupgap": 0},
        "hovermode": "closest",
    }
)


class Words(TypedDict):
    """What is said of a figure: its title and subtitle (escaped), and how to read it (raw)."""

    title: str
    subtitle: str
    caption: str


def finish(
    fig: go.Figure, *, height: float, margin: dict[str, float], narrows: bool = False, **words: Unpack[Words]
) -> go.Figure:
    """Put the look, the words and the size (px) on a figure; `layout.meta` holds title and caption as plain text.

    Args:
        narrows: whether it can be read on a page that is narrower than `WIDTH`, too.
    """
    title, subtitle = words["title"], words["subtitle"]
    below = f'<br><span style="font-size:{SIZE:g}px;color:{SOFT}">{subtitle}</span>' if subtitle else ""
    return fig.update_layout(
        template=TEMPLATE,
        title_text=f"<b>{title}</b>{below}",
        height=round(height),
        margin={"l": 48, "r": 16, "t": HEAD, "b": 44, "pad": 0} | margin,
        meta={"title": html.unescape(title), "caption": words["caption"]}
        | (fig.layout.meta or {})
        | ({"narrows": True} if narrows else {}),
    )


def caption(fig: go.Figure) -> str:
    """How to read a figure drawn here, as plain text; empty for a figure from elsewhere."""
    meta = fig.layout.meta
    return str(meta.get("caption", "")) if isinstance(meta, dict) else ""


def narrows(fig: go.Figure) -> bool:
    """Whether a figure was laid out so that it can be read on a narrow page."""
    meta = fig.layout.meta
    return isinstance(meta, dict) and bool(meta.get("narrows"))


def legend_below(columns: int | None = None) -> dict[str, object]:
    """A legend along the foot of the figure, in so many columns; None: each entry as wide as it is."""
    place = {"orientation": "h", "x": 0, "xanchor": "left", "y": 0, "yref": "container", "yanchor": "bottom"}
    if columns is None:
        return place
    return place | {"traceorder": "normal", "entrywidthmode": "fraction", "entrywidth": round(0.98 / columns, 3)}


def legend_height(keys: int, columns: int) -> float:
    """The room that so many entries need below a figure (px)."""
    return 19.0 * -(-keys // columns)


def washed(colour: str, opacity: float = 0.16) -> str:
    """A colour "#rrggbb" as the ground of an interval."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def colours(kinds: Iterable[str]) -> dict[str, str]:
    """A colour for each kind of persona: the default first and in its own, the others by the alphabet, so that a kind
    has one colour in all figures of a run.

    Example:
        >>> colours(["sage", "", "default", "sage", "con artist"])
        {'default': '#000000', 'con artist': '#0072B2', 'sage': '#E69F00'}
    """
    others = sorted({str(kind) for kind in kinds} - {""})
    own = {kind: SELF for kind in others if kind == "default"}
    return own | dict(zip((kind for kind in others if kind not in own), cycle(PALETTE)))  # as many as there are kinds


def marks(sides: Iterable[str]) -> dict[str, str]:
    """A mark for each side of personas, by order of appearance; that of no side is `NO_SIDE`.

    Example:
        >>> marks(["honest", "", "con"])
        {'honest': 'circle', '': 'square', 'con': 'diamond'}
    """
    free = cycle(MARKS)
    return {side: next(free) if side else NO_SIDE for side in dict.fromkeys(map(str, sides))}
