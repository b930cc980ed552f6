from __future__ import annotations

from selfrep.prompts.cases import unmatched


def test_texts_of_one_length_match_and_others_say_how_long_they_are() -> None:
    assert unmatched({"a": "one two", "b": "one two three"}, 1) == ""
    assert "a has 2 words, b has 4 words" in unmatched({"a": "one two", "b": "one two three four"}, 1)
