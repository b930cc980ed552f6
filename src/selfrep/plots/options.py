"""What every drawing can be asked for besides its numbers: paper or screen, title, colours, tokens, names, width.

A drawing knows none of this: it makes plotly's figure, and what is asked for is done to that, in one place, for the
drawings of analyses from elsewhere too.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from enum import Enum
from functools import lru_cache, update_wrapper
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast, overload, runtime_checkable

import numpy as np
import plotly.graph_objects as go

from selfrep.errors import SelfrepError
from selfrep.plots.panels import SEGMENT
from selfrep.plots.scales import Stops, rescale
from selfrep.plots.text import plain, shorten, words
from selfrep.plots.theme import DPI, HEAD, SOFT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class _Title(Enum):
    OWN = "its own words"

    def __repr__(self) -> str:
        return "OWN"


OWN = _Title.OWN
"""The title that a drawing gives itself."""

ASKED = """

    Every drawing takes these, too:

    Args:
        backend: "plotly", a figure for the screen; or "matplotlib", for paper.
        ax: matplotlib's axes to draw on: one for each panel, or one axes or subfigure whose place the panels share.
        title: another one; None: none, nor the room for it.
        colorscale: of maps: a name that plotly or matplotlib knows, or a list of (share, colour).
        zmax: of maps: where the colours end.
        transpose: of maps: places downwards, layers to the right.
        labels: what identifiers, or the words that stand for them, are called.
        tokens: what stands below maps: "all" that have room, "segments" alone, or "none" of both.
        width: in inches.

    Returns:
        plotly's figure; or matplotlib's axes, an array of them where there are several panels.
    """


@runtime_checkable
class Drawing(Protocol):
    """A drawing, with what every drawing can be asked for."""

    __name__: str
    __wrapped__: Callable[..., go.Figure]

    @overload
    def __call__(self, *data: Any, backend: Literal["plotly"] = ..., ax: None = ..., **asked: Any) -> go.Figure: ...
    @overload
    def __call__(self, *data: Any, backend: Literal["matplotlib"], **asked: Any) -> Axes | np.ndarray: ...
    @overload
    def __call__(self, *data: Any, ax: Any, **asked: Any) -> Axes | np.ndarray: ...


@lru_cache(maxsize=256)
def drawing(draw: Callable[..., go.Figure]) -> Drawing:
    """A function that draws, as one that takes these options, too.

    Example:
        >>> def two(numbers):
        ...     "Two numbers."
        ...     return go.Figure(go.Scatter(x=[1, 2], y=numbers))
        >>> drawing(two)([3, 4], width=2.5).layout.width
        240.0
    """

    def asked(
        *data: Any,
        backend: str = "plotly",
        ax: Any = None,
        title: str | _Title | None = OWN,
        colorscale: str | Stops | None = None,
        zmax: float | None = None,
        transpose: bool = False,
        labels: Mapping[str, str] | None = None,
        tokens: str = "all",
        width: float | None = None,
        **own: Any,
    ) -> go.Figure | Axes | np.ndarray:
        if backend not in ("plotly", "matplotlib"):
            raise SelfrepError(f'Figures are drawn by "plotly" or by "matplotlib"; got backend={backend!r}.')
        if width is not None and not (np.isfinite(width) and width > 0):
            raise SelfrepError(f"A figure needs a positive width in inches; got {width}.")
        fig = draw(*data, **own)
        if labels:
            _call(fig, labels)
        _show_tokens(fig, tokens)
        if transpose:
            _turn(fig)
        if colorscale is not None or zmax is not None:
            rescale(fig, limit=zmax, colourscale=colorscale)
        _entitle(fig, title)
        if backend == "matplotlib" or ax is not None:
            return to_matplotlib(fig, ax=ax, width=width)
        return fig if width is None else fig.update_layout(width=width * DPI)

    update_wrapper(asked, draw)
    own, general = inspect.signature(draw), inspect.signature(asked, follow_wrapped=False)
    options = [p for p in general.parameters.values() if p.kind is p.KEYWORD_ONLY and p.name not in own.parameters]
    asked.__signature__ = own.replace(parameters=[*own.parameters.values(), *options])  # type: ignore[attr-defined]
    asked.__doc__ = (draw.__doc__ or "").rstrip() + ASKED
    return cast(Drawing, asked)


def to_matplotlib(fig: go.Figure, *, ax: Any = None, width: float | None = None) -> Axes | np.ndarray:
    """A figure of plotly, drawn for paper by matplotlib: any that a drawing here returns, or that you changed.

    Args:
        ax: axes to draw on; None: a figure of its own.
        width: of a figure of its own, in inches; None: a column of the venue that is drawn for (`paper`).

    Returns:
        The axes, an array of them where there are several panels.

    Raises:
        SelfrepError: another number of axes than of panels, a width together with axes, a width in which nothing can be
            read, or a kind of trace that paper does not know.
    """
    from selfrep.plots.on_paper import on_axes, on_page
    from selfrep.plots.on_paper.draw import shown

    if ax is not None and width is not None:
        raise SelfrepError("Axes have their width already: give ax or width, not both.")
    axes = on_page(fig, width, page=shown)[1] if ax is None else on_axes(fig, ax)
    return axes[0] if len(axes) == 1 else np.array(axes, dtype=object)


def page(fig: go.Figure, width: float | None = None) -> Figure:
    """A figure of plotly on a page of its own, that no window shows; see `to_matplotlib`."""
    from selfrep.plots.on_paper import on_page

    return on_page(fig, width)[0]


def _entitle(fig: go.Figure, title: str | _Title | None) -> None:
    if title is OWN:
        return
    _, end, subtitle = str(fig.layout.title.text or "").partition("</b>")
    meta = fig.layout.meta or {}
    if title is None:
        less = min(HEAD, fig.layout.margin.t or 0.0)
        fig.update_layout(title_text=None, margin_t=(fig.layout.margin.t or 0.0) - less + 8)
        if fig.layout.height:
            fig.update_layout(height=fig.layout.height - less + 8)
        return
    fig.update_layout(title_text=f"<b>{plain(title)}</b>{subtitle if end else ''}", meta=meta | {"title": str(title)})


def _show_tokens(fig: go.Figure, tokens: str) -> None:
    """Leave out what stands below maps, or above them, too."""
    if tokens not in ("all", "segments", "none"):
        raise SelfrepError(f'Of tokens "all", "segments" or "none" are shown; got tokens={tokens!r}.')
    bracketed = any(str(shape.name or "").startswith(SEGMENT) for shape in fig.layout.shapes)
    if tokens == "all" or (tokens == "segments" and not bracketed):
        return
    for trace in fig.data:
        if trace.type == "heatmap":
            _axis(fig, trace.xaxis or "x").update(showticklabels=False, ticks="")
    if tokens == "none":
        fig.layout.shapes = [s for s in fig.layout.shapes if not str(s.name or "").startswith(SEGMENT)]
        fig.layout.annotations = [a for a in fig.layout.annotations if a.name != SEGMENT]


def _call(fig: go.Figure, labels: Mapping[str, str]) -> None:
    """Call things otherwise in all texts, but in those of prompts."""
    names: dict[str, str] = {}
    for given, label in labels.items():
        names |= {form: plain(label) for form in (plain(given), words(given), words(shorten(str(given), 34)))}
    pattern = re.compile("|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in sorted(names, key=len, reverse=True)))

    def called(text: Any) -> Any:
        return pattern.sub(lambda found: names[found[0]], text) if isinstance(text, str) else text

    maps = {f"{a[0]}axis{a[1:]}" for t in fig.data if t.type == "heatmap" for a in (t.xaxis or "x", t.yaxis or "y")}
    segments = not any(str(shape.name or "").startswith(SEGMENT) for shape in fig.layout.shapes)
    for trace in fig.data:
        trace.name = called(trace.name)
        for texts in ("text", "hovertext"):
            if trace.type != "heatmap" and (given := trace[texts]) is not None:
                trace[texts] = called(given) if isinstance(given, str) else [called(text) for text in given]
    for axis in [*fig.select_xaxes(), *fig.select_yaxes()]:
        if axis.ticktext is not None and (axis.plotly_name not in maps or segments):
            axis.ticktext = [called(text) for text in axis.ticktext]
        axis.title.text = called(axis.title.text)
    for note in fig.layout.annotations:
        note.text = called(note.text)
    for shape in fig.layout.shapes:
        if str(shape.name or "").startswith(SEGMENT):
            shape.name = f"{SEGMENT} {called(shape.name.removeprefix(SEGMENT).strip())}"
    meta = fig.layout.meta or {}
    if "places" in meta and segments:
        fig.layout.meta = meta | {"places": [called(place) for place in meta["places"]]}
    fig.layout.title.text = called(fig.layout.title.text)


def _turn(fig: go.Figure) -> None:
    """Places downwards, layers to the right; segments are parted by lines, and named where tokens are not."""
    if not any(trace.type == "heatmap" for trace in fig.data):
        raise SelfrepError("Only maps of layers by places can be turned (transpose=True); this figure is none.")
    for trace in fig.data:
        if trace.type == "heatmap":
            trace.z = np.asarray(trace.z, dtype=float).T
            trace.text = [list(column) for column in zip(*trace.text, strict=True)]
        else:
            trace.x, trace.y = trace.y, trace.x
    brackets = {shape.name for shape in fig.layout.shapes if str(shape.name or "").startswith(SEGMENT)}
    runs = list(dict.fromkeys((s.name, s.x0, s.x1) for s in fig.layout.shapes if s.name in brackets))
    segments = [(name.removeprefix(SEGMENT).strip(), first, last) for name, first, last in runs]
    fig.layout.shapes = [s for s in fig.layout.shapes if s.name not in brackets]
    fig.layout.annotations = [a for a in fig.layout.annotations if a.name != SEGMENT]
    pairs = [(_axis(fig, x), _axis(fig, y)) for x, y in {(t.xaxis or "x", t.yaxis or "y") for t in fig.data}]
    kept = ("tickvals", "ticktext", "range")
    hidden = any(x.showticklabels is False for x, _ in pairs)
    for x, y in pairs:
        places, layers = ({name: axis[name] for name in kept} for axis in (x, y))
        x.update(layers | {"tickangle": 0, "showticklabels": True, "ticks": "outside", "title_text": "layer"})
        if hidden and segments:
            middles = [(first + last) / 2 for _, first, last in segments]
            places |= {"tickvals": middles, "ticktext": [name for name, *_ in segments]}
        elif hidden:
            places |= {"tickvals": [], "ticktext": []}
        y.update(places | {"range": places["range"][::-1], "title_text": None})
    for _, first, _ in segments[1:]:
        fig.add_hline(first - 0.1, line={"width": 0.8, "color": SOFT}, row="all", col="all")
    meta = fig.layout.meta or {}
    n = len(meta.get("places", ()))
    fig.layout.meta = meta | {"transposed": True, "segments": segments} | ({"places": []} if hidden else {})
    top = fig.layout.margin.t or HEAD
    fig.update_layout(margin_l=112, margin_b=48, height=top + 48 + float(np.clip(12 * n, 160, 640)))


def _axis(fig: go.Figure, name: str) -> Any:
    return fig.layout[f"{name[0]}axis{name[1:]}"]
