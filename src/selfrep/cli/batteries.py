"""`selfrep battery`: the items that a model is asked, and which of them it can be read by."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from selfrep.cli.options import Device
from selfrep.cli.progress import progress

app = typer.Typer(
    help="List items with their answer sets, or check which of them a model can be read by.",
    invoke_without_command=True,
)


@app.callback()
def battery(context: typer.Context) -> None:
    """List the built-in items, or see the commands."""
    if context.invoked_subcommand is None:
        list_items()


@app.command("list")
def list_items(
    file: Annotated[Path | None, typer.Argument(help="a battery file (default: the built-in one)")] = None,
) -> None:
    """List items with their answer sets; with a file, see that it is well formed."""
    from rich.console import Console
    from rich.markup import escape

    from selfrep.prompts.battery import builtin, load

    console = Console(highlight=False)
    for item in builtin() if file is None else load(file):
        asks = item.scale or item.perspective
        console.print(f"[bold]{escape(item.name)}[/]  {escape(item.question)} → {escape(item.prefill)} …  ({asks})")
        for side, answers in item.answers.items():
            console.print(f"    {escape(side)}: {escape(', '.join(a.strip() for a in answers))}")


@app.command()
def check(
    file: Annotated[
        Path | None, typer.Argument(help="a battery file, or a study with its model (default: the built-in battery)")
    ] = None,
    model: Annotated[str, typer.Option(help="embedded, a folder, a GGUF file, or a Hugging Face id")] = "embedded",
    personas: Annotated[Path | None, typer.Option(help="a personas file (default: eight built-in ones)")] = None,
    device: Device = "auto",
) -> None:
    """Ask a model every item, and say which of them discriminate on it."""
    from rich.console import Console

    from selfrep.models.loading import load_model
    from selfrep.prompts import battery as items
    from selfrep.prompts import personas as people
    from selfrep.prompts.yaml_errors import top_fields
    from selfrep.report.terminal import check_table
    from selfrep.study.check import check_battery
    from selfrep.study.study import load

    dtype, template, who = "float32", None, None if personas is None else people.load(personas)
    if file is not None and "items" not in top_fields(file):
        study = load(file)
        asked, who, model = study.items, who or study.people, study.model
        dtype, template = study.dtype, study.chat_template
    else:
        asked = items.builtin() if file is None else items.load(file)
    lm = load_model(model, device=device, dtype=dtype, chat_template=template)
    with progress() as on_progress:
        checked = check_battery(lm, asked, who, progress=lambda done, n: on_progress("asking every item", done, n))
    for part in check_table(checked):
        Console(highlight=False).print(part)
