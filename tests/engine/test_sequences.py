"""Whole words are worth what a plain Hugging Face loop says, token by token."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import selfrep as sr
from selfrep.errors import SelfrepError
from selfrep.models.organisms import BATTERY, PERSONAS
from selfrep.prompts.render import render

WORDS = ((" machine robot", " machine nurse", " computer"), (" nurse", " human nurse robot"))


@pytest.fixture(scope="module")
def lm() -> sr.LanguageModel:
    return sr.load_model("organism:separate")


@pytest.fixture(scope="module")
def prompts() -> list[sr.Prompt]:
    people, items = sr.personas.load(PERSONAS), sr.battery.load(BATTERY)
    made = sr.make_prompts(people.select(["robot", "nurse"]), items["who_are_you"], paraphrases=[0, 1])
    return [replace(one, answers=WORDS) for one in made]


def by_hand(lm: sr.LanguageModel, prompt: sr.Prompt, word: str) -> float:
    """The probability of a whole word: a plain forward pass for each of its tokens."""
    ids, nats = list(render(prompt, lm.chat).ids), 0.0
    for token in lm.tokenizer(word, add_special_tokens=False)["input_ids"]:
        with torch.no_grad():
            nats += float(lm.hf(torch.tensor([ids])).logits[0, -1].log_softmax(-1)[token])
        ids.append(token)
    return math.exp(nats)


def test_log_odds_and_mass_are_those_of_a_plain_loop(lm: sr.LanguageModel, prompts: list[sr.Prompt]) -> None:
    read = sr.sequence_log_odds(lm, prompts)
    first, second = (np.array([sum(by_hand(lm, one, word) for word in side) for one in prompts]) for side in WORDS)
    assert read.log_odds.to_numpy() == pytest.approx(np.log(first / second), abs=1e-4)
    assert read.answer_mass.to_numpy() == pytest.approx(first + second, rel=1e-4)
    assert list(read.persona.values) == [one.persona for one in prompts]
    begun = [replace(one, answers=((" machine", " computer"), (" nurse", " human"))) for one in prompts]
    apart = np.abs(sr.score(lm, begun).log_odds - read.log_odds)
    assert apart.max() > 0.1, "the control: first tokens are worth others"


def test_words_of_one_token_are_scored_as_usual(lm: sr.LanguageModel, prompts: list[sr.Prompt]) -> None:
    short = [replace(one, answers=((" machine", " computer"), (" nurse",))) for one in prompts]
    whole, usual = sr.sequence_log_odds(lm, short), sr.score(lm, short)
    for name in ("log_odds", "answer_mass"):
        assert whole[name].to_numpy() == pytest.approx(usual[name].to_numpy(), abs=1e-4)


def test_what_cannot_be_scored_is_refused(lm: sr.LanguageModel, prompts: list[sr.Prompt]) -> None:
    with pytest.raises(SelfrepError, match="must carry answer sets"):
        sr.sequence_log_odds(lm, [replace(prompts[0], answers=None)])
    with pytest.raises(SelfrepError, match="token of its own"):
        sr.sequence_log_odds(lm, [replace(prompts[0], answers=(("",), (" nurse",)))])
