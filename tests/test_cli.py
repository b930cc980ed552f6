"""The command: quick to answer, and one clear message with exit code 2 for what a user can get wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.command import TINY, process, refused, selfrep
from tests.forbidden import forbidden
from tests.report.groups import GROUPS

from selfrep.cli import main
from selfrep.store.run_directory import RunDirectory


def test_help_answers_at_once_without_torch() -> None:
    code = (
        "import sys; from selfrep.cli import main\ntry: main()\nfinally: print('torch there:', 'torch' in sys.modules)"
    )
    done = process("-c", code, "--help")
    assert done.returncode == 0
    assert done.stdout.endswith("torch there: False\n")
    for command in ("run", "demo", "report", "figures", "models", "personas", "battery", "new"):
        assert command in done.stdout


def test_the_package_runs_as_the_command() -> None:
    assert process("-m", "selfrep", "personas").stdout == selfrep("personas").stdout != ""
    refused(process("-m", "selfrep", "run", "nothing.yaml"), "nothing.yaml")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("battery", "check", "nothing.yaml"), ("nothing.yaml",)),
        (("battery", "check", "--model", "no/such/folder"), ("model",)),
        (("run", "nothing.yaml"), ("nothing.yaml",)),
        (("report", "."), ("holds no run",)),
        (("personas", "nothing.yaml"), ("nothing.yaml",)),
        (("run", "bad.yaml"), ("4 mistakes", "line 1", "line 2", "line 3")),
        (("run", "unknown.yaml"), ("model",)),
        (("run", "study.yaml", "--device", "tpu"), ("tpu", "cpu")),
    ],
)
def test_bad_input_ends_with_one_message_and_code_2(
    arguments: tuple[str, ...], words: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "bad.yaml").write_text("nam: x\nseed: -3\npersonas: {names: [jkf]}\n")
    (tmp_path / "unknown.yaml").write_text("name: x\nmodel: ./no-such-folder\n")
    (tmp_path / "study.yaml").write_text(TINY)
    refused(selfrep(*arguments, cwd=tmp_path), *words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "study.yaml", "--out", "closed/out"), "closed/out is not writable"),
        (("run", "study.yaml", "--out", "closed"), "closed is not writable"),
        (("demo", "--out", "closed/out"), "closed/out is not writable"),
        (("report", "closed/done"), "report.html is not writable"),
        (("figures", "closed/done"), "items.csv is not writable"),
        (("validate", "--quick", "--out", "closed/out"), "closed/out is not writable"),
        (("validate", "--quick", "--out", "closed"), "closed is not writable"),
        (("new", "closed/mine.yaml"), "Cannot write closed/mine.yaml: Permission denied"),
    ],
)
def test_a_folder_that_is_not_writable_is_refused_before_any_work(
    arguments: tuple[str, ...],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("study.yaml").write_text(TINY)
    done = RunDirectory(tmp_path / "closed" / "done")
    done.create_or_resume(TINY, "abc123")
    done.write("items", GROUPS["items"])

    def work(*_: object, **__: object) -> None:
        raise AssertionError("work was begun that cannot be kept")

    monkeypatch.setattr("selfrep.validation.validate.validate", work)
    monkeypatch.setattr("selfrep.models.loading.load_model", work)
    monkeypatch.setattr("sys.argv", ["selfrep", *arguments])
    with forbidden(tmp_path / "closed"), pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("selfrep: ")]
    assert len(said) == 1
    assert words in said[0].replace(f"{tmp_path}/", "")
