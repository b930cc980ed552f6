"""A share of the work of a study: one process of several that fill the same run directory.

Rows that grow are cut into blocks, and a block has one writer, whoever comes first and whatever is done already: the
share of a shard is settled by the number of the block alone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from selfrep.errors import SelfrepError

SLURM = "slurm"
"""What stands for the shard that Slurm's variables name."""


class Shard(NamedTuple):
    """Share `number` of `of` shares, counted from 0.

    Example:
        >>> shard = Shard.parse("3/16")
        >>> str(shard), shard.mine(np.array([3, 4, 19]))
        ('3/16', array([ True, False,  True]))
    """

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def mine(self, blocks: np.ndarray) -> np.ndarray:
        """[block] (bool) which of the blocks of these numbers are of this share."""
        return blocks % self.of == self.number

    @staticmethod
    def of_numbers(number: int, of: int) -> Shard:
        """The share of these numbers.

        Raises:
            SelfrepError: there is no such share.
        """
        if not 0 <= number < of:
            raise SelfrepError(
                f"Shards are counted from 0: of {of} the last one is {of - 1}/{of}; got {number}/{of}."
                if of > 0
                else f"A study is shared among at least one shard; got {number}/{of}."
            )
        return Shard(number, of)

    @staticmethod
    def parse(text: str, environment: Mapping[str, str] = os.environ) -> Shard:
        """The share that a text names: "3/16", or "slurm" for that of this task of a Slurm array.

        Raises:
            SelfrepError: neither; no such share; no array.

        Example:
            >>> task = {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_MIN": "5", "SLURM_ARRAY_TASK_COUNT": "4"}
            >>> Shard.parse("slurm", task)
            Shard(number=2, of=4)
        """
        if text == SLURM:
            return Shard._of_slurm(environment)
        if not (found := re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip())):
            raise SelfrepError(f"A shard is named i/n, e.g. 3/16, or slurm for that of an array's task; got {text!r}.")
        return Shard.of_numbers(int(found[1]), int(found[2]))

    @staticmethod
    def _of_slurm(environment: Mapping[str, str]) -> Shard:
        def value(name: str, default: str) -> int:
            return int(environment.get(f"SLURM_ARRAY_TASK_{name}", default))

        if not {"SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT"} <= set(environment):
            raise SelfrepError(
                "Slurm names the shard of a task by SLURM_ARRAY_TASK_ID and SLURM_ARRAY_TASK_COUNT, which are not set "
                "here. Start the command with `sbatch --array=0-15`, or name the shard: --shard 0/16."
            )
        return Shard.of_numbers((value("ID", "") - value("MIN", "0")) // value("STEP", "1"), value("COUNT", ""))
