"""The hint of an error: the nearest known words, or nothing."""

from __future__ import annotations

from selfrep.errors import close_match


def test_the_closest_words_come_first_in_their_own_case() -> None:
    assert close_match("JKF", ["jfk", "Jeff", "marie"]) == " (did you mean 'jfk'?)"
    assert close_match("itm", ["Item", "items", "battery"]) == " (did you mean 'Item' or 'items'?)"


def test_nothing_is_suggested_for_a_strange_word() -> None:
    assert close_match("robot", ["ai", "human"]) == close_match("robot", []) == ""


def test_a_stricter_likeness_suggests_less() -> None:
    assert close_match("tinny", ["tiny"])
    assert close_match("tanned", ["tiny", "tinder"], likeness=0.9) == ""
