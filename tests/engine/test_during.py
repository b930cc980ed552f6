"""What is held while a model speaks: phases counted by what a position says, and what cannot be held."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from selfrep.engine.during import during, require
from selfrep.engine.interventions import Replace, Steer
from selfrep.errors import SelfrepError

STEER = Steer(torch.ones(4))
SOURCE = xr.Dataset(
    {
        "activations": (("prompt", "site", "layer", "step", "d_model"), np.zeros((2, 1, 2, 3, 4))),
        "before": (("prompt", "site", "layer", "d_model"), np.zeros((2, 1, 2, 4))),
    },
    {"site": ["resid_post"], "layer": [1, 2]},
)


@pytest.mark.parametrize(
    ("phase", "inside", "outside"),
    [
        ("prompt", [-9, 0], [1]),
        ("response", [0, 9], [-1]),
        ("all", [-9, 0, 9], []),
        ("first 2", [0, 1], [-1, 2]),
        ("from 2", [2, 9], [1]),
    ],
)
def test_a_phase_is_counted_by_what_is_said(phase: str, inside: list[int], outside: list[int]) -> None:
    first, stop = during(STEER, "resid_post", 0, phase).span
    assert all(first <= at < stop for at in inside)
    assert not any(first <= at < stop for at in outside)


def test_a_hook_s_name_holds_its_layer() -> None:
    one = during(STEER, "blocks.3.hook_resid_post")
    assert (one.site, one.layers, one.phase) == ("resid_post", (3,), "response")
    assert one.name == "steer × 1 at resid_post of 3, response"
    assert "resid_post" in repr(one)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"phase": "thinking hard"}, "A phase is"),
        ({"phase": "first"}, "A phase is"),
        ({"layers": None}, "in some layers"),
        ({"site": "blocks.3.hook_resid_post", "layers": 2}, "in some layers"),
        ({"strength": float("nan")}, "finite number"),
        ({"source": SOURCE, "phase": "all"}, "tokens of the prompt"),
        ({"source": SOURCE.drop_vars("before")}, "has none"),
        ({"source": SOURCE, "layers": [1, 5]}, "holds resid_post of layers"),
        ({"source": SOURCE, "site": "attn_out", "layers": 1}, "holds resid_post of layers"),
    ],
)
def test_what_cannot_be_held_is_refused(asked: dict[str, Any], message: str) -> None:
    given = {"intervention": Replace(), "site": "resid_post", "layers": [1]} | asked
    with pytest.raises(SelfrepError, match=message):
        during(given.pop("intervention"), given.pop("site"), given.pop("layers"), **given)


def test_what_is_held_must_fit_the_prompts_and_come_at_all() -> None:
    one = during(Replace(), "resid_post", 1, source=SOURCE)
    assert require(one, 2, 5) == (one,)
    assert require((), 2, 5) == ()
    for apply, n, message in (
        (one, 3, "one answer for all prompts"),
        (during(STEER, "resid_post", 0, "first 0"), 1, "never comes"),
        (during(STEER, "resid_post", 0, "from 5"), 1, "never comes"),
        (during(STEER, "resid_post", 0, strength=[1.0, 2.0, 3.0]), 2, "got 3 for 2"),
    ):
        with pytest.raises(SelfrepError, match=message):
            require(apply, n, 5)
