"""What must not be claimed is not: neither use where there is none, nor absence where sides have one mean."""

from __future__ import annotations

import pytest

from selfrep.models import organisms
from selfrep.models.language_model import LanguageModel
from selfrep.models.loading import load_model
from selfrep.validation import claims
from selfrep.validation.rows import TOLD_APART


def grown(name: str) -> tuple[LanguageModel, organisms.Truth]:
    lm = load_model(name)
    return lm, organisms.truth(lm.hf)


def test_a_subspace_alone_moves_what_its_cell_does_not() -> None:
    whole, part = claims.illusion(*grown("organism:dormant?seed=1"))
    assert whole < 0.01
    assert part > 0.9


@pytest.mark.slow
def test_where_nothing_is_used_transfer_says_so() -> None:
    lm, truth = grown("organism:blind")
    said = {one.item: one for one in claims.abstentions(lm, truth)}
    assert set(said) == {"what_writes", "laptop"}
    assert not any(one.identified or one.largest for one in said.values())
    lm, _ = grown("organism:bleed")
    used = list(claims.abstentions(lm, truth))  # the control: another's truth
    assert all(one.identified and one.largest > 0.9 for one in used)


def test_noise_that_opens_a_way_is_no_false_alarm() -> None:
    lm, truth = grown("organism:decoys?seed=305&noise=0.3")
    assert ("persona", "spectator") in truth.causal
    assert not truth.causal["persona", "spectator"], "not planted"
    assert truth.moved("spectator") == pytest.approx(0.63, abs=0.1), "and yet who is played moves who writes"
    assert "what_writes" not in {one.item for one in claims.abstentions(lm, truth)}
    quiet, wired = grown("organism:decoys?seed=305")
    assert wired.moved("spectator") == pytest.approx(0, abs=1e-4)
    assert "what_writes" in {one.item for one in claims.abstentions(quiet, wired)}, "the control"


def test_sides_with_one_mean_hold_personas_that_are_told_apart() -> None:
    lm, truth = grown("organism:xor?seed=1")
    sides, people = claims.hidden(lm, truth)
    assert sides <= 0
    assert people > TOLD_APART
    plain, _ = grown("organism:separate?seed=1")
    assert claims.hidden(plain, truth)[0] > 0.1, "the control: sides with two means"
