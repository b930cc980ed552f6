"""Studies: run one, or see before whether and what it would run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from selfrep.cli.options import (
    STUDY,
    Attention,
    Device,
    DeviceMap,
    Dtype,
    Itself,
    Model,
    Outside,
    TemplateVar,
    asked,
)
from selfrep.cli.progress import progress, warn
from selfrep.harmless import for_terminal

if TYPE_CHECKING:
    from selfrep.store.run_directory import RunDirectory
    from selfrep.study.study import Study

DryRun = Annotated[bool, typer.Option("--dry-run", help="only say what would run: prompts, patched runs, time, memory")]
Fresh = Annotated[bool, typer.Option("--fresh", help="start over: remove what a former run left in the directory")]


def run(
    study: Annotated[str, typer.Argument(help=STUDY)],
    out: Annotated[
        Path | None, typer.Option(help="the run directory (default: out/<study>, or out/<study>-<model>)")
    ] = None,
    model: Model = None,
    dtype: Dtype = None,
    device_map: DeviceMap = None,
    attn: Attention = None,
    template_var: TemplateVar = None,
    identity: Itself = None,
    allow_outside: Outside = False,
    device: Device = "auto",
    fresh: Fresh = False,
    dry_run: DryRun = False,
) -> None:
    """Run a study, or go on with it where it stopped."""
    from selfrep.study.study import named

    described = named(study, allow_outside=allow_outside)
    place = out or _place_of(described.name, model)
    way = asked(model, dtype, device_map, attn, template_var, identity)
    if dry_run:
        _foretell(described, None if fresh else place, device, **way)
    else:
        _run(described, place, device, fresh, **way)


def check(
    study: Annotated[str, typer.Argument(help=STUDY)],
    model: Model = None,
    dtype: Dtype = None,
    device_map: DeviceMap = None,
    attn: Attention = None,
    template_var: TemplateVar = None,
    identity: Itself = None,
    allow_outside: Outside = False,
    device: Device = "auto",
) -> None:
    """See whether a study can run, as far as its file, the tokenizer and the configuration of the model tell."""
    from selfrep.study.preflight import preflight
    from selfrep.study.study import named

    way = asked(model, dtype, device_map, attn, template_var, identity)
    cleared = preflight(named(study, allow_outside=allow_outside), device=device, **way)
    for sentence in cleared.left_out:
        warn(sentence)
    unknown = "" if cleared.known else "; the model is not here yet, and will be looked at when it runs"
    what = "the rest" if cleared.left_out else "it"
    typer.echo(f"{cleared.study.name}: nothing speaks against {what}{unknown}.")


def demo(
    out: Annotated[Path | None, typer.Option(help="the run directory (default: out/demo, or out/demo-full)")] = None,
    full: Annotated[bool, typer.Option("--full", help="the wider study, self-vs-persona: much longer")] = False,
    device: Device = "auto",
    fresh: Fresh = False,
    dry_run: DryRun = False,
) -> None:
    """Run the built-in study on the embedded model: first findings in a minute, all of it in three, on two cores."""
    from selfrep.study.study import preset

    described = preset("self-vs-persona" if full else "demo")
    place = out or Path("out", "demo-full" if full else "demo")
    if dry_run:
        _foretell(described, None if fresh else place, device)
    else:
        _run(described, place, device, fresh)


def _foretell(study: Study, out: Path | None, device: str, **way: Any) -> None:
    """Say what a study would run."""
    from rich.console import Console

    from selfrep.report.terminal import steps_table
    from selfrep.study.forecast import forecast

    told = forecast(study, out, device=device, **way)
    for sentence in told.left_out.splitlines():
        warn(sentence)
    asked_of = f"{told.study.name}, asked of {told.study.model} in {told.study.dtype}"
    typer.echo(for_terminal(f"{asked_of}. Nothing was run.\n"))
    Console(highlight=False).print(steps_table([(one.name, one.prompts, one.cells) for one in told.stages]))
    typer.echo(for_terminal(f"\n{told.sentence}"))


def _place_of(study: str, model: str | None) -> Path:
    """The run directory of a study; another one for a model that the command line names."""
    return Path("out", study if model is None else f"{study}-" + re.sub(r"[^\w.-]+", "-", Path(model).name))


def _run(study: Study, out: Path, device: str, fresh: bool, **way: Any) -> None:
    from selfrep.study.forecast import forecast
    from selfrep.study.run import run as run_study

    planned = forecast(study, None if fresh else out, device=device, **way)
    work = planned.sentence if planned.stages else "Nothing is left to measure; figures and report are made anew."
    typer.echo(for_terminal(f"{planned.study.name}, asked of {planned.study.model} in {planned.study.dtype}. {work}"))
    with progress() as on_progress:
        done = run_study(
            study, out, device=device, fresh=fresh, on_progress=on_progress, on_opening=_opened, warn=warn, **way
        )
    _show(done.directory)


def _opened(directory: RunDirectory) -> None:
    """The first findings, while the study goes on."""
    from selfrep.report.opening import NAME, sentences

    typer.echo("\nFirst findings (the study goes on):\n")
    for sentence in sentences(directory):
        typer.echo(for_terminal(f"  * {sentence}\n"))
    typer.echo(f"  figure: {(directory.figures / NAME).with_suffix('.html').resolve()}\n")


def _show(directory: RunDirectory) -> None:
    from rich.console import Console
    from rich.padding import Padding

    from selfrep.harmless import escape
    from selfrep.report.sparklines import picture

    console = Console(highlight=False)
    for number, finding in enumerate(directory.findings(), start=1):
        value = finding.value_text + (f" ({finding.interval_text})" if finding.interval_text else f": {finding.reason}")
        console.print(f"\n[bold]{number}. {escape(finding.title)}[/]")
        console.print(Padding(f"[bold cyan]{escape(value)}[/]\n{escape(finding.control)}", (0, 0, 0, 3)))
    console.print()
    for part in picture(directory):
        console.print(part)
    console.print("\nreport:", str(directory.report.resolve()), soft_wrap=True)
