"""Figures on paper and on the web: HTML needs nothing; SVG, PDF and PNG are drawn by a Chrome or Chromium through kaleido.

Starting a browser takes seconds and drawing a figure a quarter of one, so one browser is started at the first figure and kept
until the program ends.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import shutil
import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from selfrep.errors import SelfrepError
from selfrep.results.files import write_file
from selfrep.results.plots.theme import DPI

FORMATS = ("html", "svg", "pdf", "png")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge")
_PATIENCE = 120  # seconds for a browser to start or draw


def browser() -> str | None:
    """Path of the Chrome or Chromium that would draw: $BROWSER_PATH, else one on the PATH, else kaleido's own download."""
    if chosen := os.environ.get("BROWSER_PATH"):
        return shutil.which(chosen)
    for name in NAMES:
        if path := shutil.which(name):
            return path
    try:
        from choreographer.browsers.chromium import Chromium
    except ImportError:
        return None
    found = Chromium.find_browser(skip_local=False)
    return str(found) if found and os.access(found, os.X_OK) else None


def save(fig: go.Figure, path: str | Path, width_in: float = 5.5, height_in: float | None = None) -> Path:
    """Write a figure as the suffix says: .html (self-contained, zoomable), .svg, .pdf, .png (3 pixels a point, for slides).

    Args:
        width_in, height_in: size on paper in inches; the height is the figure's own unless given. Type keeps its size.

    Returns:
        The path.

    Raises:
        SelfrepError: an unknown suffix, a size that is not positive, no kaleido or no browser (saying how to get them), or a
            place that cannot be written.
    """
    path = Path(path)
    kind = path.suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise SelfrepError(f"A figure is saved as {', '.join('.' + f for f in FORMATS)}; {path.name!r} ends otherwise.")
    if not width_in > 0 or (height_in is not None and not height_in > 0):
        raise SelfrepError(f"A figure needs a positive width and height in inches; got {width_in} and {height_in}.")
    height = height_in * DPI if height_in is not None else fig.layout.height or 0.62 * width_in * DPI
    if kind == "html":
        sized = go.Figure(fig).update_layout(height=height, width=None)
        return write_file(
            path, sized.to_html(include_plotlyjs=True, include_mathjax=False, config={"responsive": True})
        )
    options = {"format": kind, "width": width_in * DPI, "height": height, "scale": 3 if kind == "png" else 1}
    return write_file(path, _renderer().draw(fig, options))


class _Renderer:
    """One browser, in a thread with its own event loop, so that it works inside notebooks, which run one already."""

    def __init__(self, path: str) -> None:
        from kaleido import Kaleido

        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="selfrep-figures", daemon=True).start()
        self._kaleido: Any = Kaleido(path=path, mathjax=False)
        self._do(self._kaleido.open())

    def draw(self, fig: go.Figure, options: dict[str, Any]) -> bytes:
        return self._do(self._kaleido.calc_fig(fig, opts=options))

    def close(self) -> None:
        self._do(self._kaleido.close())
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_PATIENCE)


@lru_cache(maxsize=1)
def _renderer() -> _Renderer:
    path = browser()
    if path is None:
        raise SelfrepError(NO_BROWSER)
    try:
        renderer = _Renderer(path)
    except ImportError as error:
        raise SelfrepError(NO_KALEIDO) from error
    atexit.register(renderer.close)
    return renderer


_HOW = (
    " to save figures as SVG, PDF or PNG; HTML needs nothing. To get it: pip install 'selfrep[figures]', then on Debian "
    "`sudo apt-get install chromium`, elsewhere `kaleido_get_chrome`; or set BROWSER_PATH to a browser's program."
)
NO_BROWSER = "A Chrome or Chromium is needed, and none was found," + _HOW
NO_KALEIDO = "The package kaleido is needed, and is not installed," + _HOW
