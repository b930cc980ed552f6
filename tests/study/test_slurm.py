"""The script that submits a study: a shell reads it as it is meant, whatever is in the names."""

from __future__ import annotations

import json
import os
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from selfrep.errors import SelfrepError
from selfrep.study.slurm import script

SBATCH = f"""#!{sys.executable}
import json, os, sys
with open(os.environ["LOG"], "a") as log:
    log.write(json.dumps(sys.argv[1:]) + "\\n")
print(sum(1 for _ in open(os.environ["LOG"])) + 100)
"""
SRUN = f"""#!{sys.executable}
import json, os, sys
with open(os.environ["LOG"], "a") as log:
    log.write(json.dumps(sys.argv) + "\\n")
sys.exit(int(os.environ.get("CODE", 0)))
"""
COMMAND = ["selfrep", "run", "my study's $HOME.yaml", "--out", 'a "b" `c`']


def sh(folder: Path, text: str, **env: str) -> tuple[int, list[list[str]]]:
    """Run a script where Slurm's commands only write down what they are told."""
    log = folder / "log"
    log.unlink(missing_ok=True)
    for name, stub in {"sbatch": SBATCH, "srun": SRUN, "scontrol": SRUN}.items():
        (folder / name).write_text(stub)
        (folder / name).chmod(stat.S_IRWXU)
    env = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "LOG": str(log), **env}
    code = subprocess.run(["sh", "-c", text], env=env, check=False, capture_output=True).returncode
    return code, [json.loads(line) for line in log.read_text().splitlines()]


def test_three_jobs_wait_for_one_another(tmp_path: Path) -> None:
    code, jobs = sh(tmp_path, script(COMMAND, shards=16, gpus=2, options="--partition='a b'"))
    assert (code, len(jobs)) == (0, 3)
    first, array, last = jobs
    assert [job.count("--partition=a b") for job in jobs] == [1, 1, 1]
    assert [[word for word in job if word.startswith("--dependency")] for job in jobs] == [
        [],
        ["--dependency=afterok:101"],
        ["--dependency=afterok:102"],
    ]
    assert "--array=0-15" in array
    assert "--gpus=2" in array
    assert "--gpus=2" in last
    assert not any(word.startswith("--gpus") for word in first), "a login node's work needs none"
    assert shlex.split(first[-1].removeprefix("--wrap=")) == [*COMMAND, "--prepare"]


@pytest.mark.parametrize(("code", "again"), [(0, False), (2, False), (75, True)])
def test_a_job_that_stopped_at_its_limit_is_queued_again_and_no_other(tmp_path: Path, code: int, again: bool) -> None:
    _, jobs = sh(tmp_path, script(COMMAND, shards=2))
    ended, ran = sh(tmp_path, jobs[1][-1].removeprefix("--wrap="), CODE=str(code), SLURM_JOB_ID="77")
    assert ended == code
    assert ran[0][1:] == [*COMMAND, "--shard"]
    assert [call[1:] for call in ran[1:]] == [["requeue", "77"]] * again


@pytest.mark.parametrize("how", [{"shards": 0}, {"shards": 2, "gpus": -1}, {"shards": 2, "options": "--comment='a"}])
def test_what_cannot_be_submitted_is_refused(how: dict[str, int]) -> None:
    with pytest.raises(SelfrepError, match=r"at least one shard|words of a shell"):
        script(COMMAND, **how)  # type: ignore[arg-type]
