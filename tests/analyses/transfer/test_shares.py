"""Small effects are gated, controls stand on their scale, and what is left out is counted and said."""

from __future__ import annotations

import numpy as np
import pytest
import synthetic
import xarray as xr
from tests.analyses.transfer.sweeps import FAST, apart, planted, with_families

from selfrep.analyses.transfer.estimate import transfer


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
    assert out.attrs["identified"] is (counts and moving > 1), "one pair tells nothing of others"
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
    assert "beside its controls" in out.attrs["permuted"]


def test_a_place_that_some_pair_lacks_is_missing_there_alone() -> None:
    effects = planted(apart(6), np.array([[0.3, 0.6]]), np.full(6, 5.0))
    effects.patched[2, 0, 0] = np.nan
    out = transfer(effects, **FAST)
    for name in ("estimate", "ci_low", "ci_high", "p"):
        assert np.isnan(out[name].to_numpy()[0, 0]).tolist() == [True, False]


@pytest.mark.parametrize("total", [0.0, 1e-9, -4e-16])
def test_a_total_effect_that_is_rounding_is_none(total: float) -> None:
    """Without any paraphrase noise to compare with, too."""
    out = transfer(planted(apart(4), np.array([[0.5]]), np.full(4, total)), **FAST)
    assert out.attrs["identified"] is False
    assert np.isnan(out.estimate).all()
    assert transfer(planted(apart(4), np.array([[0.5]]), np.full(4, 1e-3)), **FAST).attrs["identified"] is True


def test_what_is_left_out_is_counted_with_its_reasons() -> None:
    total = np.array([0.07, 6.0, 8.0, 5.0])
    effects = planted(apart(4), np.array([[0.5]]), total)
    effects["answer_mass_source"][1] = 0.001
    out = transfer(effects, paraphrase_sd=0.5, **FAST).squeeze()
    assert (int(out.n_runs), int(out.n_gated), int(out.n_pairs)) == (4, 2, 2)
    assert out.left_out.item() == (
        "1 since the total effect is under three times the paraphrase noise; 1 since the answers have next to no "
        "probability: the model would say something else"
    )
    assert out.reason.item() == ""
    assert transfer(planted(apart(4), np.array([[0.5]]), total), **FAST).left_out.squeeze().item() == "", "the control"


def test_one_pair_that_is_left_is_not_identified_and_one_family_neither() -> None:
    effects = planted(apart(3), np.array([[0.5]]), np.array([8.0, 0.1, 0.1]))
    effects = xr.concat([effects, planted(apart(1), np.array([[0.5]]), np.array([8.0]))], "pair")  # half of the runs
    out = transfer(effects, paraphrase_sd=1.0, **FAST).squeeze()
    assert out.attrs["identified"] is False
    assert (
        out.attrs["reason"] == out.reason.item() == "one pair of personas is left, of 3, which tells nothing of others"
    )
    assert float(out.estimate) == pytest.approx(0.5), "the map stands"
    assert np.isnan([out.ci_low, out.ci_high, out.p]).all()
    kin = with_families(planted(apart(3), np.array([[0.5]]), np.full(3, 8.0)), {f"human{i}": "kin" for i in range(3)})
    kin = kin.assign_coords(source=("pair", ["unprompted"] * 3), source_family=("pair", ["unprompted"] * 3))
    out = transfer(kin, **FAST)
    assert "the 3 pairs that are left are of one family" in out.attrs["reason"]
    assert transfer(kin.drop_vars("target_family"), **FAST).attrs["identified"] is True, "the control: no family"


def test_one_direction_may_be_identified_without_the_other() -> None:
    back = [(b, a) for a, b in apart(3)]
    noise = planted(back, np.array([[0.5]]), np.array([0.1, 0.1, 0.1]), direction="noise")
    out = transfer(
        xr.concat([planted(apart(3), np.array([[0.5]]), np.full(3, 8.0)), noise], "pair").assign_coords(
            item=("pair", ["q"] * 3 + ["other"] * 3)
        ),
        paraphrase_sd=1.0,
        **FAST,
    )
    assert out.attrs["identified"] is True
    assert [bool(reason) for reason in out.reason.values] == [False, True]


def facts(t: float, totals: list[float], item: str) -> xr.Dataset:
    ends = [("Italy", "France")] * len(totals)
    return planted(ends, np.array([[t]]), np.array(totals), control="fact", item=item)


def test_facts_stand_on_their_own_scale_and_pass_a_gate_of_their_own() -> None:
    real = planted(apart(4), np.array([[0.8]]), np.full(4, 20.0))
    told = xr.concat([facts(0.25, [2.0, 4.0], "fact: place"), facts(0.9, [0.2, 0.2], "fact: dull")], "pair")
    out = transfer(real, told, paraphrase_sd=0.5, **FAST)
    assert float(out.control_fact.squeeze()) == pytest.approx(0.25), "of the facts' own effect, not of 20 nats"
    assert out.attrs["facts_left_out"].startswith("dull: the total effect of every pair is under three times")
    assert "place" not in out.attrs["facts_left_out"]
    both = transfer(real, told, **FAST)  # the control: without a gate the dull fact counts
    assert float(both.control_fact.squeeze()) > 0.25
    assert both.attrs["facts_left_out"] == ""


def test_the_gate_of_a_fact_knows_the_noise_of_its_own_item() -> None:
    real = planted(apart(4), np.array([[0.8]]), np.full(4, 20.0))
    quiet = np.tile(np.array([0.1, -0.1])[None, :, None], (4, 1, 1))
    answers = synthetic.behaviour({"you": quiet}, synthetic.names((2, 2)))
    for noise, counts in ((0.5, True), (2.0, False)):
        stray = noise * np.tile(np.array([1.0, -1.0])[None, :, None], (2, 1, 1))
        asked = synthetic.behaviour({"fact": stray}, ["Italy", "France"], ("fact: place",))
        scores = xr.concat([answers, asked], "prompt")
        out = transfer(real, facts(0.25, [4.0, 4.0], "fact: place"), scores, **FAST)
        assert np.isfinite(out.control_fact).all() == counts
        assert bool(out.attrs["facts_left_out"]) != counts
