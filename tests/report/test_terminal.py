"""The table of a checked battery: its numbers by their columns, and the reason of each item that cannot be read."""

from __future__ import annotations

import io

import numpy as np
import pytest
import xarray as xr
from rich.console import Console

from selfrep.report.terminal import LEGEND, check_table

NUMBERS = {
    "shift": [1.25, np.nan], "ci_low": [1.13, np.nan], "ci_high": [1.37, np.nan],
    "all_words_shift": [1.74, np.nan], "controlled_shift": [1.19, np.nan], "auc": [0.91, np.nan],
    "kept": [0.42, np.nan], "truth_shift": [2.58, np.nan], "answer_mass": [0.63, np.nan],
    "paraphrase_sd": [0.17, np.nan], "order_effect": [-0.001, np.nan],
}  # fmt: skip
CHECKED = xr.Dataset(
    {name: ("item", values) for name, values in NUMBERS.items()}
    | {
        "identified": ("item", [True, False]),
        "reason": ("item", ["", "it is [cut] in two"]),
        "left_out": ("item", ["", " who[m]"]),
    },
    coords={"item": ["who[are]you", "what"], "side": ["ai", "human"]},
    attrs={"side_labels": ["AI", "humans"], "unbounded": ""},
).assign(
    surprise=("side", [4.81, 3.57]),
    surprise_difference=1.24,
    surprise_ci_low=0.41,
    surprise_ci_high=2.07,
    surprise_p=0.008,
)


@pytest.mark.parametrize("width", [60, 80])
def test_every_number_stands_in_its_column_and_what_is_missing_is_a_dash(width: int) -> None:
    console = Console(width=width, record=True, file=io.StringIO())
    for part in check_table(CHECKED):
        console.print(part)
    lines = console.export_text().splitlines()
    assert lines[0].split() == ["item", "readable", "shift", "95", "%", "all", "equal"]
    assert lines[1].split() == ["who[are]you", "yes", "1.25", "1.13", "to", "1.37", "1.74", "1.19"]
    assert lines[2].split() == ["what", "no", *"–" * 4]
    assert lines[4].split() == ["item", "AUC", "kept", "truth", "mass", "noise", "order"]
    assert lines[5].split() == ["who[are]you", "0.91", "0.42", "2.58", "0.63", "0.17", "0"]
    assert lines[6].split() == ["what", *"–" * 6]
    whole = " ".join(" ".join(lines).split())
    assert LEGEND in whole
    assert "AI 4.81, humans 3.57; difference 1.24 (95 % interval 0.41 to 2.07; p = 0.008)" in whole
    assert "1 of 2 items can be read on this model." in whole
    assert "what: it is [cut] in two" in whole
    assert "who[are]you:" not in whole, "what can be read has no reason"
