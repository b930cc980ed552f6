"""T: planted ratios come back, small effects are gated, and pairs that share personas are not taken for strangers."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import synthetic
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from selfrep.analyses.transfer.estimate import transfer
from selfrep.errors import SelfrepError

Array = np.ndarray
FAST: dict[str, Any] = {"n_bootstrap": 300, "n_flips": 500}


def apart(n: int) -> list[tuple[str, str]]:
    return [(f"ai{i}", f"human{i}") for i in range(n)]


def crossed(n: int, m: int) -> list[tuple[str, str]]:
    return [(f"ai{i}", f"human{j}") for i in range(n) for j in range(m)]


def planted(pairs: list[tuple[str, str]], t: Array, total: Array, **options: Any) -> xr.Dataset:
    """Every pair moved by exactly t[layer, place] of its total effect."""
    return synthetic.effects(pairs, total[:, None, None] * t, total, **options)


@settings(max_examples=25)
@given(st.integers(1, 8), st.floats(-1, 2), st.floats(0.1, 30), st.integers(0, 99))
def test_a_planted_t_is_recovered_whatever_the_totals(n: int, t: float, scale: float, seed: int) -> None:
    total = scale * np.random.default_rng(seed).uniform(0.2, 5, n)
    out = transfer(planted(apart(n), np.array([[t, 0.0, 1.0]]), total), **FAST)
    np.testing.assert_allclose(out.estimate[0, 0], [t, 0, 1], atol=1e-9)
    if n == 1:
        assert np.isnan(out.ci_low).all()
        assert np.isnan(out.p).all()
    else:
        np.testing.assert_allclose(out.ci_low[0, 0], [t, 0, 1], atol=1e-9)
        np.testing.assert_allclose(out.ci_high[0, 0], [t, 0, 1], atol=1e-9)
        assert out.attrs["smallest_p"] == 2.0 ** (1 - n)
        assert float(out.p[0, 0, 2]) == out.attrs["smallest_p"]


def test_unequal_totals_weigh_by_their_size() -> None:
    moved = np.array([1.0, 6.0, 1.0])[:, None, None]
    out = transfer(synthetic.effects(apart(3), moved, [2.0, 6.0, 8.0]), **FAST)
    assert float(out.estimate.squeeze()) == pytest.approx(8 / 16)
    assert float(out.estimate.squeeze()) != pytest.approx(np.mean([1 / 2, 6 / 6, 1 / 8]))


def test_denoise_and_noise_are_kept_apart_and_keep_their_sign() -> None:
    t = np.array([[0.2, 0.9]])
    back = [(b, a) for a, b in apart(4)]
    both = xr.concat(
        [planted(apart(4), t, np.full(4, 5.0)), planted(back, 2 * t, np.full(4, -5.0), direction="noise")], "pair"
    )
    out = transfer(both, **FAST)
    assert out.direction.values.tolist() == ["denoise", "noise"]
    np.testing.assert_allclose(out.estimate[:, 0], [[0.2, 0.9], [0.4, 1.8]])
    assert out.n_pairs.values.tolist() == [4, 4]


def test_controls_stand_on_the_scale_of_the_real_pairs() -> None:
    total = np.array([2.0, 4.0, 6.0, 8.0])
    real = planted(apart(4), np.array([[0.8]]), total)
    moved = np.array([0.1, 0.2, 0.3, 0.4])[:, None, None]
    own = [(f"human{i}", f"human{i}") for i in range(4)]
    nudges = xr.concat(
        [
            synthetic.effects(own, moved, total, control="paraphrase"),
            synthetic.effects(apart(4), -moved, total, control="random"),
        ],
        "pair",
    )
    out = transfer(real, nudges, **FAST)
    assert float(out.control_paraphrase.squeeze()) == pytest.approx(1 / 20)
    assert float(out.control_random.squeeze()) == pytest.approx(-1 / 20)
    assert "control_persona" not in out


def test_the_controls_of_gated_pairs_are_left_out_too() -> None:
    total = np.array([0.07, 6.0, 8.0])
    moved = np.array([5.0, 0.6, 0.8])[:, None, None]
    own = [("human0", "human0")] * 3  # all of one persona: only the total tells them apart
    out = transfer(
        planted(apart(3), np.array([[0.5]]), total),
        synthetic.effects(own, moved, total, control="paraphrase"),
        paraphrase_sd=0.5,
        **FAST,
    )
    assert float(out.control_paraphrase.squeeze()) == pytest.approx(0.1)
    assert (int(out.n_pairs[0]), int(out.n_gated[0])) == (2, 1)


def test_a_tiny_total_effect_is_not_identified() -> None:
    """0.07 nats once gave T = 2.74 and −1.81."""
    moved = np.array([0.07 * 2.74, 0.07 * -1.81])[:, None, None]
    tiny = synthetic.effects(apart(2), moved, [0.07, 0.07])
    answers = {"you": 0.57 * np.random.default_rng(0).normal(size=(4, 4, 1))}
    behaviour = synthetic.behaviour(answers, synthetic.names((2, 2)))
    out = transfer(tiny, scores=behaviour, **FAST)
    assert out.attrs["identified"] is False
    assert "total effect" in out.attrs["reason"]
    assert np.isnan(out.estimate).all()
    assert (int(out.n_pairs[0]), int(out.n_gated[0])) == (0, 2)
    fine = transfer(tiny, **FAST)  # the control: the gate did it
    assert fine.attrs == {**fine.attrs, "identified": True, "reason": ""}
    assert float(fine.estimate.squeeze()) == pytest.approx((2.74 - 1.81) / 2)


def test_a_few_lucky_pairs_of_an_item_that_does_not_move_are_no_transfer() -> None:
    totals = np.array([3.5, *np.linspace(0.1, 2.9, 7)])  # of paraphrases that differ by 1 nat
    dull = planted(apart(8), np.array([[1.0]]), totals)
    out = transfer(dull, paraphrase_sd=1.0, **FAST)
    assert out.attrs["identified"] is False
    assert "only 1 of 8 runs of 'q'" in out.attrs["reason"]
    assert np.isnan(out.estimate).all()
    half = transfer(planted(apart(8), np.array([[1.0]]), np.r_[totals[:4], [4.0] * 4]), paraphrase_sd=1.0, **FAST)
    assert half.attrs["identified"] is True, "the control: most pairs move"
    assert float(half.estimate.squeeze()) == pytest.approx(1.0)
    lively = planted(apart(8), np.array([[0.5]]), np.full(8, 9.0)).assign_coords(item=("pair", ["q1"] * 8))
    both = transfer(xr.concat([dull, lively], "pair"), paraphrase_sd=1.0, **FAST)
    assert float(both.estimate.squeeze()) == pytest.approx(0.5), "the dull item leaves the other its number"
    assert int(both.n_gated.squeeze()) == 8


@pytest.mark.parametrize(("moving", "runs"), [(0, 4), (1, 2), (1, 3), (2, 4), (2, 5), (3, 5), (3, 6), (3, 7), (4, 4)])
def test_an_item_counts_where_at_least_half_of_its_runs_move(moving: int, runs: int) -> None:
    total = np.where(np.arange(runs) < moving, 3.1, 2.9) * np.where(np.arange(runs) % 2, 1, -1)
    out = transfer(planted(apart(runs), np.array([[0.5]]), total), paraphrase_sd=1.0, **FAST)
    counts = 2 * moving >= runs
    assert out.attrs["identified"] is counts
    assert (int(out.n_pairs.squeeze()), int(out.n_gated.squeeze())) == (
        (moving, runs - moving) if counts else (0, runs)
    )
    assert ("choose the lucky ones" in out.attrs["reason"]) == (0 < 2 * moving < runs)


def test_the_noise_of_the_gate_is_that_of_the_item_in_the_condition_you() -> None:
    stray = np.array([1.0, -1.0])[None, :, None] * np.array([1.0, 5.0])
    you, loud = (size * np.tile(stray, (4, 1, 1)) for size in (1.0, 100.0))
    answers = synthetic.behaviour({"you": you, "user": loud}, synthetic.names((2, 2)), ("q", "other"))
    for total, counts in ((3.1, True), (2.9, False)):  # the SD of ±1 is √2
        effects = planted(apart(6), np.array([[0.5]]), np.full(6, total * np.sqrt(2)))
        assert transfer(effects, scores=answers, **FAST).attrs["identified"] is counts


@pytest.mark.parametrize("n", [3, 5])
def test_under_six_pairs_the_interval_is_students_and_p_counts_all_flips(n: int) -> None:
    moved = np.array([-3.0, 1.0, 0.7, -2.0, 0.4])[:n]
    out = transfer(synthetic.effects(apart(n), moved[:, None, None], [8.0] * n), **FAST).squeeze()
    student = ttest_1samp(moved / 8, 0).confidence_interval()
    np.testing.assert_allclose([out.ci_low, out.ci_high], student, rtol=1e-6)
    null = [abs(np.dot(moved, (1, *signs))) for signs in product((1, -1), repeat=n - 1)]
    assert float(out.p) == pytest.approx(np.mean([v >= null[0] - 1e-9 for v in null]))
    assert 2.0 ** (1 - n) < float(out.p), "the control"


VALUES = [10, 11, 11, 13, 15, 18]


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


def test_no_effect_and_answers_without_probability_are_reasons_not_nans_in_silence() -> None:
    out = transfer(synthetic.effects(apart(3), np.ones((3, 1, 1)), [0.0, 0.0, 0.0]), **FAST)
    assert out.attrs["identified"] is False
    out = transfer(planted(apart(3), np.array([[0.5]]), np.full(3, 8.0), mass=0.0), **FAST)
    assert out.attrs["identified"] is False
    assert "probability" in out.attrs["reason"]


@pytest.mark.parametrize("mass", [(0.5, 0.0), (0.0, 0.5), (0.5, float("nan"))])
def test_answers_must_have_probability_at_both_ends(mass: tuple[float, float]) -> None:
    out = transfer(planted(apart(3), np.array([[0.5]]), np.full(3, 8.0), mass=mass), **FAST)
    assert out.attrs["identified"] is False
    assert "probability" in out.attrs["reason"]
    scarce = transfer(planted(apart(3), np.array([[0.5]]), np.full(3, 8.0), mass=(0.009, 0.5)), **FAST)
    assert scarce.attrs["identified"] is False
    fine = transfer(planted(apart(3), np.array([[0.5]]), np.full(3, 8.0), mass=(0.5, 0.011)), **FAST)
    assert fine.attrs == {**fine.attrs, "identified": True, "reason": ""}


def test_p_calls_any_steady_push_so_it_points_to_the_random_control() -> None:
    real = planted(apart(8), np.array([[0.1]]), np.full(8, 8.0))
    pushed = planted(apart(8), np.array([[0.1]]), np.full(8, 8.0), control="random")
    out = transfer(real, pushed, **FAST)
    assert float(out.p.squeeze()) < 0.05
    assert float(out.estimate.squeeze()) == pytest.approx(float(out.control_random.squeeze()))
    assert "T = 0" in out.attrs["permuted"]
    assert "control_random" in out.attrs["permuted"]


def test_a_place_that_some_pair_lacks_is_missing_there_alone() -> None:
    effects = planted(apart(6), np.array([[0.3, 0.6]]), np.full(6, 5.0))
    effects.patched[2, 0, 0] = np.nan
    out = transfer(effects, **FAST)
    for name in ("estimate", "ci_low", "ci_high", "p"):
        assert np.isnan(out[name].to_numpy()[0, 0]).tolist() == [True, False]


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


def test_segments_tokens_and_seeds() -> None:
    rng = np.random.default_rng(0)
    moved = rng.normal(size=(8, 2, 3))
    by_place = synthetic.effects(apart(8), moved, [8.0] * 8)
    out = transfer(by_place, **FAST)
    assert out.token.values.tolist() == [" t0", " t1", " t2"]
    assert out.segment.values.tolist() == ["question"] * 3
    xr.testing.assert_identical(out, transfer(by_place, **FAST))
    by_segment = transfer(synthetic.effects(apart(8), moved, [8.0] * 8, segments=True), **FAST)
    assert by_segment.estimate.dims == ("direction", "layer", "segment")
    np.testing.assert_allclose(by_segment.estimate, out.estimate)


def test_what_cannot_be_measured_is_refused() -> None:
    effects = planted(apart(3), np.array([[0.5, 0.2]]), np.full(3, 8.0))
    with pytest.raises(SelfrepError, match="cell by cell"):
        transfer(effects, effects.isel(position=[0]), **FAST)
    with pytest.raises(SelfrepError, match="hold none"):
        transfer(effects.isel(pair=[]), **FAST)
    other = synthetic.behaviour({"you": np.zeros((4, 4, 1))}, synthetic.names((2, 2)), ("another",))
    with pytest.raises(SelfrepError, match="hold none of that item"):
        transfer(effects, scores=other, **FAST)
    single = synthetic.behaviour({"you": np.zeros((4, 1, 1))}, synthetic.names((2, 2)))
    with pytest.raises(SelfrepError, match="two paraphrases"):
        transfer(effects, scores=single, **FAST)


@pytest.mark.slow
def test_on_the_embedded_model_the_persona_passes_to_the_last_tokens_between_layers_12_and_24() -> None:
    import selfrep as sr

    lm, people, item = sr.load_model(), sr.personas.builtin(), sr.battery.builtin()["who_are_you"]
    pairs = [
        pair
        for source, target in (("smollm", "jfk"), ("language_model", "nurse"), ("chatgpt", "farmer"))
        for pair in sr.pair(lm, source=people[source], target=people[target], items=[item], paraphrases=[0])
    ]
    plan = sr.grid("resid_pre", layers=[4, 12, 16, 20, 24], segments=["all"])
    profile = sr.patch(lm, pairs, plan).transfer.squeeze("segment").mean("pair")
    assert float(profile.sel(layer=4)) < 0.1
    assert float(profile.sel(layer=24)) > 0.7
    assert float(profile.sel(layer=24) - profile.sel(layer=12)) > 0.5


@pytest.mark.parametrize("total", [0.0, 1e-9, -4e-16])
def test_a_total_effect_that_is_rounding_is_none(total: float) -> None:
    """Without any paraphrase noise to compare with, too."""
    out = transfer(planted(apart(4), np.array([[0.5]]), np.full(4, total)), **FAST)
    assert out.attrs["identified"] is False
    assert np.isnan(out.estimate).all()
    assert transfer(planted(apart(4), np.array([[0.5]]), np.full(4, 1e-3)), **FAST).attrs["identified"] is True
