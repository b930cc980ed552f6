"""Workers side by side on one machine: a process a GPU, each of which sees that one alone."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, NamedTuple

from selfrep.errors import PAUSED, Paused, SelfrepError
from selfrep.store.shard import Shard
from selfrep.study.pause import SIGNALS, pausing

TURN = 0.2
"""Seconds between two looks at the workers."""


class _Worker(NamedTuple):
    shard: Shard
    process: subprocess.Popen[bytes]
    said: IO[bytes]

    @property
    def last_words(self) -> str:
        """The last line that it said."""
        self.said.seek(0)
        lines = self.said.read().decode(errors="replace").strip().splitlines()
        return f"shard {self.shard}: {''.join(lines[-1:])}"


def gpus(asked: str) -> list[str]:
    """The GPUs that "all" or a number asks for, as CUDA_VISIBLE_DEVICES names them.

    Raises:
        SelfrepError: neither; fewer are there.

    Example:
        >>> gpus("none")
        Traceback (most recent call last):
        selfrep.errors.SelfrepError: GPUs are all, or so many: --gpus 4; got 'none'.
    """
    import torch

    if asked != "all" and not (asked.isascii() and asked.isdigit() and 0 < int(asked) < 1000):
        raise SelfrepError(f"GPUs are all, or so many: --gpus 4; got {asked[:60]!r}.")
    there = torch.cuda.device_count()
    wanted = there if asked == "all" else int(asked)
    if not 0 < wanted <= there:
        raise SelfrepError(f"A worker has a GPU to itself; {asked} are asked for, and torch sees {there} here.")
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return (visible or [str(i) for i in range(there)])[:wanted]


def work_side_by_side(arguments: Sequence[str], devices: Sequence[str], tell: Callable[[str], None]) -> None:
    """Fill all shards of a run, one process a device, and wait for them. A worker that fails stops none of the others.

    Args:
        arguments: of `selfrep`, without a shard; devices: see `gpus`; tell: hears of each worker that has ended.

    Raises:
        SelfrepError: one has failed: its last words. What all have done is kept.
        Paused: they stopped at their time limit, or were told to.
    """
    n, ended = len(devices), dict[Shard, int]()
    with ExitStack() as stack:
        workers = [_start(stack, arguments, Shard(i, n), device) for i, device in enumerate(devices)]
        pause = stack.enter_context(pausing())
        try:
            while len(ended) < n:
                time.sleep(TURN)
                if pause.told:
                    for worker in workers:
                        worker.process.send_signal(SIGNALS[0])
                for worker in workers:
                    if worker.shard not in ended and (code := worker.process.poll()) is not None:
                        ended[worker.shard] = code
                        tell(f"shard {worker.shard} is done" if code == 0 else worker.last_words)
        finally:  # whoever is stopped stops them, too: they give their shards back
            for worker in workers:
                worker.process.terminate()
            for worker in workers:
                worker.process.wait()
    if failed := [f"{shard} ({code})" for shard, code in ended.items() if code not in (0, PAUSED)]:
        raise SelfrepError(
            f"Of the shards {n}, some ended with an error: {', '.join(failed)}. What was done is kept: run the same "
            "command again to go on."
        )
    if any(ended.values()):
        raise Paused(
            "The workers stopped between two blocks. Nothing done is lost; the same command goes on from here."
        )


def _start(stack: ExitStack, arguments: Sequence[str], shard: Shard, device: str) -> _Worker:
    said = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115, since the stack closes it
    command = [sys.executable, "-m", "selfrep", *arguments, "--shard", str(shard)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": device}
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd=Path())
    return _Worker(shard, process, said)
