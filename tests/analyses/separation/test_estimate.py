"""S: right on average, blind to what it should not see, and honest about its unit, the persona."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
import synthetic
import xarray as xr

from selfrep.analyses.separation.estimate import _contrast, _draws, _persona_contrast, separation
from selfrep.errors import SelfrepError
from selfrep.stats import permutation
from selfrep.stats.tables import Rows

Array = np.ndarray
FAST: dict[str, Any] = {"n_permutations": 200, "n_bootstrap": 50}
NAMES = synthetic.names((6, 6))
SIDES = np.repeat([0, 1], 6)


def draw(
    seed: int, gap: float = 0.0, *, places: int = 2, d: int = 24, persona: float = 0.5, paraphrase: float = 0.3
) -> Array:
    """[persona, paraphrase, layer, place, d], the second side `gap` away along one direction."""
    rng = np.random.default_rng(seed)
    centre = np.random.default_rng(0).normal(size=d)
    direction = np.eye(d)[0] * np.sqrt(d)
    shape = (12, 3, 1, places, d)
    own, words = rng.normal(size=(12, 1, 1, places, d)), rng.normal(size=shape)
    return centre + persona * own + paraphrase * words + gap * SIDES[:, None, None, None, None] * direction


def read(you: Array, user: Array | None = None, **options: Any) -> xr.Dataset:
    return separation(synthetic.acts({"you": you, "user": you if user is None else user}, NAMES), **FAST | options)


def test_without_a_difference_s_averages_to_0_and_p_is_uniform() -> None:
    maps = [read(draw(seed), n_bootstrap=2) for seed in range(60)]
    s = np.array([m.estimate.to_numpy() for m in maps]).reshape(len(maps), -1)
    assert abs(s.mean()) < 3 * s.std() / np.sqrt(s.size)
    assert (s < 0).any()
    p = np.array([m.p.to_numpy() for m in maps])
    assert (p <= 0.05).mean() < 0.1
    assert 0.4 < p.mean() < 0.6


def test_the_plain_squared_distance_of_means_is_biased() -> None:
    """The control: with self-products kept, the distance is never 0."""
    distances = []
    for seed in range(20):
        x = draw(seed)[..., 0, :].mean(axis=(1, 2))
        distances.append(((x[SIDES == 0].mean(0) - x[SIDES == 1].mean(0)) ** 2).sum() / (x**2).sum(1).mean())
    assert np.mean(distances) > 5 * np.std(distances) / np.sqrt(20)


def test_a_planted_distance_is_recovered_exactly() -> None:
    u, v = np.eye(8)[0] * np.sqrt(8), np.eye(8)[1] * np.sqrt(8)
    cos = 0.3
    second = cos * u + np.sqrt(1 - cos**2) * v
    you = np.where(SIDES[:, None] == 0, u, second)[:, None, None, None, :].repeat(3, axis=1)
    out = read(you)
    assert float(out.estimate.squeeze()) == pytest.approx(2 - 2 * cos, rel=1e-6)
    assert float(out.ci_low.squeeze()) == pytest.approx(2 - 2 * cos, rel=1e-6)
    assert float(out.noise_floor.squeeze()) == pytest.approx(0, abs=1e-6)
    assert float(out.p.squeeze()) == out.attrs["smallest_p"]


def scaled(x: Array) -> Array:
    """Rows as they are compared where no dimension is massive: [..., d] with a mean square of 1."""
    z = x.astype(np.float32).astype(float)
    return z / np.sqrt((z**2).mean(-1, keepdims=True))


def distance(means: Array) -> float:
    """S of twelve personas [persona, d], six a side: products of different ones, per mean squared norm."""
    sides = means[:6], means[6:]
    within = [np.mean([g[i] @ g[j] for i in range(6) for j in range(6) if i != j]) for g in sides]
    return float(sum(within) - 2 * sides[0].mean(0) @ sides[1].mean(0)) / means.shape[1]


def test_the_floor_is_the_distance_between_paraphrases() -> None:
    """By hand: every persona's paraphrases with each other, none with itself; one persona has fewer of them."""
    x = draw(0, places=1)
    acts = synthetic.acts({"you": x, "user": draw(1, places=1)}, NAMES)
    fewer = ~((acts.persona == "ai0") & (acts.paraphrase == 2)).to_numpy()
    out = separation(acts.isel(prompt=fewer), **FAST)
    z = scaled(x[:, :, 0, 0])
    paraphrases = [list(z[i][: 2 if i == 0 else 3]) for i in range(12)]
    squares = [((a - b) ** 2).sum() for rows in paraphrases for a, b in combinations(rows, 2)]
    assert float(out.noise_floor.squeeze()) == pytest.approx(np.mean(squares) / 24, rel=1e-5)
    means = np.array([np.mean(rows, axis=0) for rows in paraphrases])
    assert float(out.estimate.squeeze()) == pytest.approx(distance(means), rel=1e-4), "every persona counts as much"


def test_paraphrases_that_cancel_widen_the_interval_and_the_floor_and_move_nothing_else() -> None:
    steady = draw(0, gap=0.4, places=1, paraphrase=0.0)
    stray = np.cross(np.eye(3), np.array([1.0, 1.0, 1.0]))[None, :, None, None, [0, 1, 2] * 8]  # 0 on average
    varied = steady + 0.5 * stray * np.random.default_rng(3).choice([-1, 1], (12, 1, 1, 1, 24))
    few, many = (read(x, n_bootstrap=400).squeeze() for x in (steady, varied))
    assert float(many.ci_high - many.ci_low) > 1.1 * float(few.ci_high - few.ci_low)
    assert float(few.noise_floor) < 1e-6 < float(many.noise_floor)


def test_the_control_condition_and_the_difference_by_hand() -> None:
    x, y = draw(3, gap=1.2, places=1), draw(4, gap=0.2, places=1)
    out = read(x, y).squeeze()

    def s(x: Array) -> float:
        return distance(scaled(x[:, :, 0, 0]).mean(axis=1))

    assert float(out.estimate) == pytest.approx(s(x), rel=1e-4)
    assert float(out.user_is) == pytest.approx(s(y), rel=1e-4)
    assert float(out.bound) == pytest.approx(s(x) - s(y), rel=1e-4)
    for name, middle in (("", "estimate"), ("user_is_", "user_is"), ("bound_", "bound")):
        assert float(out[f"{name}ci_low"]) < float(out[middle]) < float(out[f"{name}ci_high"])
    assert float(out.user_is_ci_high) < float(out.ci_low), "each interval is of its own condition"
    assert float(out.bound_ci_low) > 0


def test_the_smaller_side_widens_the_interval() -> None:
    """4 against 12, whose bounds are percentiles of draws that are weighed one by one here."""
    names = synthetic.names((4, 12))
    x = np.concatenate([draw(5, places=1)[:4], draw(6, gap=0.5, places=1)])
    acts = synthetic.acts({"you": x, "user": x[:, :, ::-1]}, names)
    out = separation(acts, n_permutations=2000, n_bootstrap=400).squeeze()
    rows = Rows.of(acts, "you", "side")
    z = scaled(x[:, :, 0, 0])
    z -= z.mean(axis=(0, 1))
    order = sorted(range(16), key=lambda i: names[i])  # rows come by name
    flat = z[order].reshape(48, 24)
    draws = _draws(rows, 400, np.random.default_rng(0)).reshape(400, 48, 48)
    values = np.array([(w * (flat @ flat.T)).sum() for w in draws]) / 24
    q = synthetic.tail(4, 14)
    np.testing.assert_allclose([out.ci_low, out.ci_high], np.quantile(values, [q, 1 - q]), rtol=1e-4)


def test_draws_are_of_personas_and_then_of_their_paraphrases_by_hand() -> None:
    """The spread of S, against draws that are made here one by one: each side has at least two different personas."""
    x = np.concatenate([draw(5, places=1, paraphrase=1.5)[:4], draw(6, gap=0.5, places=1, paraphrase=1.5)])
    z = x[:, :, 0, 0] - x[:, :, 0, 0].mean(axis=(0, 1))
    rng = np.random.default_rng(7)

    def once(personas: bool, paraphrases: bool) -> float:
        pick = rng.integers(3, size=(16, 3)) if paraphrases else np.tile(np.arange(3), (16, 1))
        means = np.array([rows[chosen].mean(axis=0) for rows, chosen in zip(z, pick, strict=True)])
        gram, sides = means @ means.T, []
        for members in (np.arange(4), np.arange(4, 16)):
            cast = members
            while personas and len(set(cast := rng.choice(members, len(members)))) < 2:
                pass
            sides.append(cast)
        within = [gram[np.ix_(c, c)][c[:, None] != c].mean() for c in sides]
        return float(sum(within) - 2 * gram[np.ix_(*sides)].mean())

    acts = synthetic.acts({"you": x}, [f"p{i:02d}" for i in range(16)])
    side = np.where(acts.persona.to_numpy() < "p04", "ai", "human")
    rows = Rows.of(acts.assign_coords(side=("prompt", side)), "you", "side")
    flat = z.reshape(48, 24)
    found = _draws(rows, 1500, np.random.default_rng(0)) @ (flat @ flat.T).ravel()
    assert found.std() == pytest.approx(np.std([once(True, True) for _ in range(1500)]), rel=0.1)
    for control in ((True, False), (False, True)):
        assert np.std([once(*control) for _ in range(300)]) < 0.85 * found.std()


def test_scale_and_rotation_do_not_matter() -> None:
    x = draw(1, gap=0.5)
    out = read(x)
    rotation = np.linalg.qr(np.random.default_rng(9).normal(size=(24, 24)))[0]
    scaled = x * np.random.default_rng(2).uniform(0.1, 50, size=(*x.shape[:-1], 1))
    for other in (scaled, x @ rotation):
        for name in ("estimate", "ci_low", "p", "noise_floor", "bound"):
            np.testing.assert_allclose(read(other)[name], out[name], rtol=1e-3, atol=1e-5)


def test_a_massive_dimension_does_not_dominate() -> None:
    x = draw(2, gap=0.3, d=64)
    wild = x.copy()
    wild[..., 5] = 80 + 40 * np.random.default_rng(3).normal(size=x.shape[:-1])
    out = read(wild)
    assert out.attrs["massive_dimensions"] == [5]
    assert (out.p < 0.05).all()
    # the control: along raw activations the massive dimension is nearly all of the distance between two prompts
    flat = wild[..., 0, 0, :].reshape(-1, 64)
    apart = (flat[:, None] - flat[None]) ** 2
    assert apart[..., 5].sum() / apart.sum() > 0.9


def test_a_purely_lexical_difference_leaves_nothing_bound() -> None:
    lexical = [read(draw(s, gap=0.5), draw(s + 500, gap=0.5)) for s in range(12)]
    bound = np.array([m.bound.to_numpy() for m in lexical])
    assert abs(bound.mean()) < 3 * bound.std() / np.sqrt(len(lexical))
    assert np.mean([m.bound_ci_low <= 0 for m in lexical]) > 0.9
    assert all((m.user_is_ci_low > 0).all() for m in lexical)
    assert (
        read(draw(0, gap=1.5), draw(500), n_bootstrap=200).bound_ci_low > 0
    ).all()  # the control: bound to the speaker


def test_exact_enumeration_equals_brute_force() -> None:
    names = synthetic.names((4, 4))
    x = draw(3, gap=0.2)[[0, 1, 2, 3, 6, 7, 8, 9]]
    out = separation(synthetic.acts({"you": x, "user": x}, names), n_bootstrap=5)
    assert (out.attrs["n_labelings"], out.attrs["labelings"]) == (35, "all of them")
    z = x[:, :, 0, 0].astype(np.float32).astype(float)
    z /= np.sqrt((z**2).mean(-1, keepdims=True))
    means, scale = z.mean(axis=1), (z**2).sum(-1).mean()

    def s(first: tuple[int, ...]) -> float:
        groups = means[list(first)], means[[i for i in range(8) if i not in first]]
        within = [np.mean([a[i] @ a[j] for i in range(4) for j in range(4) if i != j]) for a in groups]
        return (within[0] + within[1] - 2 * groups[0].mean(0) @ groups[1].mean(0)) / scale

    null = np.array([s(c) for c in combinations(range(8), 4)])
    assert float(out.estimate[0, 0, 0]) == pytest.approx(null[0], rel=1e-4)
    assert float(out.p[0, 0, 0]) == pytest.approx((null >= null[0] - 1e-9).mean())
    halves = null[: len(null) // 2]  # those with the first persona: each split once
    assert float(out.null_high[0, 0, 0]) == pytest.approx(np.quantile(halves, 0.95), rel=1e-4)


def test_no_persona_is_ever_paired_with_itself() -> None:
    rows = Rows.of(synthetic.acts({"you": draw(0)}, NAMES), "you", "side")
    draws = _draws(rows, 200, np.random.default_rng(0)).reshape(200, len(rows.persona), -1)
    same = rows.persona[:, None] == rows.persona
    assert (draws[:, same] == 0).all()
    assert np.isfinite(draws).all()
    np.testing.assert_allclose(draws.sum(axis=(1, 2)), 0, atol=1e-9)  # a common vector adds nothing


def test_weights_on_prompts_agree_with_weights_on_personas() -> None:
    rows = Rows.of(synthetic.acts({"you": draw(0)}, NAMES), "you", "side")
    first = permutation.labelings(rows.side == 0, 10, np.random.default_rng(0))
    gram = np.random.default_rng(1).normal(size=(1, len(rows.persona) ** 2))
    on_prompts = gram @ _contrast(first, np.ones(first.shape), rows).T
    pool = rows.pooling()
    means = (pool @ gram.reshape(len(rows.persona), -1) @ pool.T).reshape(1, -1)
    np.testing.assert_allclose(means @ _persona_contrast(first).T, on_prompts)


def test_counting_prompts_would_cry_wolf() -> None:
    """The control: every paraphrase made a persona of its own, on data without any difference."""
    ours, theirs = [], []
    strangers = synthetic.names((18, 18))
    for seed in range(20):
        x = draw(seed, places=1, persona=1.0, paraphrase=0.2)
        ours.append(float(read(x, n_bootstrap=2).p.squeeze()))
        split = x.reshape(36, 1, *x.shape[2:]).repeat(2, axis=1)
        acts = synthetic.acts({"you": split, "user": split}, strangers)
        theirs.append(float(separation(acts, n_permutations=100, n_bootstrap=2).p.squeeze()))
    assert np.mean(np.array(ours) <= 0.05) <= 0.15
    assert np.mean(np.array(theirs) <= 0.05) > 0.4


def test_a_real_difference_is_found_and_its_cell_alone() -> None:
    x = draw(4, places=3)
    x[..., 1, :] = draw(5, gap=0.6, places=3)[..., 1, :]
    out = read(x, n_permutations=400)
    assert (out.p_max.to_numpy().ravel() < 0.05).tolist() == [False, True, False]
    assert (out.estimate > out.null_high).to_numpy().ravel()[1]


def test_cells_that_a_prompt_lacks_are_missing_and_the_rest_unharmed() -> None:
    x = draw(6, gap=0.4)
    holed = x.copy()
    holed[0, 0, 0, 0] = np.nan
    whole, out = read(x), read(holed)
    for name in out.data_vars:
        assert np.isnan(out[name][0, 0, 0]), name
        assert np.isfinite(out[name][0, 0, 1]), name
    for name in ("estimate", "p", "ci_low", "noise_floor"):  # p_max belongs to the map, the rest to the cell
        assert float(out[name][0, 0, 1]) == pytest.approx(float(whole[name][0, 0, 1]))


def test_zero_activations_are_no_difference() -> None:
    out = read(np.zeros((12, 3, 1, 1, 5)))
    assert float(out.estimate.squeeze()) == 0
    assert float(out.p.squeeze()) == 1


@pytest.mark.parametrize("noise", [0.0, 1e-7], ids=["identical", "rounding that follows the batch"])
def test_activations_that_do_not_differ_are_no_finding_and_do_not_hide_one(noise: float) -> None:
    """Before the first attention, tokens of the suffix are the same whoever is played."""
    x = draw(0, gap=1.5)
    rounding = 1 + noise * np.random.default_rng(2).normal(size=(2, 24))
    x[..., 0, :] = x[0, 0, 0, 0] * rounding[SIDES][:, None, None, :]
    out = read(x).isel(site=0, layer=0)
    for name, value in (
        ("estimate", 0),
        ("ci_low", 0),
        ("ci_high", 0),
        ("noise_floor", 0),
        ("bound", 0),
        ("p", 1),
        ("p_max", 1),
    ):
        assert float(out[name][0]) == value, name
    assert float(out.p[1]) < 0.05


def test_a_difference_above_rounding_is_found() -> None:
    rounding = 1 + 1e-3 * np.random.default_rng(2).normal(size=(2, 24))
    x = np.broadcast_to((draw(0)[0, 0, 0, 0] * rounding[SIDES])[:, None, None, None, :], (12, 3, 1, 1, 24))
    assert float(read(x).p.squeeze()) < 0.05


def test_intervals_do_not_depend_on_what_all_rows_share(monkeypatch: pytest.MonkeyPatch) -> None:
    x = draw(0, gap=0.3).astype(np.float32)

    def bounds(common: float) -> Array:
        def shifted(rows: Array) -> tuple[Array, Array]:
            return rows.astype(float) + common, np.zeros(24, dtype=bool)

        monkeypatch.setattr("selfrep.analyses.separation.estimate.normalised", shifted)
        out = read(x)
        scale = ((x.astype(float) + common) ** 2).sum(-1).mean(axis=(0, 1)).ravel()
        return out[["estimate", "ci_low", "ci_high", "bound_ci_low"]].to_array().to_numpy().reshape(4, -1) * scale

    np.testing.assert_allclose(bounds(20.0), bounds(0.0), rtol=1e-6, atol=1e-9)


def test_eight_against_eight_is_exact_by_default() -> None:
    x = np.random.default_rng(0).normal(size=(16, 2, 1, 1, 8))
    out = separation(synthetic.acts({"you": x, "user": x}, synthetic.names((8, 8))), n_bootstrap=5)
    assert (out.attrs["smallest_p"], out.attrs["labelings"]) == (1 / 6435, "all of them")


@pytest.mark.parametrize("condition", ["you", "user"])
def test_personas_asked_different_items_are_refused(condition: str) -> None:
    x = draw(0)
    acts = synthetic.acts({"you": x, "user": x}, NAMES, items=("i", "j"))
    separation(acts, **FAST)  # the control: everyone asked everything
    other = np.where(acts.side == "ai", "i", "j")
    kept = (acts.condition != condition) | (acts.item == other)
    with pytest.raises(SelfrepError, match="same items"):
        separation(acts.isel(prompt=kept.to_numpy()), **FAST)
    fewer = (acts.condition != condition) | (acts.item == "i")
    with pytest.raises(SelfrepError, match=r"must have the items of 'you'; only one of them has \['j'\]"):
        separation(acts.isel(prompt=fewer.to_numpy()), **FAST)


def test_a_persona_on_both_sides_is_refused() -> None:
    acts = synthetic.acts({"you": draw(0), "user": draw(1)}, NAMES)
    turned = (acts.persona == "ai0") & (acts.condition == "user")
    for rows, match in ((turned & (acts.paraphrase == 0), "one side only; 'ai0'"), (turned, "must have the sides")):
        sides = np.where(rows, "human", acts.side)
        with pytest.raises(SelfrepError, match=match):
            separation(acts.assign_coords(side=("prompt", sides)), **FAST)


def test_by_segment_and_any_two_sides() -> None:
    acts = synthetic.acts({"you": draw(7, gap=0.5), "user": draw(8)}, NAMES, segments=True)
    out = separation(acts, **FAST)
    assert out.estimate.dims == ("site", "layer", "segment")
    by_kind = separation(acts, between="kind", **FAST)
    np.testing.assert_allclose(by_kind.estimate, out.estimate)
    assert by_kind.attrs["sides"] == ["human", "other_model"]


def test_what_cannot_be_measured_is_refused() -> None:
    x = draw(0)
    with pytest.raises(SelfrepError, match="condition 'user'"):
        separation(synthetic.acts({"you": x}, NAMES), **FAST)
    with pytest.raises(SelfrepError, match="only one of them has"):
        separation(synthetic.acts({"you": x, "user": x[:, :2]}, NAMES), **FAST)
    renamed = synthetic.acts({"you": x, "user": x}, NAMES)
    personas = renamed.persona.to_numpy().astype(object)
    personas[(renamed.condition == "user").to_numpy() & (personas == "ai0")] = "ai99"  # as many, but another
    with pytest.raises(SelfrepError, match=r"only one of them has .*ai0"):
        separation(renamed.assign_coords(persona=("prompt", personas.astype(str))), **FAST)
    with pytest.raises(SelfrepError, match="at least two paraphrases"):
        read(x[:, :1])
    three = synthetic.acts({"you": x[3:9], "user": x[3:9]}, synthetic.names((3, 3)))
    with pytest.raises(SelfrepError, match=r"smallest p these could give is 0\.1"):
        separation(three, **FAST)
    with pytest.raises(SelfrepError, match="tells two groups apart"):
        separation(synthetic.acts({"you": x, "user": x}, NAMES), between="condition", **FAST)


def test_the_same_seed_gives_the_same_numbers() -> None:
    xr.testing.assert_identical(read(draw(0), seed=3), read(draw(0), seed=3))
