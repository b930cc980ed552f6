"""Fused kernels on the CPU, as a GPU takes them, against plain hooks; and how many kernels a GPU would be given."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.tiny import FAMILIES, by_risk, patched_differences, ragged, tiny, tiny_hf
from torch import Tensor

from selfrep.engine.metrics import logit_difference
from selfrep.engine.patch import patch_tokens
from selfrep.engine.plan import grid
from selfrep.engine.replay import fused
from selfrep.engine.replay.masks import Masks
from selfrep.models.loading import load_model

CALLS: Counter[str] = Counter()


def flash(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, causal: bool, scale: float) -> tuple[Tensor, Tensor]:
    """As CUDA's flash attention: no bias."""
    assert bias is None
    CALLS["flash"] += 1
    return fused.OF_CPU.run(q, k, v, None, causal, scale)


def efficient(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, causal: bool, scale: float
) -> tuple[Tensor, Tensor]:
    """As CUDA's memory-efficient attention: as many key-value heads as heads, and an aligned bias."""
    assert q.shape[1] == k.shape[1] == v.shape[1]
    assert bias is None or (bias.dtype == q.dtype and not any(stride % 8 for stride in bias.stride()[:-1]))
    CALLS["efficient"] += 1
    return fused.OF_CPU.run(q, k, v, bias, causal, scale)


FLASH, EFFICIENT = fused.Kernel(flash, grouped=True, biased=False), fused.Kernel(efficient, grouped=False, biased=True)


@pytest.fixture(params=["half precision", "float32"])
def as_on_cuda(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernels that CUDA has in half precision (one for what needs no bias, one for what does), or in float32."""
    plain = FLASH if request.param == "half precision" else EFFICIENT
    monkeypatch.setattr(fused, "DEVICES", {"cpu"})
    monkeypatch.setattr(fused, "_first", lambda device, dtype, biased: EFFICIENT if biased else plain)
    CALLS.clear()


@pytest.mark.usefixtures("as_on_cuda")
@pytest.mark.parametrize("lengths", [[9, 9], [12, 8]], ids=["even", "padded"])
@pytest.mark.parametrize("family", by_risk(FAMILIES, ("llama", "gpt_oss")))
def test_patched_runs_equal_plain_hooks(family: str, lengths: list[int]) -> None:
    source, target = ragged(lengths, seed=1), ragged(lengths, seed=2)
    positions = (-7, -3, -1)
    effects = patch_tokens(
        tiny(family), source, target, grid("resid_pre", positions=positions), logit_difference(7, 9), check=False
    )
    wanted = patched_differences(tiny(family).hf, family, "resid_pre", source, target, positions)
    np.testing.assert_allclose(effects.patched, wanted, rtol=1e-4, atol=1e-4)
    assert bool(CALLS) == (family != "gemma2")  # soft caps are written out


@pytest.mark.usefixtures("as_on_cuda")
def test_a_prefix_with_a_wrong_share_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: the merge without its weights is far from plain hooks."""
    monkeypatch.setattr(torch, "lerp", lambda own, past, share: own + past)
    source, target = ragged([9], seed=1), ragged([9], seed=2)
    plan = grid("resid_pre", positions=(-3,))
    effects = patch_tokens(tiny(), source, target, plan, logit_difference(7, 9), check=False)
    wanted = patched_differences(tiny().hf, "llama", "resid_pre", source, target, (-3,))
    assert np.abs(effects.patched - wanted).max() > 0.1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.usefixtures("as_on_cuda")
def test_half_precision_is_within_its_rounding(dtype: torch.dtype) -> None:
    """Two parts are rounded once each before they are merged in float32: an error of one rounding more."""
    draw = torch.Generator().manual_seed(0)
    q, k, v, past_k, past_v = (
        3 * torch.randn(n, h, t, 32, generator=draw).to(dtype)
        for n, h, t in ((6, 4, 24), (6, 2, 24), (6, 2, 24), (2, 2, 40), (2, 2, 40))
    )
    kernels = fused.kernels(q, k, v)
    assert kernels is not None
    out = fused.attention(kernels, q, k, v, (past_k, past_v), Masks(), 32**-0.5, None, None, fused.merged).double()

    def by_the_library(dtype: torch.dtype) -> Tensor:
        keys, values = (
            torch.cat([past.repeat(3, 1, 1, 1), own], 2).repeat_interleave(2, 1).to(dtype)
            for past, own in ((past_k, k), (past_v, v))
        )
        mask = torch.ones(24, 64, dtype=torch.bool).tril(40)
        out = torch.nn.functional.scaled_dot_product_attention(q.to(dtype), keys, values, attn_mask=mask)
        return out.transpose(1, 2).double()

    exact = by_the_library(torch.float64)
    off, of_kernel = (float((x - exact).square().mean().sqrt()) for x in (out, by_the_library(dtype)))
    assert off < 1.5 * of_kernel


@pytest.mark.gpu
@pytest.mark.parametrize("window", [None, 20])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_kernels_of_cuda_give_what_that_of_the_cpu_gives(dtype: torch.dtype, window: int | None) -> None:
    draw = torch.Generator().manual_seed(0)
    q, k, v, past_k, past_v = (
        torch.randn(n, h, t, 64, generator=draw)
        for n, h, t in ((6, 4, 24), (6, 2, 24), (6, 2, 24), (2, 2, 40), (2, 2, 40))
    )
    visible = torch.arange(40) >= torch.tensor([[0], [7]])

    def attend(kernels: tuple[fused.Kernel, fused.Kernel] | None, device: str, dtype: torch.dtype) -> Tensor:
        own_q, own_k, own_v, *past = (x.to(device, dtype) for x in (q, k, v, past_k, past_v))
        kernels = kernels or fused.kernels(own_q, own_k, own_v)
        assert kernels is not None
        masks, sinks = Masks(visible.to(device)), torch.zeros(4, device=device)
        return fused.attention(
            kernels, own_q, own_k, own_v, (past[0], past[1]), masks, 64**-0.5, window, sinks, fused.merged
        ).cpu()

    own = attend(None, "cuda", dtype)
    wanted = attend((fused.OF_CPU, fused.OF_CPU), "cpu", torch.float32)
    assert own.dtype == dtype
    off = (own.float() - wanted).square().mean().sqrt() / wanted.square().mean().sqrt()
    assert off < (2e-5 if dtype == torch.float32 else 2 * torch.finfo(dtype).eps)
    with torch.no_grad():
        plain = fused._first(torch.device("cuda", torch.cuda.current_device()), dtype, False)
    assert plain is (fused.EFFICIENT if dtype == torch.float32 else fused.FLASH)


def test_what_no_kernel_takes_is_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    q, odd = torch.zeros(1, 2, 3, 8), torch.zeros(1, 2, 3, 6)
    assert fused.kernels(q, q, q) is None  # on a CPU
    monkeypatch.setattr(fused, "DEVICES", {"cpu"})
    assert fused.kernels(q, q, q) == (fused.OF_CPU, fused.OF_CPU)
    assert fused.kernels(odd, odd, odd) is None
    assert fused.kernels(q, q, q[..., :4]) is None
    with torch.enable_grad():
        assert fused.kernels(q.clone().requires_grad_(), q, q) is None


@pytest.mark.skipif(shutil.which("c++") is None, reason="torch compiles for a CPU with a C++ compiler")
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # within torch's compiler
@pytest.mark.slow
def test_compiled_blocks_equal_plain_hooks_and_leave_the_model_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "DEVICES", {"cpu"})
    lm = load_model(tiny_hf(), compile=True)
    lengths = [12, 8]
    source, target = ragged(lengths, seed=1), ragged(lengths, seed=2)
    positions = (-7, -3, -1)
    effects = patch_tokens(lm, source, target, grid("resid_pre", positions=positions), logit_difference(7, 9))
    wanted = patched_differences(tiny().hf, "llama", "resid_pre", source, target, positions)
    np.testing.assert_allclose(effects.patched, wanted, rtol=1e-4, atol=1e-4)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 4
    assert [type(block) for block in lm.blocks] == [type(block) for block in tiny().blocks]


@pytest.mark.skipif(shutil.which("c++") is None, reason="pretending CUDA needs a C++ compiler")
@pytest.mark.slow
def test_few_kernels_a_block_call_and_no_wait_inside_a_walk() -> None:
    root = Path(__file__).parents[3]
    command = [sys.executable, "scripts/bench_kernels.py", "--family", "llama"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    counts = [float(n) for n in re.findall(r"kernels a block call: ([\d.]+)", done.stdout)]
    assert len(counts) == 3
    assert max(counts) <= 55
    rows = [line.split("|") for line in done.stdout.splitlines() if line.startswith("| llama")]
    assert [[int(row[i]) for i in (-3, -2)] for row in rows] == [[0, 0]] * 3  # copies and waits; mixed devices
