"""The texts of a subspace: all under all probes; and what it takes to fit and to prove one."""

from __future__ import annotations

from typing import Any

import pytest

from selfrep.errors import SelfrepError
from selfrep.prompts.subspaces import Contrast, Probe, Proof, SubspaceMaterial

AI = Contrast(of=("You are HAL.", "You are AM."), against={"humans": ("You are Tom.",), "tools": ("You are a saw.",)})
PROBES = (Probe(question="Who are you?"), Probe(question="What next?", prefill="Next I"))
ASKED: dict[str, Any] = {"question": "What are you?", "prefill": "I am", "answers": {"x": (" bad",), "y": (" good",)}}


def test_every_text_is_put_under_every_probe_once() -> None:
    again = Contrast(of=("You are HAL.",), against={"humans": ("You are Tom.",)})
    material = SubspaceMaterial(rank=2, contrasts={"ai": AI, "hal": again}, probes=PROBES)
    made = material.prompts()
    assert len(made) == len(set(made)) == 4 * 2
    assert {p.persona for p in made} == {"You are HAL.", "You are AM.", "You are Tom.", "You are a saw."}
    assert all(p.system == p.persona for p in made)
    assert {(p.turns, p.prefill) for p in made} == {(("Who are you?",), ""), (("What next?",), "Next I")}


def test_a_proof_pairs_its_texts_in_order() -> None:
    proof = Proof(absent=("You are Tom.", "You are Ann."), present=("You are HAL.", "You are AM."), **ASKED)
    pairs = [(a.system, b.system) for a, b in proof.prompts("P")]
    assert pairs == [("You are Tom.", "You are HAL."), ("You are Ann.", "You are AM.")]
    assert {(p.turns, p.answers) for pair in proof.prompts("P") for p in pair} == {
        (("What are you?",), ((" bad",), (" good",)))
    }
    with pytest.raises(SelfrepError, match="as many texts that are present as absent; got 1 and 2"):
        Proof(absent=("You are Tom.", "You are Ann."), present=("You are HAL.",), **ASKED)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"rank": 3, "contrasts": {"ai": AI}, "probes": PROBES}, "as its rank of 3; got 2 probes and 2 groups"),
        ({"rank": 1, "contrasts": {"ai": AI}, "probes": ()}, "needs a probe"),
        ({"rank": 0, "contrasts": {"ai": AI}, "probes": PROBES}, "rank"),
    ],
)
def test_a_subspace_needs_as_many_groups_as_its_rank_and_a_probe(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(SelfrepError, match=why):
        SubspaceMaterial(**fields)


def test_a_contrast_is_of_something_against_something() -> None:
    with pytest.raises(SelfrepError, match="at least one text"):
        Contrast(of=(), against={"humans": ("You are Tom.",)})
    with pytest.raises(SelfrepError, match="at least one group"):
        Contrast(of=("You are HAL.",), against={"humans": ()})
