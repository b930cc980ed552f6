"""One pass over a batch of prompts, and all of it that a replay needs again.

Kept are the residual stream that enters each block, the arguments that the block was called with beside it, and the
keys and values of every token; they stand in for the tokens and blocks that a patch cannot change.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from selfrep.engine import hooks
from selfrep.engine.plan import STREAM
from selfrep.engine.replay.attention import KeysValues, Tape, playing, shared_prefix_attention
from selfrep.engine.replay.masks import Masks
from selfrep.engine.replay.matmul import quick_products
from selfrep.errors import CannotReplay
from selfrep.models.language_model import LanguageModel

Call = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True)
class Recording:
    """One unpatched pass over a batch of right-aligned prompts.

    What lies between blocks is on the model's own device, keys and values are where their block computes.

    Attributes:
        start: the first column whose residual stream was kept; residuals[l][:, j] belongs to column start + j.
        residuals: n_layers + 1 tensors [row, token, d_model]: what enters each block, and what leaves the last.
        sites: activations of sites inside blocks, site → per layer [row, token, d_model], or [row, token, component,
            feature] for heads and neurons. The sites between blocks are in `residuals`.
        final: [row, column, d_model] what leaves the last block, at all columns.
        keys_values: per layer, all columns; empty when they were not kept.
        visible: [row, column], False at left padding; None when there is none.
        padding: how many columns on the left hold padding in some row.
        calls: per block, the arguments (positional, by name) it was called with beside the residual stream.
        width: how many columns were run.
    """

    start: int
    residuals: list[Tensor]
    sites: dict[str, list[Tensor]]
    final: Tensor
    keys_values: dict[int, KeysValues]
    visible: Tensor | None
    padding: int
    calls: list[Call]
    width: int

    @property
    def rows(self) -> int:
        """How many prompts were recorded."""
        return len(self.residuals[0])

    def at(self, site: str, layer: int) -> Tensor:
        """What passes at a place: [row, token, d_model], or [row, token, component, feature]."""
        return self.residuals[layer + (site == "resid_post")] if site in STREAM else self.sites[site][layer]


@torch.no_grad()
def record(
    lm: LanguageModel,
    ids: Tensor,
    real: Tensor,
    start: int = 0,
    sites: Sequence[str] = (),
    *,
    keys_values: bool = True,
) -> Recording:
    """Run prompts once and keep what replays need.

    Args:
        ids: [row, column] token ids, right-aligned; anything at padding.
        real: [row, column] bool, False at left padding.
        start: the first column whose residual stream is kept.
        sites: further sites to keep.
        keys_values: whether to keep keys and values, which only prompts that are continued or patched need.

    Raises:
        CannotReplay: an architecture whose blocks do not attend through a function that can be replaced; hooks of
            others.
    """
    lm.require_replay()
    positions = (real.cumsum(1) - 1).clamp(min=0)
    padding = int((~real).sum(1).max())  # read once: a walk must not wait for the device
    visible = real if padding else None
    tape = Tape(masks=Masks(own_visible=visible), keep=True)
    residuals: list[Tensor] = []
    kept: dict[str, list[Tensor]] = {site: [] for site in sites}
    calls: list[Call] = []
    final: list[Tensor] = []

    def enter(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        by_name = {k: v for k, v in kwargs.items() if k != "hidden_states"}
        residuals.append(_tail(args[0] if args else kwargs["hidden_states"], start).to(ids.device))
        calls.append((args[1:], by_name))

    def keep(place: hooks.Place, x: Tensor) -> None:
        kept[place[0]].append(_tail(x, start).to(ids.device))

    with ExitStack() as stack:
        for block in lm.blocks:
            stack.enter_context(hooks.calling_before(block, enter))
        stack.enter_context(hooks.hearing(lm, [(site, layer) for site in sites for layer in range(lm.n_layers)], keep))
        stack.enter_context(hooks.listening(lm.blocks[-1], "out", final.append))
        stack.enter_context(lm.attention(shared_prefix_attention))
        stack.enter_context(playing(tape))
        stack.enter_context(quick_products(ids.device, ids.numel()))
        lm.hf.base_model(input_ids=ids, position_ids=positions, use_cache=False)
    if silent := sorted(set(range(lm.n_layers)) - set(tape.keys_values)):
        raise CannotReplay(f"selfrep replays blocks by their attention; these of {lm.name} have none: {silent}.")
    last = final[0].to(ids.device)
    residuals.append(last[:, start:])
    keys = tape.keys_values if keys_values else {}
    return Recording(start, residuals, kept, last, keys, visible, padding, calls, ids.shape[1])


def _tail(x: Tensor, start: int) -> Tensor:
    """The columns from `start` on, without holding on to the others."""
    return x if start == 0 else x[:, start:].clone()
