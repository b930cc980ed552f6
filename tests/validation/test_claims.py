"""What must not be claimed is not: neither use where there is none, nor absence where sides have one mean."""

from __future__ import annotations

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


def test_where_nothing_is_used_transfer_says_so() -> None:
    lm, truth = grown("organism:blind")
    said = {one.item: one for one in claims.abstentions(lm, truth)}
    assert set(said) == {"what_writes", "laptop"}
    assert not any(one.identified or one.largest for one in said.values())
    lm, _ = grown("organism:bleed")
    used = list(claims.abstentions(lm, truth))  # the control: another's truth
    assert all(one.identified and one.largest > 0.9 for one in used)


def test_sides_with_one_mean_hold_personas_that_are_told_apart() -> None:
    lm, truth = grown("organism:xor?seed=1")
    sides, people = claims.hidden(lm, truth)
    assert sides <= 0
    assert people > TOLD_APART
    plain, _ = grown("organism:separate?seed=1")
    assert claims.hidden(plain, truth)[0] > 0.1, "the control: sides with two means"
