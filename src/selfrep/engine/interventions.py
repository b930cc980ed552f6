"""What a patch writes, as values: each maps the source's and the target's activation at a site to what is written.

    Replace()                        the source's value
    InSubspace(basis)                the source's value inside a subspace, the target's outside
    InSubspace(basis, complement=True)   the other way round
    InSubspace(direction)            along one direction
    Ablate("zero"), Ablate(mean)     nothing, or a mean given by the caller
    Ablate("resample")               the value of another pair's source, drawn by the seed
    Steer(vector, coefficient)       the target's own value, and so much of a vector
    Cap(direction, low, high)        the target's own value, its projection on a direction kept within bounds

Anything with a `name` and a method `values` of this signature can be swept; these are the usual ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from selfrep.errors import SelfrepError
from selfrep.prompts.shown import shown

if TYPE_CHECKING:  # a plan, and so a study, is read without torch
    from torch import Tensor

ORTHONORMAL = 1e-3
"""How far a basis may be from orthonormal, in entries of BᵀB − 1."""


@runtime_checkable
class Intervention(Protocol):
    """What is written at a site."""

    @property
    def name(self) -> str:
        """As it appears in results."""

    def values(self, source: Tensor, target: Tensor, layer: int) -> Tensor:
        """What is written: source, target [row, token, (component,) feature] → the same shape."""


@dataclass(frozen=True)
class Replace:
    """Write the source's value: activation patching (Vig et al. 2020, Meng et al. 2022).

    Example:
        >>> import selfrep as sr
        >>> from selfrep.models.organisms import BATTERY, PERSONAS
        >>> lm = sr.load_model("organism:separate")
        >>> people, battery = sr.personas.load(PERSONAS), sr.battery.load(BATTERY)
        >>> robot, nurse, item = people["robot"], people["nurse"], battery["who_are_you"]
        >>> pairs = sr.pair(lm, robot, nurse, item, paraphrases=0, directions="denoise")
        >>> plan = sr.grid("resid_pre", layers=2, positions=-10, intervention=sr.Replace())
        >>> sr.patch(lm, pairs, plan).transfer.values.ravel().round(2).tolist()
        [1.0]
    """

    name: str = "replace"

    def values(self, source: Tensor, target: Tensor, layer: int) -> Tensor:
        """The source's."""
        return source


@shown(lambda self: {"basis": _shape(self.basis), "complement": self.complement})
@dataclass(frozen=True, eq=False)
class InSubspace:
    """Write the source's value inside a subspace, and leave the target's outside it (or the reverse).

    A patched subspace may work through directions that the model does not use (Makelov et al. 2023): put the complement
    and random subspaces beside it.

    Attributes:
        basis: [feature, rank] with orthonormal columns (TransformerLens's convention), or [feature] one direction of
            any length; for every layer the same, or a mapping layer → basis.
        complement: write outside the subspace instead.

    Raises:
        SelfrepError: columns that are not orthonormal, a direction of length zero.

    Example:
        >>> import torch
        >>> InSubspace(torch.eye(4)[:, :2]).name, InSubspace(torch.ones(4), complement=True).name
        ('subspace', 'complement')
    """

    basis: Any
    complement: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "basis", _each(self.basis, lambda basis: _orthonormal(_tensor(basis))))

    @property
    def name(self) -> str:
        """As it appears in results."""
        return "complement" if self.complement else "subspace"

    def values(self, source: Tensor, target: Tensor, layer: int) -> Tensor:
        """The source's projection in place of the target's."""
        basis = _fitting(_at(self.basis, layer), source, "basis")
        moved = source - target
        inside = (moved @ basis) @ basis.mT
        return target + (moved - inside if self.complement else inside)


@dataclass(frozen=True, eq=False)
class Ablate:
    """Take the target's value away.

    Attributes:
        to: "zero"; a mean to put in its place ([feature] or [component, feature], for every layer the same, as a
            mapping layer → value, or an xarray DataArray with a dimension `layer`); or "resample": the value at the
            same position of another pair's source, which pair being drawn by the seed of the sweep
            (Chan et al. 2022, causal scrubbing).

    Example:
        >>> import selfrep as sr
        >>> from selfrep.models.organisms import BATTERY, PERSONAS
        >>> lm = sr.load_model("organism:separate")
        >>> people, battery = sr.personas.load(PERSONAS), sr.battery.load(BATTERY)
        >>> robot, nurse, item = people["robot"], people["nurse"], battery["who_are_you"]
        >>> pairs = sr.pair(lm, robot, nurse, item, paraphrases=0, directions="denoise")
        >>> plan = sr.grid("resid_pre", layers=2, positions=-10, intervention=sr.Ablate("zero"))
        >>> sr.patch(lm, pairs, plan).transfer.values.ravel().round(2).tolist()
        [0.5]
    """

    to: Any = "zero"

    def __post_init__(self) -> None:
        if isinstance(self.to, str):
            if self.to not in ("zero", "resample"):
                raise SelfrepError(f"Ablate to 'zero', to 'resample', or to a mean given as numbers; got {self.to!r}.")
            return
        object.__setattr__(self, "to", _each(self.to, _tensor))

    @property
    def name(self) -> str:
        """As it appears in results."""
        return f"ablate to {self.to if isinstance(self.to, str) else 'a mean'}"

    def values(self, source: Tensor, target: Tensor, layer: int) -> Tensor:
        """Zero, the mean, or what the sweep hands in as source."""
        if isinstance(self.to, str):
            return target.new_zeros(target.shape) if self.to == "zero" else source
        return _fitting(_at(self.to, layer), target, "mean").expand_as(target)


@shown(lambda self: {"vector": _shape(self.vector), "coefficient": self.coefficient})
@dataclass(frozen=True, eq=False)
class Steer:
    """Add a vector to the target's value (Turner et al. 2023, activation addition).

    Attributes:
        vector: [feature], for every layer the same or a mapping layer → vector; it is not normalised.
        coefficient: how much of it.

    Example:
        >>> import torch
        >>> Steer(torch.ones(4), coefficient=2.0).name
        'steer × 2'
    """

    vector: Any
    coefficient: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "vector", _each(self.vector, _tensor))

    @property
    def name(self) -> str:
        """As it appears in results."""
        return f"steer × {self.coefficient:g}"

    def values(self, source: Tensor, target: Tensor, layer: int) -> Tensor:
        """The target's own, moved."""
        return target + self.coefficient * _fitting(_at(self.vector, layer), target, "vector")


@shown(lambda self: {"direction": _shape(self.direction), "low": self.low, "high": self.high})
@dataclass(frozen=True, eq=False)
class Cap:
    """Keep the target's projection on a direction within bounds, and leave all else of it: activation capping.

    Attributes:
        direction: [feature] of any length, for every layer the same or a mapping layer → direction.
        low, high: the least and the most of the projection on the direction of length one; None: no bound.

    Raises:
        SelfrepError: no bound, bounds that are crossed, a direction of length zero.

    Example:
        >>> import torch
        >>> Cap(torch.tensor([2.0, 0.0]), high=1.0).values(None, torch.tensor([[3.0, 5.0], [0.5, 5.0]]), 0).tolist()
        [[1.0, 5.0], [0.5, 5.0]]
    """

    direction: Any
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        bounds = [bound for bound in (self.low, self.high) if bound is not None]
        if not bounds or not np.isfinite(bounds).all() or bounds != sorted(bounds):
            raise SelfrepError(
                f"A projection is kept between low and high, or on one side of one of them; got low={self.low} and "
                f"high={self.high}."
            )
        object.__setattr__(self, "direction", _each(self.direction, lambda one: _orthonormal(_tensor(one).flatten())))

    @property
    def name(self) -> str:
        """As it appears in results."""
        return (
            f"cap to {'−∞' if self.low is None else f'{self.low:g}'} … {'∞' if self.high is None else f'{self.high:g}'}"
        )

    def values(self, source: Tensor, target: Tensor, layer: int) -> Tensor:
        """The target's own, brought within the bounds."""
        direction = _fitting(_at(self.direction, layer), target, "basis")
        along = target @ direction
        return target + (along.clamp(self.low, self.high) - along) @ direction.mT


def _each(value: Any, function: Callable[[Any], Any]) -> Any:
    """A function of the one value for all layers, or of the value for each layer: of a mapping, or an xarray DataArray
    with a dimension `layer`, such as `selfrep.load_directions` gives."""
    if "layer" in getattr(value, "dims", ()):
        value = {int(layer): value.sel(layer=layer).values for layer in value.layer.values}
    return {layer: function(one) for layer, one in value.items()} if isinstance(value, dict) else function(value)


def _shape(value: Any) -> object:
    """What is shown of a tensor, or of one for each layer."""
    return _each(value, lambda tensor: list(tensor.shape))


def _tensor(value: Any) -> Tensor:
    import torch
    from torch import Tensor

    tensor = value.detach() if isinstance(value, Tensor) else torch.from_numpy(np.array(value, dtype=np.float32))
    if tensor.numel() == 0 or not bool(torch.isfinite(tensor).all()):
        raise SelfrepError(f"An intervention is made of finite numbers; got {list(tensor.shape)} with NaN or nothing.")
    return tensor


def _orthonormal(basis: Tensor) -> Tensor:
    if basis.ndim == 1:
        if not float(basis.norm()) > 0:
            raise SelfrepError("A direction has a length; got a vector of zeros.")
        return (basis / basis.norm())[:, None]
    gram = (basis.mT @ basis).cpu().numpy() if basis.ndim == 2 else np.full((1, 1), np.inf)
    off = float(np.abs(gram - np.eye(len(gram))).max())
    if not off <= ORTHONORMAL:
        raise SelfrepError(
            f"A basis is [feature, rank] with orthonormal columns; got {list(basis.shape)}, off by {off:.2g}. "
            "torch.linalg.qr(basis).Q gives one of the same span."
        )
    return basis


def _at(value: Any, layer: int) -> Tensor:
    if not isinstance(value, dict):
        return value
    if layer not in value:
        raise SelfrepError(f"The intervention has values for layers {sorted(value)}; the plan asks for layer {layer}.")
    return value[layer]


def _fitting(value: Tensor, like: Tensor, what: str) -> Tensor:
    feature = value.shape[0] if what == "basis" else value.shape[-1]
    if feature != like.shape[-1]:
        raise SelfrepError(
            f"The {what} has {feature} features; what passes at this site has {like.shape[-1]} (d_model, or those of "
            "one head)."
        )
    return value.to(like)
