"""The selfrep model that stands for a `TransformerBridge`, and the check that it does.

A bridge wraps its modules in hook points; the engine wants them bare. So a bridge is taken apart once, on the same
weights, and what came of it is kept for as long as the bridge lives and its weights are neither moved nor edited.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from selfrep.engine import reference
from selfrep.engine.reference import Mismatch
from selfrep.errors import SelfrepError
from selfrep.interop.cells import Cache, Index, Kind
from selfrep.interop.metrics import Rule
from selfrep.models.language_model import LanguageModel, load_model

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

CHECKED = 2
"""How many cells of each kind are run by TransformerLens too."""


@dataclass(frozen=True)
class Held:
    """What is kept for a bridge: a selfrep model on its weights, and the kinds of sweep that were checked on it."""

    stamp: tuple[tuple[int, int], ...]
    lm: LanguageModel
    checked: set[object] = field(default_factory=set)


_held: WeakKeyDictionary[nn.Module, Held] = WeakKeyDictionary()


def held(bridge: TransformerBridge) -> Held:
    """A selfrep model on the weights of a bridge; the same one again until they are moved or edited.

    Raises:
        SelfrepError: no bridge, one that cannot be taken apart, or one with hooks, which a replay would not feel.
    """
    hooked = [name for name, point in getattr(bridge, "hook_dict", {}).items() if point.fwd_hooks]
    if hooked:
        raise SelfrepError(
            f"A replay runs a model without its hook points; this one has hooks of its own at {hooked[:3]}. "
            "bridge.reset_hooks() removes them."
        )
    found = _held.get(bridge) if isinstance(bridge, nn.Module) else None
    if found is None or found.stamp != _stamp(bridge):
        lm = load_model(bridge)
        found = _held[bridge] = Held(_stamp(bridge), lm)
    return found


def _stamp(bridge: TransformerBridge) -> tuple[tuple[int, int], ...]:
    """Changes when a weight is moved elsewhere or written to."""
    weights: Any = nn.Module.parameters(bridge.original_model)
    return tuple((w.data_ptr(), 0 if w.is_inference() else w._version) for w in weights)


@torch.no_grad()
def verify(
    bridge: TransformerBridge,
    tokens: Tensor,
    kind: Kind,
    cache: Cache,
    rules: Sequence[Rule],
    cells: Sequence[Index],
    values: Tensor,
    baseline: Tensor,
) -> None:
    """The first time a bridge is asked for this kind of sweep: the unpatched run and two cells, run by the bridge and
    written by TransformerLens's own setters, must say the same.

    Args:
        values: [metric, cell, batch]; baseline: [metric, batch].

    Raises:
        Mismatch: naming the cell and both numbers.
    """
    owner = held(bridge)
    key = kind.activation, kind.axes
    if key in owner.checked:
        return
    picked = np.random.default_rng(0).choice(len(cells), size=min(CHECKED, len(cells)), replace=False)
    for c in (None, *picked.tolist()):
        hooks: list[Any] = []
        if c is not None:
            name = kind.hook_name(cells[c][0])
            hooks = [(name, partial(_set, kind, cells[c], cache[name]))]
        logits = bridge.run_with_hooks(tokens, fwd_hooks=hooks)
        theirs = torch.stack([rule(logits) for rule in rules]).cpu()
        ours = baseline if c is None else values[:, c]
        close = (ours - theirs).abs() <= reference.TOLERANCE[owner.lm.dtype] * theirs.abs().clamp(min=1)
        close |= (ours == theirs) | (ours.isnan() & theirs.isnan())
        if not bool(close.all()):
            worst = int((~close).flatten().int().argmax())
            cell = "unpatched" if c is None else f"at {kind.named(cells[c])}"
            raise Mismatch(
                f"A replay must agree with TransformerLens. On {owner.lm.name}, {kind.activation} {cell}, it gives "
                f"{ours.flatten()[worst]:.6g} and bridge.run_with_hooks {theirs.flatten()[worst]:.6g}. Use "
                "transformer_lens.patching for this model."
            )
    owner.checked.add(key)


def _set(kind: Kind, index: Index, clean: Tensor, corrupted: Tensor, hook: Any) -> Tensor:
    return kind.setter(corrupted, index, clean)
