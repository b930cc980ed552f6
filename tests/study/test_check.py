"""Which items a model can be read by: those that personas move, and, from outside, those that a changed truth moves."""

from __future__ import annotations

import numpy as np
import pytest
from tests.prompts.conftest import CHATML, make_tokenizer
from tests.tiny import tiny_hf

from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.models.loading import load_model
from selfrep.models.organisms import BATTERY, PERSONAS
from selfrep.prompts import battery, personas
from selfrep.prompts.battery import Battery
from selfrep.prompts.identities import Identity
from selfrep.study.check import check_battery

PEOPLE = personas.load(PERSONAS)


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return load_model("organism:separate")


@pytest.mark.slow
def test_items_are_told_apart_by_what_should_move_them(lm: LanguageModel) -> None:
    asked = battery.load(BATTERY).select(["who_are_you", "what_writes", "act_in_peace"])
    checked = check_battery(lm, asked, PEOPLE)
    at = {name: checked.sel(item=name) for name in asked.names()}
    assert bool(at["who_are_you"].identified)
    assert float(at["who_are_you"].auc) == 1
    assert bool(at["what_writes"].identified), "no persona moves it, but a changed truth does"
    assert abs(float(at["what_writes"]["shift"])) < 0.1 < float(at["what_writes"].truth_shift)
    assert not bool(at["act_in_peace"].identified), "the control: an item that nothing moves"
    assert at["act_in_peace"].reason.item()
    assert np.isnan(checked.order_effect).all()
    assert np.isnan(float(at["who_are_you"].truth_shift))
    assert checked.side.values.tolist() == ["ai", "human"]
    spread = checked.length.values[0] - checked.length.values[1]
    assert float(checked.length_difference) == pytest.approx(spread)
    assert np.isfinite(
        checked[["surprise_difference", "surprise_ci_low", "surprise_ci_high", "surprise_p"]].to_array()
    ).all()
    # No description surprises an organism more for what it says of a side: its shift stays what it is.
    assert float(at["who_are_you"].controlled_shift) == pytest.approx(8, abs=1)


def test_an_answer_that_the_tokenizer_cuts_leaves_its_item_out_with_the_reason(lm: LanguageModel) -> None:
    known = battery.load(BATTERY)["who_are_you"]
    cut = known.model_copy(update={"name": "cut", "answers": {"ai": ("machine computer",), "human": ("human",)}})
    checked = check_battery(lm, Battery((cut, known)), PEOPLE)
    assert checked.identified.values.tolist() == [False, True]
    assert "is 2 tokens" in checked.reason.values[0]
    assert np.isnan(checked["shift"].values[0])


def test_the_order_of_options_is_turned_round(lm: LanguageModel) -> None:
    known = battery.load(BATTERY)["who_are_you"]
    choice = known.model_copy(update={"name": "choice", "options": ("peace", "who")})
    checked = check_battery(lm, Battery((choice,)), PEOPLE)
    assert np.isfinite(checked.order_effect.values).all()


def test_bad_input(lm: LanguageModel) -> None:
    with pytest.raises(SelfrepError, match="nothing to check"):
        check_battery(lm, Battery(()), PEOPLE)
    with pytest.raises(SelfrepError, match="Two sides of personas"):
        check_battery(lm, battery.load(BATTERY).select(["who_are_you"]), personas.builtin().select(["jfk", "smollm"]))


@pytest.mark.slow
def test_a_built_in_item_that_names_the_embedded_model_names_the_model_that_is_asked() -> None:
    lm = stranger()
    asked = battery.builtin().select(["own_name", "smollm_program"])
    nameless = check_battery(lm, asked)
    assert nameless.item.values.tolist() == ["own_name", "smollm_program"]
    assert "is tuned to call itself is not known" in nameless.reason.values[1]
    assert "tuned" not in nameless.reason.values[0], "it lists the model among others only"
    assert np.isnan(nameless["shift"].values[1])
    zed = check_battery(lm, asked, identity=Identity(name="Ada", maker="the firm Zeta"))
    assert zed.item.values.tolist() == ["own_name", "ada_program"]
    assert "tuned" not in zed.reason.values[1]


def stranger() -> LanguageModel:
    """A model of random weights that nobody knows, with a chat template and every answer of the battery in a token."""
    words = {word for item in battery.builtin() for side in item.answer_sets for word in side}
    tokenizer = make_tokenizer(CHATML)
    tokenizer.add_tokens(sorted(words))
    return load_model(tiny_hf("llama", vocabulary=len(tokenizer)), tokenizer=tokenizer, device="cpu")
