"""What there is: models that load without a network, and personas."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from selfrep.prompts.persona import Persona


def models() -> None:
    """List the models that load without a network, and where they are."""
    from selfrep.harmless import for_terminal
    from selfrep.models.cache import models_folder
    from selfrep.models.resolve import cached_models

    models = cached_models()
    for model in models:
        size = f"{model.bytes / 1e6:,.0f} MB"
        typer.echo(f"{for_terminal(model.name)}  {size}  sha256 {model.weights_hash[:12]}")
        typer.echo(f"    {for_terminal(model.path)}")
    if not models:
        typer.echo(f"No model is cached yet in {models_folder()}. `selfrep demo` fetches the embedded one.")


def personas(
    file: Annotated[Path | None, typer.Argument(help="a personas file (default: the built-in ones)")] = None,
) -> None:
    """List personas with their paraphrases; with a file, check it."""
    from rich.console import Console

    from selfrep.harmless import escape
    from selfrep.prompts.personas import builtin, load

    console = Console(highlight=False)
    for persona in builtin() if file is None else load(file):
        console.print(f"[bold]{escape(persona.name)}[/]  {escape(persona.label)} · {escape(_place(persona))}")
        for text in persona.systems("you"):
            console.print(f"    {escape(text)}")


def _place(persona: Persona) -> str:
    """Where a persona stands: on which side, or as which reading of the self; with its family."""
    where = f"{persona.side_label} side" if persona.side else f"the {persona.reading} self" if persona.reading else ""
    family = f"family {persona.family}" if persona.family != persona.name else ""
    return " · ".join(filter(None, (persona.kind_label, where, family)))
