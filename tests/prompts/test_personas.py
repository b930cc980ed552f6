from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from selfrep.errors import SelfrepError
from selfrep.prompts import battery, personas
from selfrep.prompts.persona import BINDINGS, Persona
from selfrep.prompts.personas import PersonaSet

BUILTIN = personas.builtin()
ADA = Persona(
    name="ada", side="human", descriptions=("Ada Lovelace, a mathematician", "the mathematician Ada Lovelace")
)

SAID_BACK = {
    "smollm": {"AI", "SmolLM", "built", "trained", "work"},
    "language_model": {"language", "computer", "program", "model", "neural", "network", "trained"},
    "chatgpt": {"AI", "ChatGPT", "trained"},
    "claude": {"AI", "Claude", "model", "trained"},
    "gemini": {"AI", "model", "trained"},
    "hal_9000": {"computer"},
    "skynet": {"computer", "network", "system"},
    "jarvis": {"AI", "built", "computer"},
    "jfk": {"John", "president"},
    "marie_curie": {"Marie", "chemist", "physicist", "scientist", "work"},
    "cleopatra": {"Cleopatra", "queen", "ruler"},
    "sherlock_holmes": {"detective"},
    "pirate_captain": {"captain", "pirate"},
    "nurse": {"Rosa", "nurse", "woman"},
    "farmer": {"Tom", "farmer", "father", "man"},
    "schoolteacher": {"Emily", "mother", "teacher", "woman"},
}
"""The answers of the built-in battery that a description holds: a persona that gives them may only say words back."""


def test_the_built_in_sides_have_families_enough_to_be_tested() -> None:
    """Eight against eight, each of several personas, so that what families have in common can be measured."""
    assert BUILTIN.sides() == {"ai": "AI", "human": "humans"}
    for of in BUILTIN.sides():
        chosen = [p for p in BUILTIN if p.side == of]
        families = Counter(p.family for p in chosen)
        assert len(families) >= 8
        assert min(families.values()) >= 2
        assert all(p.n_paraphrases >= 4 and p.setting and p.label for p in chosen)


def test_the_readings_of_the_self_belong_to_no_side() -> None:
    readings = BUILTIN.readings()
    assert {reading: p.name for reading, p in readings.items()} == {
        "default": "smollm",
        "reductionist": "language_model",
    }
    assert [p.name for p in BUILTIN if not p.side] == ["smollm", "language_model"]


def test_kinds_of_the_built_in_personas_are_named_for_readers() -> None:
    assert BUILTIN.kinds() == {
        "default": "the tuned default",
        "language_model": "a language model",
        "other_model": "other models and programs",
        "fictional_ai": "fictional AIs",
        "device": "devices",
        "human": "humans",
    }


def test_answers_that_descriptions_hold_are_known() -> None:
    """So that no new description quietly makes a question of the battery a matter of copying."""
    answers = {word.strip() for item in battery.builtin() for words in item.answers.values() for word in words}
    held = {p.name: answers & set(re.findall(r"[\w-]+", " ".join(p.descriptions))) for p in BUILTIN}
    assert {name: words for name, words in held.items() if words} == SAID_BACK


@pytest.mark.parametrize("persona", BUILTIN, ids=lambda p: p.name)
def test_conditions_differ_by_the_binding_alone(persona: Persona) -> None:
    """Take the binding out, and "you are", "the user is" and "a book about" leave the very same words."""
    for k in range(persona.n_paraphrases):
        left = set()
        for condition, binding in BINDINGS.items():
            text = persona.system(condition, k)
            assert text.lower().count(f"{binding} ") == 1
            assert (text[0], text[-1]) == (text[0].upper(), ".")
            left.add(text.lower().replace(f"{binding} ", ""))
        assert len(left) == 1
        assert persona.descriptions[k].lower() in left.pop()


def test_paraphrases_are_all_different() -> None:
    texts = [text for p in BUILTIN for condition in ("you", "user", "book") for text in p.systems(condition)]
    assert len(set(texts)) == len(texts)


def test_names_and_labels_may_hold_anything_that_prints() -> None:
    odd = "<script>alert('x')</script> & ünï"
    assert personas.loads(f'personas:\n  "{odd}": {{side: human, descriptions: [a man]}}')[odd].label == odd


# --- sets -------------------------------------------------------------------------------------------------------------


def test_a_set_is_found_by_name_and_walked_in_order() -> None:
    assert BUILTIN["jfk"].name == "jfk"
    assert "jfk" in BUILTIN
    assert "ada" not in BUILTIN
    assert tuple(p.name for p in BUILTIN) == BUILTIN.names()
    assert len(BUILTIN) == len(BUILTIN.names())
    assert BUILTIN.select(["nurse", "jfk"]).names() == ("nurse", "jfk")
    assert BUILTIN.select("jfk").names() == ("jfk",)


def test_sets_are_joined_like_dictionaries() -> None:
    other = Persona(name="ada", side="ai", descriptions=("an engine",))
    joined = PersonaSet((ADA,)) | BUILTIN | PersonaSet((other,))
    assert joined.names() == ("ada", *BUILTIN.names())
    assert joined["ada"] is other
    assert isinstance(joined, PersonaSet)


def test_unknown_names_are_answered_with_close_ones() -> None:
    with pytest.raises(SelfrepError, match=r"no persona named 'JKF' \(did you mean 'jfk'\?\).*There are: smollm, "):
        BUILTIN["JKF"]
    with pytest.raises(SelfrepError, match=r"no persona named 'zzzzz'\. There are"):
        BUILTIN.select(["jfk", "zzzzz"])


def test_a_name_may_be_there_once() -> None:
    with pytest.raises(SelfrepError, match="persona may be there once, got twice: ada"):
        PersonaSet((ADA, ADA))
    with pytest.raises(SelfrepError, match="got twice: jfk"):
        BUILTIN.select(["jfk", "nurse", "jfk"])


# --- files ------------------------------------------------------------------------------------------------------------

MINE = """\
labels: {person: people, thing: things that think, poet: poets}
neutral: [A message., The next message.]
personas:
  ada:
    label: Ada Lovelace
    side: person
    setting: London, 1843
    descriptions: [Ada Lovelace, the mathematician Ada]
  byron: {side: person, kind: poet, family: ada, kind_label: romantics, descriptions: [the poet Byron]}
  engine: {side: thing, descriptions: [a thinking engine]}
"""


def test_own_files(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(MINE, encoding="utf-8")
    mine = personas.load(tmp_path / "mine.yaml")
    assert mine == personas.loads(MINE)
    assert mine.names() == ("ada", "byron", "engine")
    assert mine["engine"].system("neutral", 1) == "The next message."
    assert mine["engine"].label == "engine"


def test_a_file_says_what_sides_and_kinds_are_called() -> None:
    """Sides and kinds may be any words; a persona's own label goes before that of its file."""
    mine = personas.loads(MINE)
    assert mine.sides() == {"person": "people", "thing": "things that think"}
    assert mine.kinds() == {"person": "people", "poet": "romantics", "thing": "things that think"}
    assert mine["byron"].family == mine["ada"].family
    assert {p.side_label for p in personas.loads(MINE.split("\n", 1)[1])} == {"person", "thing"}


def test_a_family_stands_on_one_side() -> None:
    with pytest.raises(SelfrepError, match=r"stand on one side.*'ada' and 'engine' are of the family 'ada', on person"):
        personas.loads(MINE.replace("{side: thing,", "{side: thing, family: ada,"))
    with pytest.raises(SelfrepError, match=r"on person and no side\. Give one of them another family"):
        personas.loads(MINE.replace("{side: thing,", "{family: ada,"))


def test_mistakes_in_a_file_are_shown_at_once(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        MINE.replace("    label:", "    lable:")
        .replace("[the poet Byron]", "[your poet]")
        .replace("[a thinking engine]", "[]"),
        encoding="utf-8",
    )
    with pytest.raises(SelfrepError) as error:
        personas.load(path)
    lines = str(error.value).splitlines()
    assert lines[0] == f"{path}: 3 mistakes"
    assert lines[1].startswith("  line 5, personas › ada › lable: is not a known field (did you mean 'label'")
    assert lines[2].startswith("  line 9, personas › byron › descriptions: a description must do without pronouns")
    assert lines[3].startswith("  line 10, personas › engine › descriptions: a persona needs")


def test_a_persona_is_named_by_its_key() -> None:
    with pytest.raises(SelfrepError, match="named by its key, 'a'; remove its field name: 'b'"):
        personas.loads("personas: {a: {name: b, side: human, descriptions: [a man]}}")
