"""A laboratory for `scripts/chaos`: a small study, its results where nothing is disturbed, and processes to break.

What needs a new environment is a process of its own (`spawn`). What is killed a hundred times is forked from a server
that has imported everything and done nothing (`fork`): that saves three seconds a kill, and is a process like others.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

STUDY = """
name: small
model: "organism:bleed?beta=0.4"
personas: {file: personas.yaml, names: [network, robot, overlord, nurse, sailor, farmer]}
battery: {file: battery.yaml, names: [who_are_you, what_writes]}
bleed: {}
transfer:
  pairs: [[network, nurse], [robot, sailor]]
  items: [who_are_you]
  sweeps: [{site: resid_pre, by: segment}]
"""
SCREEN_ONLY = "from selfrep.report import figures; figures.ENDINGS = ('.html',)"
"""Figures for paper take as long as all else together, and are written as the other files are."""
COMMAND = f"{SCREEN_ONLY}; from selfrep.cli import main; main()"
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
IMPORTED = ["selfrep.analyses", "selfrep.cli.studies", "selfrep.models.organisms", "selfrep.report.figures",
            "selfrep.study.forecast", "selfrep.study.run"]  # fmt: skip
"""What is imported before a process is forked: nothing that starts a thread."""
ROUNDING = 1e-5
"""How far numbers may lie apart where a pair was patched beside others than in the undisturbed run, in float32."""
PATIENCE = 60
"""Seconds after which a process counts as hanging."""


class Ended(NamedTuple):
    """A process that has ended: its code (−9 when it was killed), and what it said on standard output and error."""

    code: int
    said: str
    told: str

    @property
    def message(self) -> str:
        """The last thing that it told its user."""
        return self.told[self.told.rfind("selfrep: ") :].strip() if "selfrep: " in self.told else ""


class Lab:
    """A folder with a study, and the undisturbed run of it."""

    def __init__(self, folder: Path) -> None:
        from selfrep.models import organisms

        self.folder, self.problems, self.compared = folder, list[str](), list[float]()
        (folder / "study.yaml").write_text(STUDY)
        for file, name in ((organisms.PERSONAS, "personas.yaml"), (organisms.BATTERY, "battery.yaml")):
            shutil.copy(file, folder / name)
        os.environ.update(ENVIRONMENT | {"SELFREP_CACHE": str(folder / "cache")})
        self._server = multiprocessing.get_context("forkserver")
        self._server.set_forkserver_preload(IMPORTED)
        self.undisturbed = folder / "undisturbed"
        first = self.expect("the first run", self.fork(folder / "first"), 0)  # which also measures what passes cost
        if self.problems:
            raise RuntimeError(first.told)
        started = time.monotonic()
        self.expect("undisturbed", self.fork(self.undisturbed), 0)
        self.seconds = time.monotonic() - started
        self.require_same("the first run", folder / "first")
        self.sameness()

    def new(self, name: str) -> Path:
        """A place for a run directory."""
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder)) / "out"

    # ---- processes --------------------------------------------------------------------------------------------------

    def fork(
        self, out: Path, stop: Callable[[Any, Path], None] | None = None, *, may_hang: bool = False, **how: Any
    ) -> Ended:
        """Run the study in a forked process. `stop` is called with the process and the file of its standard error. One
        that hangs is killed, and noted unless it may."""
        logs = Path(tempfile.mkdtemp(dir=self.folder))
        said, told = logs / "said", logs / "told"
        arguments = ["run", str(self.folder / "study.yaml"), "--device", "cpu", "--out", str(out)]
        process = self._server.Process(target=forked, args=(arguments, said, told), kwargs=how)
        process.start()
        if stop is not None:
            stop(process, told)
        process.join(PATIENCE)
        if process.exitcode is None:
            process.kill()
            process.join()
            if not may_hang:
                self.note(f"{out}: it hangs")
        return Ended(process.exitcode or 0, *(log.read_text("utf-8") if log.exists() else "" for log in (said, told)))

    def spawn(self, *arguments: str, wrap: Sequence[str] = (), env: Mapping[str, str | None] | None = None) -> Ended:
        """Run the command in a process of its own, inside another command that is given."""
        process = self.popen(*arguments, wrap=wrap, env=env)
        said, told = process.communicate(timeout=PATIENCE)
        return Ended(process.returncode, said.decode("utf-8"), told.decode("utf-8"))

    def popen(
        self, *arguments: str, wrap: Sequence[str] = (), env: Mapping[str, str | None] | None = None
    ) -> subprocess.Popen[bytes]:
        """The process of `spawn`, which goes on."""
        whole = {**os.environ, **(env or {})}
        return subprocess.Popen(
            [*wrap, sys.executable, "-c", COMMAND, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={name: value for name, value in whole.items() if value is not None},
            cwd=self.folder,
        )

    def run(self, out: Path, **how: Any) -> Ended:
        """`spawn` of the study."""
        return self.spawn("run", "study.yaml", "--device", "cpu", "--out", str(out), **how)

    def note(self, problem: str) -> None:
        """Keep what did not hold, and say so at once."""
        self.problems.append(problem)
        print(f"PROBLEM: {problem}", file=sys.stderr, flush=True)

    # ---- what must hold ---------------------------------------------------------------------------------------------

    def expect(self, what: str, ended: Ended, *codes: int, words: str = "") -> Ended:
        """Note a problem where a process ended otherwise than it should, without a word, or with a traceback."""
        if ended.code not in codes:
            self.note(f"{what}: code {ended.code} instead of {codes}: {ended.told[-1500:]}")
        if "Traceback" in ended.told or "Exception ignored" in ended.told:
            self.note(f"{what}: a traceback: {ended.told[-3000:]}")
        if words.lower() not in ended.told.lower():
            self.note(f"{what}: no word of {words!r} in {ended.told[-1500:]!r}")
        return ended

    def require_finished(self, what: str, out: Path) -> None:
        """Run the study to its end, undisturbed from here on, and compare."""
        self.expect(f"{what}, the next run", self.fork(out), 0)
        self.require_same(what, out)

    def require_same(self, what: str, out: Path) -> None:
        """Note where a run differs from the undisturbed one by more than rounding, or has left something behind."""
        from filelock import FileLock, Timeout

        from selfrep.store.run_directory import RunDirectory

        one, other = RunDirectory(self.undisturbed), RunDirectory(out)
        if one.groups() != other.groups():
            self.note(f"{what}: other groups: {set(one.groups()) ^ set(other.groups())}")
            return
        apart = 0.0
        for group in one.groups():
            apart = max(apart, self._apart(f"{what}: {group}", one.read(group).to_dict(), other.read(group).to_dict()))
        found = [json.loads((run.path / "findings.json").read_text("utf-8")) for run in (one, other)]
        self.compared.append(max(apart, self._apart(f"{what}: findings", *found)))
        if left := [
            str(file) for file in out.parent.rglob("*") if ".partial" in file.name or file.name == ".owner.json"
        ]:
            self.note(f"{what}: left behind: {left}")
        lock = FileLock(out / ".lock", timeout=0)
        try:
            with lock:
                pass
        except Timeout:
            self.note(f"{what}: the lock is still held")

    def _apart(self, what: str, a: Any, b: Any) -> float:
        """How far two values are from each other at most, in numbers or in lists and dictionaries of them; noted, where
        that is more than rounding, or where anything else differs."""
        if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
            return max((self._apart(f"{what}.{name}", a[name], b[name]) for name in a), default=0.0)
        if isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
            return max((self._apart(what, x, y) for x, y in zip(a, b, strict=True)), default=0.0)
        if isinstance(a, float) and isinstance(b, float):
            apart = 0.0 if a == b or (math.isnan(a) and math.isnan(b)) else abs(a - b)
            if not apart <= ROUNDING * max(1.0, abs(a)):
                self.note(f"{what}: {a} has become {b}")
            return apart
        if a != b:
            self.note(f"{what}: {a!r} has become {b!r}")
        return 0.0

    def sameness(self) -> str:
        """What came of the runs that were compared since this was last asked."""
        apart, self.compared = [one for one in self.compared if one], []
        return f"the same bits, but for {len(apart)} within {max(apart):.1g}" if apart else "the same bits"


def forked(
    arguments: list[str], said: Path, told: Path, env: Mapping[str, str] | None = None, files: int = 0, memory: int = 0
) -> None:
    """In the forked process: the command, with these limits. `memory` is how many bytes more than now it may map."""
    for number, file in ((1, said), (2, told)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number)
    os.environ.update(env or {})
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a script in the background hands on that it is ignored
    if files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    if memory:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + memory,) * 2)
    sys.argv = ["selfrep", *arguments]
    exec(COMMAND)


def once(words: str, act: Callable[[Any], None]) -> Callable[[Any, Path], None]:
    """What acts on a process once it has told certain words, or has ended."""

    def stop(process: Any, told: Path) -> None:
        while process.exitcode is None and not (told.exists() and words in told.read_text("utf-8")):
            time.sleep(0.01)
        act(process)

    return stop


def after(seconds: float, number: int = signal.SIGKILL) -> Callable[[Any, Path], None]:
    """What sends a signal to a process after a while, wherever it is by then."""

    def stop(process: Any, told: Path) -> None:
        process.join(seconds)
        if process.exitcode is None:
            os.kill(process.pid, number)

    return stop
