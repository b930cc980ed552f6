"""λ: planted places on the axis come back, a persona never helps to place itself, and no axis gives no number."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import synthetic
import xarray as xr
from scipy.stats import binom

from selfrep.analyses.default_axis.estimate import default_axis
from selfrep.errors import SelfrepError

Array = np.ndarray
FAST: dict[str, Any] = {"n_axes": 300, "n_bootstrap": 100}
ROLES = 9
NAMES = ["smollm", *(f"human{i}" for i in range(ROLES))]
D = 64


def captured(
    places: Array,
    *,
    seed: int = 0,
    persona: float = 0.3,
    paraphrase: float = 0.1,
    neutral: float | None = None,
    user: float = 0.0,
    layers: int = 1,
) -> xr.Dataset:
    """Personas at `places` along one axis, and elsewhere by chance; the default is the first.

    "The user is X" lies at `user` times the place of X.
    """
    rng = np.random.default_rng(seed)
    base, along = 3 * np.linalg.qr(rng.normal(size=(D, 2)))[0].T * np.sqrt(D) / 3

    def rows(at: Array, n: int) -> Array:
        own = persona * rng.normal(size=(len(at), 1, layers, 1, D))
        words = paraphrase * rng.normal(size=(len(at), n, layers, 1, D))
        return 10 * base + at[:, None, None, None, None] * along + own + words

    conditions = {"you": rows(places, 4), "user": rows(user * places, 4)}
    if neutral is not None:
        conditions["neutral"] = rows(np.array([neutral]), 4)
    acts = synthetic.acts(conditions, NAMES)
    return acts.assign_coords(reading=("prompt", np.where(acts.persona == "smollm", "default", "")))


def line(default: float = 2.0, spread: float = 0.2) -> Array:
    return np.array([default, *np.linspace(-spread, spread, ROLES)])


def test_planted_places_come_back() -> None:
    places = line()
    out = default_axis(captured(places, persona=0.01, paraphrase=0.01, neutral=1.0, user=0.5), **FAST).squeeze()
    assert out.who.values[:2].tolist() == ["default", "human0"]
    at = dict(zip(out.who.values.tolist(), out.estimate.values.tolist(), strict=True))
    assert at["default"] == pytest.approx(1)
    assert at["unprompted"] == pytest.approx(0.5, abs=0.01)
    assert at["user: default"] == pytest.approx(0.5, abs=0.01)
    for i, place in enumerate(places[1:]):
        others = np.delete(places[1:], i).mean()  # 0 is the mean of the roles that are left
        assert at[f"human{i}"] == pytest.approx((place - others) / (2 - others), abs=0.01)
    assert bool(out.identified)
    assert float(out.p) == out.attrs["smallest_p"] == 1 / 10
    assert float(out.p_random) == 1 / (1 + FAST["n_axes"]), (
        "no random axis reaches as far, and the default's is one more"
    )
    assert out.attrs["n_labelings"] == 10
    held = (out.ci_low <= out.estimate + 1e-9) & (out.estimate <= out.ci_high + 1e-9)
    assert bool(held.all())


def test_roles_that_differ_by_chance_alone_lie_at_0_on_average() -> None:
    held, naive = [], []
    for seed in range(30):
        acts = captured(line(spread=0.0), seed=seed, persona=1.0, paraphrase=0.0)
        held.append(default_axis(acts, **FAST).squeeze().estimate[1 : ROLES + 1].mean())
        x = acts.activations.to_numpy()[:40, 0, 0, 0].reshape(10, 4, D).mean(axis=1)
        for k in range(1, 10):
            roles = np.delete(x[1:], k - 1, axis=0).mean(axis=0)
            naive.append((x[k] - roles) @ (x[0] - roles) / ((x[0] - roles) @ (x[0] - roles)))
    assert abs(np.mean(held)) < 3 * np.std(held) / np.sqrt(len(held)) + 0.002
    assert np.mean(naive) > 0.015, "the control: the mean role's own luck, squared"


def test_intervals_hold_a_point_of_which_only_the_paraphrases_vary() -> None:
    held = []
    for seed in range(60):
        acts = captured(line(spread=0.0), seed=seed, persona=0.05, paraphrase=0.4, neutral=1.0)
        neutral = default_axis(acts, placed=("neutral",), **FAST).squeeze().sel(who="unprompted")
        held.append(bool(neutral.ci_low <= 0.5 <= neutral.ci_high))
    assert sum(held) >= binom.ppf(0.001, len(held), 0.93)  # two paraphrases a fold, drawn anew as they are: .75 of them


def test_loud_words_do_not_hide_the_axis() -> None:
    """Paraphrases that differ along a few directions, more than the default from the roles, as surfaces of words do."""
    found, plain = [], []
    for seed in range(20):
        rng = np.random.default_rng(100 + seed)
        acts = captured(line(spread=0.0), seed=seed, persona=0.0, paraphrase=0.1, neutral=1.0)
        surface = np.linalg.qr(rng.normal(size=(D, 4)))[0].T
        acts.activations[:] += (10 * rng.normal(size=(acts.sizes["prompt"], 4)) @ surface)[:, None, None, None]
        found.append(float(default_axis(acts, **FAST).squeeze().estimate.sel(who="unprompted")))
        x, condition = acts.activations.to_numpy().reshape(-1, D), acts.condition.to_numpy()
        default, roles, neutral = x[:4].mean(axis=0), x[4:40].mean(axis=0), x[condition == "neutral"].mean(axis=0)
        plain.append((neutral - roles) @ (default - roles) / ((default - roles) @ (default - roles)))
    assert np.abs(np.array(found) - 0.5).max() < 0.05
    assert np.abs(np.array(plain) - 0.5).max() > 0.15, "the control: a projection on the plain difference of means"


def test_the_first_component_of_the_roles_need_not_be_the_axis() -> None:
    along = default_axis(captured(line(spread=2.0), paraphrase=0.02), **FAST).squeeze()
    assert float(along.cosine) > 0.9
    across = default_axis(captured(line(spread=0.0), persona=0.5), **FAST).squeeze()
    assert float(across.cosine) < 0.7
    assert 0 < float(across.explained) < float(along.explained) <= 1


def test_the_principal_component_by_hand() -> None:
    acts = captured(line(spread=1.0), persona=0.5)
    out = default_axis(acts, **FAST).squeeze()
    x = acts.activations.to_numpy()[:40].reshape(10, 4, D).astype(float).mean(axis=1)
    values, vectors = np.linalg.eigh(np.cov(x[1:].T))
    away = x[0] - x[1:].mean(axis=0)
    assert float(out.explained) == pytest.approx(values[-1] / values.sum(), rel=1e-6)
    assert float(out.cosine) == pytest.approx(abs(vectors[:, -1] @ away) / np.linalg.norm(away), rel=1e-6)


def test_the_gap_is_in_standard_deviations_of_a_paraphrase() -> None:
    """Isotropic paraphrases of SD .1 on places that differ along the axis alone."""
    acts = captured(line(default=2.0, spread=0.0), persona=0.0, paraphrase=0.1)
    out = default_axis(acts, **FAST).squeeze()
    x = acts.activations.to_numpy()[:40].reshape(10, 4, D).astype(float)
    away = np.linalg.norm(x[0].mean(axis=0) - x[1:].mean(axis=(0, 1)))
    assert float(out.gap) == pytest.approx(away / 0.1, rel=0.05)


def test_p_is_the_rank_of_the_default_among_all_personas() -> None:
    """Three roles lie further from the others than the default does."""
    places = np.array([2.0, 6.0, -6.0, 5.0, *np.zeros(ROLES - 3)])
    out = default_axis(captured(places, persona=0.01, paraphrase=0.1), **FAST).squeeze()
    others = [abs(place - np.delete(places, i).mean()) for i, place in enumerate(places)]
    assert float(out.p) == np.mean([v >= others[0] for v in others]) == 0.4


def test_the_gate_is_the_95th_percentile_of_random_axes() -> None:
    """A default hardly apart, so that some random axes reach as far: never more than 15 of 300 where the gate opens."""
    reached = []
    for default, seed in product((0.2, 0.3, 0.35), (2, 3, 7)):
        faint = captured(line(default=default, spread=0.0), seed=seed, persona=0.0, paraphrase=0.5)
        out = default_axis(faint, **FAST).squeeze()
        as_far = float(out.p_random) * (1 + FAST["n_axes"]) - 1
        assert as_far <= 15.5 if bool(out.identified) else as_far >= 14.5
        assert bool(out.identified) == (float(out.gap) > float(out.null))
        reached.append(round(as_far))
    assert any(0 < n < 15 for n in reached), "open, though not beyond all"
    assert any(15 < n < 75 for n in reached), "closed, though beyond most"


def test_a_default_that_is_just_another_persona_is_not_told_from_them() -> None:
    p = [float(default_axis(captured(line(default=0.0, spread=0.0), seed=s), **FAST).p.squeeze()) for s in range(40)]
    assert 0.4 < np.mean(p) < 0.7  # uniform on .1, .2, … 1
    far = [float(default_axis(captured(line(default=3.0), seed=s), **FAST).p.squeeze()) for s in range(5)]
    assert set(far) == {0.1}, "the control: a default that lies apart"


def test_where_there_is_no_axis_there_is_no_number_but_a_reason() -> None:
    out = default_axis(captured(np.zeros(10), persona=0.0, paraphrase=0.5), **FAST).squeeze()
    assert not bool(out.identified)
    assert "no axis" in str(out.reason.values)
    assert np.isnan(out.estimate).all()
    assert np.isfinite(float(out.gap))
    same = captured(np.zeros(10), persona=0.0, paraphrase=0.0)
    out = default_axis(same, **FAST).squeeze()
    assert "one point" in str(out.reason.values)


def test_a_place_that_some_prompt_lacks_has_a_reason_and_the_others_their_numbers() -> None:
    acts = captured(line(), layers=2)
    acts.activations[3, 0, 1] = np.nan
    out = default_axis(acts, **FAST).squeeze()
    assert out.identified.values.tolist() == [True, False]
    assert "no such place" in str(out.reason.values[1])


def test_what_draws_no_axis_is_refused() -> None:
    acts = captured(line())
    with pytest.raises(SelfrepError, match="whose reading of the self is 'default' or who is named; got"):
        default_axis(acts.assign_coords(reading=("prompt", np.full(acts.sizes["prompt"], ""))), **FAST)
    with pytest.raises(SelfrepError, match="or who is named; got"):
        default_axis(acts, default=NAMES, **FAST)
    with pytest.raises(SelfrepError, match="have one"):
        default_axis(acts.isel(prompt=acts.paraphrase.to_numpy() == 0), **FAST)


def test_personas_that_differ_by_rounding_lie_in_one_point() -> None:
    """Activations are float32: of numbers like 30, a millionth is kept as one or two steps to the next, or lost."""
    acts = captured(np.zeros(1 + ROLES), persona=1e-6, paraphrase=1e-6)
    assert acts.activations.std("prompt").max() > 0, "the control: they are not the same"
    out = default_axis(acts, **FAST).squeeze()
    assert str(out.reason.values) == "all personas lie in one point"
    for size in (1e-6, 1e6):
        scaled, plain = captured(line()), captured(line())
        scaled["activations"] = scaled.activations * np.float32(size)
        np.testing.assert_allclose(
            default_axis(scaled, **FAST).estimate, default_axis(plain, **FAST).estimate, rtol=1e-3, atol=1e-3
        )


def in_families(acts: xr.Dataset, family: dict[str, str]) -> xr.Dataset:
    names = acts.persona.values.tolist()
    return acts.assign_coords(family=("prompt", [family.get(name, name) for name in names]))


def test_an_axis_like_any_other_personas_is_not_told() -> None:
    """Each persona lies as far from the rest as the default: random axes reach less far, and that is not enough."""
    told = 0
    for seed in range(20):
        acts = captured(line(default=0.0, spread=0.0), seed=seed, persona=1.0, paraphrase=0.1, neutral=0.0)
        out = default_axis(acts, **FAST).squeeze()
        assert float(out.gap) > float(out.null), "the gate of random axes alone would be open"
        told += bool(out.identified)
        assert bool(out.identified) == (float(out.p) == 1 / 10)
        if not bool(out.identified):
            assert "its axis is that of any persona" in str(out.reason.values)
            assert np.isnan(out.estimate).all()
    assert told <= 7  # one in ten by chance; as many as 8 of 20 happen once in 2,400


def test_a_family_counts_once_by_its_farthest_member_and_as_one_share_of_the_mean_role() -> None:
    places = np.array([4.0, 1.0, 1.0, 1.0, *np.zeros(ROLES - 3)])
    acts = captured(places, persona=0.01, paraphrase=0.01, neutral=2.0)
    families = {f"human{i}": "triplets" for i in range(3)}
    out = default_axis(in_families(acts, families), **FAST).squeeze()
    mean = 1 / 7  # of seven families, one at 1
    at = dict(zip(out.who.values.tolist(), out.estimate.values.tolist(), strict=True))
    assert at["unprompted"] == pytest.approx((2 - mean) / (4 - mean), abs=0.01)
    assert at["human0"] == pytest.approx(1 / 4, abs=0.01), "its whole family is left out of its axis"
    assert at["human5"] == pytest.approx(-(1 / 6) / (4 - 1 / 6), abs=0.01)
    assert (out.attrs["n_families"], out.attrs["smallest_p"]) == (7, 1 / 8)
    alone = default_axis(acts, **FAST).squeeze().estimate.sel(who="unprompted")
    assert float(alone) == pytest.approx((2 - 1 / 3) / (4 - 1 / 3), abs=0.01), "the control: nine roles, three at 1"


def test_families_that_agree_widen_the_interval() -> None:
    acts = captured(np.array([4.0, *np.repeat([-0.6, 0.6, 0.0], 3)]), persona=0.05, paraphrase=0.05, neutral=2.0)
    apart = {f"human{i}": f"f{i // 2}" for i in range(ROLES)}
    wide, narrow = (
        default_axis(data, n_axes=50, n_bootstrap=400).squeeze().sel(who="unprompted")
        for data in (in_families(acts, {f"human{i}": f"f{i % 5}" for i in range(ROLES)} | apart), acts)
    )
    assert float(wide.ci_high - wide.ci_low) > 1.2 * float(narrow.ci_high - narrow.ci_low)


def test_with_few_families_nothing_is_told_and_the_rest_runs() -> None:
    acts = captured(line())
    out = default_axis(in_families(acts, {name: name[:5] for name in NAMES}), **FAST).squeeze()
    assert str(out.reason.values) == "the mean role is that of at least 5 families; there are 1"
    assert np.isnan(out.estimate).all()


def test_another_reading_of_the_self_is_placed_and_is_no_role() -> None:
    places = np.array([2.0, 1.5, *np.linspace(-0.2, 0.2, ROLES - 1)])
    acts = captured(places, persona=0.01, paraphrase=0.01)
    reading = np.where(acts.persona == "human0", "reductionist", acts.reading)
    out = default_axis(acts.assign_coords(reading=("prompt", reading)), **FAST).squeeze()
    assert float(out.estimate.sel(who="human0")) == pytest.approx(0.75, abs=0.01)
    assert out.attrs["n_families"] == ROLES - 1
