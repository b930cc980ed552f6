"""Two runs side by side: matched by name, and told apart only where the data can."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from selfrep.errors import SelfrepError
from selfrep.report.compare import compare
from selfrep.report.terminal import comparison
from selfrep.store.findings import Finding
from selfrep.store.run_directory import RunDirectory


def left(place: Path, *findings: Finding, families: str = "a", **provenance: object) -> Path:
    run = RunDirectory(place)
    run.create_or_resume(f"name: mine\npersonas: {{define: {{one: {{family: {families}}}}}}}\n", "0" * 64)
    run.write_findings(findings)
    run.provenance(**provenance)
    return place


def share(value: float, reach: float = 0.1, **more: object) -> Finding:
    fields = {"name": "share", "n_of": "families of personas", "about": "binding"} | more
    return Finding(f"At layer {value}", value, (value - reach, value + reach), "", "", **fields)  # type: ignore[arg-type]


def test_findings_are_matched_by_name_whatever_their_titles_say(tmp_path: Path) -> None:
    ours, theirs = share(0.2), share(0.9)
    dark = Finding("D", None, None, "", "", identified=False, reason="weak", name="dark")
    table = compare(
        left(tmp_path / "a", ours, dark, share(1.0, name="mine")),
        left(tmp_path / "b", share(0.5, name="theirs"), theirs, dark),
    )
    assert table["name"].tolist() == ["share", "dark", "mine", "theirs"]
    assert table["verdict"].tolist() == ["no test", "not identified in a and b", "only in a", "only in b"]
    assert table.loc[0, ["a", "a_ci_low", "b", "b_ci_high"]].tolist() == pytest.approx([0.2, 0.1, 0.9, 1.0])
    assert table["difference"].isna().all()


def test_runs_that_share_personas_have_no_interval_from_their_own_intervals(tmp_path: Path) -> None:
    """Far apart as they lie: overlap is no test, nor is the lack of it."""
    same = compare(left(tmp_path / "a", share(0.0)), left(tmp_path / "b", share(9.0)))
    assert same["verdict"].tolist() == ["no test"]
    other = compare(left(tmp_path / "c", share(0.0)), left(tmp_path / "d", share(9.0), families="b"))
    assert other["verdict"].tolist() == ["differs"]


def test_independent_errors_add_up_as_squares(tmp_path: Path) -> None:
    table = compare(left(tmp_path / "a", share(1.0, 0.3)), left(tmp_path / "b", share(0.6, 0.4), families="b"))
    row = table.iloc[0]
    assert row[["difference", "difference_ci_low", "difference_ci_high"]].tolist() == pytest.approx([0.4, -0.1, 0.9])
    assert row["verdict"] == "may be equal", "although neither interval holds the other's estimate"
    assert math.isnan(row["p"])


def test_the_interval_of_independent_estimates_holds_the_truth_as_often_as_it_says() -> None:
    from selfrep.report.compare import _added

    rng = np.random.default_rng(0)
    drawn = rng.normal([1.0, 0.0], [0.5, 0.2], (4000, 2))
    ends = [_added(share(x, 1.96 * 0.5), share(y, 1.96 * 0.2))[1:3] for x, y in drawn]
    held = np.mean([low <= 1.0 <= high for low, high in ends])
    assert held == pytest.approx(0.95, abs=0.012)


def test_what_else_differs_is_told(tmp_path: Path) -> None:
    versions = {"torch": "2.1"}
    table = compare(
        left(tmp_path / "a", model="one", seed=0, versions=versions),
        left(tmp_path / "b", model="two", seed=0, versions=versions | {"numpy": "2"}),
    )
    assert table.attrs["apart"] == {"model": ("one", "two"), "numpy": ("", "2")}


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SelfrepError, match="holds no run"):
        compare(left(tmp_path / "a"), tmp_path)


@pytest.mark.parametrize("width", [60, 80])
def test_the_terminal_says_it_all_in_any_width(width: int, tmp_path: Path) -> None:
    label = "the share of what personas do that hangs on who is speaking, [red] said at length"
    table = compare(
        left(tmp_path / "a", share(1.0, label=label), model="m" * 70, weights_hash="a1" * 32),
        left(tmp_path / "b", share(0.6, label=label), families="b", model="n", weights_hash="b2" * 32),
    )
    console = Console(file=io.StringIO(), width=width, highlight=False)
    for part in comparison(table):
        console.print(part)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= width
    whole = " ".join(text.split())
    assert "[red] said at length: differs a 1 [0.9, 1.1]; b 0.6 [0.5, 0.7]; a − b 0.4 [0.26, 0.54]" in whole
    assert "weights_hash: a a1a1a1a1a1a1, b b2b2b2b2b2b2" in whole
