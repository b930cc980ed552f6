"""How far a run could be trusted: each law once with its worst miss at a site, and what chance was allowed."""

from __future__ import annotations

from pathlib import Path

import xarray as xr

from selfrep.report.checks import Check, chance, checks_of, laws, patched
from selfrep.store.run_directory import RunDirectory


def test_a_law_is_a_row_with_its_worst_miss_at_each_site() -> None:
    seen = [Check("b", "z", 0.1), Check("a", "z", 0.2), Check("b", "z", 0.3), Check("b", "mlp_out", 0.05)]
    table = laws(seen)
    assert table.columns == ("Law", "z", "mlp_out")
    assert [tuple(row) for row in table.rows] == [("a", "0.2", ""), ("b", "0.3", "0.05")]


def test_what_sweeps_kept_is_read_and_what_chance_could_do(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    run.create_or_resume("name: mine", "abc")
    values = {"patched": ("pair", [1.0])}
    run.write("effects/z", xr.Dataset(values, attrs={"site": "z", "selfcheck": '{"a law": 0.25}'}))
    run.write("items", xr.Dataset({"p": 0.5}, attrs={"permuted": "labels", "smallest_p": 0.125}))
    assert list(patched(run)) == ["effects/z"]
    assert list(checks_of(run)) == [Check("a law", "z", 0.25)]
    assert [tuple(row) for row in chance(run).rows] == [("items", "labels", "0.125")]
