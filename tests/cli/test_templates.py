"""Files to start from."""

from __future__ import annotations

from pathlib import Path

from tests.cli.command import refused, selfrep

from selfrep.study import study


def test_new_writes_files_that_load_and_leaves_files_alone(tmp_path: Path) -> None:
    from selfrep.prompts import battery, personas

    assert selfrep("new", "mine.yaml", cwd=tmp_path).returncode == 0
    assert study.load(tmp_path / "mine.yaml").name == "my-study"
    for what in ("personas", "items"):
        assert f"name it in a study: `{'battery' if what == 'items' else what}:" in (
            selfrep("new", "--what", what, cwd=tmp_path).stdout
        )
    people = personas.load(tmp_path / "personas.yaml")
    assert people.sides() == {"honest": "honest advisors", "con": "con artists"}
    assert people.readings()["default"].name == "tuned_default"
    assert battery.load(tmp_path / "items.yaml").names() == ("your_work", "who_writes")
    refused(selfrep("new", "mine.yaml", cwd=tmp_path), "mine.yaml is there already")
    refused(selfrep("new", "no/such/place.yaml", cwd=tmp_path), "Cannot write")
