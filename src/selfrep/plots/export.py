"""Figures as files. A web page is plotly's; PDF, SVG, PNG and PGF are matplotlib's, and need no browser.

Who wants them to look as on the screen has a Chrome or Chromium draw them, via kaleido. It takes seconds to start and a
quarter of one to draw, and so it is kept until the program ends.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import shutil
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from selfrep.errors import SelfrepError
from selfrep.files import write_file
from selfrep.plots.theme import DPI, WIDTH

Draw = Callable[[go.Figure, dict[str, Any]], bytes]
"""From a figure and kaleido's options to the content of a file."""
FORMATS = ("html", "svg", "pdf", "png", "pgf")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge")
_HOW = (
    'to draw figures as on the screen (engine="browser"); engine="matplotlib" needs nothing. To get it: '
    "pip install 'selfrep[figures]', then on Debian "
    "`sudo apt-get install chromium`, elsewhere `kaleido_get_chrome`; or set BROWSER_PATH to a browser's program."
)
NO_BROWSER = f"A Chrome or Chromium is needed, and none was found, {_HOW}"
NO_KALEIDO = f"The package kaleido is needed, and is not installed, {_HOW}"
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data: blob:;"
"""Of a page: whatever a text in it might try, a browser asks nothing of the net."""
_INSIDE, _BESIDE = "script-src 'unsafe-inline'", "script-src 'unsafe-inline' 'self' file:"
SCRIPT = "plotly.min.js"
"""What plotly's pages call the script beside them."""
_PATIENCE = 120.0
"""Seconds that a browser may take to start, or to draw."""
_SHARP = 3
"""Pixels of a PNG for each pixel of the layout: 288 dots an inch."""


def browser() -> str | None:
    """Path of the Chrome or Chromium that would draw: $BROWSER_PATH, one on the PATH, or kaleido's own download."""
    if chosen := os.environ.get("BROWSER_PATH"):
        return shutil.which(chosen)
    if program := next(filter(None, map(shutil.which, BROWSERS)), None):
        return program
    try:
        from choreographer.browsers.chromium import Chromium
    except ImportError:
        return None
    return shutil.which(Chromium.find_browser(skip_local=False) or "")


def save(
    fig: Any,
    path: str | Path,
    width_in: float | None = None,
    height_in: float | None = None,
    *,
    script: Literal["inside", "beside"] = "inside",
    engine: str = "matplotlib",
) -> Path:
    """Write a figure as its suffix says: .html (self-contained, with zoom and hover), .pdf, .svg, .png or .pgf.

    Args:
        fig: plotly's figure, which is laid out anew for the width; or matplotlib's figure or axes, which stay as they
            are.
        width_in, height_in: the size on paper in inches; type keeps its size. None: a column of the venue that is drawn
            for (5.5 without one), and the height that the figure needs. A web page takes the width that it has.
        script: where a web page has what draws it, 5 MB: "inside", or "beside" it, once for all pages of a folder.
        engine: what draws for paper: "matplotlib"; or a "browser", with the look of the screen (not .pgf).

    Returns:
        The path.

    Raises:
        SelfrepError: another suffix or engine, a size that is not positive, one for a figure of matplotlib, a kind of
            trace that paper does not know, no kaleido or no browser that works (saying how to get one), or a place that
            cannot be written.

    Example:
        >>> import tempfile
        >>> fig = go.Figure(go.Scatter(x=[1, 2], y=[1, 2]))
        >>> save(fig, Path(tempfile.mkdtemp()) / "figure.pdf", width_in=3.25).read_bytes()[:4]
        b'%PDF'
    """
    path = Path(path)
    kind = path.suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise SelfrepError(f"A figure is saved as one of .{', .'.join(FORMATS)}; {path.name!r} ends otherwise.")
    if engine not in ("matplotlib", "browser"):
        raise SelfrepError(f'Figures are drawn for paper by "matplotlib" or a "browser"; got engine={engine!r}.')
    for size in (width_in, height_in):
        if size is not None and not size > 0:
            raise SelfrepError(f"A figure needs a positive width and height in inches; got {width_in} and {height_in}.")
    if not isinstance(fig, go.Figure):
        return write_file(path, _of_matplotlib(fig, kind, width_in, height_in))
    if kind == "html":
        return write_file(path, _page(fig, path, height_in, beside=script == "beside"))
    if engine == "matplotlib":
        from selfrep.plots.on_paper import files, on_page

        return write_file(path, files.content(on_page(fig, width_in, height_in)[0], kind))
    if kind == "pgf":
        raise SelfrepError('A browser draws SVG, PDF and PNG; save .pgf with engine="matplotlib".')
    width_in = WIDTH / DPI if width_in is None else width_in
    height_in = (fig.layout.height or 0.62 * width_in * DPI) / DPI if height_in is None else height_in
    pixels = {"width": width_in * DPI, "height": height_in * DPI}
    return write_file(path, _drawn(fig, {"format": kind, "scale": _SHARP if kind == "png" else 1, **pixels}))


def _page(fig: go.Figure, path: Path, height_in: float | None, *, beside: bool) -> str:
    """A web page, which asks nothing of the net."""
    page = go.Figure(fig)
    page.update_layout(height=page.layout.height or 0.62 * WIDTH if height_in is None else height_in * DPI)
    if beside and not (drawing := path.with_name(SCRIPT)).is_file():
        write_file(drawing, get_plotlyjs())
    include = "directory" if beside else True
    html: str = page.to_html(include_plotlyjs=include, include_mathjax=False, config={"responsive": True})
    policy = f'<meta http-equiv="Content-Security-Policy" content="{POLICY} {_BESIDE if beside else _INSIDE}">'
    return html.replace("<head>", f"<head>{policy}", 1)


def _of_matplotlib(fig: Any, kind: str, width_in: float | None, height_in: float | None) -> bytes:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from selfrep.plots.on_paper import files

    first = next(iter(np.ravel(np.asarray(fig, dtype=object))), None)
    figure = first.figure if isinstance(first, Axes) else first
    if not isinstance(figure, Figure):
        raise SelfrepError(
            f"A figure of plotly, or a figure or axes of matplotlib, is saved; got {type(fig).__name__}."
        )
    if kind == "html":
        raise SelfrepError("matplotlib draws for paper; save the figure that plotly draws as .html.")
    if width_in is not None or height_in is not None:
        raise SelfrepError("A figure of matplotlib has its size, which its texts fit: draw it with width=… inches.")
    return files.content(figure, kind)


def _drawn(fig: go.Figure, options: dict[str, Any]) -> bytes:
    """A figure by the browser at hand, or by a new one, where that has died or has lost its files: a forked child that
    ends removes those of its parent."""
    try:
        return _artist(os.getpid())(fig, options)
    except (RuntimeError, OSError):  # what kaleido's and the browser's errors are
        _artist.cache_clear()
        return _artist(os.getpid())(fig, options)


@lru_cache(maxsize=1)
def _artist(_process: int) -> Draw:
    """What draws with the browser at hand, which stays until the program ends. A forked child opens one of its own,
    since the thread that speaks with its parent's is not there."""
    path = browser()
    if path is None:
        raise SelfrepError(NO_BROWSER)
    open_browser = ExitStack()
    try:
        draw = open_browser.enter_context(_drawing(path))
    except ImportError as error:
        raise SelfrepError(NO_KALEIDO) from error
    except Exception as error:  # whatever stops a browser, the user needs another one
        raise SelfrepError(f"The browser {path} does not start ({error!r}). A working one is needed {_HOW}") from error
    atexit.register(open_browser.close)
    return draw


@contextmanager
def _drawing(path: str) -> Iterator[Draw]:
    """A browser that draws, in a thread with an event loop of its own: notebooks run one already."""
    from kaleido import Kaleido

    loop, process = asyncio.new_event_loop(), os.getpid()
    thread = threading.Thread(target=loop.run_forever, name="selfrep-figures", daemon=True)
    thread.start()

    def wait(work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(_PATIENCE)

    try:
        kaleido: Any = Kaleido(path=path, mathjax=False, timeout=_PATIENCE)
        wait(kaleido.open())
        try:
            yield lambda fig, options: wait(kaleido.calc_fig(fig, opts=options))
        finally:
            if os.getpid() == process:  # a forked child leaves its parent's browser alone
                wait(kaleido.close())
    finally:
        if os.getpid() == process:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()
