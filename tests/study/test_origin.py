"""A run that was stopped goes on with the weights and the prompts that it was begun with, or not at all."""

from __future__ import annotations

import os
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import torch
import xarray as xr
from tests.analyses.planted import described
from tests.prompts.conftest import CHATML, make_tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

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


def spoken_folder(folder: Path) -> Path:
    """A folder with a model that says nothing sensible, but reads and speaks the words of the organisms."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(lexicon.words()), **sizes)).save_pretrained(folder)
    lexicon.tokenizer().save_pretrained(folder)
    return folder


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


def test_whatever_a_model_is_is_named_where_it_differs() -> None:
    def kept(**changed: Any) -> dict[str, Any]:
        whole = {
            "weights_hash": "w" * 64,
            "dtype": "float32",
            "attention": "sdpa",
            "configuration": {"rms_norm_eps": 1e-05, "rope_theta": 1e4},
            "generation": {"eos_token_id": 2},
            "tokenizer_hash": "t" * 64,
            "versions": {"selfrep": "0.2.0", "torch": "2.9.0+cpu", "transformers": "5.0.0", "plotly": "6.0"},
        }
        return whole | changed

    origin.require_same(kept(), kept(), Path("out"), measured=True)
    harmless = {"selfrep": "0.2.0", "torch": "2.9.0+cu128", "transformers": "5.0.0", "plotly": "7.0"}
    origin.require_same(kept(), kept(versions=harmless), Path("out"), measured=True)
    for changed, words in (
        (kept(dtype="bfloat16"), r"another dtype \(float32, now bfloat16\)"),
        (kept(attention="eager"), r"another attention \(sdpa, now eager\)"),
        (kept(configuration={"rms_norm_eps": 1e-06, "rope_theta": 1e4}), r"\(rms_norm_eps: 1e-05, now 1e-06\)"),
        (kept(configuration={"rms_norm_eps": 1e-05}), r"\(rope_theta: 10000.0, now none\)"),
        (kept(generation={"eos_token_id": 3}), r"another configuration of writing \(eos_token_id: 2, now 3\)"),
        (kept(tokenizer_hash=None), r"another tokenizer \(tttttttttttt, now none\)"),
        (kept(versions=harmless | {"torch": "2.8.0"}), r'other versions.*\(torch: "2.9.0", now "2.8.0"\)'),
        (kept(dtype="float16", attention="eager"), "another dtype.*; and with another attention"),
    ):
        with pytest.raises(SelfrepError, match=words):
            origin.require_same(kept(), changed, Path("out"), measured=True)


def test_results_without_an_origin_are_not_added_to() -> None:
    with pytest.raises(SelfrepError, match=r"do not say to which.*provenance\.json"):
        origin.require_same({"itself": {}}, {"weights_hash": "w"}, Path("out"), measured=True)


def test_a_run_that_went_on_elsewhere_says_where() -> None:
    began = {"weights_hash": "w", "device": "cpu", "python": "3.12.1", "git_commit": None}
    assert origin.resumed({}, began) == (began, "")
    assert origin.resumed(began, began) == (began, "")
    kept, told = origin.resumed(began, began | {"device": "cuda:0"})
    assert kept == began | {"resumed": [{"device": "cuda:0"}]}
    assert "another device (cpu, now cuda:0)" in told
    assert origin.resumed(kept, began | {"device": "cuda:0"})[0] == kept, "said once, however often it is stopped"
    again, _ = origin.resumed(kept, began | {"python": "3.13.0"})
    assert again["resumed"] == [{"device": "cuda:0"}, {"python": "3.13.0"}]
    assert (again["device"], again["python"]) == ("cpu", "3.12.1"), "where it began is not overwritten"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "edit", "words"),
    [
        ("config.json", ('"rms_norm_eps": 1e-06', '"rms_norm_eps": 0.5'), "rms_norm_eps: 1e-06, now 0.5"),
        ("tokenizer.json", ('"Lowercase"', '"NFC"'), "another tokenizer"),
        ("generation_config.json", ("{", '{"repetition_penalty": 1.5,'), "repetition_penalty: none, now 1.5"),
    ],
)
def test_a_folder_that_was_edited_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, edit: tuple[str, str], words: str
) -> None:
    folder, out = spoken_folder(tmp_path / "model"), tmp_path / "out"
    stopped(out, monkeypatch, model=folder)
    before = (out / "provenance.json").read_text()
    text = (folder / file).read_text()
    assert edit[0] in text
    (folder / file).write_text(text.replace(*edit))
    with pytest.raises(SelfrepError, match=words):
        run(described(MODEL, ""), out, model=folder, device="cpu", warn=quiet)
    assert (out / "provenance.json").read_text() == before
    (folder / file).write_text(text)
    run(described(MODEL, ""), out, model=folder, device="cpu", warn=quiet)


def test_a_model_that_thinks_first_is_spoken_of() -> None:
    tokenizer = make_tokenizer(CHATML + "{% if enable_thinking and false %}{% endif %}")
    opened = CHATML + "{% if add_generation_prompt %}{{ '<think>' }}{% endif %}"
    for chat, thinks in (
        (chat_format(tokenizer), False),
        (chat_format(tokenizer, variables={"enable_thinking": True}), True),
        (chat_format(tokenizer, opened), True),
    ):
        assert any("think first" in sentence for sentence in origin.warnings(chat)) is thinks


def test_the_commit_of_a_source_tree_is_asked_for_and_nothing_of_it_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "src" / "study").mkdir(parents=True)
    file = tmp_path / "src" / "study" / "origin.py"
    file.write_text("one")
    monkeypatch.setattr(origin, "__file__", str(file))
    assert origin._commit() is None, "no repository"

    def git(*words: str) -> str:
        who = ("-c", "user.name=x", "-c", "user.email=x@example.org")
        return subprocess.run(["git", "-C", tmp_path, *who, *words], capture_output=True, text=True, check=True).stdout

    git("init")
    git("add", ".")
    git("commit", "-m", "one")
    os.utime(file, (1, 1))  # git would like to note this in its index
    before = (tmp_path / ".git" / "index").read_bytes()
    assert origin._commit() == git("rev-parse", "HEAD").strip()
    (tmp_path / "untracked").touch()
    assert not str(origin._commit()).endswith("-dirty")
    assert (tmp_path / ".git" / "index").read_bytes() == before
    file.write_text("two")
    assert origin._commit() == git("rev-parse", "HEAD").strip() + "-dirty"
