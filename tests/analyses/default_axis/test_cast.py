"""Points are means of paraphrases, folds share none, and every family of roles weighs alike."""

from __future__ import annotations

import numpy as np
import pytest
from tests.analyses.default_axis.test_estimate import NAMES, ROLES, captured, in_families, line

from selfrep.analyses.default_axis.cast import Cast, Draws, readings
from selfrep.errors import SelfrepError

FAMILIES = {f"human{i}": "triplets" for i in range(3)}


@pytest.fixture(scope="module")
def cast() -> Cast:
    return Cast.of(in_families(captured(line(), neutral=0.5), FAMILIES), "you", ["smollm"], ["user", "neutral"])


def test_the_points_are_the_default_then_the_roles_then_who_is_placed(cast: Cast) -> None:
    assert cast.who[: cast.n] == ["default", *sorted(NAMES[1:])]
    assert set(cast.who[cast.n :]) == {"unprompted", "user: default", *(f"user: {name}" for name in NAMES[1:])}
    assert cast.n_families == ROLES - 2
    left_out = dict(zip(cast.who, cast.without.tolist(), strict=True))
    assert left_out["default"] == left_out["unprompted"] == -1
    assert len({left_out[name] for name in ("human0", "human1", "human2", "user: human0")}) == 1
    assert left_out["human3"] not in (left_out["human0"], left_out["human4"])


def test_a_fold_is_half_of_the_paraphrases_and_its_means_are_theirs(cast: Cast) -> None:
    values = np.random.default_rng(0).normal(size=len(cast.groups))
    for point in range(len(cast.who)):
        mine = cast.member == point
        assert np.bincount(cast.fold[mine]).tolist() == [2, 2]
        for fold in (0, 1):
            mean = values[mine & (cast.fold == fold)].mean()
            assert cast.pooling(fold)[point] @ values == pytest.approx(mean)


def test_families_of_roles_weigh_alike_and_so_do_their_members(cast: Cast) -> None:
    assert cast.even[0] == pytest.approx(0, abs=1e-12)
    assert cast.even.sum() == pytest.approx(1)
    assert 3 * cast.even[1] == pytest.approx(cast.even[4]) == 1 / cast.n_families


def test_draws_take_families_whole_and_leave_the_default_its_paraphrases(cast: Cast) -> None:
    draws = Draws.of(cast, 200, np.random.default_rng(1))
    counts = np.array([draws.roles[:, cast.family == f].sum(axis=1) for f in range(1, 1 + cast.n_families)])
    np.testing.assert_allclose(counts, counts.round(), atol=1e-9, err_msg="members of a family share its count")
    assert counts.sum(axis=0) == pytest.approx(cast.n_families)
    assert ((counts > 0.5).sum(axis=0) >= 3).all()
    np.testing.assert_allclose(draws.pooled.sum(axis=-1), 1)
    for fold in (0, 1):
        assert np.abs(draws.pooled[:, fold][:, :, cast.fold != fold]).max() < 1e-12, "folds share no paraphrase"
    assert draws.pooled[:, 0, 0].std(axis=0).max() > 0.1, "the control: paraphrases are drawn"


def test_readings_of_the_self_are_no_roles() -> None:
    acts = captured(line())
    spoken = acts.condition.to_numpy() == "you"
    assert readings(acts, spoken, "default") == ["smollm"]
    assert readings(acts.drop_vars("reading"), spoken, "default") == []
    with pytest.raises(SelfrepError, match="no persona but the readings of the self"):
        Cast.of(acts.assign_coords(reading=("prompt", ["reductionist"] * acts.sizes["prompt"])), "you", ["smollm"], [])
