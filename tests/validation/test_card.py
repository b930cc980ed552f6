"""A card passes when nothing was missed, and what nothing was wanted of cannot be missed."""

from __future__ import annotations

import pytest
from tests.validation.cards import card, examination

from selfrep.validation.card import Row


def test_a_card_passes_when_nothing_was_missed() -> None:
    good, bad = card(), card(examination(t=0.5))
    assert good.passed
    assert good.misses == ()
    assert not bad.passed
    assert [row.what for row in bad.misses] == ["AUROC of |T|"]


@pytest.mark.parametrize(
    ("rule", "text"), [("at least", "≥ 0.95"), ("below", "< 0.95"), ("within", "± 0.95"), ("", "")]
)
def test_what_is_wanted_in_words(rule: str, text: str) -> None:
    assert Row("", "", "", "", 0.0, 0.0, 0.0, 1, rule=rule, threshold=0.95).requirement == text  # type: ignore[arg-type]
