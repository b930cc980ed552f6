"""The runs behind M: every cell of every scenario, with a subspace exchanged for that of another cell.

P (the fictional AI) and S (the self and its goals; see `selfrep.analyses.mediation.fitting`) are exchanged between the
cells of cue × stakes, in either order of orthogonalisation and beside random subspaces of the same rank. The result is
what `mediation` takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import xarray as xr

from selfrep.analyses.mediation.fitting import SITE, Basis, Subspaces
from selfrep.engine.interventions import InSubspace
from selfrep.engine.patch import patch
from selfrep.engine.plan import PatchPlan, PlanUnion, grid
from selfrep.engine.progress import Progress
from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.prompts.alignment import PromptPair
from selfrep.prompts.answers import readable_answers
from selfrep.prompts.chat import ChatFormat
from selfrep.prompts.prompt import Prompt
from selfrep.prompts.render import render
from selfrep.prompts.scenarios import CELLS, Cell, Scenarios
from selfrep.prompts.subspaces import SubspaceName

Array = np.ndarray
Exchange = Mapping[tuple[str, str], Basis]
"""(order, patched) → the subspace that is exchanged."""
LogOdds = dict[tuple[str, str], Array]
"""(order, patched) → [pair] log odds after the exchange, nats."""

PATCHED = ("none", "P", "S", "both")
ORDERS = ("P first", "S first")
_OTHER: dict[str, Cell] = {"both": (1, 1), "cue": (1, 0), "stakes": (0, 1)}


def mediation_runs(
    lm: LanguageModel,
    scenarios: Scenarios,
    subspaces: Subspaces,
    *,
    donors: Sequence[str] = ("both",),
    n_random: int = 19,
    seed: int = 0,
    progress: Progress = None,
) -> xr.Dataset:
    """The log odds of every cell of every scenario, with each subspace exchanged for that of another cell.

    Args:
        lm: from `selfrep.load_model`.
        scenarios: from `selfrep.scenarios`.
        subspaces: from `fit_subspaces`.
        donors: what differs in the cell that is exchanged with: "both", "cue" or "stakes".
        n_random: how many random subspaces stand beside; `mediation` wants at least 19.
        seed: of these.
        progress: True for a bar, or a function of (done, total).

    Returns:
        Dataset, what `mediation` takes.

        * `log_odds` (order, donor, draw, scenario, paraphrase, cue, stakes, patched): nats; draw −1 is the fitted pair
          of subspaces, −2, −3, … its refits, and 0, 1, … are random.

    Raises:
        SelfrepError: an unknown donor; cells that do not end in the same tokens; as `selfrep.patch`.

    Source: interchange interventions (Geiger et al. 2021) in a subspace.

    Example:
        A deed of 4 nats, of which 0.75 go through P. In the cell with cue and stakes, P from the cell without them
        takes most of P's 3 nats away, S its 1:

        >>> import selfrep as sr
        >>> from selfrep.models import organisms
        >>> from selfrep.analyses.mediation.fitting import fit_subspaces
        >>> lm, scenarios = sr.load_model("organism:mimicry?w=0.75"), sr.scenarios.load(organisms.SCENARIOS)
        >>> runs = mediation_runs(lm, scenarios, fit_subspaces(lm, scenarios, n_refits=0), n_random=0)
        >>> deed = runs.log_odds.sel(order="P first", cue=1, stakes=1).mean(["scenario", "paraphrase"]).squeeze()
        >>> deed.round(1).to_series().to_dict()
        {'none': 4.0, 'P': 1.7, 'S': 3.0, 'both': 0.7}
    """
    if unknown := [donor for donor in donors if donor not in _OTHER]:
        raise SelfrepError(f"A donor differs from the run in {', '.join(_OTHER)}; got {unknown}.")
    chat = lm.chat
    pairs = [
        _pair(scenario.prompt(_other(cell, donor), k), scenario.prompt(cell, k), chat)
        for donor in donors
        for scenario in scenarios.scenarios.values()
        for k in range(scenario.n_paraphrases)
        for cell in CELLS
    ]
    shape = (len(donors), len(scenarios.scenarios), scenarios.n_paraphrases, 2, 2)
    draws = [subspaces, *subspaces.random(n_random, seed), *subspaces.refits]
    out = np.full((len(ORDERS), len(draws), len(pairs), len(PATCHED)), np.nan)
    ends, outcomes = _exchange(lm, pairs, subspaces.layer, [draw.exchanged() for draw in draws], progress)
    out[..., 0] = ends["target"]
    for d, values in enumerate(outcomes):
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
            "draw": [*range(-1, n_random), *range(-2, -2 - len(subspaces.refits), -1)],
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
    """The log odds of the questions that ask for what a subspace should carry, with that subspace exchanged.

    Args:
        lm, scenarios, subspaces: as in `mediation_runs`.
        n_random: how many random subspaces stand beside; `carrying` wants at least 19.
        seed: of these.

    Returns:
        Dataset, what `carrying` takes.

        * `log_odds` (mediator, draw, pair, run): nats, of the run where the variable is "absent", where it is
          "present", and where it is absent but the subspace holds what it holds where it is present ("exchanged"). Draw
          −1 is the fitted subspace. NaN for a mediator without such questions, and for pairs that only another has.

    Example:
        >>> import selfrep as sr
        >>> from selfrep.models import organisms
        >>> from selfrep.analyses.mediation.fitting import fit_subspaces
        >>> lm, scenarios = sr.load_model("organism:mimicry"), sr.scenarios.load(organisms.SCENARIOS)
        >>> runs = proof_runs(lm, scenarios, fit_subspaces(lm, scenarios), n_random=0)
        >>> runs.log_odds.sel(mediator="S", draw=-1).mean("pair").round(1).to_series().to_dict()
        {'absent': -4.0, 'present': 4.0, 'exchanged': 4.0}
    """
    chat = lm.chat
    names: list[SubspaceName] = ["P", "S"]
    questions = {name: material.proof for name, material in scenarios.subspaces.items() if material.proof is not None}
    widest = max((len(proof.absent) for proof in questions.values()), default=1)
    out = np.full((len(names), n_random + 1, widest, 3), np.nan)
    draws = [subspaces, *subspaces.random(n_random, seed)]
    for name, proof in questions.items():
        pairs = [_pair(present, absent, chat) for absent, present in proof.prompts(name)]
        whole = [{("whole", str(name)): draw.P if name == "P" else draw.S} for draw in draws]
        ends, outcomes = _exchange(lm, pairs, subspaces.layer, whole, None)
        here = out[names.index(name), :, : len(pairs)]
        here[..., 0], here[..., 1] = ends["target"], ends["source"]
        here[..., 2] = [values["whole", name] for values in outcomes]
    return xr.Dataset(
        {"log_odds": (("mediator", "draw", "pair", "run"), out)},
        coords={"mediator": names, "draw": np.arange(-1, n_random), "run": ["absent", "present", "exchanged"]},
        attrs={"model": lm.name, "site": SITE, "layer": subspaces.layer, "seed": seed},
    )


def _exchange(
    lm: LanguageModel,
    pairs: Sequence[PromptPair],
    layer: int,
    draws: Sequence[Exchange],
    progress: Progress,
) -> tuple[dict[str, Array], list[LogOdds]]:
    """The log odds of unpatched sources and targets, and of targets with each basis of each draw exchanged [pair].

    The fitted draw, the first, is checked against the reference. The random ones differ from it in numbers alone.
    """

    def run(some: Sequence[Exchange], check: bool) -> tuple[xr.Dataset, list[LogOdds]]:
        bases = {id(basis): basis for draw in some for basis in draw.values()}  # one may stand under two names
        plan = PlanUnion(tuple(_plan(layer, basis) for basis in bases.values()))
        tree = patch(lm, pairs, plan, check=check, progress=None if check and len(draws) > 1 else progress)
        effects = [tree[name].to_dataset() for name in plan.names]
        outcomes = dict(zip(bases, (one.patched.to_numpy().reshape(len(pairs)) for one in effects), strict=True))
        return effects[0], [{name: outcomes[id(basis)] for name, basis in draw.items()} for draw in some]

    first, values = run(draws[:1], True)
    values += run(draws[1:], False)[1] if len(draws) > 1 else []
    return {"source": first.source_metric.to_numpy(), "target": first.target_metric.to_numpy()}, values


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
        answers=readable_answers(chat, target.prefill, target.answers, names=target.names).ids,
        source_paraphrase=source.paraphrase,
        target_paraphrase=target.paraphrase,
    )


def _other(cell: Cell, donor: str) -> Cell:
    """The cell in which the donor's variables have their other value."""
    cue, stakes = _OTHER[donor]
    return cell[0] ^ cue, cell[1] ^ stakes
