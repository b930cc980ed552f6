"""Walks, below the level of pairs and plans."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.tiny import N_LAYERS, hooked, logits, module_at, ragged, tiny, values_at

from selfrep.engine.replay.recording import record
from selfrep.engine.replay.walk import PatchedRun, walk, write_site

FAMILIES = ("llama", "gemma3_text", "gpt2", "olmo2", "gpt_neox")


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), family=st.sampled_from(FAMILIES), start=st.integers(0, 7))
def test_the_whole_stream_of_another_prompt_makes_it_that_prompt(seed: int, family: str, start: int) -> None:
    """From whatever block it joins in; from wherever the two prompts part; in rows with and without padding."""
    lm = tiny(family)
    target, source = ragged([8, 8], seed=seed), ragged([8, 8], seed=seed + 1)
    source[:, :start] = target[:, :start]
    if start == 7:
        target[1, :3] = source[1, :3] = -1
    assume(not (source == target).all(1).any())
    kept, other = (record(lm, ids.clamp(min=0), ids >= 0) for ids in (target, source))
    everything = torch.ones(2, 8 - start, dtype=torch.bool)
    entries = [PatchedRun(block, everything, other.residuals[block][:, start:]) for block in (N_LAYERS, 0, 2, 1)]
    for reads in (1, 3, 8):  # also tokens before the walk's start, at which nothing has changed
        ends = lm.logits(walk(lm, kept, start, entries, reads=reads))[..., 7]
        for b, (row, own) in enumerate(zip(source, target, strict=True)):
            n = min(reads, int((row >= 0).sum()))
            wanted = logits(lm.hf, row[row >= 0])[-n:, 7]
            torch.testing.assert_close(ends[:, b, -n:], wanted.expand(4, n), rtol=1e-4, atol=1e-4)
            assert reads > 1 or (wanted - logits(lm.hf, own[own >= 0])[-1, 7]).abs() > 1e-4


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("start", [0, 2])
def test_a_value_written_inside_a_block_leaves_it_as_in_the_plain_model(family: str, start: int) -> None:
    lm, ids, others = tiny(family), ragged([8, 5], seed=3), ragged([8, 5], seed=4)
    kept = record(lm, ids.clamp(min=0), ids >= 0, start=start)
    for site in set(lm.layout.taps) & {"attn_out", "mlp_out"}:
        values = record(lm, others.clamp(min=0), others >= 0, start=start, sites=[site]).sites[site][1]
        (leaving,) = write_site(lm, kept, site, 1, values)
        for b, row in enumerate(ids):
            own = row[row >= 0]
            new = values[b, -min(len(own), 8 - start) :]

            def change(x: torch.Tensor, new: torch.Tensor = new) -> torch.Tensor:
                return torch.cat([x[:, : -len(new)], new[None]], 1)

            with hooked(*module_at(lm.hf, family, site, 1), change):
                plain = values_at(lm.hf, family, "resid_post", 1, own)
            torch.testing.assert_close(leaving[b, -len(new) :], plain[-len(new) :], rtol=1e-4, atol=1e-4)
