"""The `selfrep` command. It computes nothing: it reads what is asked, calls the rooms that do it, and shows what they
say.

Everything heavy is imported inside the command that needs it, so that `selfrep --help` answers at once.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum, auto
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from selfrep.errors import SelfrepError

if TYPE_CHECKING:
    from selfrep.prompts.personas import Persona
    from selfrep.store.run_directory import RunDirectory
    from selfrep.study.run import OnProgress
    from selfrep.study.study import Study


class Template(StrEnum):
    """What `selfrep new` can write."""

    study = auto()
    personas = auto()
    items = auto()


class _Help(TyperGroup):
    """`selfrep --help` ends with what a study can ask, read off the list of analyses when help is shown."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        from selfrep.analyses import analyses

        lines = [f"{analysis.name}: {analysis.summary}" for analysis in analyses()]
        self.epilog = "\n\n".join(["What a study can ask, each under its name:", *lines])
        super().format_help(ctx, formatter)


app = typer.Typer(
    cls=_Help,
    help="Where, inside a language model, the representation of itself parts from that of the persona it plays.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

STUDY = "a study file (`selfrep new` writes one), or a built-in study: demo, self-vs-persona, identity, mimicry"
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps")]
Model = Annotated[
    str | None, typer.Option(help="embedded, a folder, a GGUF file, or a Hugging Face id, in place of the study's")
]
Dtype = Annotated[str | None, typer.Option(help="float32, bfloat16 or float16")]
DeviceMap = Annotated[str | None, typer.Option(help="spread a large model over devices: auto, balanced, …")]
Attention = Annotated[str | None, typer.Option("--attn", help="sdpa, eager, flash_attention_2, …")]
TemplateVar = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="what the chat template reads, e.g. enable_thinking=true; repeatable"),
]
Itself = Annotated[
    tuple[str, str] | None,
    typer.Option("--identity", metavar="NAME MAKER", help="what the model is tuned to call itself, and who made it"),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="only say what would run: prompts, cells, time, memory")]
Fresh = Annotated[bool, typer.Option("--fresh", help="start over: remove what a former run left in the directory")]


def main() -> None:
    """Run the command line: errors that a user can cause end with one message and exit code 2."""
    try:
        app()
    except SelfrepError as error:
        print(f"selfrep: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(2)


@app.command()
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
    device: Device = "auto",
    fresh: Fresh = False,
    dry_run: DryRun = False,
) -> None:
    """Run a study, or go on with it where it stopped."""
    described = _asked(study, model, dtype, device_map, attn, template_var, identity)
    place = out or _place_of(described.name, model)
    if dry_run:
        _foretell(described, None if fresh else place, device)
    else:
        _run(described, place, device, fresh)


@app.command()
def check(
    study: Annotated[str, typer.Argument(help=STUDY)],
    model: Model = None,
    dtype: Dtype = None,
    device_map: DeviceMap = None,
    attn: Attention = None,
    template_var: TemplateVar = None,
    identity: Itself = None,
) -> None:
    """See whether a study can run, as far as its file, the tokenizer and the configuration of the model tell."""
    from selfrep.models.outline import outline
    from selfrep.study.itself import asked_as_itself
    from selfrep.study.preflight import preflight

    described = _asked(study, model, dtype, device_map, attn, template_var, identity)
    known = outline(described.model, described.chat_template, described.template_vars)
    itself = asked_as_itself(described, known)
    preflight(itself.study, known)
    if itself.left_out:
        _warn(itself.sentence)
    unknown = "" if known else "; the model is not here yet, and will be looked at when it runs"
    typer.echo(f"{described.name}: nothing speaks against it{unknown}.")


@app.command()
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


@app.command()
def report(directory: Annotated[Path, typer.Argument(help="a run directory")]) -> None:
    """Write report.html of a run directory anew."""
    from selfrep.report.page import write_report
    from selfrep.store.run_directory import RunDirectory

    typer.echo(write_report(RunDirectory.open(directory)))


@app.command()
def figures(directory: Annotated[Path, typer.Argument(help="a run directory")]) -> None:
    """Draw the figures of a run directory anew: HTML, CSV, and SVG and PDF where a Chrome or Chromium is found."""
    from selfrep.report.figures import write_figures
    from selfrep.store.run_directory import RunDirectory

    for path in write_figures(RunDirectory.open(directory), _warn):
        typer.echo(path)


@app.command()
def models() -> None:
    """List the models that load without a network, and where they are."""
    from rich.console import Console
    from rich.table import Table

    from selfrep.models.cache import models_folder
    from selfrep.models.resolve import cached_models

    table = Table("name", "size", "weights (sha256)", "where", title=None, box=None, pad_edge=False)
    for model in cached_models():
        table.add_row(model.name, f"{model.bytes / 1e6:,.0f} MB", model.weights_hash[:12], str(model.path))
    if table.row_count:
        Console().print(table)
    else:
        typer.echo(f"No model is cached yet in {models_folder()}. `selfrep demo` fetches the embedded one.")


@app.command()
def personas(
    file: Annotated[Path | None, typer.Argument(help="a personas file (default: the built-in ones)")] = None,
) -> None:
    """List personas with their paraphrases; with a file, check it."""
    from rich.console import Console
    from rich.markup import escape

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


batteries = typer.Typer(
    help="List items with their answer sets, or check which of them a model can be read by.",
    invoke_without_command=True,
)
app.add_typer(batteries, name="battery")


@batteries.callback()
def battery(context: typer.Context) -> None:
    """List the built-in items, or see the commands."""
    if context.invoked_subcommand is None:
        battery_list()


@batteries.command("list")
def battery_list(
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


@batteries.command("check")
def battery_check(
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
    with _progress() as progress:
        checked = check_battery(lm, asked, who, progress=lambda done, n: progress("asking every item", done, n))
    for part in check_table(checked):
        Console(highlight=False).print(part)


@app.command()
def validate(
    out: Annotated[Path, typer.Option(help="where the page, the table and its numbers go")] = Path("out/validation"),
    quick: Annotated[bool, typer.Option("--quick", help="a part of the organisms: about a minute")] = False,
    seed: Annotated[int, typer.Option(min=0, help="the first seed of the organisms")] = 0,
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
    with _progress() as progress:
        card = mark(quick=quick, seed=seed, tracr=tracr or (), interpbench=interpbench or (), on_progress=progress)
    for part in terminal(card):
        Console(highlight=False).print(part)
    typer.echo(f"page: {write(card, out).resolve()}")
    raise typer.Exit(0 if card.passed else 1)


@app.command()
def new(
    path: Annotated[Path | None, typer.Argument(help="the file to write (default: study.yaml, and so on)")] = None,
    what: Annotated[Template, typer.Option(help="study, personas or items")] = Template.study,
) -> None:
    """Write a commented file to start from: a study, personas, or items."""
    from importlib.resources import files

    path = path or Path(f"{what}.yaml")
    text = files("selfrep.study").joinpath(f"new_{what}.yaml").read_text(encoding="utf-8")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise SelfrepError(f"{path} is there already and is left as it is. Choose another name.") from None
    except OSError as error:
        raise SelfrepError(f"Cannot write {path}: {error.strerror}. Choose another place.") from None
    uses = {
        "study": f"run `selfrep run {path}`",
        "personas": f"name it in a study: `personas: {{file: {path}}}`",
        "items": f"name it in a study: `battery: {{file: {path}}}`",
    }
    typer.echo(f"{path}: edit it, then {uses[what]}.")


def _asked(
    study: str,
    model: str | None,
    dtype: str | None,
    device_map: str | None,
    attn: str | None,
    template_var: list[str] | None,
    identity: tuple[str, str] | None,
) -> Study:
    """The study of that name, asked of the model that the command line gives."""
    from selfrep.study.overrides import asked_of, variables
    from selfrep.study.study import named

    return asked_of(
        named(study),
        model=model,
        dtype=dtype,
        device_map=device_map,
        attn=attn,
        template_vars=variables(template_var or ()),
        identity=None if identity is None else dict(zip(("name", "maker"), identity, strict=True)),
    )


def _foretell(study: Study, out: Path | None, device: str) -> None:
    """Say what a study would run."""
    from rich.console import Console

    from selfrep.report.terminal import steps_table
    from selfrep.study.forecast import forecast

    told = forecast(study, out, device=device)
    if told.left_out:
        _warn(told.left_out)
    typer.echo(f"{told.study.name}, asked of {told.study.model} in {told.study.dtype}. Nothing was run.\n")
    Console(highlight=False).print(steps_table([(one.name, one.prompts, one.cells) for one in told.stages]))
    typer.echo(f"\n{told.sentence}")


def _place_of(study: str, model: str | None) -> Path:
    """The run directory of a study; another one for a model that the command line names."""
    return Path("out", study if model is None else f"{study}-" + re.sub(r"[^\w.-]+", "-", Path(model).name))


def _run(study: Study, out: Path, device: str, fresh: bool) -> None:
    from selfrep.study.run import run as run_study

    try:
        with _progress() as progress:
            done = run_study(
                study, out, device=device, fresh=fresh, on_progress=progress, on_opening=_opened, warn=_warn
            )
    except KeyboardInterrupt:  # here, since typer itself ends with 130 without a word
        print("\nselfrep: stopped; run the same command again to go on from here.", file=sys.stderr)  # noqa: T201
        raise typer.Exit(130) from None
    _show(done.directory)


def _opened(directory: RunDirectory) -> None:
    """The first findings, while the study goes on."""
    from selfrep.report.opening import NAME, sentences

    typer.echo("\nFirst findings (the study goes on):\n")
    for sentence in sentences(directory):
        typer.echo(f"  * {sentence}\n")
    typer.echo(f"  figure: {(directory.figures / NAME).with_suffix('.html').resolve()}\n")


def _show(directory: RunDirectory) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.padding import Padding

    console = Console(highlight=False)
    for number, finding in enumerate(directory.findings(), start=1):
        value = finding.value_text + (f" ({finding.interval_text})" if finding.interval_text else f": {finding.reason}")
        console.print(f"\n[bold]{number}. {escape(finding.title)}[/]")
        console.print(Padding(f"[bold cyan]{escape(value)}[/]\n{escape(finding.control)}", (0, 0, 0, 3)))
    console.print("\nreport:", str(directory.report.resolve()), soft_wrap=True)


def _warn(message: str) -> None:
    print(f"selfrep: {message}", file=sys.stderr)  # noqa: T201


@contextmanager
def _progress() -> Iterator[OnProgress]:
    """One bar for the whole study, naming the stage, with an estimate of what is left; in a log, a line a stage."""
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TextColumn("left:"),
        TimeRemainingColumn(),
    )  # fmt: skip
    console = _stderr()
    if not console.is_terminal:
        yield _line_by_line()
        return
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("starting", total=None)

        def update(stage: str, done: float, total: float) -> None:
            bar.update(task, description=stage, completed=done, total=total)

        yield update


def _line_by_line() -> OnProgress:
    """What a batch script's log shall hold: when each stage began, and how much was done by then."""
    started, said = time.monotonic(), [""]

    def update(stage: str, done: float, total: float) -> None:
        if stage != said[0]:
            said[0] = stage
            minutes, seconds = divmod(round(time.monotonic() - started), 60)
            share = done / total if total else 1.0
            print(f"{minutes:3d}:{seconds:02d} {share:4.0%} {stage}", file=sys.stderr, flush=True)  # noqa: T201

    return update


def _stderr():  # type: ignore[no-untyped-def]
    from rich.console import Console

    return Console(stderr=True)
