"""What to patch, as data: a grid of cells, written down before anything runs.

grid("resid_pre")                                   every layer × every suffix position
grid("attn_out", layers=range(10, 20), positions=[-3, -2, -1])
grid("resid_pre", by="segment")                     every layer × each stretch of the prompt at once
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from selfrep.errors import SelfrepError
from selfrep.models.sites import SITES

SEGMENT_CELLS = ("all", "template", "question", "prefill", "last")
"""The stretches of a prompt's suffix that one cell can cover; "last" is the token the answer is read at."""


@dataclass(frozen=True)
class Cell:
    """One patched run: at `site` of block `layer`, the source's value at `where`.

    `where` is a position counted from the end (−1 is the last token), or the name of a segment.
    """

    site: str
    layer: int
    where: int | str


@dataclass(frozen=True)
class PatchPlan:
    """A site swept over layers × positions (or segments). None means all of them, settled by `bound`."""

    site: str
    by: Literal["position", "segment"] = "position"
    layers: tuple[int, ...] | None = None
    where: tuple[int, ...] | tuple[str, ...] | None = None

    def bound(self, n_layers: int, suffix: int) -> PatchPlan:
        """The same plan with every layer and position spelled out, for a model and a suffix of that many tokens.

        Raises:
            SelfrepError: a layer or position that is not there.
        """
        layers = tuple(range(n_layers)) if self.layers is None else self.layers
        if bad := [layer for layer in layers if not 0 <= layer < n_layers]:
            raise SelfrepError(f"A layer of this model is one of 0 … {n_layers - 1}; the plan asks for {bad}.")
        where = self.where
        if where is None:
            where = SEGMENT_CELLS if self.by == "segment" else tuple(range(-suffix, 0))
        if bad := [w for w in where if isinstance(w, int) and not -suffix <= w < 0]:
            raise SelfrepError(
                f"A position counts from the end of the prompt, −1 being the last token, and lies in the part that "
                f"source and target share: here −{suffix} … −1. The plan asks for {bad}."
            )
        return replace(self, layers=layers, where=where)

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The cells of a bound plan, layers slowest."""
        return tuple(Cell(self.site, layer, where) for layer in self.layers or () for where in self.where or ())


def grid(
    site: str,
    *,
    layers: Iterable[int] | None = None,
    positions: Iterable[int] | None = None,
    segments: Sequence[str] | None = None,
    by: Literal["position", "segment"] | None = None,
) -> PatchPlan:
    """A plan that patches `site` at every layer × position, or layer × segment.

    Args:
        site: a TransformerLens site: resid_pre, resid_mid, resid_post, attn_out, mlp_out.
        layers: 0-indexed blocks; all when None.
        positions: counted from the end (−1 is the last token); all that source and target share when None.
        segments: patch whole segments instead: of "all", "template", "question", "prefill", "last".
        by: "segment" with no list means every segment.

    Raises:
        SelfrepError: unknown site or segment, positions and segments together, an empty list.
    """
    if site not in SITES:
        raise SelfrepError(f"A site is one of {', '.join(SITES)}; got {site!r}.")
    if segments is not None or by == "segment":
        if positions is not None:
            raise SelfrepError("A grid sweeps positions or segments, not both: make two grids.")
        where: tuple[int, ...] | tuple[str, ...] | None = None if segments is None else tuple(segments)
        if unknown := [s for s in where or () if s not in SEGMENT_CELLS]:
            raise SelfrepError(f"A segment is one of {', '.join(SEGMENT_CELLS)}; got {unknown}.")
        by = "segment"
    else:
        where, by = None if positions is None else tuple(positions), "position"
    chosen = None if layers is None else tuple(layers)
    if where == () or chosen == ():
        raise SelfrepError("A grid needs at least one layer and one position; got an empty list.")
    return PatchPlan(site, by, chosen, where)
