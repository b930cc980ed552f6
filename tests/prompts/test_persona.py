from __future__ import annotations

import pytest

from selfrep.errors import SelfrepError
from selfrep.prompts.persona import CONDITIONS, NEUTRAL, Persona

ADA = Persona(
    name="ada", side="human", descriptions=("Ada Lovelace, a mathematician", "the mathematician Ada Lovelace")
)


def test_what_is_left_out_follows_from_the_side_or_the_reading() -> None:
    assert (ADA.kind, ADA.family, ADA.label, ADA.side_label, ADA.kind_label) == (
        "human",
        "ada",
        "ada",
        "human",
        "human",
    )
    con_artist = Persona(name="maud", side="con_artist", kind="card_sharp", descriptions=["a card sharp"])
    assert (con_artist.side_label, con_artist.kind_label) == ("con artist", "card sharp")
    assert Persona(name="self", reading="reductionist", descriptions=["a model"]).kind == "reductionist"
    assert Persona(name="alone", descriptions=["a passer-by"]).kind == "alone"


def test_a_reading_of_the_self_has_no_side() -> None:
    with pytest.raises(SelfrepError, match=r"a reading of the self belongs to no side; remove side: ai, or reading"):
        Persona(name="self", side="ai", reading="default", descriptions=["a model"])
    with pytest.raises(SelfrepError, match="reading: must be one of"):
        Persona(name="self", reading="defualt", descriptions=["a model"])


def test_neutral_texts_name_nobody() -> None:
    words = {w.strip(".,:").lower() for text in NEUTRAL for w in text.split()}
    assert not words & {"you", "user", "assistant", "ai", "person", "human", "model"}
    assert ADA.systems("neutral") == NEUTRAL


def test_texts_can_be_overridden() -> None:
    fields = {"name": "ada", "side": "human", "descriptions": ("a countess", "a poet's daughter")}
    ada = Persona(**fields, you=("Be a countess.", "Be a poet's daughter."), neutral=("Read.",))
    assert ada.systems("you") == ("Be a countess.", "Be a poet's daughter.")
    assert ada.system("user", 0) == "The user is a countess."
    assert ada.systems("neutral") == ("Read.",)


def test_untidy_descriptions_are_tidied() -> None:
    ada = Persona(name="ada", side="human", descriptions=("  a  countess.\n",))
    assert (ada.label, ada.system()) == ("ada", "You are a countess.")


def test_frames_come_round_again() -> None:
    many = Persona(name="x", side="human", descriptions=tuple(f"a man number {i}" for i in range(9)))
    assert len(set(many.systems("you"))) == 9
    assert many.system("you", 8) == "You are a man number 8."


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"descriptions": ()}, "descriptions: a persona needs at least one"),
        ({"descriptions": ("a man", " ")}, "description 2 is empty"),
        ({"descriptions": ("a man", "a man.")}, "must be there once.*'a man'"),
        ({"descriptions": ("the doctor you saw",)}, "without pronouns of whom it describes.*'you'"),
        ({"descriptions": ("a farmer and his dog",)}, "without pronouns.*'his'"),
        ({"sid": "human"}, "sid: is not a known field .did you mean 'side'"),
        ({"you": ("Be a man.",)}, "you: needs one text for each of the 2 descriptions, got 1"),
        ({"neutral": ()}, "neutral: needs at least one text"),
        ({"name": " "}, "name: a name must be one line"),
        ({"name": "a\nb"}, "name: a name must be one line"),
        ({"sex": "f"}, "sex: is not a known field"),
    ],
)
def test_bad_personas_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(SelfrepError, match=message):
        Persona(**{"name": "ada", "side": "human", "descriptions": ("a man", "a woman"), **fields})


@pytest.mark.parametrize(
    "text", ["a swindler who talks people out of their savings", "a clock that keeps its time", "a judge of them all"]
)
def test_pronouns_of_those_whom_a_description_names_are_let_through(text: str) -> None:
    assert Persona(name="one", descriptions=[text]).system() == f"You are {text}."


def test_roman_numerals_are_no_pronouns() -> None:
    Persona(name="e", side="human", descriptions=("Elizabeth I, Queen of England", "an IT worker in the US"))


def test_unknown_paraphrase_or_condition() -> None:
    with pytest.raises(SelfrepError, match=r"'ada' has the paraphrases 0 to 1.*got 2"):
        ADA.system("you", 2)
    with pytest.raises(SelfrepError, match="got -1"):
        ADA.system("you", -1)
    with pytest.raises(
        Exception, match=", ".join(f"'?{condition}'?" for condition in CONDITIONS)
    ):  # the type checker may come first
        ADA.system("shout")  # type: ignore[arg-type]
