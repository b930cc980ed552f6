"""Sentences about R, B, I and λ carry the numbers of their groups, and no number where a gate is closed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from selfrep.report.findings import findings
from selfrep.store.findings import Finding
from selfrep.store.run_directory import RunDirectory


def found(tmp_path: Path, **groups: xr.Dataset) -> list[Finding]:
    run = RunDirectory(tmp_path / "run")
    run.create_or_resume("name: x\n", "0" * 64)
    for name, group in groups.items():
        run.write(name, group)
    return list(findings(run))


def test_bleed_pools_framings_and_says_what_the_control_gives(tmp_path: Path, shares: xr.Dataset) -> None:
    (said,) = found(tmp_path, bleed=shares)
    pooled = shares.sel(item="all third_person")
    assert said.value == float(pooled.estimate)
    assert said.interval == (float(pooled.ci_low), float(pooled.ci_high))
    assert "questions from outside" in said.title
    assert f"{float(pooled.user_is):.3g}" in said.control
    assert f"{float(pooled.bound):.3g}" in said.control
    assert "6,435 labelings" in said.how_sure


def test_what_is_not_identified_has_a_reason_and_no_number(tmp_path: Path, shares: xr.Dataset) -> None:
    closed = shares.assign(identified=shares.identified & False, reason=("item", ["deaf to the truth"] * 4))
    (said,) = found(tmp_path, bleed=closed)
    assert (said.value, said.interval, said.control, said.how_sure) == (None, None, "", "")
    assert said.reason == "deaf to the truth"


def test_binding_is_read_between_the_sides(tmp_path: Path, shares: xr.Dataset) -> None:
    bound = shares.expand_dims(contrast=["ai", "between sides"], axis=1)
    bound = bound.assign(n_labelings=("contrast", [32, 2048])).assign(
        estimate=bound.estimate.where(bound.contrast == "between sides", -9.0)
    )
    said = found(tmp_path, binding=bound.sel(item=["who_are_you", "producer"]))
    assert [one.value for one in said] == bound.estimate.sel(
        contrast="between sides", item=["who_are_you", "producer"]
    ).values.tolist()
    assert all("2,048 flips" in one.how_sure for one in said)


def test_the_default_is_asked_what_it_is_on_every_subscale(
    tmp_path: Path, identified: xr.Dataset, slopes: xr.Dataset
) -> None:
    named, made, reach = found(tmp_path, identification=identified, referents=slopes)
    own = identified.sel(subscale="ai_human", persona="smollm")
    assert named.value == float(own.estimate)
    assert "smollm" in named.title
    assert not made.identified
    assert made.reason == "no item <can> be read"
    assert reach.value == -0.5
    assert "p = 0.03 by permuting the order of the referents" in reach.how_sure


@pytest.mark.parametrize("layers", [[0, 3], [0]])
def test_the_neutral_chat_is_placed_where_there_is_an_axis(tmp_path: Path, axis: xr.Dataset, layers: list[int]) -> None:
    (said,) = found(tmp_path, default_axis=axis.sel(layer=layers))
    if layers == [0]:
        assert said.reason == "there is no <axis>"
    else:
        assert said.value == pytest.approx(0.9)
        assert "1.1 (95 % interval 0.8 to 1.3)" in said.control
        assert np.isfinite(said.interval or ()).all()
