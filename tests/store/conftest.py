"""An empty run directory, and a dataset of the kinds of things that runs keep in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import xarray as xr

from selfrep.store.run_directory import RunDirectory

Axis = Literal["pair", "prompt"]
STUDY = "name: one\nseed: 0\n"
N_ROWS, N_LAYERS = 6, 3


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    directory = RunDirectory(tmp_path / "out")
    directory.create_or_resume(STUDY, "abc123")
    return directory


def template(axis: Axis = "pair", rows: int = N_ROWS) -> xr.Dataset:
    """A Dataset of the kinds of things that runs keep: numbers to fill in, ids, texts with and without an index."""
    return xr.Dataset(
        {
            "patched": ((axis, "layer"), np.zeros((rows, N_LAYERS), np.float32), {"unit": "nats"}),
            "target_metric": (axis, np.zeros(rows)),
            "ids": ((axis, "k"), np.arange(2 * rows).reshape(rows, 2)),
            "answer_ids": (("item_name", "k"), [[1, -1]]),
        },
        coords={
            "layer": [0, 4, 8],
            "item_name": ["who_are_you"],
            "source": (axis, [f"persona {i} – naïve ␣⏎" for i in range(rows)]),
            "control": (axis, [""] * rows),
        },
        attrs={"site": "resid_pre", "seed": 0, "versions": json.dumps({"torch": "2.13"})},
    )


def filled(axis: Axis, rows: list[int]) -> xr.Dataset:
    """What a run brings for these rows: row i holds i + 1 everywhere."""
    part = template(axis).isel({axis: rows})
    number = xr.DataArray(np.array(rows, float) + 1, dims=axis)
    return part.assign(patched=part.patched + number.astype("f4"), target_metric=part.target_metric + number)
