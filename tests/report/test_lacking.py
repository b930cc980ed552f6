"""What a tokenizer leaves out is told once for each set of words, and with what it costs."""

from __future__ import annotations

from selfrep.prompts.answers import REMEDY
from selfrep.report.lacking import lacking

WORDS = {" chemist": "is 2 tokens", " sailor": "is 2 tokens"}


def test_each_set_of_words_is_told_once_and_what_falls_away_with_its_reason() -> None:
    record = {
        "words": {
            "battery › a": WORDS,
            "battery › b": WORDS,
            "battery › c": {" x": "is unknown"},
            "battery › d": WORDS,
        },
        "questions": {"battery › c": "only 0 of the 1 answers can be read"},
        "lost": {"battery › a": [0.0, 0.02], "battery › b": [0.0, 0.125]},
        "parts": {"separation": "none of its items can be read"},
    }
    assert list(lacking(record)) == [
        "Of battery › a and 2 more are left out: ' chemist', ' sailor' (12.5 % of what the model would say of that "
        "side).",
        "battery › c falls away: only 0 of the 1 answers can be read",
        REMEDY,
        "The analysis separation falls away: none of its items can be read.",
    ]


def test_where_no_model_was_asked_nothing_is_said_of_probability() -> None:
    record = {"words": {"battery › a": WORDS}, "questions": {}, "lost": {}, "parts": {}}
    assert list(lacking(record)) == ["Of battery › a are left out: ' chemist', ' sailor'."]
    tiny = record | {"lost": {"battery › a": [0.0, 1e-6]}}
    assert list(lacking(tiny)) == [
        "Of battery › a are left out: ' chemist', ' sailor' (less than 0.1 % of what the model would say of that side)."
    ]
