"""Studies of models that people bring: real tokenizers and templates, tiny random weights of their own architecture."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.real_tokenizers import ARCHITECTURES, make_model, tokenizer_of
from typer.testing import CliRunner

from selfrep.analyses.anomaly import material as anomalies
from selfrep.analyses.transfer import facts
from selfrep.cli import app
from selfrep.prompts import battery, scenarios
from selfrep.prompts.answers import answer_tokens
from selfrep.prompts.chat import chat_format
from selfrep.prompts.unread import changed, unread
from selfrep.store.run import open_run

pytestmark = pytest.mark.slow

ASKED = {
    "battery": battery.builtin().by_name(),
    "identity": battery.identity().by_name(),
    "scenarios": scenarios.builtin(),
    "anomaly": anomalies.builtin(),
    "facts": facts.builtin().by_name(),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_nearly_all_that_is_built_in_can_be_asked(name: str) -> None:
    chat = chat_format(tokenizer_of(name))
    for kind, questions in ASKED.items():
        places: list[str] = []
        changed(questions, lambda place, one, places=places: (places.append(place), one)[1])
        assert places
        assert len(unread(questions, chat).questions) <= 0.1 * len(places), kind


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_names_are_read_by_how_they_begin_there(name: str) -> None:
    """Oracle: the tokenizer itself, on the prefill with and without the name."""
    tokenizer, item = tokenizer_of(name), battery.builtin()["own_name"]
    read = answer_tokens(chat_format(tokenizer), item.prefill, item.answer_sets, names=True)
    assert not read.left_out
    bare, whole = (tokenizer(item.prefill + text, add_special_tokens=False)["input_ids"] for text in ("", " Cleopatra"))
    (token,) = (i for i, words in zip(read.ids[1], read.words[1], strict=True) if " Cleopatra" in words)
    assert token == whole[len(bare)]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_demo_runs_to_its_end(name: str, tmp_path: Path) -> None:
    folder, out = tmp_path / name, tmp_path / "out"
    folder.mkdir()
    ran = CliRunner().invoke(app, ["run", "demo", "--model", str(make_model(name, folder)), "--out", str(out)])
    assert ran.exit_code == 0, ran.output[-2000:]
    run = open_run(out)
    assert len(run.findings) > 10
    assert run.directory.report.is_file()
    cut = {word for words in run.provenance["answers"]["words"].values() for word in words}
    assert {word.strip() for word in cut} <= {"pirate", "sailor", "ruler", "physicist", "chemist"}
    assert not run.provenance["answers"]["questions"]
    assert (" pirate" in cut) == (name == "llama2"), "other tokenizers, other words"
