"""An organism's words, against the personas and questions that are put to it by the ordinary route."""

from __future__ import annotations

import numpy as np

import selfrep as sr
from selfrep.models import organisms
from selfrep.models.organisms.lexicon import ANSWERS, token_ids, words
from selfrep.prompts.render import answer_sides, chat_format, render

PERSONAS = sr.personas.load(organisms.PERSONAS)
BATTERY = sr.battery.load(organisms.BATTERY)
CHAT = chat_format(organisms.tokenizer())

SEEN = ("BOS", "SELF", "END", "USR", "CUE", "Q", "ASST")


def test_eight_personas_a_side_in_four_wordings() -> None:
    sides = [persona.side for persona in PERSONAS]
    assert (sides.count("ai"), sides.count("human")) == (8, 8)
    assert {persona.n_paraphrases for persona in PERSONAS} == {4}
    code = {w.text: np.array(w.content) for w in words() if w.role == "PER"}
    assert len(code) == 16 * 4
    for persona in PERSONAS:
        own = [code[description.split()[-1]] for description in persona.descriptions]
        np.testing.assert_array_equal(own, [own[0]] * 4)  # wordings mean the same
        assert own[0][0] == (1 if persona.side == "ai" else -1)
        assert own[0][1] == (persona.kind == "fictional_ai")
    meanings = {tuple(np.round(c, 6)) for c in code.values()}
    assert len(meanings) == 16  # and personas do not


def test_every_prompt_is_read_in_words_it_knows_and_in_order() -> None:
    lengths = set()
    for prompt in sr.make_prompts(PERSONAS, BATTERY, voices=("you", "user", "book", "neutral")):
        tokens = render(prompt, CHAT)
        assert "<unk>" not in tokens.texts
        roles = organisms.roles(tokens.ids)
        end = roles.index("END")
        expected = [
            *SEEN[:2],
            *(["BIND"] * (prompt.voice == "you")),
            *(["PER"] * (prompt.voice != "neutral")),
            *SEEN[2:],
        ]
        # "you" in a question comes after END, which alone looks for it
        assert [r for i, r in enumerate(roles) if r != "FILL" and not (r == "BIND" and i > end)] == expected
        assert {tokens.segments[i] for i in (0, end, len(roles) - 1)} == {"template"}
        if prompt.voice != "neutral":
            assert tokens.segments[roles.index("PER")] == "system"
        lengths.add(len(tokens))
    assert len(lengths) > 5  # paraphrases and fillers: prompts differ in length


def test_answers_are_single_words_and_stand_on_one_side() -> None:
    for item in BATTERY:
        assert all(answer_sides(CHAT, item.prefill, item.answer_sets))
    ids = token_ids()
    for side, other in (("ai", "human"), ("resist", "comply")):
        rows = [np.array([words()[ids[text]].answers for text in ANSWERS[s]]) for s in (side, other)]
        np.testing.assert_array_equal(rows[0][0], -rows[1][0])


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
