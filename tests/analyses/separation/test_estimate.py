"""S: right on average, blind to what it should not see, and honest about its unit, the persona."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
import synthetic
import xarray as xr

from selfrep.analyses.separation.estimate import separation
from selfrep.errors import SelfrepError
from selfrep.stats.crossed import Draws
from selfrep.stats.rows import Rows

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


def test_the_control_condition_its_share_and_its_angle_by_hand() -> None:
    x, y = draw(3, gap=1.2, places=1), draw(4, gap=0.35, places=1)
    out = read(x, y, n_bootstrap=200).squeeze()
    means = [scaled(values[:, :, 0, 0]).mean(axis=1) for values in (x, y)]
    means = [m - m.mean(axis=0) for m in means]  # of unequal families, a mean in common would add nothing
    own, control = (distance(m) for m in means)
    sides = [(m[:6], m[6:]) for m in means]
    within = [np.mean([a[i] @ b[j] for i in range(6) for j in range(6) if i != j]) for a, b in zip(*sides, strict=True)]
    (a, b), (c, d) = sides
    shared = (sum(within) - a.mean(0) @ d.mean(0) - b.mean(0) @ c.mean(0)) / 24
    assert float(out.estimate) == pytest.approx(own, rel=1e-4)
    assert float(out.user_is) == pytest.approx(control, rel=1e-4)
    assert float(out.bound_share) == pytest.approx(1 - shared / own, rel=1e-4)
    assert float(out.condition_cosine) == pytest.approx(min(shared / np.sqrt(own * control), 1), rel=1e-4)
    for name, middle in (("", "estimate"), *((f"{k}_", k) for k in ("user_is", "bound_share", "condition_cosine"))):
        assert float(out[f"{name}ci_low"]) <= float(out[middle]) <= float(out[f"{name}ci_high"])
    assert float(out.user_is_ci_high) < float(out.ci_low), "each interval is of its own condition"


def two_worlds(seed: int, you: Array, user: Array, d: int = 64) -> xr.Dataset:
    """Eight personas a side, whose sides differ by `you`, and by `user` when the words are about the user."""
    rng = np.random.default_rng(seed)
    side = np.repeat([0.5, -0.5], 8)[:, None, None, None, None]
    own = 0.6 * rng.normal(size=(16, 1, 1, 1, d))
    words = {name: 0.5 * rng.normal(size=(16, 4, 1, 1, d)) for name in ("you", "user")}
    return synthetic.acts(
        {"you": own + side * you + words["you"], "user": own + side * user + words["user"]}, synthetic.names((8, 8))
    )


ALONG, ACROSS = 6 * np.eye(64)[3], 6 * np.eye(64)[9]


@pytest.mark.parametrize(
    ("user", "share", "cosine"),
    [(ACROSS, 1.0, None), (ALONG, 0.0, 1.0), (0.8 * ALONG, 0.2, 1.0), (-ALONG, 2.0, -1.0)],
    ids=["orthogonal", "the same", "a fifth less", "reversed"],
)
def test_the_share_bound_to_the_speaker_is_a_matter_of_direction(user: Array, share: float, cosine: float) -> None:
    found = [separation(two_worlds(s, ALONG, user), n_bootstrap=200, n_permutations=9).squeeze() for s in range(12)]
    shares = np.array([float(one.bound_share) for one in found])
    assert abs(shares.mean() - share) < 4 * shares.std() / np.sqrt(len(shares)) + 0.01
    held = [float(one.bound_share_ci_low) <= share <= float(one.bound_share_ci_high) for one in found]
    assert sum(held) >= 9  # of 12 at .95, less happens once in 4,000
    if cosine is not None:
        assert np.mean([float(one.condition_cosine) for one in found]) == pytest.approx(cosine, abs=0.03)
    # The control: squared lengths, one less the other, are the share only where nothing changes.
    lengths = np.mean([1 - float(one.user_is / one.estimate) for one in found])
    assert (abs(lengths - share) < 0.1) == (share == 0)


def test_what_is_not_surely_there_has_no_share() -> None:
    faint = separation(two_worlds(0, 0.0 * ALONG, ALONG), n_bootstrap=200, n_permutations=9).squeeze()
    assert np.isnan([float(faint[name]) for name in ("bound_share", "bound_share_ci_low", "condition_cosine")]).all()
    assert "not surely apart" in str(faint.bound_reason.values)
    assert np.isfinite(float(faint.ci_low))
    absent = separation(two_worlds(0, ALONG, 0.0 * ALONG), n_bootstrap=200, n_permutations=9).squeeze()
    assert float(absent.bound_share_ci_low) < 1 < float(absent.bound_share_ci_high)
    assert np.isnan(float(absent.condition_cosine)), "a difference that is not there has no direction"


def xor(seed: int, d: int = 32) -> xr.Dataset:
    """Sides as XOR of two directions: both or neither on the first, one of them on the second. Means coincide."""
    rng = np.random.default_rng(seed)
    codes = [(1, 1), (-1, -1)] * 4 + [(1, -1), (-1, 1)] * 4
    at = np.zeros((16, 1, 1, 1, d))
    at[:, 0, 0, 0, :2] = 3 * np.array(codes)
    x = at + 0.4 * rng.normal(size=(16, 4, 1, 1, d))
    return synthetic.acts({"you": x, "user": x}, synthetic.names((8, 8)))


def test_personas_are_told_apart_where_their_sides_coincide() -> None:
    for seed in range(5):
        out = separation(xor(seed), n_bootstrap=200).squeeze()
        assert float(out.estimate) <= 0
        assert float(out.p) > 0.05
        assert float(out.identity_ci_low) > 0.1, "and yet the personas differ"
        assert "not surely apart" in str(out.bound_reason.values)


def test_identity_by_hand_in_frames_that_differ() -> None:
    x = draw(3, gap=0.7, places=1)
    acts = synthetic.acts({"you": x, "user": x}, NAMES)
    acts = acts.assign_coords(frame=("prompt", acts.paraphrase.to_numpy() % 2))  # paraphrases 0 and 2 share one
    out = separation(acts, **FAST).squeeze()
    z = scaled(x[:, :, 0, 0])

    def apart(i: int, j: int) -> float:
        diff = z[i] - z[j]
        return float(np.mean([diff[k] @ diff[m] for k, m in ((0, 1), (1, 0), (1, 2), (2, 1))])) / 24

    pairs = list(combinations(range(12), 2))
    alike = [sum(apart(i, j) for i, j in pairs if i in g and j in g) / 15 for g in (range(6), range(6, 12))]
    assert float(out.identity) == pytest.approx(np.mean([apart(*pair) for pair in pairs]), rel=1e-4)
    assert float(out.same_side) == pytest.approx(np.mean(alike), rel=1e-4)
    between = np.mean([apart(i, j) for i in range(6) for j in range(6, 12)])
    assert float(out.other_side) == pytest.approx(between, rel=1e-4)
    one = acts.assign_coords(frame=("prompt", np.zeros(acts.sizes["prompt"], dtype=int)))
    assert np.isnan(float(separation(one, **FAST).identity.squeeze())), "one frame tells words from personas nowhere"


def test_personas_that_do_not_differ_have_no_identity_though_paraphrases_do() -> None:
    held, sizes = [], []
    for seed in range(40):
        out = read(draw(seed, places=1, persona=0.0, paraphrase=1.0), n_permutations=9, n_bootstrap=200).squeeze()
        held.append(float(out.identity_ci_low) <= 0 <= float(out.identity_ci_high))
        sizes.append(float(out.identity))
        assert float(out.noise_floor) > 0.5, "the control: the distance of two wordings"
    assert abs(np.mean(sizes)) < 3 * np.std(sizes) / np.sqrt(40)
    assert sum(held) >= 33  # of 40 at .95, less happens once in 2,000


def in_families(x: Array, names: list[str], family: list[str]) -> xr.Dataset:
    acts = synthetic.acts({"you": x, "user": x}, names)
    of = dict(zip(names, family, strict=True))
    return acts.assign_coords(family=("prompt", [of[name] for name in acts.persona.values.tolist()]))


def test_families_count_once_by_hand() -> None:
    """Twelve personas in seven families: S multiplies the means of different families only."""
    x = draw(8, gap=0.4, places=1)
    family = ["a", "a", "a", "b", "c", "d", "e", "e", "f", "f", "g", "h"]
    out = separation(in_families(x, NAMES, family), **FAST).squeeze()
    means = scaled(x[:, :, 0, 0]).mean(axis=1)
    named = list("abcdefgh")
    at = np.array([means[np.array(family) == f].mean(axis=0) for f in named])
    first, second = at[:4], at[4:]
    within = [np.mean([g[i] @ g[j] for i in range(4) for j in range(4) if i != j]) for g in (first, second)]
    expected = (sum(within) - 2 * first.mean(0) @ second.mean(0)) / 24
    assert float(out.estimate) == pytest.approx(expected, rel=1e-4)
    assert (out.attrs["n_families"], out.attrs["n_personas"], out.attrs["n_labelings"]) == ([4, 4], [6, 6], 35)
    assert float(read(x).estimate.squeeze()) != pytest.approx(expected, rel=0.01), "the control: personas one by one"


def test_personas_of_one_family_do_not_cry_wolf() -> None:
    """Five families a side of three personas that share most of what they are, on data without any difference."""
    ours, theirs = [], []
    names, family = synthetic.names((15, 15)), [f"f{i // 3}" for i in range(30)]
    for seed in range(40):
        rng = np.random.default_rng(seed)
        shared = np.repeat(rng.normal(size=(10, 1, 1, 1, 12)), 3, axis=0)
        x = np.sqrt(0.8) * shared + np.sqrt(0.2) * rng.normal(size=(30, 1, 1, 1, 12))
        x = x + 0.2 * rng.normal(size=(30, 2, 1, 1, 12))
        ours.append(float(separation(in_families(x, names, family), n_bootstrap=2).p.squeeze()))
        alone = separation(in_families(x, names, names), n_permutations=200, n_bootstrap=2)
        theirs.append(float(alone.p.squeeze()))
    assert np.mean(np.array(ours) <= 0.05) <= 0.15
    assert np.mean(np.array(theirs) <= 0.05) > 0.4, "the control: personas as if they were independent"


def test_few_families_give_a_map_without_interval_and_p_and_one_a_side_no_s() -> None:
    x = draw(5, gap=1.5, places=1)
    two = separation(in_families(x[[0, 1, 6, 7]], ["ai0", "ai1", "human0", "human1"], list("abcd")), **FAST).squeeze()
    assert np.isfinite([float(two[name]) for name in ("estimate", "user_is", "identity", "same_side")]).all()
    missing = ("ci_low", "ci_high", "p", "p_max", "null_high", "bound_share", "identity_ci_low")
    assert np.isnan([float(two[name]) for name in missing]).all()
    assert two.attrs["unbounded"] == "an interval needs at least 4 families a side; there are ai: 2, human: 2"
    assert "reach p = 0.05" in two.attrs["untestable"]
    assert str(two.bound_reason.values) == two.attrs["unbounded"]
    three = separation(in_families(x[:9], NAMES[:9], list("abcdefghi")), **FAST).squeeze()
    assert np.isfinite(float(three.p)), "six against three reach p = .012"
    assert np.isnan(float(three.ci_low))
    one = separation(in_families(x, NAMES, ["a"] * 6 + list("bcdefg")), **FAST).squeeze()
    assert np.isnan(float(one.estimate))
    assert not bool(one.identified)
    assert str(one.reason.values) == "S multiplies different families of a side, and 'ai' has one"
    assert np.isfinite(float(one.identity))


def test_two_of_three_sides_are_compared_in_the_order_that_is_asked_and_the_self_on_neither() -> None:
    x = draw(1, gap=0.6, places=1)
    acts = synthetic.acts({"you": x, "user": x}, NAMES)
    plain = separation(acts, **FAST)
    rng = np.random.default_rng(4)
    more = synthetic.acts(
        {v: rng.normal(size=(4, 3, 1, 1, 24)) for v in ("you", "user")}, ["x0", "x1", "self0", "self1"]
    )
    side = np.where(np.char.startswith(more.persona.values.astype(str), "self"), "", "x")
    both = xr.concat([acts, more.assign_coords(side=("prompt", side))], "prompt")
    with pytest.raises(SelfrepError, match="Two sides of personas are compared; got ai, human, x"):
        separation(both, **FAST)
    out = separation(both, sides=("human", "ai"), **FAST)
    assert (out.attrs["sides"], out.attrs["n_personas"]) == (["human", "ai"], [6, 6])
    for name in ("estimate", "p", "identity", "same_side"):
        np.testing.assert_allclose(out[name], plain[name], rtol=1e-6, err_msg=name)


def test_the_smaller_side_widens_the_interval() -> None:
    """4 against 12: percentiles of draws as far out as Welch's degrees of freedom and the smaller side ask for."""
    names = synthetic.names((4, 12))
    x = np.concatenate([draw(5, places=1)[:4], draw(6, gap=0.5, places=1)])
    acts = synthetic.acts({"you": x, "user": x[:, :, ::-1]}, names)
    out = separation(acts, n_permutations=2000, n_bootstrap=400).squeeze()
    families = Rows.of(acts, "you", "side").families()
    z = scaled(x[:, :, 0, 0])
    z -= z.mean(axis=(0, 1))
    order = sorted(range(16), key=lambda i: names[i])  # rows come by name
    flat = z[order].reshape(48, 24)
    values = Draws.of(families, 400, np.random.default_rng(0)).side_distances(flat @ flat.T) / 24
    means = z[order].mean(axis=1)
    along = means @ (means[families.first].mean(axis=0) - means[~families.first].mean(axis=0))
    a, b = (along[side].var(ddof=1) / n for side, n in ((families.first, 4), (~families.first, 12)))
    q = synthetic.tail(4, (a + b) ** 2 / (a**2 / 3 + b**2 / 11))
    np.testing.assert_allclose([out.ci_low, out.ci_high], np.quantile(values, [q, 1 - q]), rtol=1e-3)


def test_scale_and_rotation_do_not_matter() -> None:
    x = draw(1, gap=0.5)
    out = read(x)
    rotation = np.linalg.qr(np.random.default_rng(9).normal(size=(24, 24)))[0]
    scaled = x * np.random.default_rng(2).uniform(0.1, 50, size=(*x.shape[:-1], 1))
    for other in (scaled, x @ rotation):
        for name in ("estimate", "ci_low", "p", "noise_floor", "same_side", "identity"):
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
    assert out.reason[0, 0].values.tolist() == ["some prompt has no such place", ""]
    assert out.identified[0, 0].values.tolist() == [False, True]
    for name in (name for name in out.data_vars if out[name].dtype.kind == "f"):
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
        ("identity", 0),
        ("p", 1),
        ("p_max", 1),
    ):
        assert float(out[name][0]) == value, name
    assert float(out.p[1]) < 0.05


def test_a_difference_above_rounding_is_found() -> None:
    rounding = 1 + 1e-3 * np.random.default_rng(2).normal(size=(2, 24))
    x = np.broadcast_to((draw(0)[0, 0, 0, 0] * rounding[SIDES])[:, None, None, None, :], (12, 3, 1, 1, 24))
    assert float(read(x).p.squeeze()) < 0.05


def test_intervals_do_not_depend_on_what_all_rows_share() -> None:
    x = draw(0, gap=0.3)
    acts = synthetic.acts({"you": x, "user": x}, NAMES).assign_attrs(standardised=True, massive_dimensions=[])

    def bounds(common: float) -> Array:
        shifted = acts.activations.astype(float) + common
        out = separation(acts.assign(activations=shifted), **FAST)
        scale = (shifted**2).sum("d_model").mean("prompt").to_numpy().ravel()
        return out[["estimate", "ci_low", "ci_high", "identity_ci_low"]].to_array().to_numpy().reshape(4, -1) * scale

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
    acts = synthetic.acts({"you": x, "user": x}, NAMES)
    with pytest.raises(SelfrepError, match="got who_are_you of who_are_you"):
        separation(acts, between="item", **FAST)
    both = np.where(np.isin(acts.persona.to_numpy(), ["ai0", "human0"]), "twins", acts.persona)
    with pytest.raises(SelfrepError, match="A family stands on one side only; 'twins'"):
        separation(acts.assign_coords(family=("prompt", both)), **FAST)


def test_the_same_seed_gives_the_same_numbers() -> None:
    xr.testing.assert_identical(read(draw(0), seed=3), read(draw(0), seed=3))
