"""Tables: every answer at its place, and what is missing is named."""

from __future__ import annotations

import numpy as np
import pytest
import synthetic
import xarray as xr

from selfrep.errors import SelfrepError
from selfrep.stats.tables import Table, by_framing, crossed

NAMES = synthetic.names((2, 3))
VALUES = np.random.default_rng(0).normal(size=(5, 2, 3))
ITEMS = ("a", "b", "c")


def observed() -> xr.Dataset:
    shuffled = np.random.default_rng(1).permutation(30)
    return synthetic.behaviour({"you": VALUES, "neutral": np.zeros((1, 1, 3))}, NAMES, ITEMS).isel(
        prompt=np.append(shuffled, [30, 31, 32])
    )


def test_a_table_is_the_planted_one_whatever_the_order_of_prompts() -> None:
    table = Table.of(observed(), "you", ["c", "a"])
    assert table.keys == [(name, k) for name in NAMES for k in (0, 1)]
    np.testing.assert_array_equal(table.log_odds, VALUES[:, :, [2, 0]].reshape(10, 2))
    np.testing.assert_allclose(table.means(table.log_odds), VALUES[:, :, [2, 0]].mean(axis=1))
    assert Table.of(observed(), "neutral", ITEMS).names == [""]


def test_personas_may_have_different_numbers_of_paraphrases() -> None:
    uneven = observed()
    keep = ~((uneven.persona == "ai0") & (uneven.paraphrase == 1))
    table = Table.of(uneven.isel(prompt=np.flatnonzero(keep)), "you", ITEMS)
    np.testing.assert_allclose(table.means(table.log_odds)[0], VALUES[0, 0])
    with pytest.raises(SelfrepError, match=r"only one of them has \[\('ai0', 1\)\]"):
        table.require_twin(Table.of(observed(), "you", ITEMS), "user")


def test_what_lacks_is_named() -> None:
    with pytest.raises(SelfrepError, match="'user' is missing"):
        Table.of(observed(), "user", ITEMS)
    with pytest.raises(SelfrepError, match="1 answers are missing"):
        Table.of(observed().isel(prompt=slice(1, None)), "you", ITEMS)


def test_items_are_pooled_within_a_framing_only() -> None:
    framings = {"a": "first_person", "b": "third_person", "c": "third_person"}
    assert by_framing(ITEMS, framings) == {"a": [0], "b": [1], "c": [2], "all third_person": [1, 2]}
    assert by_framing(ITEMS, None) == {"a": [0], "b": [1], "c": [2]}
    with pytest.raises(SelfrepError, match=r"framing of \['c'\] is not given"):
        by_framing(ITEMS, {"a": "first_person", "b": "third_person"})


def test_a_cross_is_complete_or_refused() -> None:
    mine = observed().isel(prompt=np.arange(30))
    cube = crossed(mine, "log_odds", ("persona", "paraphrase", "item"))
    for i, k, q in np.ndindex(VALUES.shape):
        assert float(cube.sel(persona=NAMES[i], paraphrase=k, item=ITEMS[q])) == VALUES[i, k, q]
    with pytest.raises(SelfrepError, match="is there 0 times"):
        crossed(mine.isel(prompt=np.arange(1, 30)), "log_odds", ("persona", "paraphrase", "item"))
    with pytest.raises(SelfrepError, match="is there 2 times"):
        crossed(mine, "log_odds", ("persona", "item"))
    with pytest.raises(SelfrepError, match="are missing: cue"):
        crossed(mine, "log_odds", ("persona", "cue"))
