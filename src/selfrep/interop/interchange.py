"""TransformerLens's interchange interventions, for sweeps of the engine.

`transformer_lens.tools.analysis` learns subspaces (DAS, difference of means, probes) on `lm.bridge`, and has the
placebo to compare them with. A basis goes into `selfrep.InSubspace` as it is. Any other intervention of theirs is
wrapped here, and swept over layers and positions at the engine's speed:

    placebo = NormMatchedPlacebo(SubspaceInterchange(basis), random_basis(lm.d_model, rank, seed=0))
    sr.grid("resid_pre", intervention=InSubspace(basis)) | sr.grid("resid_pre", intervention=Interchange(placebo))
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from selfrep.errors import SelfrepError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Interchange:
    """Write the result of a function, in TransformerLens's form, of the target's and the source's activation.

    Attributes:
        how: (base, source) → what the base becomes, all [row, token, (component,) feature]: `SubspaceInterchange`,
            `NormMatchedPlacebo`, or your own function. It must treat every token independently.
        label: its name in results; that of its class or function when empty.

    Example:
        >>> import torch
        >>> def mean(base, source):
        ...     return (base + source) / 2
        >>> half = Interchange(mean)
        >>> half.name, half.values(torch.ones(1, 1, 2), torch.zeros(1, 1, 2), layer=0).tolist()
        ('mean', [[[0.5, 0.5]]])

    Source: interchange interventions, Geiger et al. 2021 (arXiv:2106.02997).
    """

    how: Callable[[Tensor, Tensor], Tensor]
    label: str = ""

    @property
    def name(self) -> str:
        """Its name in results."""
        return self.label or getattr(self.how, "__name__", type(self.how).__name__)

    def values(self, source: Tensor, target: Tensor, layer: int) -> Tensor:
        """What the target's activation becomes; the same function at every layer.

        Args:
            source, target: [row, token, (component,) feature]; layer: the block, not used.

        Raises:
            SelfrepError: `how` returned another shape than that of the target.
        """
        result = self.how(target, source).detach()
        if result.shape != target.shape:
            raise SelfrepError(
                f"An interchange returns the shape of its arguments, {list(target.shape)}; {self.name} gave "
                f"{list(result.shape)}."
            )
        return result
