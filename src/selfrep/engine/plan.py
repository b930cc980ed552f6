"""What to patch, as data: cells, written down before anything runs.

grid("resid_pre")                                   every layer × every suffix position
grid("attn_out", layers=range(10, 20), positions=[-3, -2, -1])
grid("resid_pre", by="segment")                     every layer × each stretch of the prompt at once
grid("resid_pre", segments={"names": [-9, -4]})     a set of positions at once
grid("z", positions=[-1])                           every layer × head, at the last token
grid("resid_pre", intervention=InSubspace(basis))   something other than the source's whole value
prefix_patch(window="from")                         all keys and values before the suffix, in layers ≥ l
grid("resid_pre") | grid("z", positions=[-1])       both in one sweep
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from selfrep.engine.interventions import Intervention, Replace
from selfrep.errors import SelfrepError
from selfrep.models.sites import HEAD_SITES, NEURON_SITES, component, site_and_layer
from selfrep.prompts import arguments
from selfrep.prompts.arguments import Several
from selfrep.prompts.shown import shown

if TYPE_CHECKING:  # a plan, and so a study, is read without torch
    from torch import Tensor

SEGMENT_CELLS = ("all", "template", "question", "prefill", "last")
"""The stretches of a prompt's suffix that one cell can cover; "last" is the token the answer is read at."""
REPLACE = Replace()
PREFIX = "prefix_kv"
"""The site of a prefix patch: the keys and values of all tokens before the suffix."""
STREAM = ("resid_pre", "resid_post")
"""The sites between blocks."""

Window = Literal["from", "before"] | int


@shown(
    lambda self: {
        "site": self.site,
        "layers": _in_short(self.layers),
        f"{self.by}s": _in_short(self.where),
        "components": None if component(self.site) is None else _in_short(self.components),
        "intervention": None if isinstance(self.intervention, Replace) else self.intervention.name,
        "window": self.window,
    }
)
@dataclass(frozen=True)
class PatchPlan:
    """A site swept over layers × positions (or segments) × components. None means all of them, settled by `bind`.

    Attributes:
        sets: the positions of each named set among the segments.
        intervention: what is written.
        window: for a prefix patch, the layers that read the source's prefix in the cell of layer l: "from" (≥ l),
            "before" (< l), or a number k of layers from l on.

    Example:
        >>> PatchPlan("resid_pre", layers=(3,))
        PatchPlan(site='resid_pre', layers='3', positions='all')
    """

    site: str
    by: Literal["position", "segment"] = "position"
    layers: tuple[int, ...] | None = None
    where: tuple[int, ...] | tuple[str, ...] | None = None
    components: tuple[int, ...] | None = None
    sets: tuple[tuple[str, tuple[int, ...]], ...] = ()
    intervention: Intervention = REPLACE
    window: Window | None = None

    def bind(self, n_layers: int, suffix: int, n_components: int = 0) -> PatchPlan:
        """The same plan with every layer, position and head spelled out.

        Args:
            n_layers: of the model; suffix: how many tokens source and target share; n_components: heads or neurons.

        Raises:
            SelfrepError: a layer, position, head or neuron that is not there; neurons not named.
        """
        layers = tuple(range(n_layers)) if self.layers is None else self.layers
        if bad := [layer for layer in layers if not 0 <= layer < n_layers]:
            raise SelfrepError(f"A layer of this model is one of 0 … {n_layers - 1}; the plan asks for {bad}.")
        where = self.where
        if where is None:
            where = SEGMENT_CELLS if self.by == "segment" else tuple(range(-suffix, 0))
        positions = [w for w in where if isinstance(w, int)] + [p for _, members in self.sets for p in members]
        if bad := [p for p in positions if not -suffix <= p < 0]:
            raise SelfrepError(
                f"A position counts from the end of the prompt, −1 being the last token, and lies in the part that "
                f"source and target share: here −{suffix} … −1. The plan asks for {bad}."
            )
        components, axis = self.components, component(self.site)
        if axis == "head" and components is None:
            components = tuple(range(n_components))
        if axis and (bad := [c for c in components or () if not 0 <= c < n_components]):
            raise SelfrepError(
                f"A {axis} at {self.site} is one of 0 … {n_components - 1} in this model; the plan asks for {bad}."
            )
        return replace(self, layers=layers, where=where, components=components)

    @property
    def axes(self) -> dict[str, tuple[int, ...] | tuple[str, ...]]:
        """The dimensions of a bound plan and their labels: layer, position or segment, and head or neuron if any."""
        axes = {"layer": self.layers or (), self.by: self.where or ()}
        return axes if self.components is None else axes | {component(self.site) or "": self.components}

    @property
    def shape(self) -> tuple[int, ...]:
        """How many cells along each of the axes."""
        return tuple(len(labels) for labels in self.axes.values())

    @property
    def cells(self) -> tuple[PatchCell, ...]:
        """The cells of a bound plan, layers slowest."""
        components = (None,) if self.components is None else self.components
        return tuple(
            PatchCell(self, layer, where, c)
            for layer in self.layers or ()
            for where in self.where or ()
            for c in components
        )

    def source_layers(self, layer: int, n_layers: int) -> range:
        """For a prefix patch: the layers that read the source's prefix in the cell of this layer."""
        if self.window == "before":
            return range(layer)
        return range(layer, n_layers if self.window == "from" else min(layer + int(self.window or 0), n_layers))

    def first_block(self, layer: int, n_layers: int) -> int:
        """The first block that runs differently when a cell of this layer is patched."""
        if self.site == PREFIX:
            return min(self.source_layers(layer, n_layers), default=n_layers)
        return layer if self.site in ("resid_pre", "k", "v") else layer + 1

    def __or__(self, other: PatchPlan | PlanUnion) -> PlanUnion:
        """Both, in one sweep."""
        return PlanUnion((self,)) | other


@shown(lambda self: {"plans": ", ".join(self.names)})
@dataclass(frozen=True)
class PlanUnion:
    """Several plans swept together: prompts are recorded once, and cells at the same position replayed together."""

    plans: tuple[PatchPlan, ...]

    def __or__(self, other: PatchPlan | PlanUnion) -> PlanUnion:
        """These, and others."""
        return PlanUnion(self.plans + (other.plans if isinstance(other, PlanUnion) else (other,)))

    @property
    def names(self) -> tuple[str, ...]:
        """A name for each plan: its site, by which axis, what is written; numbered where two would be the same."""
        names: list[str] = []
        for plan in self.plans:
            parts = [plan.site, *(["segment"] if plan.by == "segment" and plan.site != PREFIX else [])]
            parts += [] if isinstance(plan.intervention, Replace) else [plan.intervention.name]
            name = " ".join(parts)
            same = sum(n == name or n.startswith(f"{name} (") for n in names)
            names.append(f"{name} ({same + 1})" if same else name)
        return tuple(names)


@dataclass(frozen=True)
class PatchCell:
    """One patched run: a plan's intervention at one layer, written at `where`.

    `where` is a position counted from the end (−1 is the last token), or the name of a segment or of a set of
    positions. `component` is a head or a neuron, None where the site has none.
    """

    plan: PatchPlan
    layer: int
    where: int | str
    component: int | None = None

    @property
    def site(self) -> str:
        """Where in the block something is written."""
        return self.plan.site

    @property
    def is_prefix(self) -> bool:
        """Whether it lets the suffix read another prefix, and so covers no token of its own."""
        return self.site == PREFIX

    def first_block(self, n_layers: int) -> int:
        """The first block that runs differently."""
        return self.plan.first_block(self.layer, n_layers)

    def source_layers(self, n_layers: int) -> range:
        """For a prefix patch: the layers that read the source's prefix."""
        return self.plan.source_layers(self.layer, n_layers)

    def values(self, source: Tensor, target: Tensor) -> Tensor:
        """What is written: source, target [row, token, (component,) feature] → the same shape."""
        return self.plan.intervention.values(source, target, self.layer)


def _in_short(axis: Sequence[Any] | None) -> str:
    """The labels of an axis of a plan, e.g. "0 … 11", "question, last"."""
    if axis is None:
        return "all"
    run = len(axis) > 3 and isinstance(axis[0], int) and list(axis) == list(range(axis[0], axis[-1] + 1))
    return f"{axis[0]} … {axis[-1]}" if run else ", ".join(map(str, axis))


if TYPE_CHECKING:
    OnePlan: TypeAlias = PatchPlan | str
    AnyPlan: TypeAlias = PatchPlan | PlanUnion | str
else:  # at run time anything: `as_plan` refuses what is wrong, and says more
    OnePlan = AnyPlan = Any


def as_plan(plan: AnyPlan) -> PatchPlan | PlanUnion:
    """The plan itself, or for the name of a site the grid of all its cells. Raises SelfrepError for anything else."""
    if isinstance(plan, PatchPlan | PlanUnion):
        return plan
    if isinstance(plan, str):
        return prefix_patch() if plan == PREFIX else grid(plan)
    raise SelfrepError(
        "A plan is made by sr.grid(site) or sr.prefix_patch(), several are joined by |, and the name of a site stands "
        f"for all its cells; got {arguments.described(plan)}."
    )


def plans_of(plan: PatchPlan | PlanUnion) -> tuple[PatchPlan, ...]:
    """The plans of a union, or the one plan."""
    return plan.plans if isinstance(plan, PlanUnion) else (plan,)


def grid(
    site: str,
    *,
    layers: Several[int] | None = None,
    positions: Several[int] | None = None,
    segments: Several[str] | Mapping[str, Iterable[int]] | None = None,
    by: Literal["position", "segment"] | None = None,
    heads: Several[int] | None = None,
    neurons: Several[int] | None = None,
    intervention: Intervention | None = None,
) -> PatchPlan:
    """A plan that patches `site` at every layer × position, or layer × segment; and at every head, one by one.

    Args:
        site: a TransformerLens site: resid_pre, resid_mid, resid_post, attn_out, mlp_out; z, q, k, v (per head, k and v
            per key–value head); mlp_post (per neuron).
        layers: 0-indexed blocks; all when None.
        positions: counted from the end (−1 is the last token); all that source and target share when None.
        segments: patch whole segments instead: of "all", "template", "question", "prefill", "last"; or sets of
            positions by name.
        by: "segment" with no list means every segment.
        heads: for z, q, k, v: which; all when None.
        neurons: for mlp_post: which. There is no default, since a block has thousands.
        intervention: what is written (see `selfrep.engine.interventions`); the source's value when None.

    Raises:
        SelfrepError: unknown site or segment, positions and segments together, an empty list, heads of a site without.

    Example:
        >>> grid("resid_pre", layers=[1, 2])
        PatchPlan(site='resid_pre', layers='1, 2', positions='all')
        >>> [plan.site for plan in (grid("resid_pre") | grid("z", positions=[-1])).plans]
        ['resid_pre', 'z']
    """
    site, own_layer = site_and_layer(site)
    layers = _chosen(layers, "layers")
    if own_layer is not None:
        if layers not in (None, (own_layer,)):
            raise SelfrepError(f"The name of the hook says layer {own_layer}, layers= says {layers}: leave one out.")
        layers = (own_layer,)
    positions = _chosen(positions, "positions")
    sets: tuple[tuple[str, tuple[int, ...]], ...] = ()
    if segments is not None or by == "segment":
        if positions is not None:
            raise SelfrepError("A grid sweeps positions or segments, not both: make two grids.")
        where: tuple[int, ...] | tuple[str, ...] | None = None
        if isinstance(segments, Mapping):
            where = tuple(segments)
            sets = tuple((name, arguments.numbers(those, "positions")) for name, those in segments.items())
            if clash := [name for name, those in sets if name in SEGMENT_CELLS or not those]:
                raise SelfrepError(f"A set of positions has a name of its own and holds some; these do not: {clash}.")
        elif segments is not None:
            where = arguments.names(segments, "segment", SEGMENT_CELLS)
        by = "segment"
    else:
        where, by = positions, "position"
    for name, chosen, sites in (("heads", heads, HEAD_SITES), ("neurons", neurons, NEURON_SITES)):
        if chosen is not None and site not in sites:
            raise SelfrepError(f"{name} can be chosen at {', '.join(sites)}; {site} has none.")
    if site in NEURON_SITES and neurons is None:
        raise SelfrepError(f"Say which neurons of {site} to patch, e.g. neurons=[5, 17]: each is a cell of its own.")
    which = _chosen(heads, "heads") if heads is not None else _chosen(neurons, "neurons")
    if where == () or layers == () or which == ():
        raise SelfrepError("A grid needs at least one layer, position and component; got an empty list.")
    return PatchPlan(site, by, layers, where, which, sets, intervention or REPLACE)


def _chosen(value: Several[int] | None, what: str) -> tuple[int, ...] | None:
    return None if value is None else arguments.numbers(value, what)


def prefix_patch(*, layers: Several[int] | None = None, window: Window = "from") -> PatchPlan:
    """A plan that lets the target's suffix read the keys and values of the source's prefix.

    The two prompts must have the same length. The cell of layer l exchanges the prefix in the layers of its window; the
    suffix is the target's. It shows where the prefix is read, which patches in the suffix cannot.

    Args:
        layers: 0-indexed blocks; all when None.
        window: "from" means layers ≥ l, "before" layers < l, a number k the k layers from l on.

    Raises:
        SelfrepError: another window, an empty list of layers.

    Example:
        >>> prefix_patch(window="from")
        PatchPlan(site='prefix_kv', layers='all', segments='prefix', window='from')
    """
    if window not in ("from", "before") and not (isinstance(window, int) and window > 0):
        raise SelfrepError(f"A window is 'from', 'before' or a number of layers; got {window!r}.")
    layers = _chosen(layers, "layers")
    if layers == ():
        raise SelfrepError("A prefix patch needs at least one layer; got an empty list.")
    return PatchPlan(PREFIX, "segment", layers, ("prefix",), window=window)
