"""T through whole runs: every sweep keeps its self-check, and goes on where it stopped."""

from __future__ import annotations

from pathlib import Path

import pytest
import xarray as xr
from tests.analyses.planted import described, finish

from selfrep.analyses.transfer import runs
from selfrep.engine.misses import from_attrs, to_attrs

PARTS = """
transfer:
  pairs: [[network, nurse], [chatbot, sailor], [oracle, farmer]]
  items: [who_are_you]
  paraphrases: [0, 1]
  sweeps: [{site: resid_pre, by: segment, layers: [2, 5], controls: [persona]}]
"""
CONTROLLED = "controls/segments/resid_pre"


def test_the_selfcheck_that_is_kept_is_the_worst_of_all_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound, misses, rows = runs.patch_sweep, iter([1e-6, 9e-6, *[2e-6] * 50]), list[int]()

    def patch_sweep(*args: object, **how: object) -> list[xr.Dataset]:
        effects = sound(*args, **how)  # type: ignore[arg-type]
        rows.append(effects[0].sizes["pair"])
        return [one.assign_attrs(to_attrs({"law": next(misses)})) for one in effects]

    monkeypatch.setattr(runs, "patch_sweep", patch_sweep)
    done = finish(described("organism:separate", PARTS), tmp_path)
    assert rows[:2] == [8, 4], "three pairs, two paraphrases, two directions, eight at once"
    assert from_attrs(done.read("segments/resid_pre").attrs) == {"law": 9e-6}
    assert from_attrs(done.read(CONTROLLED).attrs) == {"law": 2e-6}, "each sweep keeps its own"


def test_a_stopped_sweep_patches_only_what_is_left_and_controls_are_of_the_same_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = described("organism:separate", PARTS)
    sound, batches = runs.patch_sweep, list[int]()

    def patch_sweep(lm: object, sweep: object, **how: object) -> list[xr.Dataset]:
        if len(batches) == 1:
            raise KeyboardInterrupt
        batches.append(1)
        return sound(lm, sweep, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(runs, "patch_sweep", patch_sweep)
    with pytest.raises(KeyboardInterrupt):
        finish(asked, tmp_path)
    monkeypatch.setattr(runs, "patch_sweep", lambda *a, **k: batches.append(1) or sound(*a, **k))
    done = finish(asked, tmp_path)
    assert len(batches) == 2 + 2, "two batches of the sweep, two of its control"
    whole, controlled = done.read("segments/resid_pre"), done.read(CONTROLLED)
    assert whole.patched.notnull().any(["layer", "segment"]).all()
    assert set(controlled.control.values) == {"persona"}
    side = {str(p.name): p.side for p in asked.people}
    for source, target in zip(controlled.source.values, controlled.target.values, strict=True):
        assert source != target
        assert side[str(source)] == side[str(target)], "a control should do nothing"
    assert any(side[str(s)] != side[str(t)] for s, t in zip(whole.source.values, whole.target.values, strict=True))
