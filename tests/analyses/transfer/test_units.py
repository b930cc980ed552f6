"""Pairs count by families, and those that share personas are not taken for strangers."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import synthetic
from scipy.stats import ttest_1samp
from tests.analyses.transfer.sweeps import FAST, Array, apart, crossed, planted, with_families

from selfrep.analyses.transfer.estimate import transfer

VALUES = [10, 11, 11, 13, 15, 18]


@pytest.mark.parametrize("n", [3, 5])
def test_under_six_pairs_the_interval_is_students_and_p_counts_all_flips(n: int) -> None:
    moved = np.array([-3.0, 1.0, 0.7, -2.0, 0.4])[:n]
    out = transfer(synthetic.effects(apart(n), moved[:, None, None], [8.0] * n), **FAST).squeeze()
    student = ttest_1samp(moved / 8, 0).confidence_interval()
    np.testing.assert_allclose([out.ci_low, out.ci_high], student, rtol=1e-6)
    null = [abs(np.dot(moved, (1, *signs))) for signs in product((1, -1), repeat=n - 1)]
    assert float(out.p) == pytest.approx(np.mean([v >= null[0] - 1e-9 for v in null]))
    assert 2.0 ** (1 - n) < float(out.p), "the control"


@pytest.mark.parametrize(
    ("pairs", "who"),
    [
        (apart(6), 0),  # as many units as pairs
        (crossed(6, 9), 0),  # sources are what differs, and the fewer
        ([(b, a) for a, b in crossed(6, 9)], 1),  # targets are
        ([(f"ai{i}", f"human{3 * i + j}") for i in range(6) for j in range(3)], 0),  # each source with its own targets
    ],
)
def test_from_six_pairs_on_the_interval_is_that_of_units_drawn_anew(pairs: list[tuple[str, str]], who: int) -> None:
    """Only one persona of each pair matters, by whole numbers: an exact bootstrap distribution, of six units."""
    moved = np.array([VALUES[int(pair[who].removeprefix("ai"))] for pair in pairs], dtype=float)
    effects = synthetic.effects(pairs, moved[:, None, None], [8.0] * len(pairs))
    out = transfer(effects, n_bootstrap=20_000, n_flips=500).squeeze()
    bounds = synthetic.bootstrap_bounds(VALUES, 6, 5) / 8
    np.testing.assert_allclose([out.ci_low, out.ci_high], bounds, atol=1.5 / 6 / 8)
    assert float(out.estimate) == pytest.approx(np.mean(VALUES) / 8)


def luck(rng: np.random.Generator, pairs: list[tuple[str, str]]) -> Array:
    """[pair, layer, place]: what each persona brings to all its pairs, and each pair its own."""
    own = {name: rng.normal(size=(1, 4)) for pair in pairs for name in pair}
    return np.array([own[s] + own[t] + 0.5 * rng.normal(size=(1, 4)) for s, t in pairs])


@pytest.mark.parametrize("strangers", [False, True])
def test_pairs_that_share_personas_are_not_independent(strangers: bool) -> None:
    rng, pairs = np.random.default_rng(0), crossed(6, 6)
    alarms, missed = [], []
    for _ in range(40):
        effects = synthetic.effects(apart(36) if strangers else pairs, luck(rng, pairs), [8.0] * 36)
        out = transfer(effects, **FAST)
        alarms.append((out.p <= 0.05).to_numpy().mean())
        missed.append(((out.ci_low > 0) | (out.ci_high < 0)).to_numpy().mean())
    if strangers:  # the control
        assert np.mean(alarms) > 0.2
        assert np.mean(missed) > 0.2
    else:
        assert np.mean(alarms) < 0.09
        assert np.mean(missed) < 0.09


def test_sources_that_each_meet_several_targets_of_their_own_count_once() -> None:
    rng = np.random.default_rng(1)
    nested = [(f"ai{i}", f"human{3 * i + j}") for i in range(6) for j in range(3)]
    out = transfer(synthetic.effects(nested, rng.normal(size=(18, 1, 1)), [8.0] * 18), **FAST)
    assert out.attrs["smallest_p"] == 2.0**-5
    assert int(out.n_pairs[0]) == 18


def test_pairs_that_all_share_one_persona_are_about_that_one() -> None:
    star = [("smollm", f"human{i}") for i in range(7)]
    out = transfer(planted(star, np.array([[0.5]]), np.full(7, 8.0)), **FAST)
    assert out.attrs["smallest_p"] == 2.0**-6


def test_items_and_paraphrases_of_a_pair_are_one_unit() -> None:
    many = apart(5) * 4
    out = transfer(planted(many, np.array([[0.5]]), np.full(20, 8.0)), **FAST)
    assert int(out.n_pairs[0]) == 5
    assert out.attrs["smallest_p"] == 2.0**-4


def test_four_pairs_have_an_interval_that_reaches_beyond_them() -> None:
    rng = np.random.default_rng(0)
    held = []
    for _ in range(60):
        moved = 4.0 + rng.normal(size=(4, 1, 8))
        out = transfer(synthetic.effects(apart(4), moved, [8.0] * 4), **FAST)
        held.append(((out.ci_low <= 0.5) & (out.ci_high >= 0.5)).to_numpy().mean())
    assert np.mean(held) > 0.91  # the range of four values holds their mean with chance .875


def test_a_family_counts_once_however_many_are_of_it() -> None:
    pairs = [("unprompted", name) for name in ("a1", "a2", "a3", "b", "c", "d")]
    moved = np.array([1.0, 2.0, 3.0, 4.0, 6.0, 8.0])[:, None, None]
    alone = synthetic.effects(pairs, moved, [10.0] * 6)
    kin = with_families(alone, {"unprompted": "unprompted", "a1": "a", "a2": "a", "a3": "a"})
    out = transfer(kin, **FAST).squeeze()
    assert float(out.estimate) == pytest.approx(np.mean([2, 4, 6, 8]) / 10)
    assert (int(out.n_pairs), int(out.n_units)) == (6, 4)
    assert out.attrs["smallest_p"] == 2.0**-3
    student = ttest_1samp(np.array([2, 4, 6, 8]) / 10, 0).confidence_interval()
    np.testing.assert_allclose([out.ci_low, out.ci_high], student, rtol=1e-6)
    strangers = transfer(alone, **FAST).squeeze()  # the control
    assert float(strangers.estimate) == pytest.approx(moved.mean() / 10)
    assert int(strangers.n_units) == 6


def test_runs_of_a_pair_weigh_together_as_much_as_one_pair() -> None:
    pairs = [("a", "x")] * 3 + [("b", "y")]
    out = transfer(synthetic.effects(pairs, np.array([1.0, 2.0, 3.0, 6.0])[:, None, None], [10.0] * 4), **FAST)
    assert float(out.estimate.squeeze()) == pytest.approx((2 + 6) / 20)


def test_families_are_what_alarms_and_intervals_count() -> None:
    """Personas of a family share their luck: as units they raise false alarms, as a family they do not."""
    rng = np.random.default_rng(2)
    pairs = [("unprompted", f"p{i}") for i in range(24)]
    families = {"unprompted": "unprompted"} | {f"p{i}": f"family{i // 3}" for i in range(24)}
    alarms: dict[str, list[float]] = {"family": [], "persona": []}
    for _ in range(60):
        own = rng.normal(size=(8, 1, 6))
        moved = np.repeat(own, 3, axis=0) + 0.5 * rng.normal(size=(24, 1, 6))
        effects = synthetic.effects(pairs, moved, [8.0] * 24)
        for unit, asked in (("family", with_families(effects, families)), ("persona", effects)):
            out = transfer(asked, **FAST)
            alarms[unit].append(float((out.p <= 0.05).mean()))
    assert np.mean(alarms["family"]) < 0.08
    assert np.mean(alarms["persona"]) > 0.12, "the control"
