"""One look for every figure: colours that colour-blind readers tell apart, one meaning a colour, and a paper's type sizes.

The template is put on each figure and never set globally, so that drawing with selfrep leaves other plots alone. Sizes are in
pixels of 1/96 inch: at the 5.5 inches of a page's text, 11 px print as 8 points.
"""

from __future__ import annotations

import html

import plotly.graph_objects as go

DPI = 96
WIDTH = int(5.5 * DPI)
"""The narrowest page that figures are laid out for (px)."""

INK, SOFT, FAINT, PAPER, NOTHING = "#222222", "#5f6368", "#d9d9d9", "#ffffff", "#ebebeb"
"""Text, secondary text, rules, background, and the ground where there is no number."""

FONT = "Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"
SIZE, SMALL, TINY = 11, 10, 9
CHARACTER = 0.54
"""Mean width of a character, as a share of the type size."""

OWN, CONTROL, NULL = "#0072B2", "#D55E00", "#8a8a8a"
"""What is measured, its "the user is X" control, and what noise gives."""

DIRECTIONS = {"denoise": "#0072B2", "noise": "#CC79A7"}
CONTROLS = {"paraphrase": ("#4d4d4d", "dot"), "persona": ("#7a7a7a", "dash"), "random": ("#a3a3a3", "dashdot")}
"""Control sources of a patch: grey each, told apart by their dashes."""
KINDS = {
    "default": "#000000",
    "language_model": "#0072B2",
    "other_model": "#56B4E9",
    "fictional_ai": "#CC79A7",
    "human": "#D55E00",
}
SIDES = {"ai": "circle", "human": "diamond"}

DIVERGING = [
    [0.0, "#0b2f5e"],
    [0.17, "#2f6aa3"],
    [0.35, "#93bbda"],
    [0.5, "#fbfbf9"],
    [0.65, "#f3b98f"],
    [0.83, "#cf6a2c"],
    [1.0, "#76290a"],
]
"""Blue below zero, white at it, orange above: safe for the common kinds of colour blindness, and in grey by its dots."""

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
        "title": {"font": {"size": 14, "color": INK}, "x": 0, "xref": "container", "xanchor": "left", "pad": {"l": 12},
                  "y": 1, "yref": "container", "yanchor": "top"},
        "paper_bgcolor": PAPER,
        "plot_bgcolor": PAPER,
        "colorway": [OWN, CONTROL, "#009E73", "#CC79A7", "#56B4E9", "#E69F00", NULL],
        "xaxis": _AXIS,
        "yaxis": _AXIS,
        "hoverlabel": {"font": {"family": FONT, "size": 12, "color": INK}, "bgcolor": PAPER, "bordercolor": SOFT, "align": "left"},
        "legend": {"font": {"size": SMALL}, "bgcolor": "rgba(0,0,0,0)", "itemsizing": "trace"},
        "dragmode": "zoom",
        "separators": ".,",
        "hovermode": "closest",
    }
)  # fmt: skip


def finished(
    fig: go.Figure, *, title: str, subtitle: str, caption: str, height: float, margin: dict[str, float]
) -> go.Figure:
    """Put the look, the words and the size on a figure. Title and subtitle must be escaped already; `meta` holds them plain."""
    fig.update_layout(
        template=TEMPLATE,
        title={
            "text": f"<b>{title}</b>",
            "subtitle": {"text": subtitle, "font": {"size": SIZE, "color": SOFT}},
            "pad": {"t": 12, "l": 12},
        },
        height=round(height),
        margin={"l": 48, "r": 16, "t": 64, "b": 48, "pad": 0} | margin,
        meta={"title": html.unescape(title), "caption": caption},
    )
    return fig


def caption(fig: go.Figure) -> str:
    """How to read a figure drawn here: plain text. Empty for a figure from elsewhere."""
    return (fig.layout.meta or {}).get("caption", "")


def not_identified(title: str, reason: str, *, subtitle: str = "") -> go.Figure:
    """A figure that says in words why there is nothing to draw. The texts must be escaped already."""
    from selfrep.results.plots.text import wrapped

    fig = go.Figure()
    fig.update_xaxes(visible=False, range=[0, 1])
    fig.update_yaxes(visible=False, range=[0, 1])
    fig.add_annotation(
        text=f"<b>Not identified</b><br>{wrapped(reason, 62)}",
        x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False, font={"size": 12, "color": SOFT},
    )  # fmt: skip
    fig.add_shape(
        type="rect",
        x0=0,
        x1=1,
        y0=0,
        y1=1,
        xref="paper",
        yref="paper",
        line={"color": FAINT, "width": 1},
        layer="below",
    )
    return finished(
        fig,
        title=title,
        subtitle=subtitle,
        caption="Not identified: a number that cannot be trusted is not drawn. The figure says why.",
        height=220,
        margin={"l": 12, "r": 12, "b": 12},
    )
