"""Activations and answers, prompt by prompt, against the plain model that reads each prompt alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine.conftest import Talker
from tests.tiny import log_odds, logits, tiny, tiny_hf, values_at

from selfrep.engine import capture
from selfrep.engine.capture import score
from selfrep.engine.replay import prefix_sharing
from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.models.loading import load_model
from selfrep.models.sites import RESIDUAL_SITES
from selfrep.prompts.chat import chat_format
from selfrep.prompts.prompt import Prompt
from selfrep.prompts.render import SEGMENTS, Tokens, render
from selfrep.store import streamed

ROBOT, NURSE = (" robot", " machine"), (" nurse", " person")
SYSTEMS = ("You are a nurse.", "You are a robot. The user is a person. I was born. I was built.", "")
QUESTIONS = ("Who are you?", "Hello!", "What are you? Who are you? What are you?")
PROMPTS = [
    Prompt(system, (question,), "I am a", persona=f"p{i}", item=f"q{j}", paraphrase=j, answers=(ROBOT, NURSE))
    for i, system in enumerate(SYSTEMS)
    for j, question in enumerate(QUESTIONS)
]
PROMPTS.append(Prompt(SYSTEMS[0], (QUESTIONS[0], "I am a nurse.", "What are you?"), "As a", answers=(ROBOT[:1], NURSE)))
PROMPTS.append(Prompt(SYSTEMS[1], (QUESTIONS[1],)))  # nothing to answer


def read(lm: LanguageModel, prompts: list[Prompt]) -> list[Tokens]:
    chat = chat_format(lm.tokenizer, lm.chat_template)
    return [render(prompt, chat) for prompt in prompts]


def answer(lm: LanguageModel, text: str) -> int:
    (token,) = lm.tokenizer(text, add_special_tokens=False)["input_ids"]
    return token


def positions(rendered: list[Tokens]) -> range:
    return range(-max(map(len, rendered)), 0)


@pytest.mark.parametrize("family", ["llama", "gemma2", "mistral", "gpt2", "olmo2", "gpt_neox"])
def test_single_tokens_equal_the_plain_model(family: str, talker: Talker) -> None:
    lm = talker(family)
    rendered = read(lm, PROMPTS)
    sites, layers = [site for site in RESIDUAL_SITES if site in lm.layout.taps], [0, 2]
    acts = capture.capture(
        lm, PROMPTS, sites, layers=layers, tokens="position", positions=positions(rendered)
    ).activations
    for i, tokens in enumerate(rendered):
        for site in sites:
            for layer in layers:
                got = acts.sel(prompt=i, site=site, layer=layer).values
                wanted = values_at(lm.hf, family, site, layer, tokens.ids).numpy()
                assert np.isnan(got[: -len(tokens)]).all()
                np.testing.assert_allclose(got[-len(tokens) :], wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())
                shifted = np.abs(got[-len(tokens) + 1 :] - wanted[:-1]).max()
                assert shifted > 0.02 * np.abs(wanted).max()  # a token beside is not the same


@pytest.mark.parametrize("template", ["chatml", "gemma", "drops", "none"])
def test_segments_are_means_over_their_tokens(template: str, talker: Talker) -> None:
    lm = talker("qwen2", template)
    data = capture.capture(lm, PROMPTS, ["resid_mid"])
    assert data.activations.dims == ("prompt", "site", "layer", "segment", "d_model")
    assert tuple(data.segment.values) == SEGMENTS
    absent = 0
    for i, tokens in enumerate(read(lm, PROMPTS)):
        for layer in range(lm.n_layers):
            plain = values_at(lm.hf, "qwen2", "resid_mid", layer, tokens.ids).numpy()
            for segment in SEGMENTS:
                got = data.activations.sel(prompt=i, site="resid_mid", layer=layer, segment=segment).values
                inside = np.array(tokens.segments) == segment
                if inside.any():
                    np.testing.assert_allclose(got, plain[inside].mean(0), rtol=1e-4, atol=1e-4)
                else:
                    absent += 1
                    assert np.isnan(got).all()
    assert absent  # prompts without a system text, and one without a prefill


def test_the_residual_stream_is_the_hidden_states_that_transformers_returns(talker: Talker) -> None:
    lm = talker()
    acts = capture.capture(lm, PROMPTS, ["resid_pre", "resid_post"], tokens="position", positions=[-1, -2]).activations
    for i, tokens in enumerate(read(lm, PROMPTS)):
        with torch.no_grad():
            hidden = lm.hf(torch.tensor([tokens.ids]), output_hidden_states=True).hidden_states
        for layer in range(lm.n_layers):  # the last hidden state is behind the final norm
            for j, p in enumerate((-1, -2)):
                np.testing.assert_allclose(acts[i, 0, layer, j], hidden[layer][0, p], atol=1e-4)
                if layer + 1 < lm.n_layers:
                    np.testing.assert_allclose(acts[i, 1, layer, j], hidden[layer + 1][0, p], atol=1e-4)


@pytest.mark.parametrize("family", ["llama", "gemma2", "granite", "cohere", "phi3", "gpt_oss"])
def test_answers_equal_the_plain_model(family: str, talker: Talker) -> None:
    lm = talker(family)
    seen = score(lm, PROMPTS[:-1])
    for i, tokens in enumerate(read(lm, PROMPTS[:-1])):
        last = logits(lm.hf, tokens.ids)[-1]
        first, second = (tuple(answer(lm, text) for text in side) for side in PROMPTS[i].answers or ())
        assert seen.log_odds[i].item() == pytest.approx(log_odds(last, (first, second)), abs=1e-4)
        assert seen.answer_mass[i].item() == pytest.approx(
            float(last.softmax(-1)[list(first + second)].sum()), abs=1e-5
        )
    assert seen.log_odds.std() > 0.1
    assert list(seen.persona.values) == [p.persona for p in PROMPTS[:-1]]
    assert "activations" not in seen


def test_capture_answers_as_observe_does_and_leaves_the_unasked_blank(talker: Talker) -> None:
    lm = talker()
    kept, seen = capture.capture(lm, PROMPTS), score(lm, PROMPTS[:-1])
    for name in ("log_odds", "answer_mass"):
        np.testing.assert_allclose(kept[name][:-1], seen[name], atol=1e-5)
        assert np.isnan(kept[name][-1])
    assert "log_odds" not in capture.capture(lm, PROMPTS[-1:])


@settings(max_examples=10, deadline=None)
@given(
    chosen=st.lists(st.integers(0, len(PROMPTS) - 1), min_size=1, max_size=9), room=st.sampled_from([1, 40, 100, 4096])
)
def test_neither_company_nor_order_nor_batches_matter(chosen: list[int], room: int, talker: Talker) -> None:
    lm = talker("gemma3_text")
    prompts = [PROMPTS[i] for i in chosen]  # the same one may come twice
    whole = capture.capture(lm, PROMPTS, ["resid_post"], layers=[1], tokens="position", positions=[-4, -1])
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setitem(prefix_sharing.PASS_TOKENS, "cpu", room)
        part = capture.capture(lm, prompts, ["resid_post"], layers=[1], tokens="position", positions=[-4, -1])
    np.testing.assert_allclose(part.activations, whole.activations[chosen], atol=1e-4)
    if "log_odds" in part:
        np.testing.assert_allclose(part.log_odds, whole.log_odds[chosen], atol=1e-4)


def test_every_position_says_which_token_it_is(talker: Talker) -> None:
    lm = talker()
    data = capture.capture(lm, PROMPTS, tokens="position")
    rendered = read(lm, PROMPTS)
    longest = max(
        len(t) - 1 - max((k for k, s in enumerate(t.segments) if s == "system"), default=-1) for t in rendered
    )
    assert list(data.position.values) == list(range(-longest, 0))  # by default all that follows the system text
    for i, tokens in enumerate(rendered):
        n = min(longest, len(tokens))
        assert "".join(data.token.values[i]) == "".join(tokens.texts[-n:])
        assert tuple(data.segment_of.values[i][-n:]) == tokens.segments[-n:]


def test_half_precision_storage_keeps_the_same_numbers(talker: Talker) -> None:
    lm = talker()
    full, half = (capture.capture(lm, PROMPTS, storage=storage).activations for storage in ("float32", "float16"))
    assert (full.dtype, half.dtype) == (np.float32, np.float16)
    np.testing.assert_array_equal(full.values.astype(np.float16), half.values)


def test_a_result_beyond_the_budget_is_refused_before_anything_runs(talker: Talker) -> None:
    lm = talker()
    size = len(PROMPTS) * 1 * lm.n_layers * 4 * lm.d_model * 4 / 1e9
    assert capture.capture(lm, PROMPTS, budget_gb=size).activations.nbytes / 1e9 == pytest.approx(size)
    ran: list[int] = []
    handle = lm.blocks[0].register_forward_pre_hook(lambda *_: ran.append(1))
    with pytest.raises(SelfrepError, match=r"11 × 1 × 3 × 4 × 32.*float16"):
        capture.capture(lm, PROMPTS, budget_gb=0.99 * size)
    handle.remove()
    assert not ran


def test_streamed_to_disk_the_numbers_are_the_same_and_what_was_stopped_goes_on(
    talker: Talker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm, asked = talker("llama"), {"sites": ["resid_post", "attn_out"], "layers": [0, 2], "tokens": "position"}
    wanted = capture.capture(lm, PROMPTS, **asked)
    monkeypatch.setattr(streamed, "AT_ONCE", 3 * wanted.activations[0].nbytes)
    seen: list[tuple[int, int]] = []

    def stop(done: int, total: int) -> None:
        if done > 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        capture.capture(lm, PROMPTS, **asked, out=tmp_path / "acts.zarr", progress=stop)
    got = capture.capture(lm, PROMPTS, **asked, out=tmp_path / "acts.zarr", progress=lambda *at: seen.append(at))
    assert min(seen)[0] > 6, "two blocks of three were there"
    assert seen[-1] == (len(PROMPTS), len(PROMPTS))
    xr.testing.assert_allclose(got.load(), wanted, rtol=1e-5, atol=1e-6)
    assert set(got.coords) == set(wanted.coords)
    with pytest.raises(SelfrepError, match="something else"):
        capture.capture(lm, PROMPTS[:-1], **asked, out=tmp_path / "acts.zarr")


def test_without_answers_streamed_activations_have_no_readings(talker: Talker, tmp_path: Path) -> None:
    got = capture.capture(talker("llama"), PROMPTS[-1], layers=0, out=tmp_path / "acts.zarr")
    assert list(got.data_vars) == ["activations"]


def test_progress_ends_with_all_prompts(talker: Talker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(prefix_sharing.PASS_TOKENS, "cpu", 60)
    told: list[tuple[int, int]] = []
    score(talker(), PROMPTS[:-1], progress=lambda *at: told.append(at))
    assert len(told) > 2
    assert told[-1] == (len(PROMPTS) - 1, len(PROMPTS) - 1)
    assert told == sorted(set(told))


# Architectures whose attention cannot be replaced.


@pytest.mark.parametrize("family", ["gpt_neo", "bloom", "mamba"])
def test_prompts_that_cannot_share_are_run_alone(family: str, talker: Talker) -> None:
    lm, prompts = talker(family), PROMPTS[:-1]
    rendered = read(lm, prompts)
    sites = ["resid_pre", "resid_post"]
    told: list[tuple[int, int]] = []
    with pytest.warns(UserWarning, match=rf"{lm.layout.architecture}.*run on its own.*slow") as warned:
        data = capture.capture(
            lm, prompts, sites, layers=[0, 2], tokens="position", positions=positions(rendered),
            progress=lambda *at: told.append(at),
        )  # fmt: skip
    assert len(warned) == 1
    assert told == [(i + 1, len(prompts)) for i in range(len(prompts))]
    for i, tokens in enumerate(rendered):
        for site in sites:
            for layer in (0, 2):
                got = data.activations.sel(prompt=i, site=site, layer=layer).values
                wanted = values_at(lm.hf, family, site, layer, tokens.ids).numpy()
                assert np.isnan(got[: -len(tokens)]).all()
                np.testing.assert_allclose(got[-len(tokens) :], wanted, rtol=1e-5, atol=1e-5)
        last = logits(lm.hf, tokens.ids)[-1]
        first, second = (tuple(answer(lm, text) for text in side) for side in prompts[i].answers or ())
        assert data.log_odds[i].item() == pytest.approx(log_odds(last, (first, second)), abs=1e-4)
        mass = float(last.softmax(-1)[list(first + second)].sum())
        assert data.answer_mass[i].item() == pytest.approx(mass, abs=1e-5)


def test_run_alone_or_together_the_schema_is_the_same(talker: Talker) -> None:
    shared = capture.capture(talker("llama"), PROMPTS)
    with pytest.warns(UserWarning, match="slow"):
        alone = capture.capture(talker("gpt_neo"), PROMPTS)
    assert alone.sizes == shared.sizes
    assert {name: (v.dims, v.dtype) for name, v in alone.variables.items()} == {
        name: (v.dims, v.dtype) for name, v in shared.variables.items()
    }
    np.testing.assert_array_equal(np.isnan(alone.activations), np.isnan(shared.activations))
    np.testing.assert_array_equal(np.isnan(alone.log_odds), np.isnan(shared.log_odds))


# What is refused.


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"sites": ["resid_past"]}, "A site is one of resid_pre.*'resid_past'"),
        ({"layers": [0, 3]}, r"0 … 2; got \[3\]"),
        ({"layers": [-1]}, r"0 … 2; got \[-1\]"),
        ({"tokens": "position", "positions": [0]}, r"got \[0\]"),
        ({"tokens": "position", "positions": [-999]}, r"got \[-999\]"),
    ],
)
def test_what_is_not_there_is_refused(asked: dict[str, Any], message: str, talker: Talker) -> None:
    with pytest.raises(SelfrepError, match=message):
        capture.capture(talker(), PROMPTS, **asked)


def test_nothing_to_run_is_refused(talker: Talker) -> None:
    with pytest.raises(SelfrepError, match="empty"):
        score(talker(), [])


def test_prompts_need_a_tokenizer() -> None:
    with pytest.raises(SelfrepError, match="tokenizer"):
        score(tiny(), PROMPTS[:1])


def test_observing_needs_answers(talker: Talker) -> None:
    with pytest.raises(SelfrepError, match=r"answer sets.*Hello!"):
        score(talker(), PROMPTS)


def test_answers_of_several_tokens_are_refused(talker: Talker) -> None:
    with pytest.raises(SelfrepError, match="' who' is 4 tokens"):
        score(talker(), [replace(PROMPTS[0], answers=((" robot",), (" who",)))])


def test_a_model_that_says_nan_is_refused(talker: Talker) -> None:
    hf = tiny_hf(vocabulary=len(talker().tokenizer))
    with torch.no_grad():
        hf.lm_head.weight[5] = torch.nan
    with pytest.raises(SelfrepError, match="finite"):
        score(load_model(hf, tokenizer=talker().tokenizer), PROMPTS[:1])


def test_answers_are_read_with_and_without_what_is_said_off_one_pass(talker: Talker) -> None:
    plain = [prompt for prompt in PROMPTS if prompt.answers is not None]
    told = [replace(prompt, said=(" robot",)) if len(prompt.answers[0]) > 1 else prompt for prompt in plain]  # type: ignore[index]
    fewer = [replace(prompt, answers=(ROBOT[1:], NURSE)) if prompt.said else prompt for prompt in told]
    both, whole, alone = (score(talker(), asked) for asked in (told, plain, fewer))
    for name, unsaid in (("log_odds", "unsaid_log_odds"), ("answer_mass", "unsaid_mass")):
        np.testing.assert_allclose(both[name], whole[name])
        np.testing.assert_allclose(both[unsaid], alone[name], rtol=1e-5)
    assert not np.allclose(both.log_odds, both.unsaid_log_odds), "the control: it matters"


def test_a_side_of_which_all_is_said_has_no_reading_without_it(talker: Talker) -> None:
    out = score(talker(), [replace(PROMPTS[0], said=ROBOT), PROMPTS[0]])
    assert np.isfinite(out.log_odds).all()
    assert np.isnan(out.unsaid_log_odds.values).tolist() == [True, False]
    assert np.isnan(out.unsaid_mass.values).tolist() == [True, False]


def test_hooks_of_others_and_training_do_to_each_prompt_what_they_do_to_it_alone(talker: Talker) -> None:
    lm = load_model(tiny_hf("gpt2", vocabulary=len(talker().tokenizer)), tokenizer=talker().tokenizer)

    def last_token(module: Any, args: Any, out: torch.Tensor) -> torch.Tensor:
        out = out.clone()
        out[:, -1] += 3.0 * torch.arange(out.shape[-1]) / out.shape[-1]
        return out

    handle = lm.blocks[1].register_forward_hook(last_token)
    wanted = [log_odds(logits(lm.hf, r.ids)[-1], _answers(lm)) for r in read(lm, PROMPTS[:4])]
    lm.hf.train()
    with pytest.warns(UserWarning, match=r"has a forward hook on transformer\.h\.1.*run on its own"):
        hooked = score(lm, PROMPTS[:4]).log_odds
    np.testing.assert_allclose(hooked, wanted, rtol=1e-4, atol=1e-4)
    handle.remove()
    assert np.abs(score(lm, PROMPTS[:4]).log_odds - hooked).max() > 1e-2, "the control: the hook matters"
    assert lm.hf.training


def _answers(lm: LanguageModel) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return tuple(answer(lm, text) for text in ROBOT), tuple(answer(lm, text) for text in NURSE)


@pytest.mark.parametrize("kind", [torch.OutOfMemoryError, RuntimeError])
def test_out_of_memory_halves_what_is_run_at_once_and_goes_on(kind: type[Exception], talker: Talker) -> None:
    """A model whose forward holds so many tokens and no more."""
    prompts = PROMPTS * 4
    wanted = capture.capture(talker(), prompts, "resid_post")
    tokenizer = talker().tokenizer
    hf = tiny_hf(vocabulary=len(tokenizer))
    lm, sound, tried = load_model(hf, tokenizer=tokenizer), type(hf.model).forward, []
    most = max(len(render(prompt, lm.chat)) for prompt in prompts)

    class Small(type(hf.model)):  # type: ignore[misc]
        def forward(self, input_ids: torch.Tensor, **how: Any) -> Any:
            tried.append(input_ids.numel())
            if input_ids.numel() > most:
                raise kind("MPS backend out of memory (pretended)")
            return sound(self, input_ids, **how)

    hf.model.__class__ = Small
    acts = capture.capture(lm, prompts, "resid_post")
    assert max(tried) > most
    np.testing.assert_allclose(acts.activations, wanted.activations, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(acts.log_odds, wanted.log_odds, rtol=1e-4, atol=1e-4)
    tried.clear()
    score(lm, [prompt for prompt in prompts if prompt.answers])
    assert max(tried) <= most  # it is remembered
    most = 3
    with pytest.raises(SelfrepError, match=r"A single prompt of \d+ tokens does not fit the memory of cpu"):
        capture.capture(lm, prompts, "resid_post")
