"""The picture in text shows the numbers of the first figure, on a scale that it names, at any width."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from tests.report.groups import GROUPS, run_of

from selfrep.report.sparklines import BLOCKS, WIDEST, picture, sparkline
from selfrep.stats.numbers import told
from selfrep.store.run_directory import RunDirectory

FAR, SWEEP = GROUPS["divergence"], "transfer/segments/resid_pre"


def printed(run: RunDirectory, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    for part in picture(run):
        console.print(part)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_blocks_rise_with_the_values_from_0_to_the_top() -> None:
    assert sparkline(np.linspace(0, 1, len(BLOCKS)), 1.0) == BLOCKS
    assert sparkline(np.array([-1.0, 2.0, np.nan]), 1.0) == f"{BLOCKS[0]}{BLOCKS[-1]} ", "cut at the ends; no number"
    assert sparkline(np.array([0.5]), 1.0) != sparkline(np.array([0.5]), 2.0), "the scale counts"


@pytest.mark.parametrize("width", [60, 80])
def test_every_kind_and_both_ways_have_a_line(width: int, tmp_path: Path) -> None:
    run = run_of({"divergence": FAR, SWEEP: GROUPS[SWEEP]}, tmp_path)
    text = printed(run, width)
    assert max(map(len, text.splitlines())) <= width
    column = FAR.sel(reference="unprompted", site="resid_pre", position=-1)
    humans = next(line for line in text.splitlines() if line.startswith("  humans"))
    estimate = column.kind_estimate.sel(kind="human")
    assert humans.endswith(told(float(estimate.sel(layer=3)))), "the number of the reported layer"
    whole = " ".join(text.split())
    assert "layer 0 to 4; ▁ is 0, █ is" in whole
    assert "self → persona" in whole
    assert "persona → self" in whole


def test_what_was_not_measured_is_not_drawn(tmp_path: Path) -> None:
    assert printed(run_of({"items": GROUPS["items"]}, tmp_path / "a"), 80) == ""
    alone = printed(run_of({"divergence": FAR}, tmp_path / "b"), 80)
    assert "Δ" in alone
    assert "carried over" not in alone


def test_a_deep_model_has_no_longer_lines(tmp_path: Path) -> None:
    layers = np.arange(100)
    deep = FAR.isel(layer=np.zeros(100, int)).assign_coords(layer=layers)
    lines = printed(run_of({"divergence": deep}, tmp_path), 80).splitlines()
    assert max(sum(char in BLOCKS for char in line) for line in lines) <= WIDEST
    assert max(map(len, lines)) <= 80
