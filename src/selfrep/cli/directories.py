"""What is made anew of a run directory: its report, and its figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from selfrep.cli.progress import warn

Directory = Annotated[Path, typer.Argument(help="a run directory")]


def report(directory: Directory) -> None:
    """Write report.html of a run directory anew."""
    from selfrep.report.page import write_report
    from selfrep.store.run_directory import RunDirectory

    typer.echo(write_report(RunDirectory.open(directory)))


def figures(directory: Directory) -> None:
    """Draw the figures of a run directory anew: HTML, CSV, and SVG and PDF where a Chrome or Chromium is found."""
    from selfrep.report.figures import write_figures
    from selfrep.store.run_directory import RunDirectory

    for path in write_figures(RunDirectory.open(directory), warn):
        typer.echo(path)
