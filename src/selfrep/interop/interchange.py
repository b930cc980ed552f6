"""TransformerLens's interchange interventions as what a sweep writes.

`transformer_lens.tools.analysis` learns subspaces (DAS, difference of means, probes) on `lm.bridge`, and has the
placebo that belongs beside them. A basis goes into `selfrep.InSubspace` as it is; any other intervention of theirs
comes here, and is swept over layers and positions at the engine's speed:

    placebo = NormMatchedPlacebo(SubspaceInterchange(found.basis), random_basis(lm.d_model, rank, seed=0))
    sr.grid("resid_pre", intervention=InSubspace(found.basis)) | sr.grid("resid_pre", intervention=Interchange(placebo))
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
    """Write what a function of TransformerLens's form makes of the target's and the source's activation.

    Attributes:
        how: (base, source) → what the base becomes, all [row, token, (component,) feature]: `SubspaceInterchange`,
            `NormMatchedPlacebo`, or a function of one's own. Tokens must not speak to each other in it.
        label: its name in results; that of its class or function when empty.

    Source: interchange interventions, Geiger et al. 2021 (arXiv:2106.02997).
    """

    how: Callable[[Tensor, Tensor], Tensor]
    label: str = ""

    @property
    def name(self) -> str:
        """As it appears in results."""
        return self.label or getattr(self.how, "__name__", type(self.how).__name__)

    def values(self, source: Tensor, target: Tensor, layer: int) -> Tensor:
        """What `how` gives, at every layer the same.

        Raises SelfrepError when it has another shape than the activation.
        """
        made = self.how(target, source).detach()
        if made.shape != target.shape:
            raise SelfrepError(
                f"An interchange keeps the shape of what it is given, {list(target.shape)}; {self.name} gave "
                f"{list(made.shape)}."
            )
        return made
