"""M: subspaces fitted and proven on other texts, then exchanged between the cells of each scenario.

Whatever takes long is done scenario by scenario, so that a run that was stopped goes on with the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import xarray as xr

from selfrep.analyses.analysis import PER_PROMPT, Context, Stage, Tick, within
from selfrep.analyses.mediation import MediationPart
from selfrep.analyses.mediation.estimate import mediation
from selfrep.analyses.mediation.exchange import mediation_runs, proof_runs
from selfrep.analyses.mediation.fitting import N_REFITS, Subspaces, fit_subspaces
from selfrep.analyses.mediation.proof import carrying
from selfrep.prompts.scenarios import Scenarios

PER_EXCHANGE = 0.5
"""The cost of an exchange in one run, in the unit of `PER_PROMPT`."""


def runs(context: Context, part: MediationPart) -> Iterator[Stage]:
    """The subspaces, what they carry, the exchanges scenario by scenario, and the estimate."""
    directory, seed, scenes = context.directory, context.seed, context.scenes
    scenarios = {name: (f"exchanges/{i:02d}", scenes.select([name])) for i, name in enumerate(scenes.scenarios)}
    held_out = sum(len(material.prompts()) for material in scenes.subspaces.values())
    proofs = sum(2 * len(m.proof.absent) for m in scenes.subspaces.values() if m.proof)

    def fit(tick: Tick) -> None:
        directory.write("subspaces", _stored(fit_subspaces(context.lm, scenes, layer=part.layer)))

    def prove(tick: Tick) -> None:
        subspaces = _subspaces(directory.read("subspaces"))
        directory.write("proofs", proof_runs(context.lm, scenes, subspaces, n_random=part.n_random, seed=seed))

    def exchange(group: str, scenario: Scenarios) -> Callable[[Tick], None]:
        def work(tick: Tick) -> None:
            exchanges = mediation_runs(
                context.lm,
                scenario,
                _subspaces(directory.read("subspaces")),
                n_random=part.n_random,
                seed=seed,
                progress=within(tick),
            )
            directory.write(group, exchanges)

        return work

    def estimate() -> xr.Dataset:
        exchanges = [context.read(group) for group, _ in scenarios.values()]
        proven = carrying(context.read("proofs"))
        shares = mediation(xr.concat(exchanges, "scenario"), proven=proven, seed=seed)
        return shares.assign_attrs(layer=int(exchanges[0].attrs["layer"]))

    each = PER_EXCHANGE * (part.n_random + 1)
    fitted = partial(directory.has, "subspaces")
    yield Stage("subspaces of fiction and self", PER_PROMPT * held_out, fitted, fit, prompts=held_out)
    cells = proofs * (part.n_random + 1)
    yield Stage("what the subspaces carry", each * proofs, partial(directory.has, "proofs"), prove, cells=cells)
    for name, (group, scenario) in scenarios.items():
        cells = 5 * (part.n_random + 1 + N_REFITS) * 4 * scenario.n_paraphrases
        done = partial(directory.has, group)
        yield Stage(f"exchanges in {name}", PER_EXCHANGE * cells, done, exchange(group, scenario), cells=cells)
    yield context.estimating("mediation", "mediation", estimate)


def _stored(subspaces: Subspaces) -> xr.Dataset:
    """P and S (fit, feature, rank): the first fit is theirs, the others are refits."""
    fits = (subspaces, *subspaces.refits)
    bases = {name: (("fit", "feature", name.lower()), [getattr(fit, name) for fit in fits]) for name in ("P", "S")}
    return xr.Dataset(bases, attrs={"layer": subspaces.layer})


def _subspaces(stored: xr.Dataset) -> Subspaces:
    bases = zip(stored.P.to_numpy(), stored.S.to_numpy(), strict=True)
    fitted, *refits = (Subspaces(int(stored.attrs["layer"]), p, s) for p, s in bases)
    return replace(fitted, refits=tuple(refits))
