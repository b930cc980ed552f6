"""The page to explore in a notebook: the same as in `report.html`, in a frame of its own, without the network."""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path

from plotly.offline import get_plotlyjs

from selfrep.errors import SelfrepError
from selfrep.report.explore.data import explored
from selfrep.report.templating import environment, inert
from selfrep.store.run import Run, open_run

HEIGHTS = (200, 4000)


@dataclass(frozen=True, repr=False)
class Explorer:
    """A page to explore a run, which notebooks show.

    Attributes:
        title: of the study; page: the page, a whole HTML document; height: of its frame, in pixels.
    """

    title: str
    page: str
    height: int

    def __repr__(self) -> str:
        return f"Explorer(title={self.title!r}, height={self.height}, page of {len(self.page)} characters)"

    def _repr_html_(self) -> str:
        """The page in a frame that may run its own scripts and nothing else."""
        return (
            f'<iframe title="{html.escape(self.title)}" width="100%" height="{self.height}" '
            f'sandbox="allow-scripts allow-downloads allow-modals" style="border:0" srcdoc="{html.escape(self.page)}">'
            "</iframe>"
        )


def explore(run: Run | str | Path, *, height: int = 900) -> Explorer:
    """Explore the numbers of a run in a notebook: pick persona, item, site and direction, and click a cell.

    The same page stands in the run's `report.html`. It needs no network; with plotly's library in it, it is 5 MB large.

    Args:
        run: from `selfrep.open_run` or `selfrep.run_study`, or the path of the folder.
        height: of the frame, in pixels.

    Returns:
        An object that Jupyter shows; its `page` is the HTML document.

    Raises:
        SelfrepError: no run, or a height out of range.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import xarray as xr
        >>> from selfrep.store.run_directory import RunDirectory
        >>> directory = RunDirectory(Path(tempfile.mkdtemp()))
        >>> directory.create_or_resume("name: mine", "0" * 64)
        False
        >>> explore(directory.path).title
        'mine'
    """
    if not isinstance(height, int) or not HEIGHTS[0] <= height <= HEIGHTS[1]:
        raise SelfrepError(f"The height of the page is {HEIGHTS[0]} to {HEIGHTS[1]} pixels; got {height!r}.")
    opened = run if isinstance(run, Run) else open_run(run)
    title = str(opened.study.get("name") or opened.path.name)
    data = explored(opened.directory, str(opened.path))
    page = environment("selfrep.report.explore", "selfrep.report").get_template("page.html")
    plotlyjs = get_plotlyjs() if data["atlases"] else ""
    return Explorer(title, page.render(title=title, explorer=data, data=inert(data), plotlyjs=plotlyjs), height)
