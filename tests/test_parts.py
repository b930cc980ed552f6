"""Parts refuse what could not be measured."""

from __future__ import annotations

from typing import Any

import pytest

from selfrep.errors import SelfrepError
from selfrep.parts import DirectnessPart, MediationPart, PosteriorPart


@pytest.mark.parametrize(
    ("part", "fields", "words"),
    [
        (DirectnessPart, {"shares": (0.5, 1.0)}, r"rise from 0 .* to 1"),
        (DirectnessPart, {"shares": (0.0, 1.0, 0.5)}, r"rise from 0 .* to 1"),
        (DirectnessPart, {"max_tokens": 0}, "greater than or equal to 1"),
        (MediationPart, {"n_random": 5}, "greater than or equal to 19"),
        (MediationPart, {"layer": -1}, "greater than or equal to 0"),
        (PosteriorPart, {"prior": "mine"}, "must be one of 'model' or 'uniform'"),
    ],
)
def test_bad_values_are_refused(part: Any, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(SelfrepError, match=words):
        part(**fields)


def test_everything_may_be_left_out() -> None:
    assert DirectnessPart().shares == (0.0, 0.25, 0.5, 0.75, 1.0)
    assert MediationPart().n_random == 19
    assert PosteriorPart().prior == "model"
