"""Workers on one machine: each sees its own GPU, and one that fails is named and stops none of the others."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.cli.command import TINY, selfrep

from selfrep.errors import Paused, SelfrepError
from selfrep.store.run_directory import RunDirectory
from selfrep.study import workers
from selfrep.study.workers import gpus, work_side_by_side


def test_each_worker_has_one_of_the_devices_that_are_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpus("all") == ["0", "1", "2"]
    assert gpus("2") == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-ab,7")
    assert gpus("2") == ["5", "GPU-ab"]
    for wrong in ("4", "0", "many", "-1", "9" * 30):
        with pytest.raises(SelfrepError, match=r"has a GPU to itself; 4|GPUs are all, or so many|0 are asked"):
            gpus(wrong)


def test_those_that_fail_are_named_with_what_they_said_last() -> None:
    told: list[str] = []
    with pytest.raises(SelfrepError, match=r"Of the shards 2, some ended with an error: ./2 \(2\), ./2 \(2\)"):
        work_side_by_side(["run", "no-such-study.yaml"], ["0", "1"], told.append)
    assert len(told) == 2
    assert all("no-such-study" in line for line in told)


@pytest.mark.slow
@pytest.mark.usefixtures("pageless")
def test_two_workers_and_then_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "brief.yaml").write_text(TINY[: TINY.index("separation")])
    monkeypatch.setattr(workers, "gpus", lambda asked: ["0", "1"])
    done = selfrep("run", "brief.yaml", "--out", "out", "--gpus", "all", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {f"shard {i}/2 is done" for i in range(2)} <= set(done.stdout.splitlines())
    directory = RunDirectory.open(tmp_path / "out")
    assert set(directory.provenance()["shards"]) <= {"0/2", "1/2"}
    assert not directory.pending("behaviour").size
    limited = ["run", str(tmp_path / "brief.yaml"), "--out", str(tmp_path / "later"), "--time-limit", "0"]
    with pytest.raises(Paused, match="stopped between two blocks"):
        work_side_by_side(limited, ["0"], print)
