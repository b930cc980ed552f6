"""Exact patched runs at a fraction of their cost: record a prompt once, then replay only what a patch changes.

A patch at block L and position p changes nothing before either. So the blocks before L are never run again, and the
tokens before p enter only as recorded keys and values. All cells that start at the same position share one *walk* up
the blocks: at block L the rows patched there join in, starting from the recorded residual stream.

Every site reduces to the same walk. A value written inside block L at position p (an attention output, a head's query,
an MLP output) reaches the rest of the network only through the residual stream that leaves block L at p; block L alone
is run for it, and the walk begins at block L + 1. Keys and values are read by later tokens too: they are rewritten
while block L runs. Another prefix changes no token of the walk, only what it attends to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from selfrep.engine import hooks
from selfrep.engine.replay.arguments import Arguments
from selfrep.engine.replay.attention import KeysValues, Tape, opaque_attention, playing, shared_prefix_attention
from selfrep.engine.replay.masks import Masks
from selfrep.engine.replay.matmul import quick_products
from selfrep.engine.replay.recording import Call, Recording
from selfrep.models.language_model import LanguageModel


@dataclass(frozen=True)
class Rewrite:
    """Keys and values that are written while the first block of a patched run is at work, at the tokens it patches.

    keys, values: [row, head, token, d_head], tokens as in the run's mask.
    """

    keys: Tensor
    values: Tensor


@dataclass(frozen=True)
class PatchedRun:
    """A patched run that joins a walk at `block`.

    Attributes:
        mask: [row, token] bool, which tokens are patched; in a walk counted from its start.
        values: [row, token, d_model] the residual stream that those tokens take; None leaves the recorded one.
        rewrite: what is written into the keys or values of those tokens in that block.
        source_layers: the blocks in which this run reads the prefix of the donor.
    """

    block: int
    mask: Tensor
    values: Tensor | None = None
    rewrite: Rewrite | None = None
    source_layers: range = range(0)

    def later(self, first: int) -> PatchedRun:
        """The same in a walk that starts `first` tokens later."""
        values, rewrite = self.values, self.rewrite
        if values is not None:
            values = values[:, first:]
        if rewrite is not None:
            rewrite = Rewrite(rewrite.keys[:, :, first:], rewrite.values[:, :, first:])
        return replace(self, mask=self.mask[:, first:], values=values, rewrite=rewrite)


@torch.no_grad()
def walk(
    lm: LanguageModel,
    base: Recording,
    start: int,
    runs: Sequence[PatchedRun],
    *,
    reads: int = 1,
    chunk_tokens: int = 768,
    donor: Recording | None = None,
) -> Tensor:
    """Replay patched runs from column `start` on.

    Args:
        base: the recording that is patched.
        start: the first column that any run changes.
        runs: the patched runs; any order.
        reads: how many tokens at the end are read out.
        chunk_tokens: how many tokens are pushed through a block at once, at most (but one run at the least).
        donor: whose prefix the runs read in the blocks they name; of the same width as `base`.

    Returns:
        The residual stream after the last block at those tokens, [run, row, reads, d_model].
    """
    place: dict[int, int] = {}  # runs that write the same values stand together
    ranks = [place.setdefault(id(run.values), len(place)) for run in runs]
    order = sorted(range(len(runs)), key=lambda i: (runs[i].block, -runs[i].source_layers.stop, ranks[i]))
    in_order = [runs[i] for i in order]
    buffer = _entering(base, in_order, start - base.start)
    step = max(1, chunk_tokens // (buffer.shape[1] * buffer.shape[2]))
    most = min(step, len(runs))
    tapes = {False: _prefix_tape(base, start, runs=most), True: _prefix_tape(base, start, donor, runs=most)}
    cut = Arguments(start, base.width, base.width, base.rows, most)
    *early, last = range(lm.n_layers)
    ends = buffer[:, :, -reads:]  # what joins behind the last block is final
    with lm.attention(opaque_attention() if lm.compile else shared_prefix_attention):
        for layer in early:
            for piece, tape in _pieces(in_order, layer, step, tapes, base.rows):
                chunk = buffer[piece]
                with playing(tape):
                    chunk.copy_(_through(lm.quick_blocks[layer], base.calls[layer], chunk, start, base.width, cut=cut))
        for piece, tape in _pieces(in_order, last, step, tapes, base.rows):
            ends[piece] = _ends(lm, base, last, buffer[piece], start, reads, tape)
    if (missing := reads - ends.shape[2]) > 0:  # read before the walk's start: nothing has changed there
        before = base.final[:, -reads : -(reads - missing)]
        ends = torch.cat([before.expand(len(ends), *before.shape), ends], dim=2)
    if order == sorted(order):
        return ends.clone()  # and let go of the rest of the buffer
    return ends[torch.tensor(order).argsort().to(ends.device)]


def _pieces(
    in_order: Sequence[PatchedRun], layer: int, step: int, tapes: dict[bool, Tape], rows: int
) -> Iterator[tuple[slice, Tape]]:
    """The runs that have joined by this block, cut where what they attend to differs, and to chunks."""

    def kind(i: int) -> tuple[bool, bool]:
        run = in_order[i]
        return layer in run.source_layers, run.rewrite is not None and run.block == layer

    present = [i for i, run in enumerate(in_order) if run.block <= layer]
    for (from_donor, rewrites), group in groupby(present, kind):
        members = list(group)
        for at in range(members[0], members[-1] + 1, step):
            piece = slice(at, min(at + step, members[-1] + 1))
            tape = tapes[from_donor]
            yield piece, replace(tape, rewrite=_Rewriter(in_order[piece], rows)) if rewrites else tape


@dataclass(frozen=True)
class _Rewriter:
    """Writes the keys and values of each run into those that its rows computed, over some of the tokens."""

    runs: Sequence[PatchedRun]
    rows: int
    tokens: slice = field(default_factory=lambda: slice(None))

    def __call__(self, key: Tensor, value: Tensor) -> KeysValues:
        """Both [run × row, head, token, d_head]."""
        out = []
        for tensor, which in ((key, "keys"), (value, "values")):
            parts = rearrange(tensor.clone(), "(c b) h t d -> c b h t d", b=self.rows)
            for own, run in zip(parts, self.runs, strict=True):
                new, mask = getattr(run.rewrite, which)[:, :, self.tokens], run.mask[:, None, self.tokens, None]
                own.copy_(torch.where(mask.to(own.device), new.to(own), own))
            out.append(rearrange(parts, "c b h t d -> (c b) h t d"))
        return out[0], out[1]


def _ends(lm: LanguageModel, base: Recording, layer: int, x: Tensor, start: int, reads: int, tape: Tape) -> Tensor:
    """Block `layer` on [run, row, token, d_model], computed for the last `reads` tokens only.

    Nothing reads the other tokens after the last block but these tokens' attention. So they are taken through it
    only as far as their keys and values, which then stand before the tokens that are read like any prefix.
    """
    block, call, cut = lm.blocks[layer], base.calls[layer], x.shape[2] - reads
    if cut <= 0:
        with playing(tape):
            return _through(block, call, x, start, base.width)
    early, late = (
        replace(tape.rewrite, tokens=tokens) if isinstance(tape.rewrite, _Rewriter) else None
        for tokens in (slice(0, cut), slice(cut, None))
    )
    own = Tape(keep=True, stop=True, rewrite=early)
    with playing(own), suppress(hooks.EndOfPass):
        _through(block, call, x[:, :, :cut], start, base.width, tokens=cut)
    before = tape.prefix.get(layer)
    keys, values = own.keys_values[layer]
    if before is not None:
        keys, values = (
            torch.cat([shared.repeat(len(x), 1, 1, 1), new], dim=2)
            for shared, new in zip(before, (keys, values), strict=True)
        )
    visible = None if base.visible is None else base.visible[:, :-reads].repeat(len(x), 1)
    with playing(Tape({layer: (keys, values)}, Masks(visible), late)):
        return _through(block, call, x[:, :, cut:], base.width - reads, base.width)


@torch.no_grad()
def write_site(
    lm: LanguageModel, base: Recording, site: str, layer: int, values: Tensor, components: Sequence[int] | None = None
) -> Tensor:
    """The residual stream that leaves block `layer` when `site` takes `values`, at each kept column on its own.

    What is written at one token inside a block (but for its keys and values) leaves the block at that token alone, so
    all columns are done in one call, and every component in the same.

    Args:
        values: [row, token, d_model] for the columns from `base.start` on; [row, token, component, feature] for heads
            and neurons.
        components: which of them are written, each on its own; None for a site that has none.

    Returns:
        [component, row, token, d_model], of a single one for a site that has none.
    """
    return _with_written(lm, base, site, layer, values, components, _prefix_tape(base, base.start))


@torch.no_grad()
def rewrite_keys_values(
    lm: LanguageModel, base: Recording, site: str, layer: int, values: Tensor, components: Sequence[int]
) -> list[Rewrite]:
    """Keys and values of the kept columns in block `layer`, as attention gets them, when k or v takes `values`.

    All heads of them, since an architecture may normalise keys across heads.

    Args:
        values: [row, token, head, d_head], before normalisation and rotary positions.
        components: which heads are written, each on its own.

    Returns:
        One for each component, for the kept tokens.
    """
    own = Tape(keep=True, stop=True)
    with suppress(hooks.EndOfPass):
        _with_written(lm, base, site, layer, values, components, own)
    keys, new = (rearrange(x, "(c b) h t d -> c b h t d", c=len(components)) for x in own.keys_values[layer])
    return [Rewrite(k, v) for k, v in zip(keys, new, strict=True)]


def _with_written(
    lm: LanguageModel,
    base: Recording,
    site: str,
    layer: int,
    values: Tensor,
    components: Sequence[int] | None,
    tape: Tape,
) -> Tensor:
    """What leaves block `layer` when a site takes `values`, each component on its own: [component, row, token, d]."""
    module, tap = lm.tap(site, layer)
    x = base.residuals[layer][None].expand(len(components or (0,)), -1, -1, -1)

    def change(passing: Tensor) -> Tensor:
        if site == "resid_mid":  # in place, since what enters the norm also goes past it
            return passing.copy_(values)
        if tap.part is None or components is None:
            return values.to(passing)
        parts = rearrange(tap.part.read(passing), "(c b) t n f -> c b t n f", c=len(components)).clone()
        for one, component in zip(parts, components, strict=True):
            one[:, :, component] = values[:, :, component].to(passing)
        return tap.part.write(passing, rearrange(parts, "c b t n f -> (c b) t n f"))

    with ExitStack() as stack:
        stack.enter_context(hooks.replacing(module, tap.end, change))
        stack.enter_context(lm.attention(shared_prefix_attention))
        stack.enter_context(playing(tape))
        return _through(lm.blocks[layer], base.calls[layer], x, base.start, base.width)


def push(lm: LanguageModel, base: Recording, layer: int, x: Tensor, start: int) -> Tensor:
    """Block `layer` on [run, row, token, d_model], tokens from column `start` on; gradients go through it."""
    with lm.attention(shared_prefix_attention), playing(_prefix_tape(base, start)):
        return _through(lm.blocks[layer], base.calls[layer], x, start, base.width, tokens=x.shape[2])


def _entering(base: Recording, runs: Sequence[PatchedRun], first: int) -> Tensor:
    """[run, row, token, d_model] the tokens of each run as it joins: as recorded, but for those that it writes."""
    masks = torch.stack([run.mask for run in runs])[..., None]
    like = base.residuals[0][:, first:]
    out = like.new_empty(len(runs), *like.shape)
    at = 0
    for (block, _), alike in groupby(runs, lambda run: (run.block, id(run.values))):
        piece = slice(at, at := at + len(list(alike)))
        own, values = base.residuals[min(block, len(base.residuals) - 1)][:, first:], runs[piece.start].values
        if values is None:
            out[piece] = own
        else:
            torch.where(masks[piece], values.to(own), own, out=out[piece])
    return out


def _prefix_tape(base: Recording, start: int, donor: Recording | None = None, runs: int = 1) -> Tape:
    before = None if base.visible is None or start == 0 else base.visible[:, :start]
    own = None if base.visible is None or start >= base.padding else base.visible[:, start:]
    masks = Masks(before, own, runs)
    if start == 0:
        return Tape(masks=masks)
    shared = (donor or base).keys_values
    return Tape({layer: (k[:, :, :start], v[:, :, :start]) for layer, (k, v) in shared.items()}, masks)


def _through(
    block: Any,
    call: Call,
    x: Tensor,
    start: int,
    width: int,
    *,
    tokens: int | None = None,
    cut: Arguments | None = None,
) -> Tensor:
    """Call a block on [run, row, token, d_model], with the recorded arguments cut to these columns and rows.

    A block on another device moves what it is given itself (see `selfrep.models.devices`); what it gives is moved back.
    """
    n_runs, n_rows = x.shape[:2]
    cut = cut or Arguments(start, width if tokens is None else start + tokens, width, n_rows)
    args, kwargs = call
    args = tuple(cut.cut(value, n_runs) for value in args)
    kwargs = {name: cut.cut(value, n_runs) for name, value in kwargs.items()}
    own_code = isinstance(block, nn.Module)  # a compiled one has settled how it multiplies
    with quick_products(x.device, x.shape[:3].numel() if own_code else 0):
        out = block(rearrange(x, "c b t d -> (c b) t d"), *args, **kwargs)
    out = out[0] if isinstance(out, tuple) else out
    return rearrange(out.to(x.device), "(c b) t d -> c b t d", b=n_rows)
