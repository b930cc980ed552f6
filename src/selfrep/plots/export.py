"""Figures on paper and on the web: HTML needs nothing; SVG, PDF and PNG are drawn by a Chrome or Chromium via kaleido.

Starting a browser takes seconds, drawing a figure a quarter of one. So a browser is started at the first figure and
kept until the program ends.
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

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from selfrep.errors import SelfrepError
from selfrep.files import write_file
from selfrep.plots.theme import DPI

Draw = Callable[[go.Figure, dict[str, Any]], bytes]
"""From a figure and kaleido's options to the content of a file."""
FORMATS = ("html", "svg", "pdf", "png")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge")
_HOW = (
    "to save figures as SVG, PDF or PNG; HTML needs nothing. To get it: pip install 'selfrep[figures]', then on Debian "
    "`sudo apt-get install chromium`, elsewhere `kaleido_get_chrome`; or set BROWSER_PATH to a browser's program."
)
NO_BROWSER = f"A Chrome or Chromium is needed, and none was found, {_HOW}"
NO_KALEIDO = f"The package kaleido is needed, and is not installed, {_HOW}"
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
    fig: go.Figure,
    path: str | Path,
    width_in: float = 5.5,
    height_in: float | None = None,
    *,
    script: Literal["inside", "beside"] = "inside",
) -> Path:
    """Write a figure as its suffix says: .html (self-contained, with zoom and hover), .svg, .pdf or .png.

    Args:
        width_in, height_in: the size on paper in inches; type keeps its size. The height is the figure's own unless
            given. A web page takes the width that it has.
        script: where a web page has what draws it, 5 MB: "inside", or "beside" it, once for all pages of a folder.

    Returns:
        The path.

    Raises:
        SelfrepError: another suffix, a size that is not positive, no kaleido or no browser that works (saying how to
            get one), or a place that cannot be written.
    """
    path = Path(path)
    kind = path.suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise SelfrepError(f"A figure is saved as one of .{', .'.join(FORMATS)}; {path.name!r} ends otherwise.")
    height_in = (fig.layout.height or 0.62 * width_in * DPI) / DPI if height_in is None else height_in
    if not (width_in > 0 and height_in > 0):
        raise SelfrepError(f"A figure needs a positive width and height in inches; got {width_in} and {height_in}.")
    if kind == "html":
        page = go.Figure(fig).update_layout(height=height_in * DPI)
        beside = script == "beside"
        if beside and not (drawing := path.with_name(SCRIPT)).is_file():
            write_file(drawing, get_plotlyjs())
        content: str | bytes = page.to_html(
            include_plotlyjs="directory" if beside else True, include_mathjax=False, config={"responsive": True}
        )
    else:
        size = {"width": width_in * DPI, "height": height_in * DPI}
        content = _drawn(fig, {"format": kind, "scale": _SHARP if kind == "png" else 1, **size})
    return write_file(path, content)


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
