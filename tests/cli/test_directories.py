"""What is made anew of a run directory."""

from __future__ import annotations

from pathlib import Path

from tests.cli.command import selfrep


def test_a_run_can_be_drawn_and_reported_again(run_once: Path) -> None:
    (run_once / "report.html").unlink()
    assert selfrep("report", str(run_once)).returncode == 0
    assert (run_once / "report.html").stat().st_size > 100_000
    done = selfrep("figures", str(run_once))
    assert done.returncode == 0
    assert "separation.html" in done.stdout
