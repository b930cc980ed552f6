"""`selfrep battery`: the items that a model is asked, and which of them it can be read by."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from selfrep.cli.options import Attention, Device, DeviceMap, Dtype, Itself, Model, Outside, TemplateVar, asked
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

    from selfrep.harmless import escape
    from selfrep.prompts.battery import builtin, load

    console = Console(highlight=False)
    for item in builtin() if file is None else load(file):
        asks = escape(item.scale or item.perspective)
        console.print(f"[bold]{escape(item.name)}[/]  {escape(item.question)} → {escape(item.prefill)} …  ({asks})")
        for side, answers in item.answers.items():
            console.print(f"    {escape(side)}: {escape(', '.join(a.strip() for a in answers))}")


@app.command()
def check(
    file: Annotated[
        Path | None, typer.Argument(help="a battery file, or a study with its model (default: the built-in battery)")
    ] = None,
    personas: Annotated[Path | None, typer.Option(help="a personas file (default: one built-in one a family)")] = None,
    model: Model = None,
    dtype: Dtype = None,
    device_map: DeviceMap = None,
    attn: Attention = None,
    template_var: TemplateVar = None,
    identity: Itself = None,
    allow_outside: Outside = False,
    device: Device = "auto",
) -> None:
    """Ask a model every item, and say which of them discriminate on it."""
    from rich.console import Console

    from selfrep.prompts import battery as items
    from selfrep.prompts import personas as people
    from selfrep.prompts.choices import ItemChoice
    from selfrep.prompts.yaml_errors import top_fields
    from selfrep.report.terminal import check_table
    from selfrep.study.check import check_battery
    from selfrep.study.job import model_of
    from selfrep.study.preflight import preflight
    from selfrep.study.study import Study, load

    who = None if personas is None else people.load(personas)
    if file is not None and "items" not in top_fields(file):
        study = load(file, allow_outside=allow_outside)
        who = who or study.people
    else:
        chosen = items.builtin() if file is None else items.load(file)
        fields: dict[str, Any] = {"battery": ItemChoice(define=chosen.by_name())}
        study = Study(name="battery", **fields)
    way = asked(model, dtype, device_map, attn, template_var, identity)
    study = preflight(study, device=device, **way).asked
    lm = model_of(study, device)
    with progress() as on_progress:
        checked = check_battery(
            lm,
            study.items,
            who,
            identity=study.identity,
            progress=lambda done, n: on_progress("asking every item", done, n),
        )
    for part in check_table(checked):
        Console(highlight=False).print(part)
