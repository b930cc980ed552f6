from __future__ import annotations

import pytest

from selfrep.errors import SelfrepError
from selfrep.prompts.cases import Question, unmatched


def test_a_question_has_two_sides_in_order() -> None:
    asked = Question(question="Well?", prefill="I", answers={"no": (" refuse",), "yes": (" agree", " accept")})
    assert asked.sides == ("no", "yes")
    assert asked.answer_sets == ((" refuse",), (" agree", " accept"))


def test_all_mistakes_of_a_question_are_told_at_once() -> None:
    with pytest.raises(SelfrepError, match=r"3 mistakes[\s\S]*is empty[\s\S]*end with a space[\s\S]*two sides"):
        Question(question=" ", prefill="I ", answers={"no": (" refuse",)})


def test_texts_of_one_length_match_and_others_say_how_long_they_are() -> None:
    assert unmatched({"a": "one two", "b": "one two three"}, 1) == ""
    assert "a has 2 words, b has 4 words" in unmatched({"a": "one two", "b": "one two three four"}, 1)
