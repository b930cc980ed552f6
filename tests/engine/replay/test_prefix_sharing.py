"""Prompts with a prefix in common are run together: grouped without loss, and caught where sharing goes wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine.conftest import Talker
from tests.engine.test_capture import PROMPTS
from tests.tiny import logits

from selfrep.engine.capture import score
from selfrep.engine.replay import attention, prefix_sharing
from selfrep.engine.replay.prefix_sharing import PromptSet, run_alone, run_prompts
from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.prompts.prompt import prompts as make_prompts
from selfrep.study.study import preset


def test_prompts_are_grouped_by_what_stands_before_their_question(talker: Talker) -> None:
    prompts = PromptSet.of(talker(), PROMPTS)
    for group in prompts.groups:
        assert len({prompts.renderings[i].ids[: prompts.cut[i]] for i in group}) == 1
        assert len({PROMPTS[i].system for i in group}) == 1
    assert sorted(i for group in prompts.groups for i in group) == list(range(len(PROMPTS)))
    assert len(prompts.groups) == len({prompt.system for prompt in PROMPTS})
    assert (prompts.answers[-1] == -1).all(), "the last asks for no answer"
    assert (prompts.answers[:-1] >= 0).any(axis=(1, 2)).all()


@settings(max_examples=20, deadline=None)
@given(tokens=st.integers(1, 400))
def test_batches_hold_every_prompt_once_and_no_more_tokens_than_allowed(tokens: int, talker: Talker) -> None:
    prompts = PromptSet.of(talker(), PROMPTS)
    held = []
    for batch, passes in prompts.batches(tokens):
        assert len({len(group) for group in batch}) == 1, "none is run twice to fill a gap"
        assert [c for columns in passes for c in columns] == list(range(len(batch[0])))
        for columns in passes:
            rows = [group[c] for c in columns for group in batch]
            width = max(len(prompts.renderings[i]) - prompts.cut[i] for i in rows)
            assert len(rows) == 1 or len(batch) == 1 or len(rows) * width <= tokens
            held += rows
        assert len(batch) == 1 or len(batch) * max(prompts.cut[group[0]] for group in batch) <= tokens
    assert sorted(held) == list(range(len(PROMPTS)))


class Counted:
    """Counts the tokens that go into a model."""

    def __init__(self, lm: LanguageModel) -> None:
        self.tokens = 0
        self._hook = lm.hf.get_input_embeddings().register_forward_pre_hook(self._count)

    def _count(self, module: object, args: tuple[torch.Tensor, ...]) -> None:
        self.tokens += args[0].numel()

    def __enter__(self) -> Counted:
        return self

    def __exit__(self, *error: object) -> None:
        self._hook.remove()


@pytest.mark.slow
def test_next_to_nothing_of_the_demo_is_padding(talker: Talker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tokens that go into the model, against those that there are: prefixes once, and what follows each."""
    lm, demo = talker(), preset("demo")
    asked = make_prompts(demo.people, demo.items, demo.conditions)
    prompts = PromptSet.of(lm, [replace(prompt, answers=None, said=()) for prompt in asked])
    monkeypatch.setattr(prefix_sharing, "_selfcheck", lambda *args: None)
    monkeypatch.setattr(LanguageModel, "require_replay", lambda lm: None)  # the hook that counts does no harm
    with Counted(lm) as counted:
        done = [i for index, *_ in run_prompts(lm, prompts, [], []) for i in index]
    assert sorted(done) == list(range(len(asked)))
    own = sum(len(r) - cut for r, cut in zip(prompts.renderings, prompts.cut, strict=True))
    true = own + sum(prompts.cut[group[0]] for group in prompts.groups)
    assert true <= counted.tokens <= 1.1 * true


def test_numbers_do_not_depend_on_what_is_run_together(talker: Talker, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = talker()
    together = score(lm, PROMPTS[:-1])
    monkeypatch.setitem(prefix_sharing.PASS_TOKENS, "cpu", 1)
    alone = score(lm, PROMPTS[:-1])
    torch.testing.assert_close(
        torch.tensor(together.log_odds.to_numpy()), torch.tensor(alone.log_odds.to_numpy()), rtol=1e-5, atol=1e-5
    )


def test_the_last_logits_and_activations_are_those_of_each_prompt_alone(talker: Talker) -> None:
    lm = talker("gemma2")
    prompts, seen = PromptSet.of(lm, PROMPTS), set()
    for index, last, kept in run_prompts(lm, prompts, ["resid_post"], [1]):
        for i, row, own in zip(index, last, kept, strict=True):
            alone, (values,) = run_alone(lm, prompts.renderings[i], ["resid_post"], [1])
            torch.testing.assert_close(row, logits(lm.hf, prompts.renderings[i].ids)[-1], rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(alone[0], row, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(own, values, rtol=1e-4, atol=1e-4)
            seen.add(i)
    assert seen == set(range(len(PROMPTS)))


# Sharing prefixes is an optimisation, and checks itself.


def test_a_prefix_that_is_shared_wrongly_is_caught(talker: Talker, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = talker()
    score(lm, PROMPTS[:-1])
    sound = prefix_sharing._prefixes

    def forgets(*args: Any) -> Any:
        recording = sound(*args)
        return recording and replace(recording, visible=torch.zeros(recording.rows, recording.width, dtype=torch.bool))

    monkeypatch.setattr(prefix_sharing, "_prefixes", forgets)
    with pytest.raises(SelfrepError, match="plain forward pass"):
        score(lm, PROMPTS[:-1])


def test_a_window_that_is_ignored_is_caught(talker: Talker, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = talker("mistral")
    sound = attention.shared_prefix_attention

    def shared_prefix_attention(*args: Any, **kwargs: Any) -> Any:
        return sound(*args, **kwargs | {"sliding_window": None})

    monkeypatch.setattr(prefix_sharing, "shared_prefix_attention", shared_prefix_attention)
    with pytest.raises(SelfrepError, match="plain forward pass"):
        score(lm, PROMPTS[:-1])
