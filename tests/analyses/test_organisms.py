"""What organisms are asked is what the estimates take: complete, and from the persona's word on."""

from __future__ import annotations

import numpy as np
import pytest

from selfrep.analyses import organisms
from selfrep.models.language_model import LanguageModel
from selfrep.models.loading import load_model
from selfrep.models.organisms.lexicon import paraphrases


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return load_model("organism:bleed")


@pytest.mark.parametrize("item", ["who_are_you", organisms.DEED])
def test_the_persona_s_word_stands_first_in_what_is_captured(lm: LanguageModel, item: str) -> None:
    acts = organisms.activations(lm, item, ("you",), layers=[0])
    assert acts.activations.notnull().all()
    words = {word for persona in organisms.personas() for word in paraphrases(persona.name)}
    assert set(acts.token.to_numpy()[:, 0].tolist()) == words
    assert (acts.token.to_numpy()[:, 2] == "<end>").all()
    if item == "who_are_you":
        assert acts.position.to_numpy()[2] == organisms.END


def test_items_are_scored_by_name_as_by_themselves(lm: LanguageModel) -> None:
    by_name, by_item = (
        organisms.scores(lm, items, ("you", "neutral"))
        for items in (["what_writes"], organisms.battery().select(["what_writes"]))
    )
    np.testing.assert_array_equal(by_name.log_odds, by_item.log_odds)
    assert set(by_name.condition.to_numpy()) == {"you", "neutral"}
    other = organisms.scores(lm, ["who_are_you"], ("you", "neutral"))
    assert abs(other.log_odds.to_numpy() - by_name.log_odds.to_numpy()).max() > 1, "the control"
