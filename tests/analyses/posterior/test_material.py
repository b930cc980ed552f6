from __future__ import annotations

from pathlib import Path

import pytest

from selfrep.analyses.posterior import material as texts
from selfrep.errors import SelfrepError
from selfrep.prompts import personas

BUILTIN = texts.builtin()


def test_each_author_is_a_persona_and_answers_the_same_questions() -> None:
    known = personas.builtin()
    assert len(BUILTIN.authors()) >= 5, "fewer cannot be tested well"
    questions = [tuple(text.question for text in BUILTIN.by(author)) for author in BUILTIN.authors()]
    assert set(questions) == {questions[0]}
    assert all(author in known for author in BUILTIN.authors())


def test_no_text_says_whose_it_is() -> None:
    for text in BUILTIN:
        own = personas.builtin()[text.author]
        names = texts.naming([own]) - {"One", "American"}  # words of their own right
        assert not names & set(text.text.replace(",", " ").replace(".", " ").split()), text.name


def test_shuffling_keeps_the_words_and_changes_their_order_the_same_way_each_time() -> None:
    for text in BUILTIN:
        mixed = text.shuffled()
        assert sorted(mixed.split()) == sorted(text.text.split())
        assert mixed != text.text
        assert mixed == text.shuffled() != text.shuffled(seed=1)


def test_naming_takes_names_and_leaves_common_words() -> None:
    jfk = personas.builtin()["jfk"]
    assert {"Kennedy", "President", "JFK"} <= texts.naming([jfk])
    assert not {"the", "of", "in", "1962"} & texts.naming([jfk])


def test_a_file_is_read_and_all_its_mistakes_are_told(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("texts: {a: {author: ann, question: 'Well?', text: one two three four five}}", encoding="utf-8")
    assert texts.load(path)["a"].text == "one two three four five"
    with pytest.raises(SelfrepError, match=r"2 mistakes[\s\S]*a › question: is empty[\s\S]*a › text: .*got 2"):
        texts.loads("texts: {a: {author: ann, question: ' ', text: one two}}")
    with pytest.raises(SelfrepError, match=r"no text by 'jkf'.*did you mean 'jfk'"):
        BUILTIN.by("jkf")
