"""The `selfrep` command. It computes nothing: it reads what is asked, calls the rooms that do it, and shows what they
say.

A module a family of commands; here they are put together. Everything heavy is imported inside the command that needs
it, so that `selfrep --help` answers at once.
"""

from __future__ import annotations

import sys
from typing import Any

import typer
from typer.core import TyperGroup

from selfrep.cli import batteries, directories, lists, studies, templates, validation
from selfrep.cli.ending import ending
from selfrep.cli.options import spelled_out


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

for command in (
    studies.run,
    studies.check,
    studies.demo,
    directories.report,
    directories.figures,
    directories.compare,
    lists.models,
    lists.personas,
    validation.validate,
    templates.new,
):
    app.command()(command)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(studies.slurm)
app.command()(studies.sweep)
app.command("open")(directories.open_report)
app.add_typer(batteries.app, name="battery")


def main() -> None:
    """Run the command line: what goes wrong ends with one message, and a code that says whose turn it is."""
    with ending():
        app(args=spelled_out(sys.argv[1:]), prog_name="selfrep")  # also where Python runs the package
