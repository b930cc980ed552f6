"""Attention that shares a prefix against attention written out as a table."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from selfrep.engine.replay import fused
from selfrep.engine.replay.attention import Tape, playing, shared_prefix_attention
from selfrep.engine.replay.masks import Masks


def layer(index: int) -> nn.Module:
    module = nn.Module()
    module.layer_idx = index
    return module


def by_hand(q: Tensor, k: Tensor, v: Tensor, visible: Tensor, before: int, **how: Any) -> Tensor:
    """[head, query, d_head]: one row, query by query and key by key; k, v [head, before + query, d_head]."""
    heads, queries, width = q.shape
    out = torch.zeros_like(v[:, -queries:])
    for h in range(heads):
        for i in range(queries):
            scores, values = [], []
            for j in range(before + i + 1):
                distance = before + i - j
                if (distance and not visible[j]) or distance >= (how.get("sliding_window") or 10**9):
                    continue
                score = q[h, i] @ k[h, j] * (how.get("scaling") or width**-0.5)
                if cap := how.get("softcap"):
                    score = cap * torch.tanh(score / cap)
                scores.append(score)
                values.append(v[h, j])
            sinks = [] if how.get("s_aux") is None else [how["s_aux"][h]]
            weights = torch.stack(scores + sinks).softmax(0)[: len(scores)]
            out[h, i] = weights @ torch.stack(values)
    return out


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    prompts=st.integers(1, 3),
    continuations=st.integers(1, 3),
    before=st.integers(0, 5),
    tokens=st.integers(1, 4),
    kv_heads=st.sampled_from([1, 2]),
    groups=st.sampled_from([1, 2]),
    window=st.sampled_from([None, 1, 3]),
    softcap=st.sampled_from([None, 0.5]),
    scaling=st.sampled_from([None, 2.0]),
    sinks=st.booleans(),
    padded=st.booleans(),
    by_kernel=st.booleans(),
)
def test_it_is_attention(
    seed: int, prompts: int, continuations: int, before: int, tokens: int, kv_heads: int, groups: int,
    window: int | None, softcap: float | None, scaling: float | None, sinks: bool, padded: bool,
    by_kernel: bool,
) -> None:  # fmt: skip
    draw = torch.Generator().manual_seed(seed)
    rows, heads = continuations * prompts, kv_heads * groups

    def normal(*shape: int) -> Tensor:
        return 2 * torch.randn(shape, generator=draw, dtype=torch.float64).float()

    wide, out_wide = (8, 8) if by_kernel else (6, 4)
    q, k, v = normal(rows, heads, tokens, wide), *(normal(rows, kv_heads, tokens, n) for n in (wide, out_wide))
    prefix = (normal(prompts, kv_heads, before, wide), normal(prompts, kv_heads, before, out_wide))
    padding = (
        torch.randint(0, before + tokens, (prompts,), generator=draw)
        if padded
        else torch.zeros(prompts, dtype=torch.long)
    )
    visible = torch.arange(before + tokens) >= padding[:, None]
    how = {"sliding_window": window, "softcap": softcap, "scaling": scaling, "s_aux": normal(heads) if sinks else None}
    tape = Tape(
        prefix={7: prefix} if before else {},
        masks=Masks(visible[:, :before], visible[:, before:]) if padded else Masks(),
        keep=True,
    )
    with playing(tape), patch.object(fused, "DEVICES", {"cpu"} if by_kernel else set()):
        assert (fused.kernels(q, k, v) is not None) == by_kernel
        out, weights = shared_prefix_attention(layer(7), q, k, v, None, dropout=0.0, **how)
    assert weights is None
    assert out.shape == (rows, tokens, heads, out_wide)
    assert tape.keys_values[7][0] is k
    for c in range(continuations):
        for b in range(prompts):
            r = c * prompts + b
            keys, values = (
                torch.cat([prefix[n][b], own[r]], 1).repeat_interleave(groups, 0) for n, own in enumerate((k, v))
            )
            wanted = by_hand(q[r], keys, values, visible[b], before, **how).transpose(0, 1)
            seen = visible[b, before:]  # what padding itself attends to is nobody's concern
            torch.testing.assert_close(out[r][seen], wanted[seen], rtol=1e-4, atol=1e-5)
            assert out.isfinite().all()


def test_large_scores_neither_overflow_nor_drown_the_other_part() -> None:
    """The two parts are merged by their common maximum; whichever holds it, the other keeps its share."""
    q = torch.full((1, 1, 1, 1), 1.0)
    for own, past in ((200.0, 199.0), (199.0, 200.0), (-300.0, -299.0)):
        k, v = torch.full((1, 1, 1, 1), own), torch.full((1, 1, 1, 1), 1.0)
        prefix = (torch.full((1, 1, 1, 1), past), torch.full((1, 1, 1, 1), 0.0))
        with playing(Tape(prefix={0: prefix})):
            out, _ = shared_prefix_attention(layer(0), q, k, v)
        assert out.item() == pytest.approx(torch.tensor(own - past).sigmoid().item(), rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_merged_in_float32(dtype: torch.dtype) -> None:
    draw = torch.Generator().manual_seed(0)
    q, k, v, before_k, before_v = (torch.randn(1, 1, n, 8, generator=draw).to(dtype) for n in (1, 1, 1, 500, 500))

    def attend(*tensors: Tensor) -> Tensor:
        own_q, own_k, own_v, *prefix = tensors
        with playing(Tape(prefix={0: tuple(prefix)})):
            return shared_prefix_attention(layer(0), own_q, own_k, own_v)[0]

    half = attend(q, k, v, before_k, before_v)
    wanted = attend(*(x.float() for x in (q, k, v, before_k, before_v)))
    assert half.dtype == dtype
    assert (half - wanted).abs().max() < 2 * torch.finfo(dtype).eps * wanted.abs().max()
    # Weights of one each, as they are before they are divided, would sum to more than float16 can hold.
    alike = [torch.zeros_like(x) for x in (q, k)], [torch.full_like(x, 200.0) for x in (v, before_v)]
    out = attend(*alike[0], alike[1][0], torch.zeros_like(before_k), alike[1][1])
    assert torch.full((501,), 200.0).sum() > torch.finfo(torch.float16).max
    torch.testing.assert_close(out, torch.full_like(out, 200.0), rtol=torch.finfo(dtype).eps, atol=0)


def test_without_a_tape_there_is_no_silent_default() -> None:
    x = torch.zeros(1, 1, 1, 1)
    with pytest.raises(LookupError):
        shared_prefix_attention(layer(0), x, x, x)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("size", [1.0, 10.0, 30.0])
def test_half_precision_is_as_exact_as_a_fused_kernel(dtype: torch.dtype, size: float) -> None:
    """Scores up to several hundred: rounded to half precision before the softmax they would be off by ones."""
    draw = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, h, 48, 32, generator=draw) for h in (4, 2, 2))
    q, k, v = (q * size).to(dtype), (k + (size > 1) * torch.randn(32, generator=draw)).to(dtype), v.to(dtype)
    wide_k, wide_v = (x.repeat_interleave(2, 1) for x in (k, v))

    def fused(dtype: torch.dtype) -> Tensor:
        out = torch.nn.functional.scaled_dot_product_attention(
            q.to(dtype), wide_k.to(dtype), wide_v.to(dtype), is_causal=True
        )
        return out.transpose(1, 2).double()

    def rounded() -> Tensor:
        scores = (q @ wide_k.mT) * 32**-0.5
        weights = scores.masked_fill(torch.ones(48, 48, dtype=torch.bool).triu(1), -torch.inf).float().softmax(-1)
        return (weights.to(dtype) @ wide_v).transpose(1, 2).double()

    with playing(Tape()):
        out, _ = shared_prefix_attention(layer(0), q, k, v)
    off, of_kernel, of_rounded = (
        float((x.double() - fused(torch.float64)).square().mean().sqrt()) for x in (out, fused(dtype), rounded())
    )
    assert off < 1.5 * of_kernel
    if size >= 10:
        assert off < of_rounded / 3
