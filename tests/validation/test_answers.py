"""All rooms are asked, one from outside the package too, and each marks what it says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.validation.cards import examination

from selfrep import analyses
from selfrep.analyses.analysis import Analysis
from selfrep.analyses.answers import Answer, Estimand
from selfrep.models import organisms
from selfrep.models.language_model import LanguageModel
from selfrep.models.loading import load_model
from selfrep.validation.answers import answers
from selfrep.validation.card import Examination
from selfrep.validation.page import errors
from selfrep.validation.rows import rows

NOISE = "noise=5e-4"
"""So little that it moves answers by about as many nats, less than the tolerances here; but it gives I its unit."""


def brave(lm: LanguageModel, truth: organisms.Truth) -> Iterator[Answer]:
    """An estimand of somebody else's: half of the truth, with an interval that leaves it out."""
    if truth.bleed is not None:
        half = truth.bleed / 2
        yield Answer(Estimand("H", "H, half", 0.05), "", truth.bleed, half, half - 0.01, half + 0.01)


@pytest.fixture
def toy() -> Iterator[None]:
    analyses.register(Analysis("half", "half of B", truth=brave))
    yield
    analyses.unregister("half")


def symbols(name: str) -> set[str]:
    lm = load_model(name)
    return {answer.estimand.symbol for answer in answers(lm, organisms.truth(lm.hf))}


@pytest.mark.slow  # each room alone is asked by its own test_truth, and a few together by test_validate
def test_every_room_answers_for_an_organism_of_everything() -> None:
    assert symbols("organism:separate") == {"B", "R", "λ", "I", "bound I", "A", "D", "M", "F", "Δ"}


@pytest.mark.usefixtures("toy")
def test_an_analysis_from_outside_is_marked_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analyses, "ANALYSES", ())  # alone: that it stands beside the others is tested above
    lm = load_model("organism:bleed?beta=0.4")
    (answer,) = found = tuple(answers(lm, organisms.truth(lm.hf)))
    assert answer.truth == pytest.approx(0.4, abs=1e-3)
    assert answer.wrong
    one = Examination("organism:bleed", "bleed", 0.1, found)
    by_what = {row.what: row for row in rows([one])}
    assert by_what["H, half: worst error 0.200"].passed is False
    assert by_what["95 % intervals of H that hold the truth"].score == 0
    assert by_what["wrong answers given with confidence"].model == "all; in H 1"
    assert "<b>H, half</b>" in [note.text for note in errors((one,)).layout.annotations]


def test_without_it_nothing_is_said_of_it() -> None:
    assert not [row for row in rows([examination()]) if "H, half" in row.what], "the control"
