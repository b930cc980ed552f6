"""TransformerLens's cells: which activation is written, and what the numbers of an index mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformer_lens import patching
from transformer_lens.utilities.components_utils import get_act_name

from selfrep.errors import SelfrepError
from selfrep.models.sites import HEAD_SITES, RESIDUAL_SITES

Cache = Mapping[str, Tensor] | Any
"""Hook name → activation [batch, pos, ...]: an `ActivationCache`, or a plain dictionary."""
Index = tuple[int, ...]
"""One cell, as TransformerLens counts: layer first, positions from the start."""
Setter = Callable[[Tensor, Sequence[int], Tensor], Tensor]
"""Corrupted activation, index, clean activation → what is written."""
PATTERN = "pattern"

_SERVED: dict[Any, tuple[tuple[str, ...], tuple[str, ...]]] = {
    patching.layer_pos_patch_setter: (RESIDUAL_SITES, ("layer", "pos")),
    patching.layer_pos_head_vector_patch_setter: (HEAD_SITES, ("layer", "pos", "head")),
    patching.layer_head_vector_patch_setter: (HEAD_SITES, ("layer", "head")),
    patching.layer_head_pattern_patch_setter: ((PATTERN,), ("layer", "head")),
    patching.layer_head_pos_pattern_patch_setter: ((PATTERN,), ("layer", "head", "pos")),
    patching.layer_head_dest_src_pos_pattern_patch_setter: ((PATTERN,), ("layer", "head", "pos", "src")),
}
"""Patch setter → the activations at which it is served, and what its index means."""


@dataclass(frozen=True)
class Kind:
    """What the cells of a sweep write.

    Attributes:
        activation: TransformerLens's short name: resid_pre, …, z, q, k, v, or pattern.
        axes: what the numbers of an index mean: layer, then some of pos, head, src. Without pos, all positions at once.
        setter: TransformerLens's function that writes one cell.
    """

    activation: str
    axes: tuple[str, ...]
    setter: Setter

    @property
    def site(self) -> str:
        """Where the engine writes it."""
        return "z" if self.activation == PATTERN else self.activation

    def hook_name(self, layer: int) -> str:
        """TransformerLens's full name of the activation at a layer."""
        return get_act_name(self.activation, layer)

    def named(self, index: Index) -> str:
        """A cell in words."""
        return ", ".join(f"{axis} {i}" for axis, i in zip(self.axes, index, strict=True))


def kind_of(setter: Setter, activation: str) -> Kind | None:
    """What a patch setter writes at an activation; None where the engine does not serve the two."""
    sites, axes = _SERVED.get(setter, ((), ()))
    return Kind(activation, axes, setter) if activation in sites else None


def cells_of(rows: Any, kind: Kind, n_tokens: int) -> list[Index]:
    """The rows of a DataFrame as cells, positions counted from the start.

    Raises:
        SelfrepError: another number of columns than the setter takes, no rows, positions that the prompts do not have.
    """
    if rows.shape[1] != len(kind.axes) or not len(rows):
        raise SelfrepError(
            f"A cell of this patch setter is ({', '.join(kind.axes)}); the index has columns {list(rows.columns)} and "
            f"{len(rows)} rows."
        )
    cells = [tuple(int(i) for i in row) for row in rows.itertuples(index=False)]
    for c, axis in enumerate(kind.axes):
        if axis in ("pos", "src"):
            if bad := sorted({cell[c] for cell in cells if not -n_tokens <= cell[c] < n_tokens}):
                raise SelfrepError(f"A position of these prompts is one of 0 … {n_tokens - 1}; the index has {bad}.")
            cells = [(*cell[:c], cell[c] % n_tokens, *cell[c + 1 :]) for cell in cells]
    return cells
