"""Pairs of personas and their controls: what is paired with what."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.engine.conftest import Talker
from tests.tiny import tiny

from selfrep.engine.pairs import controls, pair
from selfrep.engine.patch import patch
from selfrep.engine.plan import grid
from selfrep.errors import SelfrepError
from selfrep.prompts.battery import Battery, Item
from selfrep.prompts.chat import chat_format
from selfrep.prompts.persona import NEUTRAL, Persona
from selfrep.prompts.personas import PersonaSet
from selfrep.prompts.prompt import Prompt, prompt
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


def test_the_unprompted_model_is_told_the_neutral_texts_and_nothing_else(talker: Talker) -> None:
    lm = talker()
    chat = chat_format(lm.tokenizer)
    made = pair(lm, None, ROBOT, WHO)
    assert [(it.source_name, it.target_name, it.source_family, it.target_family) for it in made] == [
        ("unprompted", "robot", "unprompted", "robot"),
        ("robot", "unprompted", "robot", "unprompted"),
    ] * 2
    for it in made:
        own = it.source if it.direction == "denoise" else it.target
        bare = Prompt(NEUTRAL[it.source_paraphrase], (WHO.question,), WHO.prefill)
        assert own == render(bare, chat)
    texts = ("Hm.", "Well.", "So.")
    brought = NURSE.model_copy(update={"neutral": texts})
    for source, target in ((None, brought), (brought, None), (None, (brought, "user"))):
        (it,) = pair(lm, source, target, WHO, paraphrases=2, directions="denoise")
        own = it.source if source is None else it.target
        assert own == render(Prompt("So.", (WHO.question,), WHO.prefill), chat), "the texts that the other end brings"


def test_a_persona_in_a_condition_is_paired_as_it_is_spoken_of_there(talker: Talker) -> None:
    lm = talker()
    chat = chat_format(lm.tokenizer)
    (it,) = pair(lm, (NURSE, "user"), NURSE, WHO, paraphrases=1, directions="denoise")
    assert (it.source_name, it.target_name, it.source_family) == ("nurse (user)", "nurse", "nurse")
    assert it.source == render(prompt(NURSE, WHO, "user", 1), chat)
    assert it.target == render(prompt(NURSE, WHO, "you", 1), chat)


def test_texts_of_ones_own_are_paired_under_their_question_or_another(talker: Talker) -> None:
    lm = talker()
    chat = chat_format(lm.tokenizer)
    first = Prompt("Speak Latin.", ("Who are you?",), "I am a", persona="roman", answers=WHO.answer_sets)
    second = Prompt("Speak Greek.", ("Who are you?",), "I am a", answers=WHO.answer_sets)
    (it,) = pair(lm, first, second, directions="denoise")
    assert (it.source_name, it.target_name, it.item) == ("roman", "Speak Greek.", "Who are you?")
    assert (it.source, it.target) == (render(first, chat), render(second, chat))
    with_nurse = pair(lm, first, NURSE, directions="denoise")
    assert [one.target for one in with_nurse] == [render(prompt(NURSE, WHO, "you", k), chat) for k in range(3)]
    (other,) = pair(lm, first, second, WHAT, directions="denoise")
    assert other.source == render(Prompt("Speak Latin.", (WHAT.question,), WHAT.prefill), chat)


def test_controls_of_the_unprompted_model(talker: Talker) -> None:
    lm = talker()
    chat = chat_format(lm.tokenizer)
    real = pair(lm, ROBOT, None, WHO, paraphrases=0)
    made = controls(lm, real, PEOPLE, ITEMS, {"unprompted": "clerk", "robot": "droid"})
    assert [(c.control, c.source_name, c.source_family, c.target_name) for c in made] == [
        ("paraphrase", "unprompted", "unprompted", "unprompted"), ("persona", "clerk", "clerk", "unprompted"),
        ("random", "robot", "robot", "unprompted"), ("paraphrase", "robot", "robot", "robot"),
        ("persona", "droid", "droid", "robot"), ("random", "unprompted", "unprompted", "robot"),
    ]  # fmt: skip
    assert made[0].source == render(Prompt(NEUTRAL[1], (WHO.question,), WHO.prefill), chat)
    assert made[3].source == render(prompt(ROBOT, WHO, "you", 1), chat)
    without = controls(lm, real, PEOPLE, ITEMS, {"robot": "droid"}, kinds="persona")
    assert [c.target_name for c in without] == ["robot"], "the unprompted model has no other here, and no such control"


def hooked_transfer(lm: object, systems: tuple[str, str], layer: int) -> float:
    """T of one cell, all tokens after the system text, from the tokenizer's own template and two plain torch hooks."""
    hf, tokenizer = lm.hf, lm.tokenizer  # type: ignore[attr-defined]
    turns = ({"role": "user", "content": WHO.question},)
    source, target = (
        tokenizer.apply_chat_template(
            [{"role": "system", "content": system}, *turns], tokenize=False, add_generation_prompt=True
        )
        + WHO.prefill
        for system in systems
    )
    ids = [tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"] for text in (source, target)]
    suffix = len(tokenizer(target.rpartition(systems[1])[2], add_special_tokens=False)["input_ids"])
    answers = [[tokenizer(text, add_special_tokens=False)["input_ids"][0] for text in side] for side in WHO.answer_sets]
    block, kept = hf.model.layers[layer], {}

    def run(tokens: torch.Tensor) -> float:
        with torch.no_grad():
            scores = hf(tokens).logits[0, -1].double()
        first, second = (torch.logsumexp(scores[side], 0) for side in answers)
        return float(first - second)

    def keep(_: object, args: tuple[torch.Tensor, ...]) -> None:
        kept["stream"] = args[0].clone()

    def put(_: object, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        changed = args[0].clone()
        changed[:, -suffix:] = kept["stream"][:, -suffix:]
        return (changed, *args[1:])

    results = []
    for tokens, hook in ((ids[0], keep), (ids[1], None), (ids[1], put)):
        handle = None if hook is None else block.register_forward_pre_hook(hook)
        results.append(run(tokens))
        if handle is not None:
            handle.remove()
    from_source, from_target, patched = results
    return (patched - from_target) / (from_source - from_target)


@pytest.mark.parametrize("layer", [1, 2])
def test_transfer_from_and_into_the_unprompted_self_equals_plain_hooks(layer: int, talker: Talker) -> None:
    lm = talker()
    effects = patch(lm, pair(lm, None, NURSE, WHO, paraphrases=1), grid("resid_pre", layers=[layer], segments="all"))
    systems = (NEUTRAL[1], NURSE.system("you", 1))
    wanted = [hooked_transfer(lm, both, layer) for both in (systems, systems[::-1])]
    np.testing.assert_allclose(effects.transfer.squeeze(), wanted, rtol=1e-4, atol=1e-5)
    assert effects.source.values.tolist() == ["unprompted", "nurse"]
    assert abs(wanted[0] - wanted[1]) > 0.01, "the control: the two directions are not the same"


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("jfk", None, "source is one Persona; got 'jfk'"),
        (None, (NURSE, "wizard"), "condition is one of you, user, book, neutral; got 'wizard'"),
        (None, None, "Both ends of a pair are asked the same question"),
        (Prompt("Hm.", ("Why?",)), NURSE, "give items="),
        (Prompt("Hm.", ("Why?",), answers=WHO.answer_sets), Prompt("So.", ("How?",), answers=WHO.answer_sets), "'How"),
    ],
)
def test_ends_that_cannot_be_paired_are_refused(source: object, target: object, message: str, talker: Talker) -> None:
    with pytest.raises(SelfrepError, match=message):
        pair(talker(), source, target)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"items": []}, "nothing to pair"),
        ({"items": [WHO], "paraphrases": []}, "nothing to pair"),
        ({"items": [WHO], "paraphrases": [2]}, "robot"),
        ({"items": [WHO.model_copy(update={"answers": {"a": (" who",), "b": (" nurse",)}})]}, "' who' is 4 tokens"),
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
