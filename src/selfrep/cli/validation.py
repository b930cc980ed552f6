"""The estimands, marked against models whose truth is known."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from selfrep.cli.progress import progress


def validate(
    out: Annotated[Path, typer.Option(help="where the page, the table and its numbers go")] = Path("out/validation"),
    quick: Annotated[bool, typer.Option("--quick", help="a part of the planted models: about a minute")] = False,
    seed: Annotated[int, typer.Option(min=0, help="the first seed of the planted models")] = 0,
    tracr: Annotated[
        list[Path] | None, typer.Option(help="also a model compiled by Tracr, from a folder; may be repeated")
    ] = None,
    interpbench: Annotated[
        list[Path] | None, typer.Option(help="also a model of InterpBench, from a folder; may be repeated")
    ] = None,
) -> None:
    """Mark every estimand against models whose truth is known; exit code 1 when a threshold is missed.

    What folders of models from elsewhere hold is said in docs/validation.md.
    """
    from rich.console import Console

    from selfrep.files import reserve
    from selfrep.validation.page import write
    from selfrep.validation.tables import terminal
    from selfrep.validation.validate import validate as mark

    reserve(out)
    with progress() as on_progress:
        card = mark(quick=quick, seed=seed, tracr=tracr or (), interpbench=interpbench or (), on_progress=on_progress)
    for part in terminal(card):
        Console(highlight=False).print(part)
    typer.echo(f"page: {write(card, out).resolve()}")
    raise typer.Exit(0 if card.passed else 1)
