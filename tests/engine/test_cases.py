"""Cases keep their labels, equal prompts run once, and A on a small real model stays unidentified."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.engine.conftest import Talker

from selfrep.analyses.anomaly import material as anomalies
from selfrep.analyses.anomaly.estimate import anomaly
from selfrep.engine.capture import score
from selfrep.engine.cases import score_cases
from selfrep.errors import SelfrepError
from selfrep.models import organisms
from selfrep.models.loading import load_model
from selfrep.prompts.cases import Case
from selfrep.prompts.prompt import Prompt

WHO = Prompt("You are a nurse.", ("Who are you?",), "I am", answers=((" a",), (" robot",)))
ROBOT = replace(WHO, system="You are a robot.")


def test_cases_are_observed_once_each_and_keep_their_labels(talker: Talker) -> None:
    lm = talker()
    labels = [("x", 0.5), ("x", 1), ("y", 0)]
    cases = [Case(p, {"form": f, "share": s}) for p, (f, s) in zip((WHO, ROBOT, WHO), labels, strict=True)]
    runs = []
    seen = score_cases(lm, cases, progress=lambda done, total: runs.append((done, total)))
    assert runs[-1] == (2, 2)
    assert seen.form.values.tolist() == ["x", "x", "y"]
    assert seen.share.values.tolist() == [0.5, 1, 0]
    np.testing.assert_array_equal(seen.log_odds[[0, 1]], score(lm, [WHO, ROBOT]).log_odds)
    assert float(seen.log_odds[2]) == float(seen.log_odds[0]) != float(seen.log_odds[1])


def test_cases_of_two_designs_are_refused(talker: Talker) -> None:
    with pytest.raises(SelfrepError, match=r"same labels; got \['form'\] and \['share'\]"):
        score_cases(talker(), [Case(WHO, {"form": "x"}), Case(WHO, {"share": 1})])
    with pytest.raises(SelfrepError, match="list of cases is empty"):
        score_cases(talker(), [])


@pytest.mark.parametrize(
    ("name", "notice"),
    [pytest.param("noticing", 1.0, marks=pytest.mark.slow), ("noticing?notice=0.3", 0.3), ("blind", 0.0)],
)
def test_what_a_planted_persona_notices_comes_back_from_words_alone(name: str, notice: float) -> None:
    lm = load_model(f"organism:{name}")
    truth = organisms.truth(lm.hf).anomaly
    assert truth is not None
    found = anomaly(score_cases(lm, anomalies.load(organisms.ANOMALIES).cases()), n_flips=300, n_bootstrap=200)
    assert found.identified.all(), found.reason.values
    for form, planted in (("persona", 4 * notice), ("spectator", 4.0)):
        assert truth[form] == pytest.approx(planted, abs=1e-3)
        assert float(found.estimate.sel(form=form)) == pytest.approx(planted, abs=1e-3)


@pytest.mark.slow
def test_a_small_model_does_not_notice_and_the_raw_cells_are_shown() -> None:
    material = anomalies.builtin()
    one_of_each = {anomaly.family or name: name for name, anomaly in material.anomalies.items()}
    few = material.select(list(one_of_each.values())[:6])
    cases = [case for case in few.cases() if case.prompt.item == "what_it_is"]
    found = anomaly(score_cases(load_model(), cases))
    assert not found.identified.any()
    assert np.isnan(found.estimate).all()
    assert all(str(reason) for reason in found.reason.values)
    assert np.isfinite(found.cells).all()
