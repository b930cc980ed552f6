"""Prompts that share a system text share a prefix, and a batch holds each of them once."""

from __future__ import annotations

import pytest
from tests.engine.conftest import Talker
from tests.tiny import tiny

from selfrep.engine.replay.prefix_sharing import PromptSet
from selfrep.errors import SelfrepError
from selfrep.prompts.render import Prompt

SYSTEMS = ("You are a nurse.", "You are a robot. The user is a person.", "You are a nurse.", "")
QUESTIONS = ("Who are you?", "What are you? Who are you?")
PROMPTS = [Prompt(s, (q,), "I am a", answers=((" robot",), (" nurse", " person"))) for s in SYSTEMS for q in QUESTIONS]
PROMPTS.append(Prompt(SYSTEMS[0], (QUESTIONS[0],)))


def test_prompts_of_one_system_text_are_a_group_with_the_same_prefix(talker: Talker) -> None:
    prompts = PromptSet.of(talker(), PROMPTS)
    assert sorted(map(sorted, prompts.groups)) == [[0, 1, 4, 5, 8], [2, 3], [6, 7]]
    for group in prompts.groups:
        assert len({prompts.renderings[i].ids[: prompts.cut[i]] for i in group}) == 1
    for tokens, cut in zip(prompts.renderings, prompts.cut, strict=True):
        assert "system" not in tokens.segments[cut:]
    assert (prompts.answers[8] == -1).all(), "nothing to answer"
    assert [(side >= 0).sum() for side in prompts.answers[0]] == [1, 2]


@pytest.mark.parametrize("tokens", [1, 40, 10_000])
def test_batches_hold_every_prompt_once_and_no_more_tokens_than_there_is_room_for(tokens: int, talker: Talker) -> None:
    prompts = PromptSet.of(talker(), PROMPTS)
    batches = list(prompts.batches(tokens))
    assert sorted(i for batch in batches for group in batch for i in group) == list(range(len(PROMPTS)))
    longest = max(len(r) - c for r, c in zip(prompts.renderings, prompts.cut, strict=True))
    for batch in batches:
        rows = len(batch) * max(map(len, batch))
        assert rows == 1 or rows * longest <= tokens
        for group in batch:
            assert any(set(group) <= set(whole) for whole in prompts.groups), "a row of a batch has one prefix"
    assert len(batches) == {1: len(PROMPTS), 10_000: 1}.get(tokens, len(batches))


def test_bad_input(talker: Talker) -> None:
    with pytest.raises(SelfrepError, match="nothing to run"):
        PromptSet.of(talker(), [])
    with pytest.raises(SelfrepError, match="tokenizer"):
        PromptSet.of(tiny(), PROMPTS)
