"""Exact patched runs at a fraction of their cost: record a prompt once, then replay only what a patch changes.

A patch at block L and position p changes nothing before either. So the blocks before L are never run again, and the
tokens before p enter only as recorded keys and values. All cells that start at the same position share one *walk* up
the blocks: at block L the rows patched there join in, starting from the recorded residual stream.

Every site reduces to the same walk. A value written inside block L at position p (an attention output, an MLP output)
reaches the rest of the network only through the residual stream that leaves block L at p; block L alone is run for
it, and the walk begins at block L + 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from selfrep.engine.attention import KeysValues, Recorded, Tape, playing, shared_prefix_attention
from selfrep.engine.hooks import listen, replace
from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel

CHUNK_TOKENS = {"cpu": 768}
"""Tokens pushed through a block at once. On a CPU the intermediate results should stay in its cache."""
CHUNK_TOKENS_ELSEWHERE = 32768


@dataclass(frozen=True)
class Recording:
    """One unpatched pass over a batch of right-aligned prompts.

    Attributes:
        start: the first column whose residual stream was kept; residuals[l][:, j] belongs to column start + j.
        residuals: n_layers + 1 tensors [row, token, d_model]: what enters each block, and what leaves the last.
        sites: activations of the sites asked for, site → per layer [row, token, d_model].
        keys_values: per layer, all columns.
        visible: [row, column], False at left padding; None when there is none.
        calls: per block, the arguments (positional, by name) it was called with beside the residual stream.
    """

    start: int
    residuals: list[Tensor]
    sites: dict[str, list[Tensor]]
    keys_values: dict[int, KeysValues]
    visible: Tensor | None
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]]
    width: int

    @property
    def rows(self) -> int:
        """How many prompts were recorded."""
        return len(self.residuals[0])


@dataclass(frozen=True)
class Entry:
    """A patched residual stream that joins a walk: at `block`, the tokens in `mask` take `values`."""

    block: int
    mask: Tensor  # [row, token] bool, tokens counted from the walk's start
    values: Tensor  # [row, token, d_model]


@torch.no_grad()
def record(lm: LanguageModel, ids: Tensor, real: Tensor, start: int = 0, sites: Sequence[str] = ()) -> Recording:
    """Run prompts once and keep what replays need.

    Args:
        ids: [row, column] token ids, right-aligned; anything at padding.
        real: [row, column] bool, False at left padding.
        start: the first column whose residual stream is kept.
        sites: further sites to keep.
    """
    positions = (real.cumsum(1) - 1).clamp(min=0)
    visible = None if bool(real.all()) else real
    tape = Tape(own_visible=visible, keep=True)
    residuals: list[Tensor] = []
    kept: dict[str, list[Tensor]] = {site: [] for site in sites}
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def enter(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        named = {k: v for k, v in kwargs.items() if k != "hidden_states"}
        residuals.append((args[0] if args else kwargs["hidden_states"])[:, start:])
        calls.append((args[1:], named))

    def keep(site: str, x: Tensor) -> None:
        kept[site].append(x[:, start:])

    with ExitStack() as stack:
        for layer, block in enumerate(lm.blocks):
            stack.callback(block.register_forward_pre_hook(enter, with_kwargs=True).remove)
            for site in sites:
                module, tap = lm.tap(site, layer)
                stack.callback(listen(module, tap.end, partial(keep, site)))
        stack.callback(listen(lm.blocks[-1], "out", lambda x: residuals.append(x[:, start:])))
        stack.enter_context(lm.attention(shared_prefix_attention))
        stack.enter_context(playing(tape))
        lm.hf.base_model(input_ids=ids, position_ids=positions, use_cache=False)
    if silent := sorted(set(range(lm.n_layers)) - set(tape.recorded)):
        raise SelfrepError(f"selfrep replays blocks by their attention; these of {lm.name} have none: {silent}.")
    return Recording(start, residuals, kept, tape.recorded, visible, calls, ids.shape[1])


@torch.no_grad()
def walk(
    lm: LanguageModel, base: Recording, start: int, entries: Sequence[Entry], read: Callable[[Tensor], Tensor]
) -> Tensor:
    """Replay patched runs from column `start` on.

    Args:
        base: the recording that is patched.
        start: the first column that any entry changes.
        entries: the patched runs; any order.
        read: the last token's residual stream after the last block [entry, row, d_model] → [entry, row], called chunk
            by chunk.

    Returns:
        [entry, row]
    """
    order = sorted(range(len(entries)), key=lambda i: entries[i].block)
    first = start - base.start
    buffer = torch.stack([_entering(base, entries[i], first) for i in order])
    blocks = torch.tensor([entries[i].block for i in order])
    tokens = buffer.shape[1] * buffer.shape[2]
    step = max(1, CHUNK_TOKENS.get(buffer.device.type, CHUNK_TOKENS_ELSEWHERE) // tokens)
    *early, last = range(lm.n_layers)
    with lm.attention(shared_prefix_attention):
        with playing(_prefix_tape(base, start)):
            for layer in early:
                active = int((blocks <= layer).sum())
                for at in range(0, active, step):
                    chunk = buffer[at : min(at + step, active)]
                    chunk.copy_(_through(lm.blocks[layer], base.calls[layer], chunk, start, base.width))
        out = []
        for at in range(0, len(order), step):
            chunk = buffer[at : at + step]
            ends = chunk[:, :, -1:].clone()
            if active := int((blocks[at : at + step] <= last).sum()):
                ends[:active] = _last_token(lm, base, last, chunk[:active], start)
            out.append(read(ends[:, :, 0]))
    values = torch.cat(out)
    result = torch.empty_like(values)
    result[order] = values
    return result


def _last_token(lm: LanguageModel, base: Recording, layer: int, x: Tensor, start: int) -> Tensor:
    """Block `layer` on [entry, row, token, d_model], computed for the last token only: [entry, row, 1, d_model].

    Nothing reads the other tokens after the last block but the last token's attention. So they are taken through it
    only as far as their keys and values, which then stand before the last token like any prefix.
    """
    block, call = lm.blocks[layer], base.calls[layer]
    if x.shape[2] == 1:
        with playing(_prefix_tape(base, start)):
            return _through(block, call, x, start, base.width)
    own = Tape(keep=True, stop=True)
    with playing(own), suppress(Recorded):
        _through(block, call, x[:, :, :-1], start, base.width, tokens=x.shape[2] - 1)
    before = _prefix_tape(base, start).prefix.get(layer)
    keys, values = own.recorded[layer]
    if before is not None:
        keys, values = (
            torch.cat([shared.repeat(len(x), 1, 1, 1), new], dim=2)
            for shared, new in zip(before, (keys, values), strict=True)
        )
    visible = None if base.visible is None else base.visible[:, :-1].repeat(len(x), 1)
    with playing(Tape(prefix={layer: (keys, values)}, prefix_visible=visible)):
        return _through(block, call, x[:, :, -1:], base.width - 1, base.width)


@torch.no_grad()
def written(lm: LanguageModel, base: Recording, site: str, layer: int, values: Tensor) -> Tensor:
    """The residual stream that leaves block `layer` when `site` takes `values`, at each kept column on its own.

    What is written at one token inside a block leaves the block at that token alone, so all columns are done in one
    call.

    Args:
        values: [row, token, d_model] for the columns from `base.start` on.

    Returns:
        [row, token, d_model]
    """
    module, tap = lm.tap(site, layer)
    with ExitStack() as stack:
        stack.callback(replace(module, tap.end, lambda _: values))
        stack.enter_context(lm.attention(shared_prefix_attention))
        stack.enter_context(playing(_prefix_tape(base, base.start)))
        return _through(lm.blocks[layer], base.calls[layer], base.residuals[layer][None], base.start, base.width)[0]


def _entering(base: Recording, entry: Entry, first: int) -> Tensor:
    return torch.where(entry.mask[..., None], entry.values, base.residuals[entry.block][:, first:])


def _prefix_tape(base: Recording, start: int) -> Tape:
    before, own = (None, None) if base.visible is None else (base.visible[:, :start], base.visible[:, start:])
    if own is not None and bool(own.all()):
        own = None
    if start == 0:
        return Tape(own_visible=own)
    prefix = {layer: (k[:, :, :start], v[:, :, :start]) for layer, (k, v) in base.keys_values.items()}
    return Tape(prefix=prefix, prefix_visible=before, own_visible=own)


def _through(
    block: Any,
    call: tuple[tuple[Any, ...], dict[str, Any]],
    x: Tensor,
    start: int,
    width: int,
    tokens: int | None = None,
) -> Tensor:
    """Call a block on [entry, row, token, d_model], with the recorded arguments cut to these columns and rows."""
    n_entries, n_rows = x.shape[:2]
    stop = width if tokens is None else start + tokens

    def cut(value: Any) -> Any:
        if isinstance(value, (tuple, list)):
            return type(value)(cut(v) for v in value)
        if not isinstance(value, Tensor):
            return value
        if value.ndim == 1 and len(value) == width:
            return value[start:stop]
        if value.ndim > 1 and value.shape[1] == width:
            value = value[:, start:stop]
            if len(value) == n_rows > 1:
                value = value.repeat(n_entries, *[1] * (value.ndim - 1))
        return value

    args, kwargs = call
    out = block(rearrange(x, "c b t d -> (c b) t d"), *map(cut, args), **{k: cut(v) for k, v in kwargs.items()})
    out = out[0] if isinstance(out, tuple) else out
    return rearrange(out, "(c b) t d -> c b t d", b=n_rows)
