"""Screening against patching every cell: what it calls exact is, what it tells of the rest can be told again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy.stats import spearmanr
from tests.tiny import tiny, tiny_hf, token_pair

from selfrep.engine import screen as screening
from selfrep.engine.attribution import attribute
from selfrep.engine.metrics import kl_divergence, logit_difference
from selfrep.engine.patch import patch
from selfrep.engine.plan import grid
from selfrep.engine.screen import screen
from selfrep.engine.sweep import PatchSweep
from selfrep.errors import CannotReplay, SelfrepError
from selfrep.models.loading import load_model

METRIC = logit_difference(7, 9)
PAIRS = [token_pair(k, systems=(3 + k, 8 - k), suffix=(4 + k % 3, 9, 4)) for k in range(3)]


def close(got: object, wanted: object, tolerance: float = 1e-4) -> None:
    got, wanted = np.asarray(got, dtype=float), np.asarray(wanted, dtype=float)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(wanted))
    assert np.nanmax(np.abs(got - wanted) / np.maximum(1, np.abs(wanted)), initial=0.0) <= tolerance


def top_tenth(dataset: xr.Dataset) -> set[int]:
    moved = np.abs((dataset.patched - dataset.target_metric).transpose(*dataset.patched.dims).values).ravel()
    return set(np.argsort(-np.nan_to_num(moved))[: np.isfinite(moved).sum() // 10].tolist())


@pytest.mark.parametrize(
    "batch_size", [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(3, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("metric", [METRIC, [METRIC, kl_divergence("source")]], ids=["one", "two"])
def test_every_number_is_exact_or_approximate_and_says_which(batch_size: int, metric: Any) -> None:
    lm, plan = tiny("gemma2"), grid("resid_mid") | grid("z", positions=[-5, -1])
    exact, rough = patch(lm, PAIRS, plan, metric), attribute(lm, PAIRS, plan, metric)
    found = screen(lm, PAIRS, plan, metric, budget=0.6, sample=0.1, batch_size=batch_size)
    for site in exact.children:
        true, guess, got = (tree[site].to_dataset() for tree in (exact, rough, found))
        assert got.exact.dtype == got.sampled.dtype == bool
        assert 0 < int(got.exact.sum()) < int(np.isfinite(true.patched).sum())
        assert not (got.sampled & ~got.exact).any()
        close(got.approximate, guess.patched)
        close(got.patched, xr.where(got.exact, true.patched, guess.patched).transpose(*got.patched.dims))
        assert not (got.exact & np.isnan(true.patched)).any()
        assert np.nanmax(np.abs(true.patched - guess.patched)) > 1e-3  # that it matters which
        for name in ("target_metric", "source_metric", "total_effect", "target_ids"):
            close(got[name], true[name], 1e-5)
        np.testing.assert_array_equal(got.token, true.token)


def test_what_it_tells_of_the_sample_can_be_told_again_from_the_dataset() -> None:
    metrics = [METRIC, kl_divergence("source")]
    found = screen(tiny(), PAIRS, grid("resid_mid"), metrics, budget=0.5, sample=0.2)
    assert found.rank_correlation.dims == found.error_bound.dims == ("metric",)
    for m in range(2):
        one = found.isel(metric=m)
        chosen = one.sampled.values
        moved, guess = ((one[name] - one.target_metric).values[chosen] for name in ("patched", "approximate"))
        assert one.rank_correlation.item() == pytest.approx(spearmanr(moved, guess).statistic, abs=1e-5)
        assert one.error_bound.item() == pytest.approx(np.quantile(np.abs(moved - guess), 0.95), abs=1e-5)
        assert one.attrs["sample_size"] == chosen.sum()
        cells = np.isfinite(one.patched.values).sum()
        assert 0.15 * cells < chosen.sum() < 0.25 * cells
    alone = screen(tiny(), PAIRS, grid("resid_mid"), METRIC, budget=0.5, sample=0.2)
    assert alone.error_bound.dims == ()
    assert alone.error_bound.item() > 0


def test_the_sample_is_drawn_by_the_seed_and_not_by_promise() -> None:
    lm, plan = tiny(), grid("resid_mid")
    first, again, other = (screen(lm, PAIRS, plan, METRIC, sample=0.2, seed=s).sampled.values for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    none = screen(lm, PAIRS, plan, METRIC, sample=0.0, budget=0.6)
    assert not none.sampled.any()
    assert none.exact.any()
    assert np.isnan(none.error_bound.item())
    assert np.isnan(none.rank_correlation.item())


def test_more_budget_finds_more_and_costs_what_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = load_model(tiny_hf("llama", num_hidden_layers=12))
    pairs = [token_pair(k, systems=(5, 3), suffix=(6, 12, 6)) for k in range(2)]
    plan = grid("mlp_out")
    exact = patch(lm, pairs, plan, METRIC)

    def found(budget: float) -> tuple[float, float]:
        got = screen(lm, pairs, plan, METRIC, budget=budget)
        top = list(top_tenth(exact))
        return float(got.exact.values.ravel()[top].mean()), float(got.attrs["cost_share"])

    shares = {budget: found(budget) for budget in (0.25, 0.5, 0.9)}
    assert all(budget - 0.1 < spent <= budget for budget, (_, spent) in shares.items())
    recalls = [recall for recall, _ in shares.values()]
    assert recalls == sorted(recalls)
    assert recalls[1] >= 0.8
    # The control: promise handed out at random finds no more than its share.
    rng = np.random.default_rng(0)
    monkeypatch.setattr(screening, "_promise", lambda sweep, *_: rng.random(len(sweep.cells)))
    assert found(0.5)[0] < recalls[1] - 0.2


def test_the_cells_of_one_plan_do_not_crowd_out_those_of_another() -> None:
    """Heads move less than streams do; each plan is ranked on its own scale."""
    found = screen(tiny(), PAIRS, grid("resid_mid") | grid("z"), METRIC, budget=0.4)
    assert all(found[site].exact.any() for site in ("resid_mid", "z"))


def test_atp_star_and_integrated_gradients_screen_too() -> None:
    for options in ({"method": "atp*"}, {"ig_steps": 2}):
        found = screen(tiny(), PAIRS[:1], grid("k"), METRIC, **options)
        close(found.approximate, attribute(tiny(), PAIRS[:1], grid("k"), METRIC, **options).patched)
        assert found.attrs["engine"].startswith("screen, ")
        assert ("grad_drop" in found) == ("method" in options)


def test_progress_reaches_the_end() -> None:
    told: list[tuple[int, int]] = []
    screen(tiny(), PAIRS, grid("resid_mid"), METRIC, progress=lambda done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1]
    assert [done for done, _ in told] == sorted(done for done, _ in told)


@pytest.mark.parametrize("options", [{"budget": 0.0}, {"budget": 1.5}, {"sample": -0.1}, {"sample": 2.0}], ids=str)
def test_shares_that_are_none_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(SelfrepError, match=r"share.*0 … 1; got"):
        screen(tiny(), PAIRS, grid("resid_pre"), METRIC, **options)


def test_what_cannot_be_replayed_cannot_be_screened() -> None:
    with pytest.raises(CannotReplay):
        screen(load_model(tiny_hf("bloom")), PAIRS, grid("resid_pre"), METRIC)


@pytest.mark.slow
def test_on_a_real_model_it_finds_the_top_tenth_for_a_fifth_of_the_cost() -> None:
    import selfrep as sr

    lm, personas = sr.load_model(), sr.personas.builtin()
    items = [sr.battery.builtin()["who_are_you"]]
    pairs = sr.pair(lm, personas["smollm"], personas["jfk"], items, paraphrases=[0], directions=["denoise"])
    exact, found = sr.patch(lm, pairs, sr.grid("resid_pre")), sr.screen(lm, pairs, sr.grid("resid_pre"))
    assert found.attrs["cost_share"] <= 0.2
    assert found.exact.values.ravel()[list(top_tenth(exact))].mean() >= 0.95
    assert len(top_tenth(found) & top_tenth(exact)) >= 0.95 * len(top_tenth(exact))
    assert found.exact.mean() < 0.5  # the control: most cells it has not run


def test_effects_that_are_rounding_promise_nothing() -> None:
    """Two plans, of which the second moves the answers by rounding only: it is not blown up to the first."""
    sweep = object.__new__(PatchSweep)
    vars(sweep)["plans"] = tuple(SimpleNamespace(cells=range(3)) for _ in range(2))
    effects = np.array([[3.0, 2.0, 1.0, 3e-15, 2e-15, 0.0]])[:, :, None]
    promise = screening._promise(sweep, effects, np.array([5.0]))
    np.testing.assert_allclose(promise, [1, 2 / 3, 1 / 3, 0, 0, 0], atol=1e-9)
    effects[:, 3:] *= 1e12
    promise = screening._promise(sweep, effects, np.array([5.0]))
    np.testing.assert_allclose(promise, [1, 2 / 3, 1 / 3, 1, 2 / 3, 0])


def test_ranks_are_not_read_off_rounding() -> None:
    rng = np.random.default_rng(0)
    found = xr.Dataset(
        {
            "patched": (("pair", "layer"), rng.normal(size=(2, 9))),
            "approximate": (("pair", "layer"), rng.normal(size=(2, 9))),
            "exact": (("pair", "layer"), np.ones((2, 9))),
            "sampled": (("pair", "layer"), np.ones((2, 9))),
            "source_metric": ("pair", [5.0, 5.0]),
            "target_metric": ("pair", [0.0, 0.0]),
        }
    )
    assert np.isfinite(float(screening._with_sample(found).rank_correlation))
    assert np.isnan(float(screening._with_sample(found.assign(patched=1e-15 * found.patched)).rank_correlation))
