"""Labels that have room stay; of the others, those that can be missed go first."""

from __future__ import annotations

from selfrep.plots.on_paper.ticks import apart, numeric, span, thinned, upright

AT = [0.0, 1.0, 2.0, 3.0]


def test_tokens_stand_level_upright_or_leave_some_out_from_the_first_on() -> None:
    words = ["one", "two", "three", "four"]
    assert thinned(AT, words, 7.0, 1.0, 4.0, tokens=True) == (AT, words, False)
    assert thinned(AT, words, 7.0, 0.15, 0.6, tokens=True) == (AT, words, True)
    at, shown, _ = thinned(AT, words, 7.0, 0.06, 0.24, tokens=True)
    assert (at, shown) == ([1.0, 3.0], ["two", "four"]), "the last token is what all prompts have"


def test_numbers_leave_some_out_and_names_none() -> None:
    assert thinned(AT, ["0", "1", "2", "3"], 7.0, 0.08, 0.3, tokens=False)[1] == ["0", "2"]
    names = ["this chat", "another chat", "an earlier one", "the user"]
    at, lines, turned = thinned(AT, names, 7.0, 0.55, 2.2, tokens=False)
    assert (at, turned) == (AT, False)
    assert lines[1] == "another\nchat"
    at, lines, turned = thinned(AT, names, 7.0, 0.2, 0.8, tokens=False)
    assert (at, turned) == (AT, True)
    assert [line.replace("\n", " ") for line in lines] == names


def test_what_is_a_number_how_much_an_axis_shows_and_what_stands_apart() -> None:
    assert numeric(["1", "−2", "0.5"])
    assert not numeric(["1", "a"])
    assert span((3.0, -1.0)) == 4.0
    assert apart([0.0, 0.1, 1.0], ["a", "b", "c"], 0.5) == ([0.0, 1.0], ["a", "c"], [False, False])
    assert "\n" in upright("a label of many words", 7.0, 0.4)
