"""What is done with run directories: a report opened, or made anew with its figures, and two runs compared."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from selfrep.cli.progress import warn

Directory = Annotated[Path, typer.Argument(help="a run directory")]


def open_report(directory: Directory) -> None:
    """Open report.html of a run directory in a browser, or say where it is."""
    import webbrowser

    from selfrep.errors import SelfrepError
    from selfrep.harmless import for_terminal
    from selfrep.store.run_directory import RunDirectory

    run = RunDirectory.open(directory)
    if not run.report.is_file():
        raise SelfrepError(f"{directory} has no report yet. Let its run end, or write it: selfrep report {directory}.")
    typer.echo(for_terminal(run.report.resolve()))
    if _has_display():
        webbrowser.open(run.report.resolve().as_uri())


def _has_display() -> bool:
    """Whether a window can be opened: without a display, a browser of the terminal would take the terminal over."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="a run directory")],
    second: Annotated[Path, typer.Argument(metavar="B", help="another one")],
    csv: Annotated[Path | None, typer.Option(help="also write the table to this file")] = None,
) -> None:
    """Set the findings of two runs side by side, and say which of them differ."""
    from rich.console import Console

    from selfrep.files import write_file
    from selfrep.harmless import for_cell, for_terminal
    from selfrep.report.compare import compare as compared
    from selfrep.report.terminal import comparison

    table = compared(first, second)
    for part in comparison(table):
        Console(highlight=False).print(part)
    if csv is not None:
        write_file(csv, table.map(for_cell).to_csv(index=False, lineterminator="\n"))
        typer.echo(f"\ntable: {for_terminal(csv.resolve())}")


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
