"""A part of `scripts/chaos`: faults of the machine, with real processes, after which a run has its own numbers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"

pytestmark = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0 or not shutil.which("strace") or not shutil.which("unshare"),
    reason="mounts need root, and a lost folder needs strace",
)


@pytest.mark.slow
def test_nothing_is_lost_when_the_machine_breaks() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / "chaos.py"), "--quick"], capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n| ") >= 7, "a row for each fault"
