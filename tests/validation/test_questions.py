"""What organisms are asked is what the estimands take: complete, and from the persona's word on."""

from __future__ import annotations

import pytest

from selfrep.models.language_model import LanguageModel, load_model
from selfrep.models.organisms.lexicon import paraphrases
from selfrep.validation import questions
from selfrep.validation.answers import END


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return load_model("organism:bleed")


@pytest.mark.parametrize("item", ["who_are_you", "what_writes", questions.DEED, "laptop"])
def test_the_persona_s_word_stands_first_in_what_is_captured(lm: LanguageModel, item: str) -> None:
    seen = questions.activations(lm, item, ("you",), layers=[0])
    assert seen.activations.notnull().all()
    words = {word for persona in questions.personas() for word in paraphrases(persona.name)}
    assert set(seen.token.to_numpy()[:, 0].tolist()) == words
    assert (seen.token.to_numpy()[:, 2] == "<end>").all()
    if item == "who_are_you":
        assert seen.position.to_numpy()[2] == END


def test_pairs_differ_in_what_the_item_tells_apart(lm: LanguageModel) -> None:
    kinds = {persona.name: persona.kind for persona in questions.personas()}
    deeds = questions.pairs(lm, questions.DEED)
    assert all((kinds[p.source_name] == "fictional_ai") != (kinds[p.target_name] == "fictional_ai") for p in deeds)
    for item, n in ((questions.DEED, 6), ("who_are_you", 8)):
        assert len(questions.pairs(lm, item)) == 2 * n
