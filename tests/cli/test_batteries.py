"""Items, listed and checked."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.command import TINY, refused, selfrep

from selfrep.models.language_model import LanguageModel
from selfrep.models.organisms import BATTERY, PERSONAS
from selfrep.study import check as checking


def test_items_are_listed() -> None:
    assert "I am a" in selfrep("battery", "list").stdout
    assert selfrep("battery").stdout == selfrep("battery", "list").stdout, "the list, where no command is given"


@pytest.mark.slow
def test_a_battery_is_checked_on_a_model() -> None:
    arguments = ("battery", "check", BATTERY, "--model", "organism:separate", "--personas", PERSONAS)
    done = selfrep(*map(str, arguments), "--device", "cpu", COLUMNS="120")
    assert done.returncode == 0, done.stderr
    assert "items can be read on this model" in done.stdout
    assert "act_in_peace:" in done.stdout, "what cannot be read is named, with its reason"


@pytest.mark.slow
def test_a_battery_is_checked_on_a_model_as_a_study_is_run_on_one(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(TINY)
    flags = ("--model", "organism:bleed?beta=0.4", "--dtype", "bfloat16", "--attn", "sdpa", "--device", "cpu")
    asked: list[LanguageModel] = []
    with pytest.MonkeyPatch.context() as patched:
        check = checking.check_battery
        patched.setattr(
            checking, "check_battery", lambda lm, *rest, **more: asked.append(lm) or check(lm, *rest, **more)
        )
        done = selfrep("battery", "check", "study.yaml", *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (asked[0].name, str(asked[0].dtype)) == ("organism:bleed?beta=0.4", "torch.bfloat16")
    wrong = ("--attn", "spda", "--device", "tpu", "--dtype", "float8")
    refused(selfrep("battery", "check", *wrong, cwd=tmp_path), "3 mistakes", "attn: ", "device: ", "dtype: ")
