"""TransformerLens's cells: which activation they write, and the meaning of the numbers of an index."""

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
"""Corrupted activation, index, clean activation → the patched activation."""
PATTERN = "pattern"

_SERVED: dict[Any, tuple[tuple[str, ...], tuple[str, ...]]] = {
    patching.layer_pos_patch_setter: (RESIDUAL_SITES, ("layer", "pos")),
    patching.layer_pos_head_vector_patch_setter: (HEAD_SITES, ("layer", "pos", "head")),
    patching.layer_head_vector_patch_setter: (HEAD_SITES, ("layer", "head")),
    patching.layer_head_pattern_patch_setter: ((PATTERN,), ("layer", "head")),
    patching.layer_head_pos_pattern_patch_setter: ((PATTERN,), ("layer", "head", "pos")),
    patching.layer_head_dest_src_pos_pattern_patch_setter: ((PATTERN,), ("layer", "head", "pos", "src")),
}
"""Patch setter → the activations for which the engine serves it, and the axes of its index."""


@dataclass(frozen=True)
class CellKind:
    """What the cells of a sweep write.

    Attributes:
        activation: TransformerLens's short name: resid_pre, …, z, q, k, v, or pattern.
        axes: what the numbers of an index mean: layer, then some of pos, head, src. Without pos, all positions at once.
        setter: TransformerLens's function that writes one cell.

    Example: see `kind_of`.
    """

    activation: str
    axes: tuple[str, ...]
    setter: Setter

    @property
    def site(self) -> str:
        """The site where the engine writes it."""
        return "z" if self.activation == PATTERN else self.activation

    def hook_name(self, layer: int) -> str:
        """TransformerLens's full name of the activation at a layer."""
        return get_act_name(self.activation, layer)

    def named(self, index: Index) -> str:
        """A cell in words."""
        return ", ".join(f"{axis} {i}" for axis, i in zip(self.axes, index, strict=True))


def kind_of(setter: Setter, activation: str) -> CellKind | None:
    """The kind of cell that a patch setter writes at an activation; None where the engine does not serve the two.

    Args:
        setter: one of TransformerLens's patch setters; activation: its short name, e.g. "resid_pre".

    Example:
        >>> kind = kind_of(patching.layer_pos_patch_setter, "resid_pre")
        >>> kind.axes, kind.hook_name(3), kind.named((3, 7))
        (('layer', 'pos'), 'blocks.3.hook_resid_pre', 'layer 3, pos 7')
        >>> kind_of(patching.layer_pos_patch_setter, "z") is None
        True
    """
    sites, axes = _SERVED.get(setter, ((), ()))
    return CellKind(activation, axes, setter) if activation in sites else None


def cells_of(rows: Any, kind: CellKind, n_tokens: int) -> list[Index]:
    """The rows of a DataFrame as cells, positions counted from the start.

    Args:
        rows: one cell a row, layer first; kind: what the cells write; n_tokens: the length of the prompts.

    Raises:
        SelfrepError: another number of columns than the setter takes, no rows, positions that the prompts do not have.

    Example:
        >>> import pandas as pd
        >>> kind = kind_of(patching.layer_pos_patch_setter, "resid_pre")
        >>> cells_of(pd.DataFrame({"layer": [0, 1], "pos": [2, -1]}), kind, n_tokens=4)
        [(0, 2), (1, 3)]
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
