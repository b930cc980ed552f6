"""The options that several commands share: of which model something is asked, and how that is loaded."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any

import typer

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
Outside = Annotated[
    bool, typer.Option("--allow-outside", help="let the study name files outside its own folder; only if you trust it")
]
Itself = Annotated[
    tuple[str, str] | None,
    typer.Option("--identity", metavar="NAME MAKER", help="what the model is tuned to call itself, and who made it"),
]


def spelled_out(arguments: list[str]) -> list[str]:
    """The arguments of the command, with the value of an option that may stand alone.

    Example:
        >>> spelled_out(["run", "study.yaml", "--shard", "--dtype", "bfloat16"])
        ['run', 'study.yaml', '--shard', 'slurm', '--dtype', 'bfloat16']
    """
    out = list[str]()
    for word, following in pairwise([*arguments, "--"]):
        alone = word == "--shard" and following.startswith("-")
        out += [word, "slurm"] if alone else [word]
    return out


def without(arguments: list[str], option: str) -> list[str]:
    """The arguments of the command without an option and its value.

    Example:
        >>> without(["run", "--gpus", "all", "study.yaml", "--gpus=2"], "--gpus")
        ['run', 'study.yaml']
    """
    return [
        word
        for last, word in pairwise(["", *arguments])
        if option not in (last, word) and not word.startswith(f"{option}=")
    ]


def asked(
    model: str | None,
    dtype: str | None,
    device_map: str | None,
    attn: str | None,
    template_var: list[str] | None,
    identity: tuple[str, str] | None,
) -> dict[str, Any]:
    """What the command line gives, as `selfrep.study.preflight` takes it."""
    from selfrep.study.overrides import variables

    return {
        "model": model,
        "dtype": dtype,
        "device_map": device_map,
        "attn": attn,
        "template_vars": variables(template_var or ()),
        "identity": None if identity is None else dict(zip(("name", "maker"), identity, strict=True)),
    }
