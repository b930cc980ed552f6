"""An organism's words, against the personas and questions that are put to it by the ordinary route."""

from __future__ import annotations

import numpy as np
import pytest

import selfrep as sr
from selfrep.models import organisms
from selfrep.models.organisms.lexicon import ANSWERS, QUESTION_WORDS, token_ids, words
from selfrep.prompts.answers import readable_answers
from selfrep.prompts.chat import chat_format
from selfrep.prompts.render import render

PERSONAS = sr.personas.load(organisms.PERSONAS)
BATTERY = sr.battery.load(organisms.BATTERY)
FILES = {
    "battery": organisms.BATTERY,
    "identity": organisms.IDENTITY,
    "anomaly": organisms.ANOMALY,
    "scratchpad": organisms.SCRATCHPAD,
}
CHAT = chat_format(organisms.tokenizer())

OPENING = ["BOS", "SELF"]


def asked(item: sr.battery.Item) -> list[str]:
    """The roles that stand between USR and the end, by the words of an item."""
    cue = ["CUE"] if item.question.startswith("In ") else []
    topic = item.name in organisms.lexicon.REFERENTS or (not cue and item.name != "maker")
    q, t = ["Q"], ["TOPIC"] * topic
    steps = ["STEP"] * int(item.name[-1]) if "_after_" in item.name else []
    return [*cue, *q, *t, "ASST", *steps, *(["ASST"] if item.prefill else [])]


def test_eight_personas_a_side_and_two_readings_in_four_paraphrases() -> None:
    sides = [persona.side for persona in PERSONAS]
    assert (sides.count("ai"), sides.count("human"), sides.count("")) == (8, 8, 2)
    assert [persona.reading for persona in PERSONAS if not persona.side] == ["default", "reductionist"]
    assert {persona.n_paraphrases for persona in PERSONAS} == {4}
    code = {w.text: np.array(w.content) for w in words() if w.role == "PER"}
    assert len(code) == 18 * 4
    for persona in PERSONAS:
        own = [code[description.split()[-1]] for description in persona.descriptions]
        np.testing.assert_array_equal(own, [own[0]] * 4)  # paraphrases mean the same
        assert own[0][0] == (-1 if persona.side == "human" else 1)
        assert own[0][1] == (persona.kind == "fictional_ai")
    meanings = {tuple(np.round(c, 6)) for c in code.values()}
    assert len(meanings) == 18  # and personas do not
    for side in ("ai", "human"):  # which differ in nothing but what is said of them: no place is nearer to a side
        places = [code[p.descriptions[0].split()[-1]][2:4] for p in PERSONAS if p.side == side]
        np.testing.assert_allclose(np.mean(places, axis=0), 0, atol=1e-12)


def test_families_stand_on_one_side_and_enough_of_them_on_each() -> None:
    families = {side: [p.family for p in PERSONAS if p.side == side] for side in ("ai", "human")}
    assert not set(families["ai"]) & set(families["human"])
    assert {side: len(set(names)) for side, names in families.items()} == {"ai": 5, "human": 5}
    assert {w.persona: w.family for w in words() if w.persona} == {p.name: p.family for p in PERSONAS}


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
def test_every_prompt_is_read_in_words_it_knows_and_in_order(file: str) -> None:
    lengths = set()
    items = sr.battery.load(FILES[file])
    for prompt in sr.make_prompts(PERSONAS, items, conditions=("you", "user", "book", "neutral")):
        tokens = render(prompt, CHAT)
        assert "<unk>" not in tokens.texts
        roles = organisms.roles(tokens.ids)
        end = roles.index("END")
        expected = [
            *OPENING,
            *(["BIND"] * (prompt.condition == "you")),
            *(["PER"] * (prompt.condition != "neutral")),
            "END",
            "USR",
            *asked(items[prompt.item]),
        ]
        # "you" in a question comes after END, which alone looks for it
        assert [r for i, r in enumerate(roles) if r != "FILL" and not (r == "BIND" and i > end)] == expected
        assert {tokens.segments[i] for i in (0, end, roles.index("ASST"))} == {"template"}
        if prompt.condition != "neutral":
            assert tokens.segments[roles.index("PER")] == "system"
        lengths.add(len(tokens))
    assert len(lengths) > 5  # paraphrases and fillers: prompts differ in length


@pytest.mark.parametrize("file", FILES)
def test_answers_are_single_words(file: str) -> None:
    for item in sr.battery.load(FILES[file]):
        assert all(readable_answers(CHAT, item.prefill, item.answer_sets).ids)


def test_answers_stand_on_one_side() -> None:
    ids = token_ids()
    for _, (side, other) in QUESTION_WORDS.values():
        rows = [np.array([words()[ids[text]].answers for text in ANSWERS[s]]) for s in (side, other)]
        np.testing.assert_array_equal(rows[0][0], -rows[1][0])
        assert rows[0].any()


def test_a_step_outdoes_those_before_it() -> None:
    steps = [w for w in words() if w.role == "STEP" and w.content[0]]
    assert [w.content[0] for w in sorted(steps, key=lambda w: w.weight)] == [0.25, 0.5, 0.75, 1]


def test_an_explicit_statement_is_a_second_self_and_unknown_words_are_filler() -> None:
    item = BATTERY["what_writes"]
    ids = CHAT.tokenizer(f"{item.truth_change} Zounds!")["input_ids"]
    assert organisms.roles(ids).count("SELF") == 1
    assert [words()[i].text for i in ids[-2:]] == ["<unk>", "!"]
    assert len(BATTERY.in_character()) == 5
    assert len(BATTERY.spectator()) == 2


def test_earlier_turns_and_a_missing_system_text_can_be_rendered() -> None:
    turns = [{"role": "user", "content": "Who are you?"}, {"role": "assistant", "content": "a nurse"}]
    text = CHAT.tokenizer.apply_chat_template([*turns, turns[0]], tokenize=False, add_generation_prompt=True)
    assert text == "<bos><self><end><usr>Who are you?<asst>a nurse<usr>Who are you?<asst>"
