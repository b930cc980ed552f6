"""Studies: run one, or see before whether and what it would run."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
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
    spelled_out,
    without,
)
from selfrep.cli.progress import progress, warn
from selfrep.errors import SelfrepError
from selfrep.harmless import for_terminal

if TYPE_CHECKING:
    from selfrep.store.run_directory import RunDirectory
    from selfrep.store.shard import Shard
    from selfrep.study.study import Study

DryRun = Annotated[bool, typer.Option("--dry-run", help="only say what would run: prompts, patched runs, time, memory")]
Prepare = Annotated[
    bool, typer.Option("--prepare", help="only see that it can run, and make the directory: no weights are loaded")
]
Share = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="do share I of N, counted from 0, beside others; alone, that of the task of a Slurm array",
    ),
]
Gpus = Annotated[
    str | None, typer.Option(metavar="all|N", help="a worker on each GPU of this machine, or on so many; then the rest")
]
TimeLimit = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="stop between two blocks after 90s, 15m or 2h, with exit code 75"),
]
Log = Annotated[Path | None, typer.Option(metavar="FILE", help="write what is done to this file, with time stamps")]
Verbose = Annotated[bool, typer.Option("--verbose", help="say what is done with time stamps, in place of a bar")]
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
    prepare: Prepare = False,
    shard: Share = None,
    gpus: Gpus = None,
    time_limit: TimeLimit = None,
    log: Log = None,
    verbose: Verbose = False,
) -> None:
    """Run a study, or go on with it where it stopped."""
    from selfrep.cli.log import logged
    from selfrep.store.shard import Shard
    from selfrep.study.pause import seconds_of
    from selfrep.study.study import named

    described = named(study, allow_outside=allow_outside)
    place = out or _place_of(described.name, model)
    way = asked(model, dtype, device_map, attn, template_var, identity)
    share = None if shard is None else Shard.parse(shard)
    limit = None if time_limit is None else seconds_of(time_limit)
    if share is not None and (fresh or prepare or gpus):
        raise SelfrepError(
            "A shard is a part of a run that goes on: --fresh, --prepare, --gpus are for the whole of it."
        )
    with logged(log, verbose=verbose):
        if dry_run:
            _foretell(described, None if fresh else place, device, **way)
        elif prepare:
            _prepare(described, place, device, fresh, **way)
        elif share is not None:
            _share(described, place, device, share, limit, **way)
        else:
            if gpus is not None:
                _side_by_side(described, place, device, fresh, gpus, **way)
                fresh = False
            _run(described, place, device, fresh, limit, **way)


def sweep(
    studies: Annotated[list[str], typer.Argument(help="study files or built-in studies, several")],
    models: Annotated[
        list[str] | None, typer.Option("--models", help="of which models all are asked; repeatable")
    ] = None,
    out: Annotated[
        Path, typer.Option(help="a folder: a run directory for each study and model, and index.html")
    ] = Path("out/sweep"),
    address: Annotated[
        str | None, typer.Option(help="of a Ray cluster that runs, or auto; default: this machine")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="models in memory at once (default: one a GPU, or one)")] = None,
    dtype: Dtype = None,
    device_map: DeviceMap = None,
    attn: Attention = None,
    template_var: TemplateVar = None,
    identity: Itself = None,
    allow_outside: Outside = False,
    device: Device = "auto",
) -> None:
    """Ask several studies of several models, on all devices at once, and compare what they found on one page."""
    from selfrep.study.study import named
    from selfrep.study.sweep import sweep as ask_all

    given = asked(None, dtype, device_map, attn, template_var, identity)
    way = {name: value for name, value in given.items() if value}
    described = [named(study, allow_outside=allow_outside) for study in studies]
    tell = lambda line: typer.echo(for_terminal(line))  # noqa: E731
    ask_all(described, models or (), out, address=address, workers=workers, device=device, tell=tell, **way)
    typer.echo(for_terminal(f"\nside by side: {(out / 'index.html').resolve()}"))


def slurm(
    context: typer.Context,
    study: Annotated[str, typer.Argument(help=STUDY)],
    shards: Annotated[int, typer.Option(help="tasks of the array that fill the run directory")],
    gpus: Annotated[int, typer.Option(help="GPUs of each task")] = 1,
    options: Annotated[str, typer.Option("--sbatch", help="more for sbatch, e.g. '--time=4:00:00'")] = "",
) -> None:
    """Print the script that submits a study to Slurm; options of `selfrep run` are passed on to it."""
    from selfrep.study.slurm import script
    from selfrep.study.study import named

    arguments = [study, *context.args]
    named(study, allow_outside="--allow-outside" in arguments)
    typer.main.get_command(_alone(run)).make_context("selfrep run", list(arguments))  # refuses what `run` would
    typer.echo(script(["selfrep", "run", *arguments], shards=shards, gpus=gpus, options=options), nl=False)


def _alone(command: Callable[..., None]) -> typer.Typer:
    app = typer.Typer(add_completion=False)
    app.command()(command)
    return app


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


def _prepare(study: Study, out: Path, device: str, fresh: bool, **way: Any) -> None:
    from selfrep.study.run import prepare

    prepare(study, out, device=device, fresh=fresh, warn=warn, **way)
    typer.echo(
        for_terminal(
            f"{out} is ready. Workers fill it, side by side: the same command with --shard 0/4, 1/4, 2/4, 3/4 (or any "
            "other number). Then the same command without does what is left, estimates, and writes the report."
        )
    )


def _side_by_side(study: Study, out: Path, device: str, fresh: bool, gpus: str, **way: Any) -> None:
    """All that several processes can do, each on a GPU of its own."""
    from selfrep.study.run import prepare
    from selfrep.study.workers import gpus as named_gpus
    from selfrep.study.workers import work_side_by_side

    devices = named_gpus(gpus)
    prepare(study, out, device=device, fresh=fresh, warn=warn, **way)
    arguments = [word for word in without(spelled_out(sys.argv[1:]), "--gpus") if word != "--fresh"]
    work_side_by_side(arguments, devices, lambda line: typer.echo(for_terminal(line)))


def _share(study: Study, out: Path, device: str, share: Shard, limit: float | None, **way: Any) -> None:
    """One share of what several processes do side by side."""
    from selfrep.study.run import run as run_study

    with progress() as on_progress:
        run_study(study, out, device=device, shard=share, time_limit=limit, on_progress=on_progress, warn=warn, **way)
    typer.echo(
        for_terminal(
            f"Shard {share} of {study.name} is done. Once all are, the same command without --shard estimates, and "
            "writes the report."
        )
    )


def _run(study: Study, out: Path, device: str, fresh: bool, limit: float | None = None, **way: Any) -> None:
    from selfrep.study.forecast import forecast
    from selfrep.study.run import run as run_study

    planned = forecast(study, None if fresh else out, device=device, **way)
    work = planned.sentence if planned.stages else "Nothing is left to measure; figures and report are made anew."
    typer.echo(for_terminal(f"{planned.study.name}, asked of {planned.study.model} in {planned.study.dtype}. {work}"))
    with progress() as on_progress:
        done = run_study(
            study,
            out,
            device=device,
            fresh=fresh,
            time_limit=limit,
            on_progress=on_progress,
            on_opening=_opened,
            warn=warn,
            **way,
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
