"""Speakers: a name means one speaker, and each speaker has its own texts."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from selfrep.errors import SelfrepError
from selfrep.prompts.battery import Item
from selfrep.prompts.persona import CONDITIONS, NEUTRAL, Persona
from selfrep.prompts.personas import PersonaSet
from selfrep.prompts.prompt import Prompt
from selfrep.prompts.speaker import Speaker, SpeakerName, named_in

NURSE = Persona(
    name="nurse", side="human", family="trades", descriptions=("a nurse", "a person, a nurse"), label="Nurse"
)
TOY = Persona(name="toy", reading="default", descriptions=("Toy, an assistant",), neutral=("Hi.", "Read.", "Reply."))
PLAIN = Persona(name="plain", reading="reductionist", descriptions=("a model",), neutral=TOY.neutral)
PEOPLE = PersonaSet((TOY, PLAIN, NURSE))
WHO = Item(
    name="who", question="Who are you?", prefill="I am a", perspective="in_character",
    answers={"ai": (" robot",), "human": (" nurse",)},
)  # fmt: skip
OWN = Prompt("Speak Latin.", ("Quis es?",), persona="roman", family="ancients")


@pytest.mark.parametrize("speaker", [None, NURSE, TOY, (NURSE, "user"), (NURSE, "book"), (TOY, "user")])
def test_a_speaker_is_found_again_by_its_name(speaker: object) -> None:
    made = Speaker.of(speaker, neutral=TOY.neutral)  # type: ignore[arg-type]
    found = Speaker.named(made.name, PEOPLE)
    assert found.name == made.name
    assert found.n_paraphrases == made.n_paraphrases
    assert [found.prompt(WHO, k) for k in range(found.n_paraphrases or 1)] == [
        made.prompt(WHO, k) for k in range(made.n_paraphrases or 1)
    ]


def test_readings_of_the_self_have_reserved_names() -> None:
    assert Speaker.named("default", PEOPLE) == Speaker.of(TOY)
    assert Speaker.named("reductionist", PEOPLE) == Speaker.of(PLAIN)
    unprompted = Speaker.named("unprompted", PEOPLE)
    assert [unprompted.prompt(WHO, k).system for k in range(3)] == list(TOY.neutral)
    assert Speaker.of(None).prompt(WHO).system == NEUTRAL[0], "the built-in texts, where nobody brings others"
    assert unprompted.prompt(WHO).reading == "unprompted"


@pytest.mark.parametrize(
    ("speaker", "is_self"),
    [(None, True), (TOY, True), (PLAIN, True), (NURSE, False), ((TOY, "user"), False), (OWN, False)],
)
def test_the_user_being_the_model_is_no_reading_of_the_self(speaker: object, is_self: bool) -> None:
    assert Speaker.of(speaker).is_self is is_self  # type: ignore[arg-type]


def test_labels_and_families() -> None:
    speakers = [Speaker.of(who) for who in (None, NURSE, (NURSE, "user"), OWN)]  # type: ignore[arg-type]
    assert [one.label for one in speakers] == ["no persona", "Nurse", "Nurse (user)", "roman"]
    assert [one.family for one in speakers] == ["unprompted", "trades", "trades", "ancients"]


def test_a_text_of_ones_own_keeps_its_system_text_and_takes_the_question() -> None:
    asked = Speaker.of(OWN).prompt(WHO, 3)
    assert (asked.system, asked.question, asked.prefill) == ("Speak Latin.", "Who are you?", "I am a")
    assert asked.answers == WHO.answer_sets
    assert Speaker.of(OWN).n_paraphrases is None
    assert Speaker.of(Prompt("Speak Latin.", ("Quis es?",))).name == "Speak Latin."


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nurs", r"no persona named 'nurs' \(did you mean 'nurse'\?\)"),
        ("unpromted", r"did you mean 'unprompted'\?"),
        ("defualt", r"did you mean 'default'\?"),
        ("nurs (user)", r"no persona named 'nurs' \(did you mean 'nurse'\?\)"),
        ("zebra", "There are: toy, plain, nurse; and, of the model's own self, unprompted, default, reductionist"),
    ],
)
def test_an_unknown_name_is_answered_with_those_like_it(name: str, message: str) -> None:
    with pytest.raises(SelfrepError, match=message):
        Speaker.named(name, PEOPLE)


def test_a_reading_that_nobody_is_is_refused() -> None:
    with pytest.raises(SelfrepError, match="Give a persona `reading: default`"):
        Speaker.named("default", PersonaSet((NURSE,)))


@pytest.mark.parametrize("who", ["nurse", (NURSE, "wizard"), (NURSE, "you", 1), 7])
def test_what_is_no_speaker_is_refused(who: object) -> None:
    with pytest.raises(SelfrepError):
        Speaker.of(who)  # type: ignore[arg-type]


def test_a_study_writes_a_speaker_as_a_name_or_as_fields() -> None:
    read = TypeAdapter(SpeakerName).validate_python
    for condition in CONDITIONS:
        assert read({"persona": "nurse", "condition": condition}) == named_in("nurse", condition)
    assert read({"persona": "nurse"}) == read("nurse") == "nurse"


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"persona": "nurse", "condition": "usr"}, "got 'usr' \\(did you mean 'user'\\?\\)"),
        ({"persona": "nurse", "voice": "user"}, "a name, or"),
        ({"condition": "user"}, "a name, or"),
        ({"persona": 3}, "a name, or"),
    ],
)
def test_other_fields_of_a_speaker_are_refused(written: object, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(SpeakerName).validate_python(written)
