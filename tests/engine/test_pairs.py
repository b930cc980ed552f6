"""Pairs of personas and their controls: what is paired with what."""

from __future__ import annotations

import numpy as np
import pytest
from tests.engine.conftest import Talker
from tests.tiny import tiny

from selfrep.engine.pairs import controls, pair
from selfrep.engine.patch import patch
from selfrep.engine.plan import grid
from selfrep.errors import SelfrepError
from selfrep.prompts.battery import Battery, Item
from selfrep.prompts.chat import chat_format
from selfrep.prompts.personas import Persona, PersonaSet
from selfrep.prompts.prompt import prompt
from selfrep.prompts.render import render

NURSE = Persona(name="nurse", kind="human", descriptions=("a nurse", "a person, a nurse", "a nurse named Toy"))
CLERK = Persona(name="clerk", kind="human", descriptions=("a clerk", "a clerk in an office"))
ROBOT = Persona(name="robot", kind="fictional_ai", descriptions=("a robot", "a machine"))
DROID = Persona(name="droid", kind="fictional_ai", descriptions=("a droid",))
PEOPLE = PersonaSet((NURSE, CLERK, ROBOT, DROID))
WHO = Item(
    name="who", question="Who are you?", prefill="I am a",
    answers={"ai": (" robot", " machine"), "human": (" nurse", " person")}, perspective="in_character",
)  # fmt: skip
WHAT = WHO.model_copy(update={"name": "what", "question": "What are you?"})
ITEMS = Battery((WHO, WHAT))
OTHERS = {"nurse": "clerk", "clerk": "nurse", "robot": "droid", "droid": "robot"}


def test_pairs_are_items_by_paraphrases_by_directions(talker: Talker) -> None:
    lm = talker()
    made = pair(lm, NURSE, ROBOT, [WHO, WHAT])
    assert len(made) == 2 * 2 * 2  # the robot has two paraphrases
    chat = chat_format(lm.tokenizer)
    for it in made:
        k = it.source_paraphrase
        assert it.target_paraphrase == k
        names = (it.source_name, it.target_name)
        assert names == (("nurse", "robot") if it.direction == "denoise" else ("robot", "nurse"))
        for name, tokens in zip(names, (it.source, it.target), strict=True):
            assert tokens == render(prompt(PEOPLE[name], ITEMS[it.item], "you", k), chat)
        assert it.answers == tuple(
            tuple(lm.tokenizer(text, add_special_tokens=False)["input_ids"][0] for text in side)
            for side in WHO.answer_sets
        )
    only = pair(lm, NURSE, ROBOT, [WHO], paraphrases=[1], directions=["noise"])
    assert only == [it for it in made if (it.item, it.source_paraphrase, it.direction) == ("who", 1, "noise")]


def test_controls_change_the_source_and_nothing_else(talker: Talker) -> None:
    lm = talker()
    real = pair(lm, NURSE, ROBOT, [WHO])
    made = controls(lm, real, PEOPLE, ITEMS, OTHERS)
    assert [c.control for c in made] == ["paraphrase", "persona", "random"] * len(real)
    for i, c in enumerate(made):
        own = real[i // 3]
        assert (c.target, c.target_name, c.item, c.direction, c.answers) == (
            own.target, own.target_name, own.item, own.direction, own.answers,
        )  # fmt: skip
        assert c.reference == own.source
        if c.control == "paraphrase":
            assert c.source_name == own.target_name
            assert c.source_paraphrase != own.target_paraphrase
            assert c.source != own.target
        elif c.control == "persona":
            assert c.source_name == OTHERS[own.target_name]
            assert PEOPLE[c.source_name].side == PEOPLE[own.target_name].side
        else:
            assert c.source == own.source


def test_personas_can_be_patched_with_their_controls(talker: Talker) -> None:
    lm = talker("gemma2")
    real = pair(lm, NURSE, ROBOT, [WHO, WHAT], paraphrases=[0])
    effects = patch(
        lm, [*real, *controls(lm, real, PEOPLE, ITEMS, OTHERS)], grid("resid_post", segments=["all", "last"])
    )
    for i, own in enumerate(real):
        of = effects.sel(pair=[len(real) + 3 * i + j for j in range(3)])
        np.testing.assert_allclose(of.total_effect, float(effects.total_effect[i]), atol=1e-5)
        assert set(of.target.values) == {own.target_name}
    top = effects.sel(layer=2, segment="last")
    real_rows = effects.control == ""
    np.testing.assert_allclose(top.transfer[real_rows], 1, atol=1e-3)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"items": []}, "nothing to pair"),
        ({"items": [WHO], "paraphrases": []}, "nothing to pair"),
        ({"items": [WHO], "paraphrases": [2]}, "robot"),
        ({"items": [WHO.model_copy(update={"answers": {"a": (" who",), "b": (" nurse",)}})]}, "' who' is not"),
    ],
)
def test_pairs_that_cannot_be_made_are_refused(asked: dict[str, object], message: str, talker: Talker) -> None:
    with pytest.raises(SelfrepError, match=message):
        pair(talker(), NURSE, ROBOT, **asked)


def test_controls_that_cannot_be_made_are_refused(talker: Talker) -> None:
    lm = talker()
    with pytest.raises(SelfrepError, match="'droid' has one"):
        controls(lm, pair(lm, NURSE, DROID, [WHO]), PEOPLE, ITEMS, OTHERS)
    with pytest.raises(SelfrepError, match="paraphrase, persona, random; got 'placebo'"):
        controls(lm, pair(lm, NURSE, ROBOT, [WHO]), PEOPLE, ITEMS, OTHERS, kinds=["placebo"])


def test_pairs_need_a_tokenizer() -> None:
    with pytest.raises(SelfrepError, match="patch_tokens"):
        pair(tiny(), NURSE, ROBOT, [WHO])
