"""Δ against loops over pairs of prompts; planted distances come back; and what its intervals and p hold."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy.stats import binom
from tests.analyses.divergence.worlds import world

from selfrep.analyses.divergence.estimate import divergence
from selfrep.errors import SelfrepError
from selfrep.stats.geometry import noise_normalised, normalised

Array = np.ndarray
READINGS = ("default", "reductionist")
Row = tuple[int, Array]
"""The frame of a prompt, and its activations."""


def rows(acts: xr.Dataset, layer: int = 0, *, framed: bool = False) -> dict[tuple[str, str], list[Row]]:
    """(condition, persona) → its prompts at the last token, of mean squared length 1; from the mean of their frame."""
    z, _ = normalised(acts.activations.values[:, 0, layer, -1])
    own = acts.condition.values != "user"
    z /= np.sqrt((z[own] ** 2).sum(axis=1).mean())
    if framed:
        frame = acts.frame.values
        z = z - np.array([z[own & (frame == f)].mean(axis=0) for f in range(4)])[frame]
    out: dict[tuple[str, str], list[Row]] = {}
    for i, key in enumerate(zip(acts.condition.values, acts.persona.values, strict=True)):
        out.setdefault((str(key[0]), str(key[1])), []).append((int(acts.frame.values[i]), z[i]))
    return out


def apart(a: list[Row], b: list[Row]) -> float:
    """The squared distance of two groups of prompts, over pairs in different frames."""

    def mean(first: list[Row], second: list[Row]) -> float:
        return float(np.mean([x @ y for f, x in first for g, y in second if f != g]))

    return mean(a, a) + mean(b, b) - 2 * mean(a, b)


@pytest.mark.parametrize("uneven", [False, True])
def test_every_number_as_loops_over_pairs_of_prompts_have_it(uneven: bool) -> None:
    acts = world(readings=READINGS, cells=(2, 1), seed=3)
    if uneven:  # some with more paraphrases than others, and frames that are there once or thrice
        drop = (acts.persona == "role00") & (acts.paraphrase == 3) | (acts.condition == "neutral") & (
            acts.paraphrase == 5
        )
        acts = acts.isel(prompt=np.flatnonzero(~drop.values))
    found = divergence(acts, n_bootstrap=20).isel(site=0, position=0)
    at = rows(acts, 1, framed=uneven)
    names = [f"role{f}{m}" for f in range(4) for m in range(2)]
    self = {"unprompted": at["neutral", ""], "default": at["you", "my_default"]}
    pairs = [apart(at["you", a], at["you", b]) for a, b in combinations(names, 2)]
    cell = found.sel(layer=1)
    for reference, texts in self.items():
        far = {name: apart(at["you", name], texts) for name in (*names, "my_reductionist")}
        for name, value in far.items():
            here = cell.sel(reference=reference, persona=name)
            assert float(here.estimate) == pytest.approx(value, abs=1e-12)
            assert float(here["rank"]) == np.mean([pair < value for pair in pairs])
        user = [apart(at["user", name], texts) for name in names]
        kind = cell.sel(reference=reference, kind="role")
        assert float(kind.kind_estimate) == pytest.approx(np.mean([far[name] for name in names]), abs=1e-12)
        assert float(kind.kind_user_is) == pytest.approx(np.mean(user), abs=1e-12)
        np.testing.assert_allclose(cell.user_is.sel(reference=reference, persona=names), user, atol=1e-12)
    assert float(cell.within.sel(side="role")) == pytest.approx(np.mean(pairs), abs=1e-12)
    if not uneven:
        halves = [[row for k, row in enumerate(at["neutral", ""]) if k // 4 == half] for half in (0, 1)]
        assert float(cell.halves) == pytest.approx(apart(*halves), abs=1e-12)


def test_planted_distances_come_back_whatever_the_sentence_around_them() -> None:
    """Personas at a known distance; the mean of many cells, each with noise and frames of its own."""
    acts = world(families=5, members=1, cells=(1, 80), shift=1.0, spread=0.0, frames=1.0, readings=READINGS)
    found = divergence(acts, n_bootstrap=20).isel(site=0, layer=0)
    still = world(families=5, members=1, shift=1.0, spread=0.0, frames=0.0, noise=0.0, readings=READINGS)
    x, y = (data.activations.values[data.condition.values != "user"][:, 0, 0] for data in (acts, still))
    unit = y[[0, -1], 0] / np.linalg.norm(y[[0, -1], 0], axis=1, keepdims=True)  # role00, and a neutral text
    planted = ((unit[0] - unit[1]) ** 2).sum() * (y**2).sum(axis=-1).mean() / (x**2).sum(axis=-1).mean()
    mean = found.sel(reference="unprompted", persona="role00").estimate
    assert float(mean.mean()) == pytest.approx(planted, abs=4 * float(mean.std()) / np.sqrt(80))
    itself = found.sel(reference="unprompted", persona="my_default").estimate
    assert abs(float(itself.mean())) < 4 * float(itself.std()) / np.sqrt(80)
    z, _ = normalised(acts.activations.values[:, 0, 0, 0])
    own, texts = z[acts.persona.values == "my_default"].mean(axis=0), z[acts.condition.values == "neutral"]
    plain = ((own - texts[:8].mean(axis=0)) ** 2).sum() / (z**2).sum(axis=1).mean()
    assert plain > 10 * abs(float(itself.mean())), "the control: the distance of the two means as it is"


def test_a_family_counts_once() -> None:
    acts = world(families=4, members=1, spread=0.0, noise=0.01, frames=0.0)
    family = acts.family.values.astype("U8")
    family[np.isin(acts.persona.values, ["role20", "role30"])] = "two"
    far = acts.activations.values.copy()
    far[np.isin(acts.persona.values, ["role20", "role30"])] += 2.0  # twins that lie further away
    acts = acts.assign_coords(family=("prompt", family)).assign(activations=(acts.activations.dims, far))
    cell = divergence(acts, n_bootstrap=20).sel(reference="unprompted").isel(site=0, layer=0, position=0)
    near, twins = (float(cell.estimate.sel(persona=name)) for name in ("role00", "role20"))
    assert float(cell.kind_estimate.sel(kind="role")) == pytest.approx((2 * near + twins) / 3, rel=0.01)
    assert cell.n_families.values.tolist() == [3]
    assert "at least 4 families of personas; there are 3" in str(cell.reason.sel(kind="role").values)
    for name in ("kind_ci_low", "kind_ci_high", "p"):
        assert np.isnan(float(cell[name].sel(kind="role"))), "too few families: the estimate stands alone"


def test_crossnobis_is_taken_in_the_noise_of_other_families() -> None:
    acts = world(seed=5, frames=0.0)
    found = divergence(acts, n_bootstrap=20).isel(site=0, layer=0, position=0).sel(reference="unprompted")
    own = acts.condition.values != "user"
    z, _ = normalised(acts.activations.values[:, 0, 0, 0])
    z, names, frame = z[own], acts.persona.values[own], acts.frame.values[own]
    z = z - np.array([z[frame == f].mean(axis=0) for f in range(4)])[frame] + z.mean(axis=0)
    people = sorted(set(names) - {""})
    unit = np.array([people.index(name) if name else -1 for name in names])
    raw, _ = normalised(acts.activations.values[:, 0, 0, 0])

    def measured(name: str, of: list[int]) -> float:
        both = noise_normalised(np.concatenate([raw[own], z]), np.concatenate([unit, np.full(len(z), -2)]), of)
        plain, framed = np.split(both, 2)
        groups = [[(f, x) for f, x, n in zip(frame, framed, names, strict=True) if n == who] for who in (name, "")]
        return apart(*groups) / float((plain**2).sum(axis=1).mean())

    for name in ("role00", "role31"):
        others = [i for i, other in enumerate(people) if other[4] != name[4]]
        assert float(found.crossnobis.sel(persona=name)) == pytest.approx(measured(name, others), rel=1e-6)
        assert float(found.crossnobis.sel(persona=name)) != pytest.approx(measured(name, list(range(8))), rel=1e-3), (
            "the control: with the noise of its own family"
        )


def test_the_readings_that_are_there_are_references_and_never_their_own() -> None:
    found = divergence(world(readings=READINGS), n_bootstrap=20).isel(site=0, layer=0, position=0)
    assert found.reference.values.tolist() == ["unprompted", *READINGS]
    assert found.attrs["left_out"] == []
    assert found.estimate.isnull().sum() == 2
    assert bool(found.estimate.sel(reference="default", persona="my_default").isnull())
    assert float(found.estimate.sel(reference="default", persona="my_reductionist")) == pytest.approx(
        float(found.estimate.sel(reference="reductionist", persona="my_default"))
    )
    itself = found.sel(reference="default", kind="default")
    assert bool(itself.kind_estimate.isnull())
    assert "not compared with itself" in str(itself.reason.values)
    single = found.sel(reference="unprompted", kind="default")
    assert float(single.kind_ci_low) == float(found.ci_low.sel(reference="unprompted", persona="my_default"))
    assert bool(single.p.isnull()), "one persona: no p"
    few = divergence(world(readings=["default"]), n_bootstrap=20)
    assert few.reference.values.tolist() == ["unprompted", "default"]
    assert few.attrs["left_out"] == ["reductionist"]


def test_data_without_labels_or_controls_have_their_distances_too() -> None:
    full = world()
    plain = full.isel(prompt=np.flatnonzero(full.condition.values != "user")).drop_vars(
        ["side", "kind", "family", "reading", "frame"]
    )
    acts = plain.assign_coords(side=("prompt", np.full(plain.sizes["prompt"], "")))
    found = divergence(acts, n_bootstrap=20)
    assert found.reference.values.tolist() == ["unprompted"]
    assert found.estimate.notnull().all()
    assert found.user_is.isnull().all()
    assert found["rank"].isnull().all()
    assert found.sizes["side"] == 0
    assert set(found.kind.values) == set(found.persona.values), "every persona is a kind and a family of its own"


def test_a_place_that_some_prompt_lacks_has_no_number_and_equal_activations_are_no_distance() -> None:
    acts = world(cells=(3, 1), readings=READINGS)
    acts.activations[4, 0, 1] = np.nan
    acts.activations[:, 0, 2] = np.random.default_rng(0).normal(size=32).astype(np.float32)
    found = divergence(acts, n_bootstrap=20).isel(site=0, position=0)
    assert found.estimate.sel(layer=1).isnull().all()
    assert found.halves.isnull().values.tolist() == [False, True, False]
    still = found.sel(layer=2, reference="unprompted")
    assert (still.estimate == 0).all()
    assert float(still.p.sel(kind="role")) == 0.5, "neither way"
    assert "not measured at every layer" in str(found.onset_reason.sel(reference="unprompted", kind="role").values)


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        (lambda acts: acts.condition != "neutral", "'neutral' is missing"),
        (lambda acts: (acts.condition != "neutral") | (acts.paraphrase == 0), r"got 1 text in one.* at least two"),
        (lambda acts: (acts.persona != "role11") | (acts.paraphrase == 0), "in one only: role11"),
        (lambda acts: acts.condition == "neutral", "condition 'you'"),
    ],
)
def test_what_has_no_distance_is_refused(kept: Any, words: str) -> None:
    acts = world()
    with pytest.raises(SelfrepError, match=words):
        divergence(acts.isel(prompt=np.flatnonzero(kept(acts).values)), n_bootstrap=20)


def test_conditions_are_asked_the_same() -> None:
    acts = world()
    item = np.where(acts.condition.values == "neutral", "other", "q")
    with pytest.raises(SelfrepError, match="same questions"):
        divergence(acts.assign_coords(item=("prompt", item)), n_bootstrap=20)


def held(found: xr.Dataset, truth: float) -> xr.DataArray:
    cells = found.sel(reference="unprompted", kind="role")
    return (cells.kind_ci_low <= truth) & (truth <= cells.kind_ci_high)


WORLDS: list[dict[str, Any]] = [
    {"families": 4, "shift": 0.3},
    {"families": 8, "shift": 0.3},
    {"families": 6, "members": 1, "shift": 0.0},
    {"families": 5, "members": 3, "d": 8, "shift": 1.0},
]


@pytest.mark.parametrize("planted", WORLDS)
def test_intervals_of_kinds_hold_the_distance_of_all_such_families(planted: dict[str, Any]) -> None:
    """Members of a family are alike by .6; the truth is the mean of many worlds."""
    found = divergence(world(cells=(1, 60), seed=1, **planted), n_bootstrap=100)
    truth = float(found.kind_estimate.sel(reference="unprompted", kind="role").mean())
    n = found.sizes["position"]
    assert held(found, truth).sum() >= binom.ppf(0.01, n, 0.92)


@pytest.mark.parametrize("families", [4, 8])
def test_a_kind_at_the_self_is_seldom_called_apart(families: int) -> None:
    """Families whose wordings are alike, at the self; and the control, a little away from it."""
    here = divergence(world(families=families, cells=(1, 80), shift=0.0, spread=0.0, wording=0.6), n_bootstrap=100)
    away = divergence(world(families=families, cells=(1, 20), shift=0.5, spread=0.0, wording=0.6), n_bootstrap=100)
    assert (here.p < 0.05).mean() <= 0.06
    assert (away.p < 0.05).mean() > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("planted", [*WORLDS, {"families": 16, "shift": 0.5}, {"families": 4, "texts": 4}])
def test_intervals_of_kinds_over_a_thousand_worlds(planted: dict[str, Any]) -> None:
    found = divergence(world(cells=(1, 1000), seed=2, **planted), n_bootstrap=300)
    cells = found.sel(reference="unprompted", kind="role")
    assert float(held(found, float(cells.kind_estimate.mean())).mean()) >= 0.92


@pytest.mark.slow
@pytest.mark.parametrize("families", [4, 6, 12])
@pytest.mark.parametrize("wording", [0.0, 0.6])
def test_p_over_a_thousand_worlds(families: int, wording: float) -> None:
    here = world(families=families, cells=(1, 1000), shift=0.0, spread=0.0, wording=wording, seed=3)
    assert float((divergence(here, n_bootstrap=300).p < 0.05).mean()) <= 0.06
