"""λ is where each persona, and no persona, was planted."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from tests.analyses.marking import marked

from selfrep.analyses.default_axis.truth import _projection, answers


def test_every_persona_but_the_default_is_located() -> None:
    found = marked(answers, "organism:bleed?beta=0.25&seed=1")
    assert len(found) == 18
    assert ("λ", "assistant") not in found, "1 by definition"
    assert np.mean([answer.covered for answer in found.values()]) > 0.9
    assert not [answer for answer in found.values() if answer.wrong]


def test_the_default_persona_is_where_nothing_is_said() -> None:
    names = ("organism:bleed?beta=0.25&seed=1", "organism:default")
    apart, fallen = (marked(answers, name)["λ", "unprompted"] for name in names)
    assert fallen.truth == pytest.approx(1, abs=0.01)
    assert apart.truth < 0.2
    assert apart.ci_high < fallen.ci_low


def test_a_plain_projection_is_that_on_the_difference_of_means() -> None:
    """Two roles, a default and neutral in the plane: by hand."""
    x = np.array([[4.0, 0.0], [0.0, 2.0], [0.0, -2.0], [1.0, 9.0]])
    data = xr.Dataset(
        {"activations": (("prompt", "site", "layer", "position", "d_model"), x[:, None, None, None])},
        coords={
            "condition": ("prompt", ["you", "you", "you", "neutral"]),
            "persona": ("prompt", ["assistant", "nurse", "sailor", ""]),
            "reading": ("prompt", ["default", "", "", "unprompted"]),
        },
    )
    assert _projection(data) == pytest.approx({"assistant": 1.0, "nurse": 0.0, "sailor": 0.0, "": 0.25})
