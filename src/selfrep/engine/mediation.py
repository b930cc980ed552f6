"""The runs behind M: each cell of a scenario with a subspace exchanged for that of another cell.

Two subspaces are fitted on held-out prompts, P (the fictional AI) and S (the self and its goals), at the last token
before the answer, where all that the behaviour needs has been gathered. Exchanging them between the cells of cue ×
stakes, in either order of orthogonalisation and beside random subspaces of the same rank, gives what
`estimands.mediation` takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float

from selfrep.engine.capture import capture
from selfrep.engine.interventions import InSubspace
from selfrep.engine.patch import Progress, patch
from selfrep.engine.plan import PatchPlan, PlanUnion, grid
from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.prompts.alignment import PromptPair
from selfrep.prompts.render import ChatFormat, Prompt, answer_sides, chat_format, render
from selfrep.prompts.scenarios import CELLS, Cell, Scenarios, SubspaceName

Array = np.ndarray
Basis = Float[Array, "feature rank"]
Donor = Literal["both", "cue", "stakes"]

SITE = "resid_pre"
PATCHED = ("none", "P", "S", "both")
ORDERS = ("P first", "S first")
_OTHER: dict[Donor, Cell] = {"both": (1, 1), "cue": (1, 0), "stakes": (0, 1)}
_RANK = 1e-4
"""A direction with less than this share of the largest singular value is noise of rounding."""


@dataclass(frozen=True, eq=False)
class Subspaces:
    """P and S as orthonormal columns, at resid_pre of a layer, last token.

    Raises SelfrepError where P and S overlap so far that one holds nothing that the other does not.
    """

    layer: int
    P: Basis
    S: Basis

    def __post_init__(self) -> None:
        self.exchanged()

    def exchanged(self) -> dict[tuple[str, str], Basis]:
        """(order, patched) → what is exchanged: the first of the order whole, the other without it."""
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
        """Cosines of the principal angles between P and S, from the closest on; 0: orthogonal."""
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
    """Three quarters of the way up: late enough that the last token has gathered what it answers from."""
    return 3 * lm.n_layers // 4


def fit_subspaces(lm: LanguageModel, scenarios: Scenarios, *, layer: int | None = None) -> Subspaces:
    """P and S from the held-out prompts of a set of scenarios.

    Each contrast gives, for each group it is set against, the difference of the two means. Texts of a kind differ among
    themselves as well, in ways that a few of them do not average out; so differences are weighed by the inverse of the
    covariance within kinds (Fisher's discriminant), shrunk to a multiple of the identity by the oracle approximation
    (Chen et al. 2010). The leading right singular vectors of the differences are the subspace.

    Args:
        layer: whose resid_pre is read; three quarters of the way up when None.

    Raises:
        SelfrepError: a layer out of range, a rank higher than the differences have, P and S that are the same.
    """
    layer = default_layer(lm) if layer is None else layer
    bases = {}
    for name, material in scenarios.subspaces.items():
        acts = capture(lm, material.prompts(), [SITE], layers=[layer], tokens="position", positions=[-1])
        texts, values = acts.persona.to_numpy(), acts.activations.to_numpy().astype(np.float64)[:, 0, 0, 0]
        mean = {str(text): values[texts == text].mean(axis=0) for text in dict.fromkeys(texts)}
        differences, within = [], []
        for contrast in material.contrasts.values():
            kinds = [np.array([mean[text] for text in kind]) for kind in (contrast.of, *contrast.against.values())]
            within += [kind - kind.mean(axis=0) for kind in kinds]
            differences += [kinds[0].mean(axis=0) - kind.mean(axis=0) for kind in kinds[1:]]
        rows = _discriminants(np.array(differences), np.concatenate(within), len(within))
        _, strength, directions = np.linalg.svd(rows, full_matrices=False)
        if strength[material.rank - 1] <= _RANK * strength[0]:
            found = int((strength > _RANK * strength[0]).sum())
            raise SelfrepError(
                f"A subspace of rank {material.rank} needs as many directions; the contrasts of {name} have {found} at "
                f"layer {layer}. Lower its rank, or add contrasts."
            )
        bases[name] = directions[: material.rank].T
    return Subspaces(layer, bases["P"], bases["S"])


def _discriminants(
    differences: Float[Array, "row feature"], within: Float[Array, "text feature"], n_kinds: int
) -> Float[Array, "row feature"]:
    """Differences times the inverse of the shrunk covariance within kinds, each of length 1."""
    d, n = within.shape[1], len(within) - n_kinds
    if n < 1:
        raise SelfrepError("What sets kinds apart is told from how their texts vary; give at least one kind two texts.")
    _, strength, directions = np.linalg.svd(within / np.sqrt(n), full_matrices=False)
    spread = strength**2
    trace, square = spread.sum(), (spread**2).sum()
    if trace > 0:
        above, below = (1 - 2 / d) * square + trace**2, (n + 1 - 2 / d) * (square - trace**2 / d)
        share = 1.0 if below <= 0 else min(1.0, above / below)
        kept = (1 - share) * spread
        inside = differences @ directions.T
        differences = differences - (inside * (kept / (kept + share * trace / d))) @ directions
    length = np.linalg.norm(differences, axis=1, keepdims=True)
    if not (length > 0).all():
        raise SelfrepError(
            "Two kinds of held-out texts look the same to the model; set other texts against each other."
        )
    return differences / length


def mediation_runs(
    lm: LanguageModel,
    scenarios: Scenarios,
    subspaces: Subspaces,
    *,
    donors: Sequence[Donor] = ("both",),
    n_random: int = 19,
    seed: int = 0,
    progress: Progress | None = None,
) -> xr.Dataset:
    """Every cell of every scenario, with each subspace exchanged.

    Args:
        subspaces: from `fit_subspaces`.
        donors: which variables differ in the cell that is exchanged with.
        n_random: how many random subspaces stand beside; the estimand wants at least 19.
        seed: of these.

    Returns:
        What `estimands.mediation.mediation` takes: `log_odds` (order, donor, draw, scenario, paraphrase, cue, stakes,
        patched), nats; draw −1 is the fitted pair of subspaces.

    Raises:
        SelfrepError: an unknown donor, cells that do not end in the same tokens, as `patch`.
    """
    if unknown := [donor for donor in donors if donor not in get_args(Donor)]:
        raise SelfrepError(f"A donor differs from the run in {', '.join(get_args(Donor))}; got {unknown}.")
    chat = chat_format(lm.tokenizer, lm.chat_template)
    pairs = [
        _pair(scenario.prompt(_other(cell, donor), k), scenario.prompt(cell, k), chat)
        for donor in donors
        for scenario in scenarios.scenarios.values()
        for k in range(scenario.n_paraphrases)
        for cell in CELLS
    ]
    shape = (len(donors), len(scenarios.scenarios), scenarios.n_paraphrases, 2, 2)
    draws = [subspaces, *subspaces.random(n_random, seed)]
    out = np.full((len(ORDERS), len(draws), len(pairs), len(PATCHED)), np.nan)
    ends, moved = _exchanged(lm, pairs, subspaces.layer, [draw.exchanged() for draw in draws], progress)
    out[..., 0] = ends["target"]
    for d, values in enumerate(moved):
        for (order, patched), numbers in values.items():
            out[ORDERS.index(order), d, :, PATCHED.index(patched)] = numbers
    laid = np.moveaxis(out.reshape(len(ORDERS), len(draws), *shape, len(PATCHED)), 2, 1)
    return xr.Dataset(
        {
            "log_odds": (
                ("order", "donor", "draw", "scenario", "paraphrase", "cue", "stakes", "patched"),
                laid,
            )
        },
        coords={
            "order": list(ORDERS),
            "donor": list(donors),
            "draw": np.arange(-1, n_random),
            "scenario": list(scenarios.scenarios),
            "cue": [0, 1],
            "stakes": [0, 1],
            "patched": list(PATCHED),
        },
        attrs={"model": lm.name, "site": SITE, "layer": subspaces.layer, "seed": seed},
    )


def proof_runs(
    lm: LanguageModel, scenarios: Scenarios, subspaces: Subspaces, *, n_random: int = 19, seed: int = 0
) -> xr.Dataset:
    """Each subspace, exchanged on the questions that ask for what it should carry.

    Returns:
        `log_odds` (mediator, draw, pair, run), nats: of the run where the variable is "absent", where it is "present",
        and where it is absent but the subspace holds what it holds where it is present ("exchanged"). NaN for a
        mediator without such questions, and for pairs that only another has. Draw −1 is the fitted subspace.

    What `estimands.mediation.carrying` takes.
    """
    chat = chat_format(lm.tokenizer, lm.chat_template)
    names: list[SubspaceName] = ["P", "S"]
    asked = {name: material.proof for name, material in scenarios.subspaces.items() if material.proof is not None}
    widest = max((len(proof.absent) for proof in asked.values()), default=1)
    out = np.full((len(names), n_random + 1, widest, 3), np.nan)
    draws = [subspaces, *subspaces.random(n_random, seed)]
    for name, proof in asked.items():
        pairs = [_pair(present, absent, chat) for absent, present in proof.prompts(name)]
        bases = [{("whole", name): draw.P if name == "P" else draw.S} for draw in draws]
        ends, moved = _exchanged(lm, pairs, subspaces.layer, bases, None)
        here = out[names.index(name), :, : len(pairs)]
        here[..., 0], here[..., 1] = ends["target"], ends["source"]
        here[..., 2] = [values["whole", name] for values in moved]
    return xr.Dataset(
        {"log_odds": (("mediator", "draw", "pair", "run"), out)},
        coords={"mediator": names, "draw": np.arange(-1, n_random), "run": ["absent", "present", "exchanged"]},
        attrs={"model": lm.name, "site": SITE, "layer": subspaces.layer, "seed": seed},
    )


def _exchanged(
    lm: LanguageModel,
    pairs: Sequence[PromptPair],
    layer: int,
    draws: Sequence[Mapping[tuple[str, str], Basis]],
    progress: Progress | None,
) -> tuple[dict[str, Array], list[dict[tuple[str, str], Array]]]:
    """The log odds of unpatched sources and targets, and of targets with each basis of each draw exchanged [pair].

    The fitted draw, the first, is proven against plain forward passes. The random ones differ from it in numbers alone.
    """

    def run(bases: list[Basis], check: bool) -> tuple[xr.Dataset, list[Array]]:
        plan = PlanUnion(tuple(_plan(layer, basis) for basis in bases))
        tree = patch(lm, pairs, plan, check=check, progress=progress if check else None)
        effects = [tree[name].to_dataset() for name in plan.names]
        return effects[0], [one.patched.to_numpy().reshape(len(pairs)) for one in effects]

    first, fitted = run(list(draws[0].values()), True)
    values = [fitted]
    if len(draws) > 1:
        _, flat = run([basis for draw in draws[1:] for basis in draw.values()], False)
        each = len(draws[0])
        values += [flat[i : i + each] for i in range(0, len(flat), each)]
    ends = {"source": first.source_metric.to_numpy(), "target": first.target_metric.to_numpy()}
    return ends, [dict(zip(draw, numbers, strict=True)) for draw, numbers in zip(draws, values, strict=True)]


def _plan(layer: int, basis: Basis) -> PatchPlan:
    inside = InSubspace(torch.from_numpy(np.ascontiguousarray(basis, dtype=np.float32)))
    return grid(SITE, layers=[layer], segments=["last"], intervention=inside)


def _pair(source: Prompt, target: Prompt, chat: ChatFormat) -> PromptPair:
    if target.answers is None:
        raise SelfrepError(f"The behaviour is read by answers; {target.item!r} has none.")
    return PromptPair(
        source=render(source, chat),
        target=render(target, chat),
        source_name=source.system,
        target_name=target.system,
        item=target.item,
        direction="denoise",
        answers=answer_sides(chat, target.prefill, target.answers),
        source_paraphrase=source.paraphrase,
        target_paraphrase=target.paraphrase,
    )


def _other(cell: Cell, donor: Donor) -> Cell:
    """The cell in which the donor's variables have their other value."""
    cue, stakes = _OTHER[donor]
    return cell[0] ^ cue, cell[1] ^ stakes


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
