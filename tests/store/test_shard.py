"""Shards share the blocks among them: none twice, none left out, whatever is done already."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfrep.errors import SelfrepError
from selfrep.store.shard import Shard


@given(n=st.integers(1, 40), blocks=st.sets(st.integers(0, 500), max_size=60))
def test_each_block_has_one_shard_whichever_others_are_left(n: int, blocks: set[int]) -> None:
    left = np.array(sorted(blocks), dtype=np.int64)
    shares = [left[Shard(i, n).mine(left)] for i in range(n)]
    assert sorted(np.concatenate(shares).tolist()) == left.tolist()
    whole = np.arange(501)
    for i, share in enumerate(shares):
        assert set(share) <= set(whole[Shard(i, n).mine(whole)]), "by its number alone"


def test_the_tasks_of_an_array_are_shards_wherever_it_begins() -> None:
    def tasks(*ids: int) -> list[Shard]:
        of = {"MIN": ids[0], "STEP": ids[1] - ids[0], "COUNT": len(ids)}
        return [
            Shard.parse("slurm", {f"SLURM_ARRAY_TASK_{name}": str(v) for name, v in {**of, "ID": one}.items()})
            for one in ids
        ]

    assert tasks(0, 1, 2) == tasks(1, 2, 3) == tasks(4, 6, 8) == [Shard(0, 3), Shard(1, 3), Shard(2, 3)]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("3/3", "counted from 0: of 3 the last one is 2/3; got 3/3"),
        ("0/0", "at least one shard; got 0/0"),
        ("3-16", "named i/n, e.g. 3/16.*got '3-16'"),
        ("-1/4", "named i/n"),
        ("slurm", "SLURM_ARRAY_TASK_ID.*not set here.*sbatch --array"),
    ],
)
def test_what_is_no_shard_is_refused(text: str, told: str) -> None:
    with pytest.raises(SelfrepError, match=told):
        Shard.parse(text, {"SLURM_ARRAY_TASK_ID": "3"})
