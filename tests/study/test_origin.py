"""A run that was stopped goes on with the weights and the prompts that it was begun with, or not at all."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import torch
import xarray as xr
from tests.analyses.planted import described
from tests.prompts.conftest import CHATML, make_tokenizer

from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.models.loading import load_model
from selfrep.models.organisms import lexicon
from selfrep.prompts.chat import chat_format
from selfrep.store.run_directory import RunDirectory
from selfrep.study import job as jobs
from selfrep.study import origin
from selfrep.study.run import run

pytestmark = pytest.mark.usefixtures("pageless")

MODEL = "organism:separate"
DATED = "{{ 'nurse ' if strftime_now('%d') == '01' else 'sailor ' }}" + lexicon._TEMPLATE
"""An organism knows few words, and no numbers."""


def quiet(message: str) -> None:
    """Warnings are tested elsewhere."""


class Day(datetime):
    """A clock that is set by hand."""

    day_of_month = 1

    @classmethod
    def now(cls, tz: Any = None) -> Day:
        return cls(2026, 11, cls.day_of_month, 12)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> type[Day]:
    monkeypatch.setattr(origin, "datetime", Day)
    monkeypatch.setattr(Day, "day_of_month", 1)
    return Day


def stopped(out: Path, monkeypatch: pytest.MonkeyPatch, **how: Any) -> RunDirectory:
    """A run that was stopped after the first eight answers."""
    with monkeypatch.context() as patched:
        sound, calls = jobs.score, list[int]()

        def score(lm: LanguageModel, prompts: list[Any], **progress: Any) -> Any:
            if calls:
                raise KeyboardInterrupt
            calls.append(len(prompts))
            return sound(lm, prompts, **progress)

        patched.setattr(jobs, "PROMPTS_AT_ONCE", 8)
        patched.setattr(jobs, "score", score)
        with pytest.raises(KeyboardInterrupt):
            run(described(MODEL, ""), out, device="cpu", warn=quiet, **how)
    return RunDirectory.open(out)


@pytest.mark.slow
def test_a_run_taken_up_on_the_next_day_says_the_same_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: type[Day]
) -> None:
    def finished(out: Path) -> xr.Dataset:
        return (
            run(described(MODEL, ""), out, device="cpu", chat_template=DATED, warn=quiet).tree["behaviour"].to_dataset()
        )

    half = stopped(tmp_path / "mixed", monkeypatch, chat_template=DATED)
    assert half.provenance()["prompts"]["first"].startswith("nurse ")
    clock.day_of_month = 2
    mixed = finished(tmp_path / "mixed")
    late = stopped(tmp_path / "late", monkeypatch, chat_template=DATED)
    assert late.provenance()["prompts"]["hash"] != half.provenance()["prompts"]["hash"]
    clock.day_of_month = 1
    assert late.provenance()["clock"] == "2026-11-02T12:00:00"
    whole = finished(tmp_path / "whole")
    assert (mixed.prompt_hash == whole.prompt_hash).all()
    assert not set(late.read("behaviour").prompt_hash.values) & set(whole.prompt_hash.values), (
        "another day, another prompt"
    )
    xr.testing.assert_allclose(mixed, whole, rtol=1e-5, atol=1e-5)


def test_a_run_whose_prompts_have_changed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    stopped(out, monkeypatch)
    before = RunDirectory.open(out).read("behaviour")
    monkeypatch.setattr(lexicon, "_TEMPLATE", lexicon._TEMPLATE.replace("<usr>", "<usr><usr>"))
    with pytest.raises(SelfrepError) as told:
        run(described(MODEL, ""), out, device="cpu", warn=quiet)
    for words in ("another chat template", "-<bos><self>You", "+<bos><self>You", "<usr><usr>", "--fresh"):
        assert words in str(told.value)
    assert RunDirectory.open(out).read("behaviour").identical(before), "nothing was mixed"


def test_a_run_whose_weights_have_changed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = load_model(MODEL, device="cpu")
    out = tmp_path / "out"
    stopped(out, monkeypatch, model=lm)
    other = load_model(MODEL, device="cpu")
    with torch.no_grad():
        other.hf.get_input_embeddings().weight.mul_(1.5)
    with pytest.raises(SelfrepError, match="begun with other weights"):
        run(described(MODEL, ""), out, model=other, warn=quiet)
    assert run(described(MODEL, ""), out, model=lm, warn=quiet).provenance["weights_hash"] == lm.weights_hash


def test_what_a_run_was_begun_with_is_named_where_it_differs() -> None:
    def kept(**changed: Any) -> dict[str, Any]:
        template = {"text": "T", "variables": {}} | changed.pop("template", {})
        prompts = {"n": 3, "hash": "a", "first": "F"} | changed
        return {"weights_hash": "w" * 64, "chat_template": template, "prompts": prompts}

    origin.require_same({}, kept(), Path("out"))  # nothing is there yet
    origin.require_same(kept(), kept(), Path("out"))
    for changed, words in (
        (kept(hash="b", template={"variables": {"date": "now"}}), "template variables"),
        (kept(hash="b", template={"text": "U"}), r"another chat template:\n.*\n.*\n@@.*\n-T\n\+U"),
        (kept(hash="b", first="G"), "the first differs"),
        (kept(hash="b"), "other token ids in its 3 prompts"),
    ):
        with pytest.raises(SelfrepError, match=words):
            origin.require_same(kept(), changed, Path("out"))


def test_a_model_that_thinks_first_is_spoken_of() -> None:
    tokenizer = make_tokenizer(CHATML + "{% if enable_thinking and false %}{% endif %}")
    opened = CHATML + "{% if add_generation_prompt %}{{ '<think>' }}{% endif %}"
    for chat, thinks in (
        (chat_format(tokenizer), False),
        (chat_format(tokenizer, variables={"enable_thinking": True}), True),
        (chat_format(tokenizer, opened), True),
    ):
        assert any("think first" in sentence for sentence in origin.warnings(chat)) is thinks
