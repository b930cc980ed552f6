"""The selfrep model that stands for a `TransformerBridge`, and the check that it does.

A bridge wraps its modules in hook points; the engine needs them bare. So a model with bare modules is built once, on
the same weights. It is kept as long as the bridge exists and its weights are neither moved nor edited.
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

from selfrep.engine.reference import Mismatch
from selfrep.errors import SelfrepError
from selfrep.interop.cells import Cache, CellKind, Index
from selfrep.interop.metrics import Rule
from selfrep.models.language_model import LanguageModel
from selfrep.models.loading import load_model

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 6e-2, torch.float16: 1e-2}
"""How far numbers may be from TransformerLens's, relative to max(1, |number|). A bridge rounds scores to the model's
precision before the softmax, and logits before a metric, so that in half precision its own noise is the larger one."""
CHECKED = 2
"""How many cells of each kind TransformerLens computes too."""


@dataclass(frozen=True)
class Twin:
    """A selfrep model on the weights of a bridge.

    Attributes:
        stamp: changes when a weight is moved or edited.
        lm: the model; checked: the kinds of sweep that have been checked on it.

    Example: see `twin_of`.
    """

    stamp: tuple[tuple[int, int], ...]
    lm: LanguageModel
    checked: set[object] = field(default_factory=set)


_twins: WeakKeyDictionary[nn.Module, Twin] = WeakKeyDictionary()


def twin_of(bridge: TransformerBridge) -> Twin:
    """The selfrep model on the weights of a bridge; the same object until they are moved or edited.

    Raises:
        SelfrepError: no bridge, one without its own weights, or one with hooks, which a replay would ignore.

    Example:
        >>> import torch
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> config = LlamaConfig(vocab_size=16, hidden_size=8, intermediate_size=16, num_hidden_layers=2,
        ...                      num_attention_heads=2, num_key_value_heads=2)
        >>> bridge = load_model(LlamaForCausalLM(config)).bridge
        >>> twin_of(bridge).lm.n_layers, twin_of(bridge) is twin_of(bridge)
        (2, True)
    """
    hooked = [name for name, point in getattr(bridge, "hook_dict", {}).items() if point.fwd_hooks]
    if hooked:
        raise SelfrepError(
            f"A replay runs a model without its hook points; this one has hooks of its own at {hooked[:3]}. "
            "bridge.reset_hooks() removes them."
        )
    twin = _twins.get(bridge) if isinstance(bridge, nn.Module) else None
    if twin is None or twin.stamp != _stamp(bridge):
        lm = load_model(bridge)
        twin = _twins[bridge] = Twin(_stamp(bridge), lm)
    return twin


def _stamp(bridge: TransformerBridge) -> tuple[tuple[int, int], ...]:
    """Changes when a weight is moved elsewhere or written to."""
    weights: Any = nn.Module.parameters(bridge.original_model)
    return tuple((w.data_ptr(), 0 if w.is_inference() else w._version) for w in weights)


@torch.no_grad()
def verify(
    bridge: TransformerBridge,
    tokens: Tensor,
    kind: CellKind,
    cache: Cache,
    rules: Sequence[Rule],
    cells: Sequence[Index],
    values: Tensor,
    baseline: Tensor,
) -> None:
    """Check a kind of sweep the first time that a bridge runs it: the unpatched run and two cells are computed by the
    bridge too, with TransformerLens's own setters, and must agree.

    Args:
        bridge: the model; tokens: [batch, pos] corrupted ids; kind: what the cells write.
        cache: the clean activations; rules: the metrics; cells: as TransformerLens counts.
        values: [metric, cell, batch], patched; baseline: [metric, batch], unpatched.

    Raises:
        Mismatch: the message has the cell and both numbers.

    Example: see `selfrep.interop.generic.generic_activation_patch`, which calls it.
    """
    owner = twin_of(bridge)
    key = kind.activation, kind.axes
    if key in owner.checked:
        return
    sample = np.random.default_rng(0).choice(len(cells), size=min(CHECKED, len(cells)), replace=False)
    for c in (None, *sample.tolist()):
        hooks: list[Any] = []
        if c is not None:
            name = kind.hook_name(cells[c][0])
            hooks = [(name, partial(_set, kind, cells[c], cache[name]))]
        logits = bridge.run_with_hooks(tokens, fwd_hooks=hooks)
        theirs = torch.stack([rule(logits) for rule in rules]).cpu()
        ours = baseline if c is None else values[:, c]
        close = (ours - theirs).abs() <= TOLERANCE[owner.lm.dtype] * theirs.abs().clamp(min=1)
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


def _set(kind: CellKind, index: Index, clean: Tensor, corrupted: Tensor, hook: Any) -> Tensor:
    return kind.setter(corrupted, index, clean)
