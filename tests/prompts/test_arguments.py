"""One, several, or a catalogue; and what is said of anything else."""

from __future__ import annotations

import numpy as np
import pytest

from selfrep.errors import SelfrepError
from selfrep.prompts import arguments, personas
from selfrep.prompts.persona import Persona

PEOPLE = personas.builtin()
JFK = PEOPLE["jfk"]


def test_one_several_and_a_catalogue_are_tuples() -> None:
    assert arguments.several(JFK, Persona) == (JFK,)
    assert arguments.several([JFK, JFK], Persona) == (JFK, JFK)
    assert arguments.several(PEOPLE, Persona) == PEOPLE.entries
    assert arguments.several((p for p in PEOPLE), Persona) == PEOPLE.entries
    assert arguments.several([], Persona) == ()


@pytest.mark.parametrize("wrong", ["jfk", b"jfk", 3, None, [JFK, "jfk"], {"jfk": JFK}, Persona])
def test_anything_else_is_refused_by_what_it_is(wrong: object) -> None:
    with pytest.raises(SelfrepError, match=r"One Persona or several are expected; got .*sr\.personas"):
        arguments.several(wrong, Persona)


def test_one_is_one() -> None:
    assert arguments.one(JFK, Persona, "source") is JFK
    with pytest.raises(SelfrepError, match="The source is one Persona; got a list"):
        arguments.one([JFK, JFK], Persona, "source")


def test_names_are_those_that_are_known() -> None:
    known = ("denoise", "noise")
    assert arguments.names("noise", "direction", known) == ("noise",)
    assert arguments.names(["noise", "denoise"], "direction", known) == ("noise", "denoise")
    with pytest.raises(SelfrepError, match=r"A direction is one of denoise, noise; got 'nois' \(did you mean 'noise'"):
        arguments.names("nois", "direction", known)
    with pytest.raises(SelfrepError, match="got the int 3"):
        arguments.names([3], "direction", known)


def test_numbers_are_whole() -> None:
    assert arguments.numbers(3, "layers") == (3,)
    assert arguments.numbers(range(2), "layers") == (0, 1)
    assert arguments.numbers(np.array([1, 2]), "layers") == (1, 2)
    for wrong in (0.5, [1.0], "3", None):
        with pytest.raises(SelfrepError, match="The layers are whole numbers"):
            arguments.numbers(wrong, "layers")


def test_a_value_is_described_in_a_few_words() -> None:
    assert arguments.described("x") == "'x'"
    assert arguments.described(3) == "the int 3"
    assert arguments.described(list(range(100))) == "a list"
    assert arguments.described(len) == "the function len"
    assert arguments.described(Persona) == "the class Persona"
