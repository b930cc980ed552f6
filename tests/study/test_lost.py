"""How much is lost with some words is what a plain Hugging Face loop says, word by word."""

from __future__ import annotations

import math

import pytest
import torch

import selfrep as sr
from selfrep.models.organisms import BATTERY, PERSONAS
from selfrep.prompts import battery, personas
from selfrep.prompts.chat import chat_format
from selfrep.prompts.persona import NEUTRAL
from selfrep.prompts.prompt import Prompt
from selfrep.prompts.render import render
from selfrep.study.lost import MOST_SPEAKERS, lost_with


@pytest.fixture(scope="module")
def lm() -> sr.LanguageModel:
    return sr.load_model("organism:separate")


def by_hand(lm: sr.LanguageModel, prompt: Prompt, word: str) -> float:
    """The probability of a whole word, token by token, each by a forward pass of its own."""
    chat = chat_format(lm.tokenizer)
    ids = list(render(prompt, chat).ids)
    nats = 0.0
    for token in lm.tokenizer(word, add_special_tokens=False)["input_ids"]:
        with torch.no_grad():
            nats += float(lm.hf(torch.tensor([ids])).logits[0, -1].log_softmax(-1)[token])
        ids.append(token)
    return math.exp(nats)


def test_the_share_is_that_of_whole_words_over_a_few_speakers(lm: sr.LanguageModel) -> None:
    people = personas.load(PERSONAS).select(["robot", "nurse"])
    item = battery.load(BATTERY)["who_are_you"]
    words = (" machine", " robot", " computer", " machine robot")
    asked = item.model_copy(update={"answers": {"ai": words, "human": (" human", " nurse")}})
    systems = [NEUTRAL[0], *(one.system("you", 0) for one in people)]
    prompts = [Prompt(system, (item.question,), item.prefill) for system in systems]
    probable = {word: sum(by_hand(lm, prompt, word) for prompt in prompts) for word in words}
    expected = (probable[" machine robot"] + probable[" robot"]) / sum(probable.values())
    found = lost_with(lm, people)(asked, {" machine robot": "is cut", " robot": "is cut"})
    assert found == (pytest.approx(expected, rel=1e-4), 0.0)
    assert 0 < expected < 1
    others = lost_with(lm, personas.load(PERSONAS).select(["nurse"]))(asked, {" robot": "is cut"})
    assert others[0] != pytest.approx(expected, rel=1e-2), "the control: it hangs on who is asked"


def test_no_more_than_a_few_speakers_are_asked_of_either_side(lm: sr.LanguageModel) -> None:
    from selfrep.study.lost import _speakers

    chosen = _speakers(personas.builtin())
    assert len(chosen) == MOST_SPEAKERS
    sides = [one.side for one in chosen]
    counts = [sides.count(side) for side in set(sides)]
    assert max(counts) - min(counts) <= 1
