"""I is what was planted, and bound to the speaker as far as the organism binds it."""

from __future__ import annotations

import numpy as np
import pytest
from tests.analyses.marking import marked, mistaken, planted

from selfrep.analyses.identification.truth import answers

NOISE = "noise=5e-4"
"""So little that it moves answers by about as many nats, less than the tolerances here; but it gives I its unit."""


BLEED = "organism:bleed?beta=0.25&seed=2"


@pytest.mark.slow
def test_i_is_what_was_planted() -> None:
    planted(answers, f"{BLEED}&{NOISE}", {("I", "maker"): 4.0, ("I", "name"): 2.824})
    planted(answers, f"organism:impostor?seed=3&{NOISE}", {("I", "maker"): -4.0})


@pytest.mark.slow
def test_another_s_truth_makes_it_wrong() -> None:
    found = marked(answers, f"{BLEED}&{NOISE}")["I", "maker"]
    assert mistaken(found, marked(answers, f"organism:impostor?seed=3&{NOISE}")["I", "maker"].truth)
    assert not mistaken(found, found.truth), "the control: its own"


@pytest.mark.slow
def test_i_is_bound_to_the_speaker_as_far_as_the_organism_is() -> None:
    for name, share in ((f"{BLEED}&{NOISE}", 1.0), (f"organism:lexical?{NOISE}", 0.0)):
        found = marked(answers, name)
        for item in ("maker", "this_chat", "the_user"):
            whole, bound = found["I", item], found["bound I", item]
            assert abs(whole.estimate) == pytest.approx(4, abs=2e-3)
            assert bound.estimate == pytest.approx(share * whole.estimate, abs=2e-3)
            assert bound.truth == pytest.approx(share * whole.truth, abs=2e-3)


@pytest.mark.slow
def test_where_no_paraphrase_moves_an_answer_i_has_no_unit() -> None:
    exact, noisy = (marked(answers, name) for name in (BLEED, f"{BLEED}&{NOISE}"))
    assert len(exact) == 16
    for key, one in exact.items():
        assert one.truth is None
        assert not one.identified
        assert "no paraphrase moves it" in one.reason
        assert np.isnan([one.estimate, one.ci_low, one.ci_high]).all()
        assert noisy[key].identified, "the control: as soon as anything moves it"
