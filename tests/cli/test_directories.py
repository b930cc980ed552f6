"""What is done with run directories: opened, compared, made anew."""

from __future__ import annotations

import subprocess
import sys
import webbrowser
from pathlib import Path

import pandas as pd
import pytest
from tests.cli.command import refused, selfrep


@pytest.mark.slow
def test_a_run_can_be_drawn_and_reported_again(run_once: Path) -> None:
    (run_once / "report.html").unlink()
    assert selfrep("report", str(run_once)).returncode == 0
    assert (run_once / "report.html").stat().st_size > 100_000
    done = selfrep("figures", str(run_once))
    assert done.returncode == 0
    assert "separation.html" in done.stdout


def test_a_report_is_opened_where_there_is_a_display_and_named_everywhere(
    run_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    report = run_once / "report.html"
    report.touch()
    assert selfrep("open", str(run_once)).stdout.strip() == str(report.resolve())
    assert not opened
    assert selfrep("open", str(run_once), DISPLAY=":0").returncode == 0
    assert opened == [report.resolve().as_uri()]
    refused(selfrep("open", str(tmp_path)), "holds no run")
    for name in ("study.yaml", "results.zarr"):
        (tmp_path / name).touch()
    refused(selfrep("open", str(tmp_path)), "has no report yet", "selfrep report")


def test_a_run_beside_itself_differs_in_nothing(run_once: Path, tmp_path: Path) -> None:
    table = tmp_path / "both.csv"
    done = selfrep("compare", str(run_once), str(run_once), "--csv", str(table), COLUMNS="80")
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.split("table: ")[0].splitlines())) <= 80
    kept = pd.read_csv(table)
    assert set(kept["verdict"]) <= {"may be equal", "no test", "not identified in a and b"}
    assert (kept["difference"].dropna() == 0).all()
    found = pd.read_csv(run_once / "findings.csv")
    assert kept["name"].tolist() == found["name"].tolist()
    refused(selfrep("compare", str(run_once), str(tmp_path)), "holds no run")


def test_output_that_nobody_reads_on_ends_quietly() -> None:
    command = [sys.executable, "-m", "selfrep", "personas"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
