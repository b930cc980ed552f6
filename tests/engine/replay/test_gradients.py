"""Gradients at every site: by replay and by whole runs the same, and those of small steps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import xarray as xr
from tests.tiny import N_LAYERS, tiny, tiny_hf, token_pair

from selfrep.engine.attribution import attribute
from selfrep.engine.metrics import answer_log_odds, logit_metric
from selfrep.engine.patch import patch
from selfrep.engine.plan import grid
from selfrep.engine.replay import gradients as module
from selfrep.engine.replay.baselines import record_sweep
from selfrep.engine.replay.gradients import activation_after, gradients, replay_runs, whole_run
from selfrep.engine.sweep import PatchSweep, bind
from selfrep.errors import SelfrepError
from selfrep.models.loading import load_model

PAIRS = [token_pair(k, systems=(4 + k, 6), suffix=(2, 2 + k, 2)) for k in range(2)]
PLACES = [(site, layer) for site in ("resid_pre", "resid_mid", "attn_out", "z", "k") for layer in range(N_LAYERS)]


def sweep_of(family: str, metric: Any = answer_log_odds) -> PatchSweep:
    plan = grid("resid_pre") | grid("resid_mid") | grid("attn_out") | grid("z") | grid("k")
    return bind(tiny(family), PAIRS, plan, metric)


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
def test_replayed_and_whole_runs_have_the_same_gradients(family: str) -> None:
    """The one starts from recorded keys and values, the other runs the untouched model on the whole prompt."""
    sweep = sweep_of(family)
    replayed = gradients(replay_runs(record_sweep(tiny(family), sweep)), PLACES)
    for row, pair in enumerate(PAIRS):
        runs = whole_run(tiny(family), sweep.rows([row]))
        n = int(sweep.reach[row])
        assert n == len(pair.target) - 6
        for place, whole in gradients(runs, PLACES).items():
            torch.testing.assert_close(replayed[place][0, 0, 0, row, -n:], whole[0, 0, 0, 0, -n:], rtol=1e-3, atol=1e-4)
    sizes = [float(slope.abs().max()) for slope in replayed.values()]
    assert min(sizes) > 1e-3
    assert (replayed["resid_pre", 0] - replayed["resid_pre", 1]).abs().max() > 1e-3, "the control: layers differ"


@pytest.mark.parametrize("place", [("resid_pre", 1), ("resid_mid", 1), ("attn_out", 0), ("z", 2)])
def test_a_small_step_moves_the_metric_by_the_gradient(place: tuple[str, int]) -> None:
    sweep = sweep_of("gemma2")
    runs = replay_runs(record_sweep(tiny("gemma2"), sweep))
    slope = gradients(runs, [place])[place][0, 0, 0]
    step = 1e-2 * slope / slope.norm()
    ends = []
    for sign in (1, -1):
        with torch.no_grad(), module.visit(runs, place, {}, sign * step):
            ends.append(runs.values(runs.rerun(0, 1))[0][0].sum())
    moved = float(ends[0] - ends[1]) / 2
    assert moved == pytest.approx(float((slope * step).sum()), rel=0.02)
    assert moved > 1e-3


def test_what_passes_later_in_a_block_when_something_is_added_earlier() -> None:
    runs = replay_runs(record_sweep(tiny(), sweep_of("llama")))
    _, keys = runs.passing(("k", 1))
    _, heads = runs.passing(("z", 1))
    same = activation_after(runs, ("z", 1), ("k", 1), torch.zeros_like(keys)[None])
    torch.testing.assert_close(same[0], heads, rtol=1e-4, atol=1e-4)
    other = activation_after(runs, ("z", 1), ("k", 1), torch.ones_like(keys)[None])
    assert (other[0] - heads).abs().max() > 1e-2
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in runs.lm.hf.modules())


def test_a_metric_without_gradient_is_refused() -> None:
    winner = logit_metric("winner", lambda x: x[..., 0, :].argmax(-1).float())
    with pytest.raises(SelfrepError, match=r"differentiable.*'winner'"):
        gradients(replay_runs(record_sweep(tiny(), sweep_of("llama", winner))), PLACES)


def test_hooks_on_gradients_are_refused_and_do_not_touch_patches() -> None:
    lm, plan = load_model(tiny_hf()), grid("attn_out")
    patches, estimates = patch(lm, PAIRS, plan), attribute(lm, PAIRS, plan)
    handle = lm.blocks[1].register_full_backward_hook(lambda _, into, out: tuple(2 * grad for grad in into))
    after = patch(lm, PAIRS, plan)
    assert after.attrs["engine"] == "replay"
    xr.testing.assert_equal(after.patched, patches.patched)
    with pytest.raises(SelfrepError, match=r"has a backward hook on model\.layers\.1, which may change it"):
        attribute(lm, PAIRS, plan)
    handle.remove()
    xr.testing.assert_identical(attribute(lm, PAIRS, plan), estimates)


@pytest.mark.parametrize("options", [{}, {"ig_steps": 2}, {"method": "atp*"}], ids=str)
def test_a_run_that_is_not_the_models_own_is_noticed(options: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = module.push
    monkeypatch.setattr(module, "push", lambda *args: sound(*args) * 1.01)
    with pytest.raises(SelfrepError, match="must say what the model says"):
        attribute(tiny(), [token_pair(1)], grid("resid_pre"), **options)


def test_where_asked_a_mismatch_falls_back_to_the_whole_model(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs, plan = [token_pair(1), token_pair(2)], grid("resid_pre")
    own = attribute(tiny(), pairs, plan)
    sound = module.push
    monkeypatch.setattr(module, "push", lambda *args: sound(*args) * 1.01)
    with pytest.warns(UserWarning, match="must say what the model says.*whole model.*slow") as caught:
        slow = attribute(tiny(), pairs, plan, on_mismatch="slow", batch_size=1)
    assert len(caught) == 1
    torch.testing.assert_close(
        torch.tensor(slow.patched.values), torch.tensor(own.patched.values), rtol=1e-3, atol=1e-4
    )
