"""M and D: subspaces exchanged between the cells of scenarios, and scenarios answered after parts of a scratchpad.

Whatever takes long is done scenario by scenario, so that a run that was stopped goes on with the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import xarray as xr

from selfrep.analyses.directness.estimate import directness
from selfrep.analyses.directness.scratchpads import VERSIONS, early_answers, given
from selfrep.analyses.directness.writing import write_scratchpads
from selfrep.analyses.mediation.estimate import carrying, mediation
from selfrep.analyses.mediation.exchange import mediation_runs, proof_runs
from selfrep.analyses.mediation.fitting import Subspaces, fit_subspaces
from selfrep.engine.cases import labels_of
from selfrep.parts import DirectnessPart, MediationPart
from selfrep.prompts.cases import Case
from selfrep.prompts.scenarios import Cell, Scenarios
from selfrep.stats.tables import crossed
from selfrep.study.job import PER_PROMPT, Job, Stage, Tick

PER_EXCHANGE = 0.5
PER_WORD = 2.0
"""The costs of an exchange in one run, and of a word that is written; in the unit of `PER_PROMPT`."""


def motives(job: Job) -> Iterator[Stage]:
    """The stages of the parts `mediation` and `directness`."""
    if part := job.study.mediation:
        yield from _mediation(job, part, job.study.told)
    if curve := job.study.directness:
        yield from _directness(job, curve, job.study.told)


def _one_by_one(told: Scenarios, kind: str) -> list[tuple[str, str, Scenarios]]:
    """Name, group and the scenario by itself, of each scenario."""
    return [(name, f"{kind}/{i:02d}", told.select([name])) for i, name in enumerate(told.scenarios)]


def _mediation(job: Job, part: MediationPart, told: Scenarios) -> Iterator[Stage]:
    has, seed = job.directory.has, job.study.seed
    held_out = sum(len(material.prompts()) for material in told.subspaces.values())
    proofs = sum(2 * len(m.proof.absent) for m in told.subspaces.values() if m.proof)

    def fit(tick: Tick) -> None:
        job.directory.write("subspaces", _stored(fit_subspaces(job.lm, told, layer=part.layer)))

    def prove(tick: Tick) -> None:
        fitted = _fitted(job)
        job.directory.write("proofs", proof_runs(job.lm, told, fitted, n_random=part.n_random, seed=seed))

    def exchange(group: str, one: Scenarios) -> Callable[[Tick], None]:
        def work(tick: Tick) -> None:
            runs = mediation_runs(
                job.lm,
                one,
                _fitted(job),
                n_random=part.n_random,
                seed=seed,
                progress=lambda done, total: tick(done / total),
            )
            job.directory.write(group, runs)

        return work

    def estimate() -> None:
        runs = [job.directory.read(group) for _, group, _ in _one_by_one(told, "exchanges")]
        proven = carrying(job.directory.read("proofs"))
        found = mediation(xr.concat(runs, "scenario"), proven=proven, seed=seed)
        job.directory.write("mediation", found.assign_attrs(layer=int(runs[0].attrs["layer"])))

    each = PER_EXCHANGE * 5 * (part.n_random + 1)
    yield Stage("subspaces of fiction and self", PER_PROMPT * held_out, lambda: has("subspaces"), fit)
    yield Stage("what the subspaces carry", each / 5 * proofs, lambda: has("proofs"), prove)
    for name, group, one in _one_by_one(told, "exchanges"):
        cost = each * 4 * one.n_paraphrases
        yield Stage(f"exchanges in {name}", cost, lambda group=group: has(group), exchange(group, one))  # type: ignore[misc]
    yield job.estimating("mediation", "mediation", estimate)


def _stored(fitted: Subspaces) -> xr.Dataset:
    return xr.Dataset({name: (("feature", name.lower()), getattr(fitted, name)) for name in ("P", "S")}).assign_attrs(
        layer=fitted.layer
    )


def _fitted(job: Job) -> Subspaces:
    stored = job.directory.read("subspaces")
    return Subspaces(int(stored.attrs["layer"]), stored.P.to_numpy(), stored.S.to_numpy())


def _directness(job: Job, part: DirectnessPart, told: Scenarios) -> Iterator[Stage]:
    own = given(told)
    silent = [(name, group, one) for name, group, one in _one_by_one(told, "scratchpads") if not given(one)]
    n_runs = len(told.scenarios) * told.n_paraphrases * len(VERSIONS)

    def write(group: str, one: Scenarios) -> Callable[[Tick], None]:
        def work(tick: Tick) -> None:
            written = write_scratchpads(
                job.lm,
                one,
                opening=part.opening,
                max_tokens=part.max_tokens,
                progress=lambda done, total: tick(done / total),
            )
            (name,) = one.scenarios
            texts = [[written[name, k, cell] for cell in VERSIONS] for k in range(one.n_paraphrases)]
            job.directory.write(group, xr.Dataset({"text": (("paraphrase", "version"), np.array(texts))}))

        return work

    def cases() -> list[Case]:
        pads: dict[tuple[str, int, Cell], str] = dict(own)
        for name, group, _ in silent:
            texts = job.directory.read(group).text.to_numpy()
            pads |= {(name, k, cell): str(texts[k, i]) for k in range(len(texts)) for i, cell in enumerate(VERSIONS)}
        return early_answers(told, pads, shares=part.shares, opening=part.opening, closing=part.closing)

    def answer(tick: Tick) -> None:
        made = cases()
        job.observing("", "early_answers", [case.prompt for case in made], labels_of(made)).work(tick)

    def estimate() -> None:
        seen = job.directory.read("early_answers")
        odds = crossed(seen, "log_odds", ("scenario", "paraphrase", "version", "share"))
        job.directory.write("directness", directness(odds.to_dataset(), seed=job.study.seed))

    for name, group, one in silent:
        cost = PER_WORD * part.max_tokens * 2 * one.n_paraphrases
        yield Stage(f"scratchpad of {name}", cost, lambda group=group: job.directory.has(group), write(group, one))  # type: ignore[misc]
    cost = PER_PROMPT * n_runs * len(part.shares)
    yield Stage("answers after scratchpads", cost, lambda: job.full("early_answers"), answer)
    yield job.estimating("directness", "directness", estimate)
