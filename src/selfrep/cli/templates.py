"""Commented files to start from."""

from __future__ import annotations

from enum import StrEnum, auto
from pathlib import Path
from typing import Annotated

import typer

from selfrep.errors import SelfrepError


class Template(StrEnum):
    """What `selfrep new` can write."""

    study = auto()
    personas = auto()
    items = auto()


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
