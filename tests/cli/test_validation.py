"""`selfrep validate`: its exit codes, and the folders that it takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.validation.cards import card, examination
from typer.testing import CliRunner

from selfrep.cli import app, main


def test_validate_ends_with_1_when_a_threshold_is_missed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = {True: card(), False: card(examination(t=0.5))}
    for passed, code in ((True, 0), (False, 1)):
        monkeypatch.setattr("selfrep.validation.validate.validate", lambda passed=passed, **_: made[passed])
        done = CliRunner().invoke(app, ["validate", "--quick", "--out", str(tmp_path / "out")])
        assert done.exit_code == code, done.output
        assert "thresholds reached" in done.output
        assert (tmp_path / "out" / "validation.html").exists()


def test_validate_ends_with_2_on_bad_input(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    monkeypatch.setattr("sys.argv", ["selfrep", "validate", "--quick", "--out", str(tmp_path / "taken")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2


def test_validate_takes_folders_of_models_from_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: dict[str, object] = {}
    monkeypatch.setattr("selfrep.validation.validate.validate", lambda **given: asked.update(given) or card())
    out = ["--quick", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, ["validate", *out, "--tracr", "a", "--tracr", "b", "--interpbench", "c"])
    assert done.exit_code == 0, done.output
    assert (asked["tracr"], asked["interpbench"]) == ([Path("a"), Path("b")], [Path("c")])
    CliRunner().invoke(app, ["validate", *out])
    assert (asked["tracr"], asked["interpbench"]) == ((), ())


def test_validate_ends_with_2_on_a_bad_folder(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    earlier = tmp_path / "out" / "validation.html"
    earlier.parent.mkdir()
    earlier.write_text("mine")
    monkeypatch.setattr("sys.argv", ["selfrep", "validate", "--out", str(tmp_path / "out"), "--tracr", "nowhere"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert [line for line in said if line.startswith("selfrep: ")] == [
        "selfrep: A model from elsewhere is a folder; nowhere is none."
    ]
    assert earlier.read_text() == "mine"
