#!/usr/bin/env python3
"""Break the machine under a run in every way there is, and see that nothing is lost: scripts/chaos [--quick] [FAULT …]

--quick breaks it fewer times; --write puts the table into docs/reliability.md. Mounts need root, and are made in a name
space of their own. Ends with 1 where a run lost something, gave other numbers, or ended without a word.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing.forkserver
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from chaos_lab import Ended, Lab, after, once

DOC = Path(__file__).parents[1] / "docs" / "reliability.md"
BEGIN, END = "<!-- table: written by scripts/chaos -->", "<!-- end of table -->"
KILLS_A_RUN = 5


class Row(NamedTuple):
    """A row of the table: what was done, how often, what was seen, and what the user was told."""

    done: str
    times: int
    seen: str
    message: str = ""


def killed(lab: Lab, quick: bool) -> Row:
    """kill −9."""
    draw, kills, runs = random.Random(0), 0, 0
    while kills < (KILLS_A_RUN if quick else 100):
        out, runs = lab.new("killed"), runs + 1
        for _ in range(KILLS_A_RUN):
            ended = lab.fork(out, after(draw.uniform(0.1, lab.seconds) * draw.random()))  # early ones more often
            kills += ended.code == -signal.SIGKILL
        lab.require_finished(f"run {runs} of those killed", out)
    return Row(
        f"kill −9 at a random moment, {KILLS_A_RUN} times a run", kills, f"{runs} runs ended with {lab.sameness()}"
    )


def told_to_stop(lab: Lab, quick: bool) -> Row:
    """SIGTERM and SIGINT."""
    message = ""
    for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        for words in (
            ("answers that come first",) if quick else ("answers that come first", "what is carried", "figures")
        ):
            out = lab.new("stopped")
            ended = lab.fork(out, once(words, lambda process, n=number: os.kill(process.pid, n)))
            message = lab.expect(
                f"signal {number} at {words!r}", ended, code, words="run the same command again"
            ).message
            lab.require_finished(f"signal {number} at {words!r}", out)
    return Row(
        "SIGTERM, Ctrl-C, at several stages", 2 if quick else 6, f"code 143, 130; then {lab.sameness()}", message
    )


def told_twice(lab: Lab, quick: bool) -> Row:
    """SIGINT twice."""

    def twice(process: Any) -> None:
        os.kill(process.pid, signal.SIGINT)
        time.sleep(0.005)
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGINT)

    out = lab.new("twice")
    for words in ("answers that come first", "answers to every item"):
        lab.expect("Ctrl-C twice", lab.fork(out, once(words, twice)), 130, -signal.SIGINT)
    lab.require_finished("Ctrl-C twice", out)
    return Row("Ctrl-C, and again 5 ms later", 2, f"code 130; then {lab.sameness()}")


def full(lab: Lab, quick: bool) -> Row:
    """A disk that fills up."""
    sizes, message = (8, 40) if quick else (4, 8, 16, 24, 48, 96, 160, 240, 320, 480, 800), ""
    failed = 0
    for size in sizes:
        with mounted(lab, "-t", "tmpfs", "-o", f"size={size * 4096}", "tmpfs") as disk:
            ended = lab.fork(disk / "out")
            if ended.code:
                failed += 1
                message = lab.expect(f"a disk of {4 * size} kB", ended, 2, words="disk is full").message
            subprocess.run(["mount", "-o", "remount,size=100M", disk], check=True)
            lab.require_finished(f"a disk of {4 * size} kB", disk / "out")
    return Row(
        f"a disk of {4 * sizes[0]} to {4 * sizes[-1]} kB, which fills up",
        failed,
        f"code 2; then {lab.sameness()}",
        message,
    )


def read_only(lab: Lab, quick: bool) -> Row:
    """A directory that may not be written, not even by root."""
    out = half_done(lab, "read-only")
    with mounted(lab, "--bind", str(out.parent)) as place:
        subprocess.run(["mount", "-o", "remount,ro,bind", place], check=True)
        ended = lab.expect("a read-only directory", lab.fork(place / "out"), 2, words="is not writable")
    lab.require_finished("a read-only directory", out)
    return Row("a directory that is mounted read-only", 1, f"code 2; then {lab.sameness()}", ended.message)


def lost(lab: Lab, quick: bool) -> Row:
    """A network folder that goes away."""
    message = ""
    cases = [("ESTALE", 12)] if quick else [("ESTALE", 2), ("ESTALE", 12), ("EIO", 20), ("EIO", 30)]
    for name, first in cases:
        out = lab.new("lost")
        faults = [f"--inject=rename,renameat,renameat2,mkdir:error={name}:when={first}+"]
        ended = lab.run(
            out,
            wrap=[
                "strace",
                "-f",
                "--seccomp-bpf",
                "-qq",
                "-o/dev/null",
                "--trace=rename,renameat,renameat2,mkdir",
                *faults,
            ],
        )
        message = lab.expect(f"{name} from call {first}", ended, 2, words="does not answer").message
        lab.require_finished(f"{name} from call {first}", out)
    done = "a network folder that is lost: strace lets rename and mkdir fail with ESTALE or EIO from some call on"
    return Row(done, len(cases), f"code 2; then {lab.sameness()}", message)


def few_files(lab: Lab, quick: bool) -> Row:
    """ulimit -n 64."""
    out = lab.new("few")
    lab.expect("ulimit -n 64", lab.fork(out, files=64), 0)
    lab.require_same("ulimit -n 64", out)
    ended = lab.expect("ulimit -n 12", lab.fork(out := lab.new("fewer"), files=12), 2, words="ulimit -n")
    lab.require_finished("ulimit -n 12", out)
    return Row("ulimit -n 64, ulimit -n 12", 2, f"64: done; 12: code 2; then {lab.sameness()}", ended.message)


def little_memory(lab: Lab, quick: bool) -> Row:
    """ulimit -v."""
    told, hung, message = 0, 0, ""
    for megabytes in (32,) if quick else (16, 32, 64, 128):
        out = lab.new("memory")
        ended = lab.fork(out, may_hang=True, memory=megabytes << 20)
        hung += ended.code == -signal.SIGKILL
        if ended.code not in (0, -signal.SIGKILL):
            told += 1
            message = lab.expect(f"{megabytes} MB", ended, 2, words="not enough memory").message
        lab.require_finished(f"{megabytes} MB", out)
    seen = f"code 2 ({told}), or no end until it was killed ({hung}); then {lab.sameness()}"
    return Row("16 to 128 MB of memory more than what is imported", told + hung, seen, message)


def unread(lab: Lab, quick: bool) -> Row:
    """| head -1."""
    out = lab.new("unread")
    for arguments in (["personas"], ["run", "study.yaml", "--device", "cpu", "--out", str(out)]):
        process = lab.popen(*arguments)
        stdout, stderr = cast(IO[bytes], process.stdout), cast(IO[bytes], process.stderr)
        stdout.readline()
        stdout.close()
        told = stderr.read().decode()
        lab.expect(f"{arguments[0]} | head -1", Ended(process.wait(), "", told), 0, 141)
    lab.require_finished("run | head -1", out)
    return Row(
        "selfrep personas | head -1, selfrep run | head -1", 2, f"code 141 without a word; then {lab.sameness()}"
    )


def nowhere(lab: Lab, quick: bool) -> Row:
    """No home, no user, no cache."""
    out = lab.new("homeless")
    lab.folder.chmod(0o755)
    out.parent.chmod(0o777)
    wrap = ["setpriv", "--reuid=4321", "--regid=4321", "--clear-groups"]
    lab.expect("no home", lab.run(out, wrap=wrap, env={"HOME": None, "SELFREP_CACHE": None}), 0)
    lab.expect("a cache of somebody else", lab.run(out, wrap=wrap, env={"HOME": None}), 0)
    lab.require_same("a cache of somebody else", out)
    done = "a user without a name or a home; the same with a cache that may not be written"
    return Row(done, 2, f"done; {lab.sameness()}")


def raced(lab: Lab, quick: bool) -> Row:
    """Two processes and one cache, or one directory."""
    code = (
        "import os, sys, time; from pathlib import Path; from selfrep.models import cache\n"
        "def build(folder):\n"
        "    print('built', flush=True); (folder / 'weights').write_text('half'); time.sleep(1)\n"
        "    (folder / 'weights').write_text('whole'); d = cache.read_sha256(folder / 'weights')\n"
        "    return cache.Record('x', 's', d, {'weights': d}, {})\n"
        "print((cache.build_once('raced', build) / 'weights').read_text())"
    )
    start = lambda: subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)  # noqa: E731
    first = start()
    cast(IO[str], first.stdout).readline()  # it builds
    others = [start(), start()]
    first.kill()
    first.wait()
    said = [process.communicate()[0].split() for process in others]
    if sorted(said) != [["built", "whole"], ["whole"]]:
        lab.note(f"raced: {said}")
    out, second = lab.new("raced"), list[Ended]()
    lab.expect("the first", lab.fork(out, once("answers", lambda process: second.append(lab.fork(out)))), 0)
    lab.expect("the second", second[0], 2, words="one owner")
    lab.require_same("two in one directory", out)
    done = "three processes fill one cache, the first is killed at it; two run into one directory"
    return Row(done, 2, "one builds, one waits; the second run: code 2", second[0].message)


def traced(lab: Lab, quick: bool) -> Row:
    """Nothing is written outside the run directory, the caches and the temporary folder, and nobody is called."""
    out, log = lab.new("traced"), lab.folder / "trace"
    calls = "openat,creat,rename,renameat,renameat2,mkdir,mkdirat,unlink,unlinkat,symlink,link,connect"
    home = lab.folder / "home"
    ended = lab.run(
        out,
        wrap=["strace", "-f", "--seccomp-bpf", "-qq", f"-o{log}", f"--trace={calls}"],
        env={"HOME": str(home), "TMPDIR": str(lab.folder)},
    )
    lab.expect("traced", ended, 0)
    written, reached = set[str](), set[str]()
    for line in log.read_text("utf-8", errors="replace").splitlines():
        if "ENOENT" in line:
            continue
        if "connect(" in line and "AF_UNIX" not in line:
            reached.add(line)
        if not re.search(r"openat|connect\(", line) or re.search(r"O_(WRONLY|RDWR|CREAT)", line):
            written |= {name for name in re.findall(r'"([^"]+)"', line) if name.startswith("/")}
    allowed = (str(lab.folder), "/dev/", "/tmp/torchinductor")  # torch's own cache
    if outside := sorted(name for name in written if not name.startswith(allowed) and "__pycache__" not in name):
        lab.note(f"written outside: {outside[:5]}")
    if reached:
        lab.note(f"reached for the net: {sorted(reached)[:3]}")
    lab.require_same("traced", out)
    seen = "nothing outside its directory, the caches and the temporary folder; no connection"
    return Row("strace of a run: what is opened to be written, made, moved, removed, and called", 1, seen)


def clock(lab: Lab, quick: bool) -> Row:
    """A clock that was set back."""
    out = half_done(lab, "clock")
    ahead = time.time() + 10 * 365 * 86400
    for file in [out, *out.rglob("*")]:
        os.utime(file, (ahead, ahead))
    lab.require_finished("a clock that was set back", out)
    return Row("all files of a stopped run lie ten years ahead, as when a clock was set back", 1, lab.sameness())


def alone(lab: Lab, quick: bool) -> Row:
    """No network."""
    way = {"wrap": ["unshare", "-n"], "env": {"HF_HUB_OFFLINE": "0", "HF_HOME": str(lab.folder / "hf")}}
    ended = lab.spawn("run", "study.yaml", "--model", "org/model", "--out", str(lab.new("alone")), **way)
    lab.expect("no network", ended, 2, words="Check the network")
    return Row("no network, and a model of the hub", 1, "code 2", ended.message)


def no_room(lab: Lab, quick: bool) -> Row:
    """No /dev/shm, no TMPDIR."""
    out = lab.new("shm")
    closed = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs -o ro none /dev/shm && exec "$@"', "sh"]
    lab.expect("no /dev/shm", lab.run(out, wrap=closed, env={"TMPDIR": "/nowhere"}), 0)
    lab.require_same("no /dev/shm", out)
    with mounted(lab, "-t", "tmpfs", "-o", "size=4096", "tmpfs") as disk:
        (disk / "full").write_bytes(b"x" * 4096)
        out = lab.new("tmp")
        lab.expect("TMPDIR full", lab.fork(out, env={"TMPDIR": str(disk)}), 0)
        lab.require_same("TMPDIR full", out)
    return Row("/dev/shm closed, TMPDIR missing; TMPDIR full", 2, lab.sameness())


def encoded(lab: Lab, quick: bool) -> Row:
    """A terminal of another encoding."""
    out = lab.new("ascii")
    ended = lab.run(out, env={"LC_ALL": "C", "PYTHONIOENCODING": "ascii:strict", "PYTHONUTF8": "0"})
    lab.expect("LANG=C", ended, 0)
    lab.require_same("LANG=C", out)
    return Row("LC_ALL=C, PYTHONIOENCODING=ascii", 1, f"{lab.sameness()}; what ASCII lacks is written out")


FAULTS: dict[str, Callable[[Lab, bool], Row]] = {
    one.__name__: one
    for one in (
        killed, told_to_stop, told_twice, full, read_only, lost, few_files, little_memory, unread, nowhere, raced,
        clock, alone, no_room, encoded, traced,
    )
}  # fmt: skip
QUICK = ("killed", "told_to_stop", "full", "lost", "few_files", "encoded")
"""What the tests run."""


def half_done(lab: Lab, name: str) -> Path:
    """A run that was killed once its first answers were there."""
    out = lab.new(name)
    lab.fork(out, once("what is carried", lambda process: os.kill(process.pid, signal.SIGKILL)))
    return out


@contextlib.contextmanager
def mounted(lab: Lab, *what: str) -> Iterator[Path]:
    """A place where something is mounted, within this process and its children."""
    place = Path(tempfile.mkdtemp(prefix="mount-", dir=lab.folder))
    subprocess.run(["mount", *what, str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def line(row: Row) -> str:
    """A row of the table, in Markdown."""
    cells = (row.done, str(row.times), row.seen, re.sub(r"/\S*/out", "out", row.message)[:300])
    return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"


def table(rows: list[Row], seconds: float) -> str:
    """The table, in Markdown."""
    head = "| what was done | times | what was seen | what the user is told |\n| --- | --- | --- | --- |"
    return "\n".join([f"{datetime.now(UTC).date()}, {seconds:.0f} CPU seconds.\n", head, *map(line, rows)])


def main() -> None:
    """Run the faults that are asked for, print the table, and say what did not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faults", nargs="*", metavar="FAULT", help=f"of {', '.join(FAULTS)} (default: all)")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    if unknown := sorted({*asked.faults} - {*FAULTS}):
        parser.error(f"no such fault: {', '.join(unknown)}")
    if os.geteuid() != 0 or not shutil.which("strace"):
        parser.error("mounts need root, and a lost folder needs strace (apt-get install strace)")
    if not os.environ.get("CHAOS_APART"):
        os.execvpe("unshare", ["unshare", "-m", sys.executable, *sys.argv], {**os.environ, "CHAOS_APART": "1"})
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    try:
        lab, rows = Lab(folder), list[Row]()
        for name in asked.faults or (QUICK if asked.quick else FAULTS):
            rows.append(FAULTS[name](lab, asked.quick))
            print(f"{name}: {line(rows[-1])} {len(lab.problems)} problems so far", file=sys.stderr, flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    multiprocessing.forkserver._forkserver._stop()  # type: ignore[attr-defined]  # so that its time is counted
    used = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(text := table(rows, used))
    if asked.write and not lab.problems:
        before, _, rest = DOC.read_text("utf-8").partition(BEGIN)
        DOC.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.partition(END)[2]}", "utf-8")
    sys.exit(bool(lab.problems))


if __name__ == "__main__":
    main()
