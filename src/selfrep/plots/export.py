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
from collections.abc import Coroutine
from functools import lru_cache
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from selfrep.errors import SelfrepError
from selfrep.files import write_file
from selfrep.plots.theme import DPI

FORMATS = ("html", "svg", "pdf", "png")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge")
_HOW = (
    "to save figures as SVG, PDF or PNG; HTML needs nothing. To get it: pip install 'selfrep[figures]', then on Debian "
    "`sudo apt-get install chromium`, elsewhere `kaleido_get_chrome`; or set BROWSER_PATH to a browser's program."
)
NO_BROWSER = f"A Chrome or Chromium is needed, and none was found, {_HOW}"
NO_KALEIDO = f"The package kaleido is needed, and is not installed, {_HOW}"
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


def save(fig: go.Figure, path: str | Path, width_in: float = 5.5, height_in: float | None = None) -> Path:
    """Write a figure as its suffix says: .html (self-contained, with zoom and hover), .svg, .pdf or .png.

    Args:
        width_in, height_in: the size on paper in inches; type keeps its size. The height is the figure's own unless
            given. A web page takes the width that it has.

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
        content: str | bytes = page.to_html(include_plotlyjs=True, include_mathjax=False, config={"responsive": True})
    else:
        size = {"width": width_in * DPI, "height": height_in * DPI}
        content = _artist().draw(fig, {"format": kind, "scale": _SHARP if kind == "png" else 1, **size})
    return write_file(path, content)


class _Artist:
    """A browser that draws, in a thread with an event loop of its own: notebooks run one already."""

    def __init__(self, path: str) -> None:
        from kaleido import Kaleido

        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="selfrep-figures", daemon=True)
        self._thread.start()
        try:
            self._kaleido: Any = Kaleido(path=path, mathjax=False, timeout=_PATIENCE)
            self._wait(self._kaleido.open())
        except BaseException:
            self._stop()
            raise

    def draw(self, fig: go.Figure, options: dict[str, Any]) -> bytes:
        """The file's content."""
        return self._wait(self._kaleido.calc_fig(fig, opts=options))

    def close(self) -> None:
        """Let the browser go."""
        try:
            self._wait(self._kaleido.close())
        finally:
            self._stop()

    def _wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_PATIENCE)

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@lru_cache(maxsize=1)
def _artist() -> _Artist:
    path = browser()
    if path is None:
        raise SelfrepError(NO_BROWSER)
    try:
        artist = _Artist(path)
    except ImportError as error:
        raise SelfrepError(NO_KALEIDO) from error
    except Exception as error:  # whatever stops a browser, the user needs another one
        raise SelfrepError(f"The browser {path} does not start ({error!r}). A working one is needed {_HOW}") from error
    atexit.register(artist.close)
    return artist
