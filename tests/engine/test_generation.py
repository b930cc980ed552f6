"""What a model says, against a loop of whole passes of the plain Hugging Face model with hooks written by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
import torch
from tests.engine.conftest import Talker
from tests.tiny import D_MODEL, by_risk, hooked, module_at, sites_of, values_at
from torch import Tensor

from selfrep.engine import generation, spoken
from selfrep.engine.capture import capture
from selfrep.engine.during import during
from selfrep.engine.generation import generate
from selfrep.engine.interventions import Ablate, Cap, Replace, Steer
from selfrep.engine.spoken import Keep
from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.models.loading import load_model
from selfrep.prompts.conversation import conversation
from selfrep.prompts.prompt import Prompt
from selfrep.prompts.render import render

PROMPTS = [
    Prompt("You are a nurse.", ("Who are you?",), "I am a", persona="nurse"),
    Prompt("", ("Hello!",), persona="none"),
    Prompt("You are a robot. The user is a person. I was born.", ("What are you? Who are you?",), "I", persona="robot"),
]
N = 6
VECTOR = torch.linspace(-1, 1, D_MODEL)
Edit = tuple[str, int, Callable[[int], bool], Callable[[Tensor], Tensor]]
"""Site, layer, whether a position is changed (0 says the first token of the answer), and how."""


@torch.no_grad()
def by_hand(
    lm: LanguageModel, family: str, prompt: Prompt, edits: Sequence[Edit] = ()
) -> tuple[list[int], list[float]]:
    """Tokens and log-probabilities of a greedy answer: a whole pass of one unpadded row for each, without a cache."""
    ids, n = list(render(prompt, lm.chat).ids), len(render(prompt, lm.chat).ids)
    said, told = [], []
    for _ in range(N):
        with ExitStack() as stack:
            for site, layer, where, change in edits:

                def changed(x: Tensor, where: Any = where, change: Any = change, site: str = site) -> Tensor:
                    new = x if site == "resid_mid" else x.clone()
                    for p in range(x.shape[1]):
                        if where(p - (n - 1)):
                            new[:, p] = change(x[:, p])
                    return new

                stack.enter_context(hooked(*module_at(lm.hf, family, site, layer), changed))
            logits = lm.hf(torch.tensor([ids]), use_cache=False).logits[0, -1].log_softmax(-1)
        said.append(int(logits.argmax()))
        told.append(float(logits.max()))
        ids.append(said[-1])
    return said, told


@pytest.fixture(autouse=True)
def endless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random models say whatever ends an answer soon; here nothing does."""
    monkeypatch.setattr(spoken, "ends_of", lambda lm: frozenset())


@pytest.mark.parametrize(
    "family", by_risk(["llama", "gpt2", "opt", "gemma2", "gpt_oss", "gpt_neox", "mistral", "bloom", "mamba"])
)
@pytest.mark.filterwarnings("ignore:.*keeps no keys and values")
def test_answers_are_those_of_whole_passes_with_and_without_a_cache(family: str, talker: Talker) -> None:
    lm = talker(family)
    wanted = [by_hand(lm, family, prompt) for prompt in PROMPTS]
    for cache in (True, False):
        said = generate(lm, PROMPTS, max_tokens=N, cache=cache)
        assert said.tokens.values.tolist() == [tokens for tokens, _ in wanted]
        np.testing.assert_allclose(said.log_prob, [told for _, told in wanted], atol=2e-4)
    assert np.ptp([told for _, told in wanted], axis=0).max() > 0.01, "the control: each is answered in its way"
    assert said.persona.values.tolist() == ["nurse", "none", "robot"]
    assert [row[row >= 0].tolist() for row in said.prompt_ids.values] == [list(render(p, lm.chat).ids) for p in PROMPTS]


PHASES: dict[str, Callable[[int], bool]] = {
    "prompt": lambda at: at <= 0,
    "response": lambda at: at >= 0,
    "all": lambda at: True,
    "first 2": lambda at: 0 <= at < 2,
    "from 3": lambda at: at >= 3,
}


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize(
    "family", by_risk(["llama", "gpt2", "opt", "gemma2", "gpt_oss", "gpt_neox"], ("llama", "gpt2"))
)
def test_what_is_held_changes_the_positions_of_its_phase_and_no_other(family: str, phase: str, talker: Talker) -> None:
    lm = talker(family)
    (site,) = sites_of(family, ["resid_mid"]) or ["resid_post"]
    apply = [
        during(Steer(VECTOR, 0.7), "resid_post", 0, phase),
        during(Cap(VECTOR, high=0.1), "resid_pre", [1, 2], phase),
        during(Steer(VECTOR.flip(0), 0.3), site, 1, phase),
    ]
    unit = VECTOR / VECTOR.norm()

    def capped(x: Tensor) -> Tensor:
        return x - ((x @ unit) - 0.1).clamp(min=0)[:, None] * unit

    where = PHASES[phase]
    edits: list[Edit] = [
        ("resid_post", 0, where, lambda x: x + 0.7 * VECTOR),
        *(("resid_pre", layer, where, capped) for layer in (1, 2)),
        (site, 1, where, lambda x: x + 0.3 * VECTOR.flip(0)),
    ]
    wanted, plain = ([by_hand(lm, family, prompt, e) for prompt in PROMPTS] for e in (edits, []))
    for cache in (True, False):
        said = generate(lm, PROMPTS, max_tokens=N, apply=apply, cache=cache)
        assert said.tokens.values.tolist() == [tokens for tokens, _ in wanted]
        np.testing.assert_allclose(said.log_prob, [told for _, told in wanted], atol=3e-4)
    moved = np.abs(np.array([t for _, t in wanted]) - np.array([t for _, t in plain])).max(axis=0)
    assert moved.max() > 0.01, "the control: it does something"
    assert (moved[0] > 1e-3) == (phase != "from 3"), "the first token of the answer is part of all phases but this"


def test_another_s_answer_is_patched_in_while_it_speaks(talker: Talker) -> None:
    lm = talker("llama")
    nurse, robot = PROMPTS[0], PROMPTS[2]
    source = generate(lm, robot, max_tokens=N, capture=Keep("resid_post", layers=[1, 2]))
    apply = during(Replace(), "resid_post", 2, source=source)
    said = generate(lm, [nurse, PROMPTS[1]], max_tokens=N, apply=apply)
    for row in said.tokens.values:
        assert row.tolist() == source.tokens.values[0].tolist(), "all of the last layer's stream is the source's"
    assert generate(lm, nurse, max_tokens=N).tokens.values.tolist() != source.tokens.values.tolist(), "the control"
    with pytest.raises(SelfrepError, match="shorter than the target's: it has no token 7"):
        generate(lm, nurse, max_tokens=N + 2, apply=apply)


def test_what_is_kept_is_what_passes_at_the_tokens_of_the_answer(talker: Talker) -> None:
    lm = talker("llama")
    said = generate(lm, PROMPTS, max_tokens=N, capture=Keep(["resid_post", "attn_out"], layers=[0, 2]))
    for i, prompt in enumerate(PROMPTS):
        ids = [*render(prompt, lm.chat).ids, *said.tokens.values[i].tolist()]
        heard: list[Tensor] = []
        with (
            hooked(*module_at(lm.hf, "llama", "attn_out", 2), lambda x, heard=heard: heard.append(x) or x),
            torch.no_grad(),
        ):
            lm.hf(torch.tensor([ids]), use_cache=False)
        own = said.sel(site="attn_out", layer=2).isel(prompt=i)
        np.testing.assert_allclose(own.activations, heard[0][0, -N:], atol=1e-4)
        np.testing.assert_allclose(own.before, heard[0][0, -N - 1], atol=1e-4)
    mean = generate(lm, PROMPTS, max_tokens=N, capture=Keep(["resid_post", "attn_out"], layers=[0, 2], by="answer"))
    np.testing.assert_allclose(mean.activations, said.activations.mean("step"), atol=1e-5)


def test_draws_are_those_of_the_seed_whatever_the_batch_and_follow_the_probabilities(
    talker: Talker, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = talker("llama")
    first = generate(lm, PROMPTS, max_tokens=N, temperature=0.8, seed=3)
    monkeypatch.setattr(generation, "pass_tokens", lambda lm: 1)
    again = generate(lm, PROMPTS, max_tokens=N, temperature=0.8, seed=3, cache=False)
    assert again.tokens.values.tolist() == first.tokens.values.tolist()
    assert (
        generate(lm, PROMPTS, max_tokens=N, temperature=0.8, seed=4).tokens.values.tolist()
        != first.tokens.values.tolist()
    )
    chosen = generate(lm, PROMPTS[0], max_tokens=1, temperature=0.5)
    assert generate(lm, PROMPTS[0], max_tokens=1, temperature=0.5, seed=chosen.attrs["seed"]).tokens.equals(
        chosen.tokens
    )
    logits = torch.tensor([[0.0, 1.0, 2.0]])
    draws = [np.random.default_rng(i) for i in range(4000)]
    drawn, _ = generation._chosen(logits.expand(4000, -1), 0.5, draws)
    share = np.bincount(drawn, minlength=3) / 4000
    np.testing.assert_allclose(share, (logits[0] / 0.5).softmax(0), atol=0.03)


def test_an_answer_ends_with_what_ends_it_and_its_neighbours_go_on(
    talker: Talker, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = talker("llama")
    free = generate(lm, PROMPTS, max_tokens=N).tokens.values
    end = next(int(t) for t in free[0] if t not in free[1])
    monkeypatch.setattr(spoken, "ends_of", lambda lm: frozenset([end]))
    said = generate(lm, PROMPTS, max_tokens=N, capture=Keep("resid_post", layers=0, by="answer"))
    at = free[0].tolist().index(end)
    assert said.tokens.values[0].tolist() == [*free[0][: at + 1], *[-1] * (N - at - 1)]
    assert said.tokens.values[1].tolist() == free[1].tolist()
    assert bool(said.ended[0])
    assert not bool(said.ended[1])
    assert np.isnan(said.log_prob.values[0, at + 1 :]).all()
    assert lm.tokenizer.decode([end]) not in str(said.text.values[0])


def test_a_strength_of_each_prompt_is_its_own(talker: Talker) -> None:
    lm = talker("llama")
    steer = Steer(VECTOR, 2.0)
    said = generate(lm, PROMPTS, max_tokens=N, apply=during(steer, "resid_post", 1, strength=[0.0, 0.5, 1.0]))
    for i, strength in enumerate((0.0, 0.5, 1.0)):
        alone = generate(lm, PROMPTS[i], max_tokens=N, apply=during(Steer(VECTOR, 2 * strength), "resid_post", 1))
        np.testing.assert_allclose(said.log_prob[i], alone.log_prob[0], atol=2e-4)


def test_a_model_without_keys_and_values_says_that_it_is_slow(talker: Talker) -> None:
    with pytest.warns(UserWarning, match="keeps no keys and values"):
        generate(talker("mamba"), PROMPTS, max_tokens=2)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"max_tokens": 0}, "at least one token"),
        ({"temperature": -1.0}, "temperature is 0"),
        ({"apply": [during(Steer(VECTOR), "resid_post", 0, "from 9")]}, "never comes"),
        ({"apply": [during(Steer(VECTOR[:5]), "resid_post", 0)]}, "5 features"),
        ({"apply": [during(Steer(VECTOR), "resid_post", 0, strength=[1.0, 2.0])]}, "got 2 for 3 prompts"),
        ({"apply": ["steer"]}, "During"),
        ({"capture": "middle"}, "A site is one of"),
        ({"max_tokens": 10**6}, "at most"),
    ],
)
def test_what_cannot_be_said_is_refused(asked: dict[str, Any], message: str, talker: Talker) -> None:
    with pytest.raises(SelfrepError, match=message):
        generate(talker("llama"), PROMPTS, **({"max_tokens": 3} | asked))


def test_a_conversation_is_answered_where_the_user_spoke_last_and_read_turn_by_turn(talker: Talker) -> None:
    lm = talker("llama")
    talk = conversation("Hello!", "I am a nurse.", "Who are you?", system="You are a nurse.", name="shore")
    said = generate(lm, [talk, PROMPTS[1]], max_tokens=N)
    assert said.tokens.values[0].tolist() == by_hand(lm, "llama", talk)[0]
    assert said.item.values.tolist() == ["shore", ""]
    whole = conversation(*talk.spoken, "I am a robot.", system=talk.system)
    with pytest.raises(SelfrepError, match="spoken last already"):
        generate(lm, whole, max_tokens=N)
    assert generate(lm, whole.before(2), max_tokens=N).tokens.values.tolist() == [said.tokens.values[0].tolist()]
    acts = capture(lm, [whole, talk], layers=[1], tokens="turn")
    assert acts.turn.values.tolist() == ["system", "user 1", "assistant 1", "user 2", "assistant 2"]
    tokens = render(whole, lm.chat)
    stream = torch.as_tensor(values_at(lm.hf, "llama", "resid_post", 1, tokens.ids))
    for name in acts.turn.values:
        own = stream[[s == name for s in tokens.segments]].mean(0)
        np.testing.assert_allclose(acts.activations.sel(turn=name)[0, 0, 0], own, atol=1e-4)
    assert np.isnan(acts.activations.sel(turn="assistant 2")[1]).all()
    with pytest.raises(SelfrepError, match="tokens='turn'"):
        capture(lm, whole)


def test_without_prompts_or_a_tokenizer_there_is_nothing_to_say(talker: Talker) -> None:
    with pytest.raises(SelfrepError, match="empty"):
        generate(talker("llama"), [])
    with pytest.raises(SelfrepError, match="tokenizer"):
        generate(load_model(talker("llama").hf), PROMPTS)


def test_zero_ablation_and_heads_are_held_too(talker: Talker) -> None:
    lm = talker("llama")
    quiet = generate(lm, PROMPTS, max_tokens=N, apply=during(Ablate("zero"), "z", 1, "all"))
    wanted = [by_hand(lm, "llama", p, [("z", 1, lambda at: True, torch.zeros_like)]) for p in PROMPTS]
    assert quiet.tokens.values.tolist() == [tokens for tokens, _ in wanted]
