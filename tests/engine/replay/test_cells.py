"""Heads, keys, neurons, prefixes and interventions by replay, against hooks on the plain model written out by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tiny import (
    CATCHING,
    FAMILIES,
    N_LAYERS,
    by_risk,
    component_at,
    hooked,
    logits,
    module_at,
    patched_logits,
    ragged,
    sites_of,
    tiny,
    tiny_hf,
    token_pair,
    values_at,
)
from torch import Tensor

from selfrep.engine import patch as patch_module
from selfrep.engine.interventions import Ablate, InSubspace, Steer
from selfrep.engine.metrics import logit_difference, logit_metric
from selfrep.engine.patch import patch, patch_tokens
from selfrep.engine.plan import grid, prefix_patch
from selfrep.engine.replay import baselines, cells, memory, schedule, walk
from selfrep.errors import SelfrepError
from selfrep.models.loading import load_model
from selfrep.models.sites import HEAD_SITES, NEURON_SITES, component

METRIC = logit_difference(7, 9)
SOURCE, TARGET = ragged([14, 11, 9], seed=1), ragged([12, 12, 8], seed=2)
LAYERS = (0, N_LAYERS - 1)
EVERY = [
    pytest.param(f, site, id=f"{f} {site}", marks=[] if f in CATCHING else pytest.mark.slow)
    for f in FAMILIES
    for site in sites_of(f, (*HEAD_SITES, *NEURON_SITES))
]


def by_pairs(families: Sequence[str], sites: Sequence[str], in_any_run: set[tuple[str, str]]) -> list[Any]:
    """Every family at every site, all but a few of them marked slow."""
    return [
        pytest.param(f, site, id=f"{f} {site}", marks=[] if (f, site) in in_any_run else pytest.mark.slow)
        for f in families
        for site in sites
    ]


STREAM_PLACES = by_pairs(
    ("llama", "gemma2", "gpt2"),
    ("resid_pre", "resid_mid", "attn_out"),
    {("llama", "resid_pre"), ("gemma2", "attn_out"), ("gpt2", "resid_mid")},
)


def rows() -> list[tuple[Tensor, Tensor]]:
    return [(s[s >= 0], t[t >= 0]) for s, t in zip(SOURCE, TARGET, strict=True)]


def heads_at(family: str, site: str, layer: int, ids: Tensor) -> Tensor:
    """[token, component, feature]."""
    hf = tiny(family).hf
    module, end, read, _ = component_at(hf, family, site, layer)
    heard: list[Tensor] = []

    def hear(x: Tensor) -> Tensor:
        heard.append(read(x))
        return x

    with hooked(module, end, hear):
        logits(hf, ids)
    return heard[0][0].clone()


def with_heads(family: str, site: str, layer: int, new: Tensor, c: int, ids: Tensor, at: list[int]) -> float:
    """Logit difference of a run in which component c takes new [token, component, feature] at these positions."""
    hf = tiny(family).hf
    module, end, read, write = component_at(hf, family, site, layer)

    def change(x: Tensor) -> Tensor:
        values = read(x).clone()
        for p in at:
            values[0, p, c] = new[p, c]
        return write(x, values)

    with hooked(module, end, change):
        last = logits(hf, ids)[-1]
    return float(last[7] - last[9])


@pytest.mark.parametrize(("family", "site"), EVERY)
def test_every_head_and_neuron_equals_a_plain_hooked_pass(family: str, site: str) -> None:
    lm = tiny(family)
    chosen = {"neurons": [0, 5]} if component(site) == "neuron" else {}
    plan = grid(site, layers=LAYERS, segments={"two": [-4, -2], "end": [-1]}, **chosen)
    effects = patch_tokens(lm, SOURCE, TARGET, plan, METRIC, check=False)
    axis = component(site)
    moved = 0.0
    for b, (source, target) in list(enumerate(rows()))[::2]:  # the longest and the shortest
        for layer in LAYERS:
            new = heads_at(family, site, layer, source)
            for c in effects[axis].values:
                for name, at in (("two", [-4, -2]), ("end", [-1])):
                    got = float(effects.patched.isel(pair=b).sel(layer=layer, segment=name, **{axis: c}))
                    assert got == pytest.approx(with_heads(family, site, layer, new, c, target, at), rel=1e-4, abs=1e-4)
                    moved = max(moved, abs(got - float(effects.target_metric[b])))
    assert moved > 0.005  # a patch that changes nothing would prove nothing


def test_another_head_is_another_number() -> None:
    effects = patch_tokens(tiny(), SOURCE, TARGET, grid("z", layers=[1], positions=[-1]), METRIC)
    values = effects.patched.values[0, 0, 0]
    assert len(np.unique(values.round(4))) == 4
    new = heads_at("llama", "z", 1, rows()[0][0])
    assert abs(values[0] - with_heads("llama", "z", 1, new, 1, rows()[0][1], [-1])) > 1e-3


BASIS = torch.linalg.qr(torch.randn(32, 5, generator=torch.Generator().manual_seed(0))).Q
VECTOR = torch.randn(32, generator=torch.Generator().manual_seed(1))


def project(x: Tensor) -> Tensor:
    return torch.einsum("dr,er,te->td", BASIS, BASIS, x)


BY_HAND: dict[str, tuple[Any, Any]] = {
    "subspace": (InSubspace(BASIS), lambda s, t: t + project(s) - project(t)),
    "complement": (InSubspace(BASIS, complement=True), lambda s, t: s + project(t) - project(s)),
    "direction": (
        InSubspace(VECTOR),
        lambda s, t: t + ((s - t) @ VECTOR)[:, None] * VECTOR / VECTOR.square().sum(),
    ),
    "zero": (Ablate(), lambda s, t: 0 * t),
    "mean": (Ablate(VECTOR), lambda s, t: VECTOR.expand_as(t)),
    "steer": (Steer(VECTOR, -1.5), lambda s, t: t - 1.5 * VECTOR),
}


@pytest.mark.parametrize(("intervention", "by_hand"), BY_HAND.values(), ids=BY_HAND)
@pytest.mark.parametrize(("family", "site"), STREAM_PLACES)
def test_interventions_equal_plain_hooked_passes(family: str, site: str, intervention: Any, by_hand: Any) -> None:
    from tests.tiny import patched_logits

    lm = tiny(family)
    plan = grid(site, positions=[-5, -1], intervention=intervention)
    effects = patch_tokens(lm, SOURCE, TARGET, plan, METRIC, check=False)
    for b, (source, target) in enumerate(rows()):
        for layer in LAYERS:
            n = min(len(source), len(target))
            s, t = (values_at(lm.hf, family, site, layer, ids)[-n:] for ids in (source, target))
            for p in (-5, -1):
                last = patched_logits(lm.hf, family, site, layer, by_hand(s, t), target, [p])
                got = float(effects.patched[b].sel(layer=layer, position=p))
                assert got == pytest.approx(float(last[7] - last[9]), rel=1e-4, abs=1e-4)


few = settings(max_examples=8, deadline=None)


@few
@given(seed=st.integers(0, 10**6), rank=st.integers(1, 31), family=st.sampled_from(["llama", "gpt2", "olmo2"]))
def test_a_subspace_and_its_complement_make_the_whole_at_a_linear_read_out(seed: int, rank: int, family: str) -> None:
    """Of the residual stream after the last block, before the final norm; the metric is linear in it."""
    lm = tiny(family)
    basis = torch.linalg.qr(torch.randn(32, rank, generator=torch.Generator().manual_seed(seed))).Q
    pair = token_pair(seed)
    ends = {}
    for name, how in {"in": InSubspace(basis), "out": InSubspace(basis, complement=True), "all": None}.items():
        plan = grid("resid_post", layers=[N_LAYERS - 1], segments=["all"], intervention=how)
        seen: list[Tensor] = []
        sound = baselines.read_metrics

        def listen(lm: Any, readings: Any, residual: Tensor, seen: Any = seen, sound: Any = sound) -> np.ndarray:
            seen.append(residual.clone())
            return sound(lm, readings, residual)

        with pytest.MonkeyPatch.context() as patching:
            for module in (baselines, cells):
                patching.setattr(module, "read_metrics", listen)
            patch(lm, [pair], plan, check=False)
        ends[name] = seen[-1][0, 0, 0]
        own = seen[-2][0, 0, -1]  # of the unpatched target, which is read before its patched runs
    base = ends["in"] + ends["out"] - ends["all"]  # what is left is the target's own stream
    plain = values_at(lm.hf, family, "resid_post", N_LAYERS - 1, torch.tensor(pair.target.ids))[-1]
    torch.testing.assert_close(base, plain, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(own, plain, rtol=1e-4, atol=1e-4)
    assert (ends["all"] - own).abs().max() > 1e-2  # the source's stream is another


@pytest.mark.parametrize(
    "family", by_risk(("llama", "gpt2", "gemma3_text", "mistral", "gpt_neox"), ("llama", "gpt2", "mistral"))
)
def test_a_swapped_prefix_equals_a_cache_put_together_by_hand(family: str) -> None:
    lm = tiny(family)
    pairs = [token_pair(k, systems=(6, 6), suffix=(2, 3, k)) for k in (1, 2, 1)]
    for window, layers in (("from", lambda k: range(k, N_LAYERS)), ("before", range), (1, lambda k: range(k, k + 1))):
        effects = patch(lm, pairs, prefix_patch(window=window))
        for b, pair in enumerate(pairs):
            source, target = (torch.tensor([tokens.ids]) for tokens in (pair.source, pair.target))
            for layer in range(N_LAYERS):
                theirs, own = (lm.hf(ids[:, :6], use_cache=True).past_key_values for ids in (source, target))
                for swapped in layers(layer):
                    own.layers[swapped].keys = theirs.layers[swapped].keys
                    own.layers[swapped].values = theirs.layers[swapped].values
                p = lm.hf(target[:, 6:], past_key_values=own).logits[0, -1].double().softmax(-1)
                first, second = (p[list(side)].sum() for side in pair.answers)
                got = float(effects.patched.isel(pair=b, layer=layer, segment=0))
                assert got == pytest.approx(float((first / second).log()), rel=1e-4, abs=1e-4)
    whole = patch(lm, pairs, prefix_patch(layers=[0]))
    np.testing.assert_allclose(whole.transfer, 1, atol=1e-4)


def test_prefixes_of_different_lengths_are_refused() -> None:
    with pytest.raises(SelfrepError, match="same length; pair 1 has a source of 12 tokens and a target of 10"):
        patch(tiny(), [token_pair(0, systems=(4, 4)), token_pair(1)], prefix_patch())
    with pytest.raises(SelfrepError, match="needs a prefix"):
        patch_tokens(tiny(), SOURCE[:1, :12], SOURCE[:1, :12], prefix_patch(), METRIC)


def test_resampling_takes_another_pair_and_never_its_own() -> None:
    lm = tiny()
    ids = ragged([8] * 5, seed=4), ragged([8] * 5, seed=5)
    plan = grid("resid_pre", layers=[1], positions=[-1, -3], intervention=Ablate("resample"))
    effects = patch_tokens(lm, *ids, plan, METRIC, seed=3)
    streams = [values_at(lm.hf, "llama", "resid_pre", 1, row) for row in ids[0]]
    from tests.tiny import patched_logits

    taken = []
    for b, target in enumerate(ids[1]):
        tries = [patched_logits(lm.hf, "llama", "resid_pre", 1, s, target, [-3]) for s in streams]
        odds = np.array([float(t[7] - t[9]) for t in tries])
        taken.append(int(np.abs(odds - float(effects.patched[b, 0, 1])).argmin()))
        assert odds[taken[-1]] == pytest.approx(float(effects.patched[b, 0, 1]), abs=1e-4)
    assert sorted(taken) == list(range(5))
    assert all(own != other for own, other in enumerate(taken))
    in_twos = patch_tokens(lm, *ids, plan, METRIC, seed=3, batch_size=2)
    np.testing.assert_allclose(in_twos.patched, effects.patched, atol=1e-5)
    with pytest.raises(SelfrepError, match="another pair"):
        patch_tokens(lm, ids[0][:1], ids[1][:1], plan, METRIC)
    short = patch_tokens(lm, ragged([9, 4], seed=6), ragged([9, 9], seed=7), grid("resid_pre", layers=[1],
                         intervention=Ablate("resample")), METRIC, batch_size=1)  # fmt: skip
    shared = ~np.isnan(short.patched.values[:, 0])
    assert shared.sum(1).tolist() == [4, 4]  # neither has more in common with the other's source


def test_a_metric_may_read_several_positions() -> None:
    lm = tiny()
    both = logit_metric("sum", lambda x: x[..., 0, 0] + x[..., 1, 1], positions=[-4, -1], tokens=[7, 9])
    effects = patch_tokens(lm, SOURCE, TARGET, grid("resid_pre", positions=[-6, -2]), both)
    for b, (source, target) in enumerate(rows()):
        for layer in LAYERS:
            new = values_at(lm.hf, "llama", "resid_pre", layer, source)
            for p in (-6, -2):

                def change(x: Tensor, p: int = p, new: Tensor = new) -> Tensor:
                    x = x.clone()
                    x[0, p] = new[p]
                    return x

                with hooked(*module_at(lm.hf, "llama", "resid_pre", layer), change):
                    out = logits(lm.hf, target)
                got = float(effects.patched[b].sel(layer=layer, position=p))
                assert got == pytest.approx(float(out[-4, 7] + out[-1, 9]), rel=1e-4, abs=1e-4)


# Memory that runs out.


def _memory_for(tokens: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A device that can push only so many tokens through a block; returns those that were too many, as they come."""
    failed: list[int] = []
    sound = walk._through

    def through(block: Any, call: Any, x: Tensor, *where: Any, **how: Any) -> Tensor:
        if (n := x.shape[:3].numel()) > tokens:
            failed.append(n)
            raise torch.OutOfMemoryError("out of memory")
        return sound(block, call, x, *where, **how)

    monkeypatch.setattr(walk, "_through", through)
    return failed


def test_out_of_memory_halves_the_chunk_and_it_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, plan = load_model(tiny_hf()), grid("resid_pre")
    wanted = patch_tokens(tiny(), SOURCE, TARGET, plan, METRIC)
    costs = schedule.CostModel((1, 1024), (1.0, 1.001))  # calls are dear: all in one walk, in the largest chunk
    monkeypatch.setitem(schedule._models, lm.hf, costs)
    failed = _memory_for(90, monkeypatch)
    effects = patch_tokens(lm, SOURCE, TARGET, plan, METRIC)
    assert max(failed) > 180  # twice, at the least
    np.testing.assert_allclose(effects.patched, wanted.patched, atol=1e-5)
    assert memory.chunk_tokens(lm, costs.chunk) <= 90 < memory.chunk_tokens(tiny(), costs.chunk)
    failed.clear()
    again = patch_tokens(lm, SOURCE, TARGET, plan, METRIC)
    assert not failed
    np.testing.assert_allclose(again.patched, wanted.patched, atol=1e-5)


def test_a_run_that_does_not_fit_by_itself_halves_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, plan = load_model(tiny_hf()), grid("resid_pre")
    wanted = patch_tokens(tiny(), SOURCE, TARGET, plan, METRIC)
    monkeypatch.setitem(schedule._models, lm.hf, schedule.CostModel((1, 1024), (1.0, 1.001)))
    failed = _memory_for(12, monkeypatch)  # one pair, from its first shared token on
    effects = patch_tokens(lm, SOURCE, TARGET, plan, METRIC)
    assert max(failed) > 12
    np.testing.assert_allclose(effects.patched, wanted.patched, atol=1e-5)


def _records_at_most(pairs: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A device on which only so many pairs can be recorded together; returns how many each try had."""
    sound, tried = patch_module.record_sweep, list[int]()

    def record_sweep(lm: Any, sweep: Any) -> Any:
        tried.append(len(sweep.batch.suffix))
        if tried[-1] > pairs:
            raise torch.OutOfMemoryError("out of memory")
        return sound(lm, sweep)

    monkeypatch.setattr(patch_module, "record_sweep", record_sweep)
    return tried


def test_prompts_that_cannot_be_recorded_together_are_taken_by_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, plan = load_model(tiny_hf()), grid("resid_pre")
    wanted = patch_tokens(tiny(), SOURCE, TARGET, plan, METRIC)
    tried = _records_at_most(1, monkeypatch)
    heard: list[tuple[int, int]] = []
    effects = patch_tokens(lm, SOURCE, TARGET, plan, METRIC, progress=lambda done, total: heard.append((done, total)))
    assert tried == [3, 2, 1, 1, 1]
    np.testing.assert_allclose(effects.patched, wanted.patched, atol=1e-5)
    assert heard[-1][0] == heard[-1][1]


def test_how_many_pairs_fitted_is_remembered_for_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, plan = load_model(tiny_hf()), grid("resid_pre")
    source, target = ragged([12] * 8, seed=1), ragged([12] * 8, seed=2)
    wanted = patch_tokens(tiny(), source, target, plan, METRIC, batch_size=8)
    tried = _records_at_most(5, monkeypatch)
    patch_tokens(lm, source, target, plan, METRIC, batch_size=8)
    assert tried == [8, 4, 4]
    tried.clear()
    effects = patch_tokens(lm, source, target, plan, METRIC, batch_size=8)
    patch_tokens(lm, source, target, plan, METRIC)
    patch_tokens(lm, source, target, plan, METRIC, batch_size=3)
    assert tried == [4, 4, 4, 4, 3, 3, 2], "a later sweep begins with what fitted, or with less if less is asked for"
    np.testing.assert_allclose(effects.patched, wanted.patched, atol=1e-5)
    tried.clear()
    patch_tokens(lm, source, target, plan | grid("resid_post"), METRIC)
    patch_tokens(lm, source, target, plan | grid("mlp_out"), METRIC)
    assert tried == [4, 4, 2, 2, 2, 2], (
        "bytes are remembered, not pairs: with a site kept, each takes 1.5 times as many"
    )
    tried.clear()
    patch_tokens(load_model(tiny_hf()), source, target, plan, METRIC)
    assert tried[0] == 8, "another model knows nothing of it"


def test_a_single_pair_that_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = load_model(tiny_hf())
    monkeypatch.setitem(schedule._models, lm.hf, schedule.CostModel((1, 1024), (1.0, 1.001)))
    _memory_for(3, monkeypatch)
    with pytest.raises(SelfrepError, match=r"single pair of \d+ tokens.*memory of cpu.*shorter prompts"):
        patch_tokens(lm, SOURCE, TARGET, grid("resid_pre"), METRIC)


# Other devices and precisions.


@pytest.mark.skipif(
    not hasattr(torch.utils.backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="needs a torch in which Python can pretend a device",
)
@pytest.mark.slow
def test_two_devices_give_the_numbers_of_one_and_are_not_waited_for() -> None:
    """By accelerate's own hooks, on pretended devices that refuse each other's tensors."""
    command = [sys.executable, "-m", "tests.engine.pretended", "llama", "resid_mid", "z", "k", "prefix", "subspace"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[3], check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["refused"] == ["RuntimeError", "TypeError", "TypeError"]
    for site, runs in found["sites"].items():
        for run in runs.values():
            assert run["devices"] == ["far:0", "far:1"]
            assert run["off"] < 1e-5 < 1e-2 < run["moved"]
        # The CPU waits for a device once a walk at most (masks go there), and not for cells or blocks; numbers come
        # back once a batch.
        assert runs["many cells"]["waits"] == runs["few cells"]["waits"]
        if site != "prefix":  # whose cells all start at one token, in one walk
            assert 0 < runs["many walks"]["waits"] - runs["many cells"]["waits"] <= 7


HALF = (torch.bfloat16, torch.float16)
ROUNDING = {torch.float32: 1e-4, torch.bfloat16: 6e-2, torch.float16: 1e-2}
"""How far a number of these models may be from plain passes, which round logits to the model's precision."""
DEVICES = [pytest.param("cpu", dtype, id=f"cpu-{dtype}") for dtype in HALF] + [
    pytest.param("cuda", dtype, id=f"cuda-{dtype}", marks=pytest.mark.gpu) for dtype in (torch.float32, *HALF)
]


@pytest.mark.parametrize(("device", "dtype"), DEVICES)
@pytest.mark.parametrize(("family", "site"), by_pairs(("llama", "gemma2", "gpt2"), ("resid_pre", "attn_out"),
                                                      {("llama", "resid_pre"), ("gemma2", "attn_out")}))  # fmt: skip
def test_every_precision_equals_plain_hooks_in_that_precision(
    family: str, site: str, device: str, dtype: torch.dtype
) -> None:
    lm = load_model(tiny_hf(family).to(dtype), device=device)
    assert (lm.dtype, lm.device.type) == (dtype, device)
    effects = patch_tokens(lm, SOURCE, TARGET, grid(site, positions=[-6, -1]), METRIC)
    assert effects.attrs["engine"] == "replay"
    assert effects.patched.dtype == np.float32
    for b, (source, target) in enumerate(rows()):
        for layer in range(N_LAYERS):
            values = values_at(lm.hf, family, site, layer, source)
            for p in (-6, -1):
                last = patched_logits(lm.hf, family, site, layer, values, target, [p])
                wanted, got = float(last[7] - last[9]), float(effects.patched[b].sel(layer=layer, position=p))
                assert abs(got - wanted) <= ROUNDING[dtype] * max(1.0, abs(wanted))
    moved = effects.patched - effects.target_metric
    assert np.abs(moved).max() > 4 * ROUNDING[dtype]


@pytest.mark.gpu
@pytest.mark.parametrize("site", ["z", "k", "mlp_post", "resid_mid"])
def test_the_gpu_gives_the_numbers_of_the_cpu(site: str) -> None:
    plan = grid(site, positions=[-6, -1], neurons=[3, 40] if site == "mlp_post" else None)
    near, far = (patch_tokens(load_model(tiny_hf(), device=d), SOURCE, TARGET, plan, METRIC) for d in ("cpu", "cuda"))
    assert far.attrs["device"].startswith("cuda")
    np.testing.assert_allclose(far.patched, near.patched, rtol=1e-4, atol=1e-4)
