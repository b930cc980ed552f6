"""Draws against the same distances from weighted loops, with the weights of the draw."""

from __future__ import annotations

import numpy as np
import pytest
from tests.analyses.divergence.worlds import world

from selfrep.analyses.divergence.cast import Cast
from selfrep.analyses.divergence.draws import Draws, Products


def test_a_draw_is_the_distance_under_its_weights_and_the_first_that_of_the_data() -> None:
    cast = Cast.of(world(readings=["default"]), "you", "user")
    draws = Draws.of(cast, 5, np.random.default_rng(0))
    x = np.random.default_rng(1).normal(size=(len(cast.member), 6))
    found = draws.distances(Products.of(x @ x.T, cast))
    assert (draws.own[:, 0] == 0.25).all()
    for draw, persona in ((0, 0), (3, 2), (5, 8)):
        rows, texts = cast.own[persona], cast.references["unprompted"]
        p = dict(zip(rows, draws.own[persona, draw], strict=True))
        s = dict(zip(texts, draws.texts[0][draw], strict=True))

        def mean(first: dict[int, float], second: dict[int, float]) -> float:
            pairs = [(i, j) for i in first for j in second if cast.frame[i] != cast.frame[j]]
            weights = [first[i] * second[j] for i, j in pairs]
            return float(np.average([x[i] @ x[j] for i, j in pairs], weights=weights))

        assert found[draw, 0, persona] == pytest.approx(mean(p, p) + mean(s, s) - 2 * mean(p, s))


def test_families_are_drawn_within_their_kind() -> None:
    cast = Cast.of(world(families=5, members=2, readings=["default"]), "you", "user")
    kinds = Draws.of(cast, 50, np.random.default_rng(0)).kinds
    role = kinds[0, cast.kinds.index("role")]
    np.testing.assert_allclose(role.sum(axis=1), 1)
    np.testing.assert_allclose(role[:, 1::2], role[:, 2::2], err_msg="members of a family go together")
    assert len(np.unique(role.round(9), axis=0)) > 20
    assert np.isnan(kinds[1, cast.kinds.index("default")]).all(), "nobody is left to compare with itself"
