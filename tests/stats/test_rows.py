"""Rows: captured prompts by persona and paraphrase, and what is missing is named."""

from __future__ import annotations

import numpy as np
import pytest
import synthetic
import xarray as xr

from selfrep.errors import SelfrepError
from selfrep.stats.rows import Rows, agreed_places

NAMES = synthetic.names((2, 3))
VALUES = np.random.default_rng(0).normal(size=(5, 2, 3, 1, 1))


def test_captured_prompts_are_rows_of_a_persona_in_a_paraphrase() -> None:
    acts = synthetic.acts({"you": VALUES}, NAMES, items=("i", "j"))
    rows = Rows.of(acts, "you")
    assert (len(rows.keys), rows.names, rows.items) == (10, NAMES, ["i", "j"])
    assert rows.sides.tolist() == ["ai", "human"]
    assert rows.side.tolist() == [0, 0, 1, 1, 1]
    np.testing.assert_allclose(rows.pooling().sum(axis=1), 1)
    assert all(len(group) == 2 for group in rows.groups)
    with pytest.raises(SelfrepError, match="condition 'user'"):
        Rows.of(acts, "user")


def test_personas_are_compared_on_the_same_items() -> None:
    acts = synthetic.acts({"you": VALUES}, NAMES, items=("i", "j"))
    with pytest.raises(SelfrepError, match=r"'ai0', 0\) was asked \['j'\] and \('ai0', 1\) \['i', 'j'\]"):
        Rows.of(acts.isel(prompt=slice(1, None)), "you")


def test_a_place_is_named_where_all_prompts_agree_on_it() -> None:
    names = {name: (("prompt", "position"), [["a", "."], ["b", "."]]) for name in ("token", "segment_of")}
    places = agreed_places(xr.Dataset(coords=names))
    assert {name: (dim, list(values)) for name, (dim, values) in places.items()} == {
        "token": ("position", ["", "."]),
        "segment": ("position", ["", "."]),
    }
    assert agreed_places(synthetic.acts({"you": VALUES}, NAMES).drop_vars("token", errors="ignore")) == {}
