"""A study as jobs of Slurm: the shell script that submits them, which its user reads before running it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from selfrep.errors import SelfrepError

WARNING = 120
"""Seconds before the limit of a job at which Slurm tells it to stop: time to end a block."""


def script(command: Sequence[str], *, shards: int, gpus: int = 1, options: str = "") -> str:
    """The shell script that submits a study to Slurm as three jobs, each when the one before has ended well.

    The first makes the run directory, without a GPU. The second is an array: each task fills its shard, and is queued
    again when it stopped at its limit. The third does what is left, estimates, and writes the report.

    Args:
        command: the run as it is on one machine, e.g. ["selfrep", "run", "study.yaml", "--out", "out/study"].
        shards: tasks of the array; gpus: of each task.
        options: more of sbatch, for all jobs, e.g. "--partition=gpu --time=4:00:00".

    Raises:
        SelfrepError: fewer than one shard; options that are no words of a shell.

    Example:
        >>> print(script(["selfrep", "run", "study.yaml"], shards=16).splitlines()[3])
        prepared=$(sbatch --parsable --job-name=selfrep --wrap='selfrep run study.yaml --prepare')
    """
    if shards < 1 or gpus < 0:
        raise SelfrepError(f"An array has at least one shard, and no task less than 0 GPUs; got {shards} and {gpus}.")
    try:
        more = shlex.split(options)
    except ValueError as error:
        raise SelfrepError(f"Options of sbatch are words of a shell; got {options!r} ({error}).") from None
    run = shlex.join(command)
    of_each = [*([f"--gpus={gpus}"] if gpus else []), f"--signal=USR1@{WARNING}"]
    first = _sbatch([*more], f"{run} --prepare")
    array = _sbatch([*more, *of_each, f"--array=0-{shards - 1}"], _again(f"{run} --shard"), after="prepared")
    last = _sbatch([*more, *of_each], _again(run), after="filled")
    return f"""#!/bin/sh
set -eu
# Read it, change what your cluster wants otherwise, and run it: sh submit.sh
prepared=$({first})
filled=$({array})
{last}
"""


def _again(run: str) -> str:
    """The command as a step of a job, which is queued again when it stopped at its limit (code 75)."""
    return f'srun {run}; code=$?; [ $code -ne 75 ] || scontrol requeue "$SLURM_JOB_ID"; exit $code'


def _sbatch(options: Sequence[str], work: str, after: str | None = None) -> str:
    words = ["sbatch", "--parsable", "--job-name=selfrep", *map(shlex.quote, options)]
    if after is not None:
        words.append(f'--dependency="afterok:${after}"')
    return " ".join([*words, f"--wrap={shlex.quote(work)}"])
