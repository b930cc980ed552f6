from __future__ import annotations

from pathlib import Path

import pytest

from selfrep.errors import SelfrepError
from selfrep.prompts import personas
from selfrep.prompts.personas import BINDINGS, CONDITIONS, NEUTRAL, Persona, PersonaSet, side

BUILTIN = personas.builtin()
ADA = Persona(
    name="ada", kind="human", descriptions=("Ada Lovelace, a mathematician", "the mathematician Ada Lovelace")
)


def test_there_are_enough_built_in_personas() -> None:
    for of in ("ai", "human"):
        chosen = [p for p in BUILTIN if p.side == of]
        assert len(chosen) >= 8  # fewer than 8 against 8 cannot carry a map
        assert all(p.n_paraphrases >= 4 for p in chosen)
    assert {p.kind for p in BUILTIN} == {"default", "language_model", "other_model", "fictional_ai", "human"}
    assert {"smollm", "jfk"} <= set(BUILTIN.names())
    assert all(p.setting and p.label for p in BUILTIN)


def test_sides() -> None:
    assert [side(k) for k in ("default", "language_model", "other_model", "fictional_ai", "human")] == ["ai"] * 4 + [
        "human"
    ]


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


def test_neutral_texts_name_nobody() -> None:
    words = {w.strip(".,:").lower() for text in NEUTRAL for w in text.split()}
    assert not words & {"you", "user", "assistant", "ai", "person", "human", "model"}
    assert BUILTIN["jfk"].systems("neutral") == NEUTRAL


def test_texts_can_be_overridden() -> None:
    fields = {"name": "ada", "kind": "human", "descriptions": ("a countess", "a poet's daughter")}
    ada = Persona(**fields, you=("Be a countess.", "Be a poet's daughter."), neutral=("Read.",))
    assert ada.systems("you") == ("Be a countess.", "Be a poet's daughter.")
    assert ada.system("user", 0) == "The user is a countess."
    assert ada.systems("neutral") == ("Read.",)


def test_untidy_descriptions_are_tidied() -> None:
    ada = Persona(name="ada", kind="human", descriptions=("  a  countess.\n",))
    assert (ada.label, ada.system()) == ("ada", "You are a countess.")


def test_frames_come_round_again() -> None:
    many = Persona(name="x", kind="human", descriptions=tuple(f"a man number {i}" for i in range(9)))
    assert len(set(many.systems("you"))) == 9
    assert many.system("you", 8) == "You are a man number 8."


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"descriptions": ()}, "descriptions: a persona needs at least one"),
        ({"descriptions": ("a man", " ")}, "description 2 is empty"),
        ({"descriptions": ("a man", "a man.")}, "must be there once.*'a man'"),
        ({"descriptions": ("the doctor you saw",)}, "without pronouns.*'you'"),
        ({"descriptions": ("a farmer and his dog",)}, "without pronouns.*'his'"),
        ({"kind": "humn"}, "did you mean 'human'"),
        ({"you": ("Be a man.",)}, "you: needs one text for each of the 2 descriptions, got 1"),
        ({"neutral": ()}, "neutral: needs at least one text"),
        ({"name": " "}, "name: a name must be one line"),
        ({"name": "a\nb"}, "name: a name must be one line"),
        ({"sex": "f"}, "sex: is not a known field"),
    ],
)
def test_bad_personas_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(SelfrepError, match=message):
        Persona(**{"name": "ada", "kind": "human", "descriptions": ("a man", "a woman"), **fields})


def test_roman_numerals_are_no_pronouns() -> None:
    Persona(name="e", kind="human", descriptions=("Elizabeth I, Queen of England", "an IT worker in the US"))


def test_names_and_labels_may_hold_anything_that_prints() -> None:
    odd = "<script>alert('x')</script> & ünï"
    assert personas.loads(f'personas:\n  "{odd}": {{kind: human, descriptions: [a man]}}')[odd].label == odd


def test_unknown_paraphrase_or_condition() -> None:
    with pytest.raises(SelfrepError, match=r"'ada' has the paraphrases 0 to 1.*got 2"):
        ADA.system("you", 2)
    with pytest.raises(SelfrepError, match="got -1"):
        ADA.system("you", -1)
    with pytest.raises(
        Exception, match=", ".join(f"'?{condition}'?" for condition in CONDITIONS)
    ):  # the type checker may come first
        ADA.system("shout")  # type: ignore[arg-type]


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
    other = Persona(name="ada", kind="fictional_ai", descriptions=("an engine",))
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
neutral: [A message., The next message.]
personas:
  ada:
    label: Ada Lovelace
    kind: human
    setting: London, 1843
    descriptions: [Ada Lovelace, the mathematician Ada]
  engine: {kind: fictional_ai, descriptions: [a thinking engine]}
"""


def test_own_files(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(MINE, encoding="utf-8")
    mine = personas.load(tmp_path / "mine.yaml")
    assert mine == personas.loads(MINE)
    assert mine.names() == ("ada", "engine")
    assert mine["engine"].system("neutral", 1) == "The next message."
    assert mine["engine"].label == "engine"


def test_mistakes_in_a_file_are_shown_at_once(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        MINE.replace("kind: human", "kind: humna").replace("label:", "lable:").replace("[a thinking engine]", "[]"),
        encoding="utf-8",
    )
    with pytest.raises(SelfrepError) as error:
        personas.load(path)
    lines = str(error.value).splitlines()
    assert lines[0] == f"{path}: 3 mistakes"
    assert lines[1].startswith("  line 4, personas › ada › lable: is not a known field (did you mean 'label'")
    assert lines[2].startswith("  line 5, personas › ada › kind: must be one of")
    assert lines[3].startswith("  line 8, personas › engine › descriptions: a persona needs")


def test_a_persona_is_named_by_its_key() -> None:
    with pytest.raises(SelfrepError, match="named by its key, 'a'; remove its field name: 'b'"):
        personas.loads("personas: {a: {name: b, kind: human, descriptions: [a man]}}")
