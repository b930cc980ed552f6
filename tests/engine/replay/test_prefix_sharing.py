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
    batches = list(prompts.batches(tokens))
    assert sorted(i for batch in batches for group in batch for i in group) == list(range(len(PROMPTS)))
    longest = max(len(r) - c for r, c in zip(prompts.renderings, prompts.cut, strict=True))
    for batch in batches:
        rows = len(batch) * max(map(len, batch))
        assert rows == 1 or rows * longest <= tokens


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
