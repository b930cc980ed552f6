"""A study that is run once, for all who look at what a run leaves behind."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.command import TINY, selfrep
from tests.study.conftest import pageless

__all__ = ["pageless"]


@pytest.fixture(scope="session")
def run_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    (folder / "study.yaml").write_text(TINY)
    done = selfrep("run", "study.yaml", "--out", "out", "--device", "cpu", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "report:" in done.stdout
    shares = [int(share) for share in re.findall(r"^ *\d+:\d\d +(\d+)% \w", done.stderr, re.MULTILINE)]
    assert shares == sorted(shares), "a log has a line for each stage"
    assert (shares[0], shares[-1]) == (0, 100)
    assert re.match(
        r"tiny, asked of organism:separate in float32\. [\d,]+ prompts at most, and \d+ patched", done.stdout
    )
    assert "How far personas lie from the self" not in done.stdout, "what was not measured is not drawn"
    assert "95 % interval" in done.stdout.replace("\N{NO-BREAK SPACE}", " ")
    return folder / "out"


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """A command that is told to stop leaves signals to the system, since its process ends; here it does not."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:  # whoever runs the tests in the background has them ignored
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
