"""Several processes fill one run directory, and it is as if one had: bit for bit, whoever is killed in between."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.analyses.planted import described

from selfrep.errors import Paused, SelfrepError
from selfrep.store.owner import owning
from selfrep.store.run_directory import RunDirectory
from selfrep.store.shard import Shard
from selfrep.study import job as jobs
from selfrep.study.pause import Pause
from selfrep.study.run import prepare, run
from selfrep.study.study import Study

PARTS = """
separation: {item: who_are_you}
transfer:
  pairs: [[network, nurse], [robot, farmer], [chatbot, sailor], [autopilot, poet]]
  items: [who_are_you]
  sweeps: [{site: resid_pre, by: segment, layers: [1, 4], controls: [paraphrase]}]
"""
WORKER = """
import sys
import torch
from tests.study.test_shards import study
from selfrep.study import job
from selfrep.study.run import run
torch.set_num_threads(1)
job.PROMPTS_AT_ONCE = 16
run(study(), sys.argv[1], device="cpu", shard=(int(sys.argv[2]), int(sys.argv[3])), warn=lambda message: None)
"""


def study() -> Study:
    return described("organism:separate?noise=0.3", PARTS)


@pytest.fixture(autouse=True)
def _alike(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Small blocks, and as many threads as a worker has: sums are rounded as they are divided among threads."""
    monkeypatch.setattr(jobs, "PROMPTS_AT_ONCE", 16)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def whole(folder: Path, **how: object) -> RunDirectory:
    return run(study(), folder, device="cpu", warn=lambda message: None, **how).directory  # type: ignore[arg-type]


def worker(folder: Path, number: int, of: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WORKER, str(folder), str(number), str(of)], stderr=subprocess.PIPE)


def differences(one: RunDirectory, other: RunDirectory, groups: Sequence[str] = ()) -> list[str]:
    """Where two runs are not the same, bit for bit."""
    assert one.groups() == other.groups()
    return [
        f"{group}: {name}"
        for group in groups or one.groups()
        for name, values in one.read(group).variables.items()
        if not np.array_equal(values, other.read(group)[name].variable, equal_nan=values.dtype.kind == "f")
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("pageless")
def test_three_workers_of_whom_some_are_killed_leave_what_one_run_leaves(tmp_path: Path) -> None:
    undisturbed, shared = whole(tmp_path / "whole"), tmp_path / "shared"
    chance = random.Random(3)
    for _ in range(3):
        three = [worker(shared, i, 3) for i in range(3)]
        time.sleep(chance.uniform(3, 9))
        for process in chance.sample(three, 2):
            process.send_signal(signal.SIGKILL)
        for process in three:
            process.communicate()
            assert process.returncode in (0, -signal.SIGKILL)
    for process in [worker(shared, i, 3) for i in range(3)]:
        _, said = process.communicate()
        assert process.returncode == 0, said.decode()
    done = whole(shared)
    assert differences(undisturbed, done) == []
    assert set(done.provenance()["shards"]) == {"0/3", "1/3", "2/3"}
    assert all(entry["device"] == "cpu" for entry in done.provenance()["shards"].values())


@pytest.mark.slow
@pytest.mark.usefixtures("pageless")
def test_shards_one_after_the_other_in_any_order_leave_what_one_run_leaves(tmp_path: Path) -> None:
    undisturbed = whole(tmp_path / "whole")
    prepare(study(), tmp_path / "parts", device="cpu")
    for number in (1, 0):
        part = whole(tmp_path / "parts", shard=(number, 2))
        assert not part.has("separation"), "what is no block is the leader's"
    assert len(part.pending("behaviour")) == len(part.pending("segments/resid_pre")) == 0
    assert differences(undisturbed, whole(tmp_path / "parts")) == []
    assert part.findings() == undisturbed.findings()


@pytest.mark.usefixtures("pageless")
def test_a_run_that_was_told_to_stop_has_kept_its_block_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[int]()
    sound = jobs.score

    def score(lm: object, prompts: list[object], **how: object) -> object:
        asked.append(len(prompts))
        if len(asked) == 2:
            os.kill(os.getpid(), signal.SIGUSR1)
        return sound(lm, prompts, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(jobs, "score", score)
    with pytest.raises(Paused, match="SIGUSR1 was received"):
        whole(tmp_path / "out")
    directory = RunDirectory.open(tmp_path / "out")
    rows = directory.read("behaviour").sizes["prompt"]
    assert rows - len(directory.pending("behaviour")) == sum(asked), "the block at work was kept"
    assert directory.provenance()["seconds"] > 0
    with pytest.raises(Paused, match="time limit"):
        whole(tmp_path / "out", time_limit=0.0)
    whole(tmp_path / "out")
    assert sum(asked) == rows
    assert len(directory.pending("behaviour")) == 0


def test_a_run_and_a_worker_do_not_write_side_by_side(tmp_path: Path) -> None:
    with owning(tmp_path / "out", print, Shard(0, 2)):
        for how in ({}, {"shard": (1, 3)}, {"shard": (0, 2)}):
            with pytest.raises(SelfrepError, match="in use by process"):
                whole(tmp_path / "out", **how)
    with owning(tmp_path / "out", print), pytest.raises(SelfrepError, match="in use by process"):
        whole(tmp_path / "out", shard=(0, 2))


def test_a_shard_of_another_study_or_another_model_is_refused(tmp_path: Path) -> None:
    prepare(study(), tmp_path / "out", device="cpu")
    whole(tmp_path / "out", shard=(3, 40))
    other = described("organism:separate?noise=0.3", "separation: {item: who_are_you}\n")
    with pytest.raises(SelfrepError, match="holds another study"):
        run(other, tmp_path / "out", device="cpu", shard=(4, 40))
    with pytest.raises(SelfrepError, match="holds another study"):
        run(study(), tmp_path / "out", device="cpu", model="organism:separate?noise=0.4", shard=(4, 40))


def test_a_shard_does_not_start_over(tmp_path: Path) -> None:
    with pytest.raises(SelfrepError, match="cannot start it over"):
        whole(tmp_path / "out", shard=(0, 2), fresh=True)
    with pytest.raises(SelfrepError, match="counted from 0"):
        whole(tmp_path / "out", shard=(2, 2))
    assert not (tmp_path / "out").exists()


def test_without_a_limit_nothing_stops() -> None:
    Pause().check()
