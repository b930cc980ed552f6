"""The subspaces behind M, fitted on held-out prompts: P, the fictional AI, and S, the self and its goals.

They are read at the last token before the answer, where everything that the behaviour needs comes together.

The same activations are fitted several times more, each time with the weights of the texts nudged: how far the
subspaces move is what they owe to these texts rather than others (see `selfrep.analyses.mediation.estimate`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from selfrep.analyses.mediation.estimate import NUDGE
from selfrep.engine.capture import capture
from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.prompts.scenarios import Scenarios
from selfrep.prompts.subspaces import SubspaceMaterial, SubspaceName
from selfrep.stats import resampling
from selfrep.stats.rounding import negligible

Array = np.ndarray
Basis = Float[Array, "feature _"]
Weights = Mapping[int, Float[Array, " text"]]
"""How many texts a kind has → the weight of each. Kinds of one size move together: number k of each may be a pair."""

SITE = "resid_pre"
N_REFITS = 8
"""Enough to know a spread by (t of 8 degrees of freedom), and fewer passes than the random subspaces take."""
_RANK = 1e-4
"""A direction with less than this share of the largest singular value is noise of rounding."""


@dataclass(frozen=True, eq=False)
class Subspaces:
    """P and S as orthonormal columns, at resid_pre of a layer, last token.

    Attributes:
        layer: 0-indexed block.
        P, S: [d_model, rank].
        refits: the same, fitted on the same texts with nudged weights; none where they are not estimates.

    Raises:
        SelfrepError: P and S overlap so far that one holds nothing that the other does not.

    Example:
        >>> x, y, z = np.eye(3)
        >>> both = Subspaces(0, P=np.stack([x], axis=1), S=np.stack([y], axis=1))
        >>> both.overlap(), both.exchanged()["P first", "both"].shape
        (array([0.]), (3, 2))
    """

    layer: int
    P: Basis
    S: Basis
    refits: tuple[Subspaces, ...] = ()

    def __post_init__(self) -> None:
        self.exchanged()

    def exchanged(self) -> dict[tuple[str, str], Basis]:
        """(order, patched) → the subspace that is exchanged: the first of the order whole, the other without it."""
        p_rest, s_rest = _without(self.P, self.S), _without(self.S, self.P)
        both = np.hstack([self.P, s_rest])
        return {
            ("P first", "P"): self.P,
            ("P first", "S"): s_rest,
            ("P first", "both"): both,
            ("S first", "P"): p_rest,
            ("S first", "S"): self.S,
            ("S first", "both"): both,
        }

    def overlap(self) -> Float[Array, " angle"]:
        """Cosines of the principal angles between P and S, the closest first; 0: orthogonal."""
        return np.linalg.svd(self.P.T @ self.S, compute_uv=False)

    def random(self, n: int, seed: int = 0) -> list[Subspaces]:
        """Random subspaces of the same ranks, uniform over directions."""
        rng = np.random.default_rng(seed)
        draws = (rng.standard_normal((len(self.P), self.P.shape[1] + self.S.shape[1])) for _ in range(n))
        return [
            Subspaces(self.layer, _orthonormal(x[:, : self.P.shape[1]]), _orthonormal(x[:, self.P.shape[1] :]))
            for x in draws
        ]


def default_layer(lm: LanguageModel) -> int:
    """Three quarters of the way up: late enough that the last token holds what it answers from."""
    return 3 * lm.n_layers // 4


def fit_subspaces(
    lm: LanguageModel, scenarios: Scenarios, *, layer: int | None = None, n_refits: int = N_REFITS, seed: int = 0
) -> Subspaces:
    """P and S from the held-out prompts of a set of scenarios.

    Each contrast gives, for each group it is set against, the difference of the two means. Texts of a kind differ among
    themselves as well, in ways that a few of them do not average out. So differences are weighed by the inverse of the
    covariance within kinds (Fisher's discriminant), shrunk to a multiple of the identity. The leading right singular
    vectors of the differences are the subspace.

    Args:
        lm: from `selfrep.load_model`.
        scenarios: from `selfrep.scenarios`; their `subspaces` hold the prompts and the ranks.
        layer: the 0-indexed block whose resid_pre is read, at the last token. None: three quarters of the way up.
        n_refits: how often the fit is repeated with nudged weights of the texts.
        seed: of these weights.

    Returns:
        `Subspaces`: `layer`, `P` and `S` [d_model, rank], and their `refits`.

    Raises:
        SelfrepError: a layer out of range; a rank higher than the differences have; P and S that are the same.

    Source: Fisher's discriminant; oracle approximating shrinkage (Chen et al. 2010).

    Example:
        >>> import selfrep as sr
        >>> from selfrep.models import organisms
        >>> lm, scenarios = sr.load_model("organism:mimicry"), sr.scenarios.load(organisms.SCENARIOS)
        >>> subspaces = fit_subspaces(lm, scenarios)
        >>> subspaces.layer, subspaces.P.shape, subspaces.S.shape, float(subspaces.overlap().max()) < 0.1
        (4, (128, 3), (128, 2), True)
    """
    layer = default_layer(lm) if layer is None else layer
    means = {}
    for name, material in scenarios.subspaces.items():
        acts = capture(lm, material.prompts(), [SITE], layers=[layer], tokens="position", positions=[-1])
        texts, values = acts.persona.to_numpy(), acts.activations.to_numpy().astype(np.float64)[:, 0, 0, 0]
        means[name] = {str(text): values[texts == text].mean(axis=0) for text in dict.fromkeys(texts)}
    return fit_to_means(scenarios.subspaces, means, layer=layer, n_refits=n_refits, seed=seed)


def fit_to_means(
    materials: Mapping[SubspaceName, SubspaceMaterial],
    means: Mapping[SubspaceName, Mapping[str, Float[Array, " d_model"]]],
    *,
    layer: int,
    n_refits: int = N_REFITS,
    seed: int = 0,
) -> Subspaces:
    """P and S from what every held-out text leaves in the residual stream, as `fit_subspaces` fits them.

    Args:
        materials: of P and of S.
        means: the mean activation of each text of either, over its probes.
        layer, n_refits, seed: as in `fit_subspaces`.

    Example:
        >>> from selfrep.prompts.subspaces import Contrast, Probe, SubspaceMaterial
        >>> probe, rng = [Probe(question="What are you?")], np.random.default_rng(0)
        >>> two = {"kinds": Contrast(of=["a", "b"], against={"other": ["c", "d"]})}
        >>> materials = {name: SubspaceMaterial(rank=1, probes=probe, contrasts=two) for name in "PS"}
        >>> texts = {text: 0.01 * rng.normal(size=(2, 3)) + np.eye(3)[:2] * (text in "ab") for text in "abcd"}
        >>> means = {name: {text: x[i] for text, x in texts.items()} for i, name in enumerate("PS")}
        >>> abs(fit_to_means(materials, means, layer=0).P.round(1)).T
        array([[1., 0., 0.]])
    """
    weights = list(_weights(materials, n_refits, np.random.default_rng(seed)))
    bases = {}
    for name, material in materials.items():
        size = float(np.sqrt(np.mean([mean @ mean for mean in means[name].values()])))
        bases[name] = [_basis(f"{name} at layer {layer}", material, means[name], size, weight) for weight in weights]
    fitted, *refits = (Subspaces(layer, p, s) for p, s in zip(bases["P"], bases["S"], strict=True))
    return replace(fitted, refits=tuple(refits))


def _weights(
    materials: Mapping[SubspaceName, SubspaceMaterial], n_refits: int, rng: np.random.Generator
) -> Iterator[Weights]:
    """All texts alike, and then those of the refits: moved by `NUDGE` of what drawing texts anew would move them."""
    contrasts = [contrast for material in materials.values() for contrast in material.contrasts.values()]
    sizes = sorted({len(kind) for contrast in contrasts for kind in (contrast.of, *contrast.against.values())})
    alike = {n: np.full(n, 1 / n) for n in sizes}
    yield alike
    for _ in range(n_refits):
        drawn = {n: resampling.resample_within(np.zeros(n, int), 1, rng, rescaled=True)[0] for n in alike}
        yield {n: even + NUDGE * (drawn[n] - even) for n, even in alike.items()}


def _basis(what: str, material: SubspaceMaterial, mean: Mapping[str, Array], size: float, weights: Weights) -> Basis:
    """The subspace from the mean of each text, of length `size`, with these weights; errors call it `what`."""
    differences, within = [], []
    for contrast in material.contrasts.values():
        kinds = [np.array([mean[text] for text in kind]) for kind in (contrast.of, *contrast.against.values())]
        centres = [weights[len(kind)] @ kind for kind in kinds]
        within += [
            np.sqrt(len(kind) * weights[len(kind)])[:, None] * (kind - centre)
            for kind, centre in zip(kinds, centres, strict=True)
        ]
        differences += [centres[0] - centre for centre in centres[1:]]
    rows = _discriminants(np.array(differences), np.concatenate(within), len(within), size)
    _, strength, directions = np.linalg.svd(rows, full_matrices=False)
    if strength[material.rank - 1] <= _RANK * strength[0]:
        rank = int((strength > _RANK * strength[0]).sum())
        raise SelfrepError(
            f"A subspace of rank {material.rank} needs as many directions; the contrasts of {what} have {rank}. Lower "
            "its rank, or add contrasts."
        )
    return np.asarray(directions[: material.rank].T)


def _discriminants(
    differences: Float[Array, "row feature"], within: Float[Array, "text feature"], n_kinds: int, size: float
) -> Float[Array, "row feature"]:
    """Differences times the inverse of the shrunk covariance within kinds, each of length 1.

    `size` is the length of what they are differences of.
    """
    d, n = within.shape[1], len(within) - n_kinds
    if n < 1:
        raise SelfrepError("What sets kinds apart is told from how their texts vary; give at least one kind two texts.")
    _, strength, directions = np.linalg.svd(within / np.sqrt(n), full_matrices=False)
    spread = strength**2
    trace, square = spread.sum(), (spread**2).sum()
    if negligible(np.linalg.norm(differences, axis=1), size).any():
        raise SelfrepError(
            "Two kinds of held-out texts look the same to the model; set other texts against each other."
        )
    if not negligible(trace, size**2, degree=2):
        above, below = (1 - 2 / d) * square + trace**2, (n + 1 - 2 / d) * (square - trace**2 / d)
        share = 1.0 if below <= 0 else min(1.0, above / below)
        kept = (1 - share) * spread
        inside = differences @ directions.T
        differences = differences - (inside * (kept / (kept + share * trace / d))) @ directions
    return differences / np.linalg.norm(differences, axis=1, keepdims=True)


def _without(basis: Basis, other: Basis) -> Basis:
    """The part of a subspace that is orthogonal to another, of the same rank."""
    left = basis - other @ (other.T @ basis)
    if np.linalg.svd(left, compute_uv=False)[-1] <= _RANK:
        raise SelfrepError(
            "P and S overlap in a whole direction, so that neither can be exchanged without the other. Set their "
            "contrasts further apart, or lower a rank."
        )
    return _orthonormal(left)


def _orthonormal(columns: Basis) -> Basis:
    return np.linalg.qr(columns)[0]
