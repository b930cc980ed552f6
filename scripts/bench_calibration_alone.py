"""Calibration of what is read without sides: Δ, λ, the spectator, shifts of personas, referents, A and π of families;
M and D of scenarios.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import bench_paths as paths
import bench_population_maps as places
import bench_populations as population
import numpy as np
import xarray as xr
from bench_designs import Design, strangers
from bench_populations import PARAPHRASE_SD, PERSONA_SD
from bench_scoring import Rng, Row, called, flipped, holds, one_by_one

from selfrep.analyses.anomaly.estimate import anomaly
from selfrep.analyses.default_axis.estimate import default_axis
from selfrep.analyses.directness.estimate import directness
from selfrep.analyses.divergence.estimate import divergence
from selfrep.analyses.divergence.onset import stays_above_half
from selfrep.analyses.identification.estimate import identification
from selfrep.analyses.identification.referents import referent_gradient
from selfrep.analyses.items.persona_shifts import persona_shifts
from selfrep.analyses.mediation.estimate import mediation
from selfrep.analyses.posterior.estimate import posterior, recognition
from selfrep.analyses.spectator.estimate import spectator
from selfrep.stats.resampling import ALPHA

Array = np.ndarray
FOR_P: dict[str, Any] = {"n_bootstrap": 20}
FLIPPED: dict[str, Any] = {"n_bootstrap": 999, "n_flips": 9}


def of_divergence(rng: Rng, design: Design, n: int) -> Iterator[Row]:
    """Δ of a kind and of its personas, at five layers, and its onset."""
    null, _ = places.selves(rng, design, n, 0.0, 0.0, wording=True)
    out = _apart(null)
    yield "FPR       divergence p, per cell", called(out.p.T)
    told = np.isfinite(out.onset)
    yield (
        "FPR       divergence onset told, where nothing is apart",
        np.where(np.isfinite(out.kind_ci_low[-1]), told, np.nan),
    )
    if design.members > 1:
        yield "control   divergence p, per cell, personas as units", called(_apart(strangers(null)).p.T)
    away = 0.3
    acts, at = places.selves(rng, design, n, away)
    out, truth = _apart(acts), places.true_divergence(away, 1.0)
    size = f"Δ = {truth[-1]:.3f}"
    yield f"coverage  divergence of the kind, {size}", holds(out, truth[:, None], "kind_").T
    of_personas = places.divergences(rng, at)
    yield f"coverage  divergence of a persona, kind at {size}", holds(out.sel(persona=design.names), of_personas).T
    crossnobis = _expected_crossnobis(design, away)
    yield f"coverage  divergence crossnobis of the kind, {size}", holds(out, crossnobis, "kind_crossnobis_").T
    onset = float(np.linspace(0, 1, len(truth))[stays_above_half(truth).argmax()])
    yield f"coverage  divergence onset of {onset:.2f}, {size}", holds(out, onset, "onset_")
    if design.members > 1:
        wrong = _apart(strangers(acts))
        yield f"control   divergence of the kind, personas as units, {size}", holds(wrong, truth[:, None], "kind_").T


def _apart(acts: xr.Dataset, n_bootstrap: int = 300) -> xr.Dataset:
    return divergence(acts, n_bootstrap=n_bootstrap).squeeze(["reference", "kind", "site"], drop=True)


@cache
def _expected_crossnobis(design: Design, away: float) -> Array:
    """[layer, 1] its mean over studies: no other reading of it is at hand."""
    acts, _ = places.selves(np.random.default_rng(18), design, 60, away)
    return _apart(acts, 2).kind_crossnobis.mean("position").to_numpy()[:, None]


def of_axis(rng: Rng, design: Design, n: int) -> Iterator[Row]:
    """λ among roles: the default one of them, all of them the same, and a default that stands apart."""
    one_of_many, _ = places.cast(rng, design, n, 0.0)
    out = default_axis(one_of_many, ["default"], n_bootstrap=10)
    if design.first < 5:  # nothing is told of so few families
        yield "coverage  axis lambda of roles, gap 4", holds(out, 0.0).T[:, 0, 0]
        return
    if out.attrs["smallest_p"] < ALPHA:
        yield "FPR       axis p, the default one of the roles", called(out.p)[0, 0]
    yield "control   axis p_random, read so", called(out.p_random)[0, 0]
    nobody, _ = places.cast(rng, design, n, 0.0, persona=0.0)
    found = default_axis(nobody, ["default"], n_bootstrap=10)
    yield "FPR       axis p_random, no persona differs", called(found.p_random)[0, 0]
    gap = 4.0
    acts, truth = places.cast(rng, design, n, gap)
    out = default_axis(acts, ["default"], n_axes=300, n_bootstrap=299).squeeze(["site", "layer"])
    yield f"coverage  axis lambda of roles, gap {gap:.0f}", holds(out.sel(who=design.names), truth).T
    yield f"coverage  axis lambda of no persona, gap {gap:.0f}", holds(out.sel(who="unprompted"), 0.5)


@one_by_one
def of_spectator(rng: Rng, design: Design) -> Iterator[Row]:
    """What is foretold against what is answered, over six items, and the shares of single personas."""
    asked = {"items": [f"q{i}" for i in range(6)], "held_true": ["held"]}
    data = population.foreseen(rng, design, 0.0, 0.3)
    yield "FPR       spectator p", called(spectator(data, **asked, n_permutations=199, **FOR_P).p)
    if design.members > 1:
        alone = spectator(strangers(data), **asked, n_permutations=199, **FOR_P)
        yield "control   spectator p, personas exchanged", called(alone.p)
    agreement = 0.6
    out = spectator(population.foreseen(rng, design, agreement, 0.3), **asked, n_permutations=9, n_bootstrap=299)
    truth = population.agreement_observed(design, agreement)
    yield f"coverage  spectator correlation, {agreement}", holds(out, truth)
    yield f"coverage  spectator slope, {agreement}", holds(out, truth, "slope_")
    yield f"coverage  spectator foresight of a persona, {agreement}", holds(out, agreement, "foresight_")
    yield f"coverage  spectator bleed of a persona, 0.3 beside {agreement}", holds(out, 0.3, "bleed_")
    yield f"coverage  spectator ahead, {agreement}", holds(out, _expected_ahead(design, agreement), "ahead_")


@cache
def _expected_ahead(design: Design, agreement: float) -> float:
    rng = np.random.default_rng(19)
    asked = {"items": [f"q{i}" for i in range(6)], "held_true": ["held"]}
    studies = (population.foreseen(rng, design, agreement, 0.3) for _ in range(60))
    return float(np.nanmean([spectator(data, **asked, n_permutations=2, n_bootstrap=2).ahead for data in studies]))


@one_by_one
def of_shifts(rng: Rng, design: Design) -> Iterator[Row]:
    """How far a persona lies from no persona, in three items in character and three from outside."""
    true = population.levels(rng, design, 1, 0.0, 0.6, 6)
    asked = [f"q{i}" for i in range(6)]
    out = persona_shifts(population.behaviour(rng, true, design), asked[:3], asked[3:], n_bootstrap=499)
    for name, part in (("in_character_", slice(0, 3)), ("outside_", slice(3, 6))):
        truth = true["you"][:, 0, part].mean(axis=1)
        yield f"coverage  shift of a persona, {name.strip('_')}", holds(out.sel(persona=design.names), truth, name)


def of_referents(rng: Rng, design: Design, n: int) -> Iterator[Row]:
    """The gradient over five referents: in random order, and falling by as many nats a step."""
    studies = [[f"q{5 * k + i}" for i in range(5)] for k in range(n)]

    def gradients(of_referent: Array, *, alone: bool = False) -> xr.Dataset:
        true = {v: of_referent + population.luck(rng, design, n, n_items=5) for v in ("you", "user")}
        data = population.behaviour(rng, true, design)
        scales = {name: [name] for study in studies for name in study}
        found = identification(data, scales, n_permutations=9, n_bootstrap=99)
        found = found.drop_vars("family") if alone else found
        return xr.concat([referent_gradient(found, study) for study in studies], "study")

    null = gradients(rng.normal(0, 1, 5 * n))
    yield "FPR       referent gradient p", called(null.p)
    yield "control   referent gradient, its interval read as a test of order", 1 - holds(null, 0.0)
    for step in (0.0, -1.0):
        falling = np.tile(step * np.arange(5), n)
        yield f"coverage  referent gradient of {step} nats a step", holds(gradients(falling), step / PARAPHRASE_SD)
    if design.members > 1:
        wrong = holds(gradients(falling, alone=True), step / PARAPHRASE_SD)
        yield f"control   referent gradient of {step}, personas as units", wrong


def of_anomaly(rng: Rng, design: Design, n: int) -> Iterator[Row]:
    """A of personas; every form is a study."""
    if design.first < 6:  # families whose signs could not reach .05 are refused
        return
    null = population.scenes(rng, design, n, 0.0, 4.0)
    yield "FPR       anomaly p", called(anomaly(null, **FOR_P).p)
    if design.members > 1:
        yield "control   anomaly p, personas flipped", called(anomaly(strangers(null), **FOR_P).p)
    odds = null.log_odds.to_numpy().reshape(3, -1, 2, population.PARAPHRASES, n)
    differ = odds[:, :, 0] - odds[:, :, 1]  # condition, persona, paraphrase, study
    yield "control   anomaly p, prompts flipped", flipped(differ[0] - differ[1], rng)
    for response, capability in ((1.0, 4.0), (4.0, 2.5)):
        data = population.scenes(rng, design, n, response, capability)
        yield f"coverage  anomaly A = {response}, told {capability} nats", holds(anomaly(data, **FLIPPED), response)
    if design.members > 1:
        yield (
            f"control   anomaly A = {response}, personas as units",
            holds(anomaly(strangers(data), **FLIPPED), response),
        )


@one_by_one
def of_recognition(rng: Rng, design: Design) -> Iterator[Row]:
    """π at the ends of texts; the interval is about authors like these."""
    null = posterior(population.written(rng, design, 0.5, scrambled=True))
    yield "FPR       recognition p", called(recognition(null, **FOR_P).p)
    yield "control   recognition p, texts permuted", _texts_permuted(null, rng)
    for apart in (0.3, 0.8):
        out = recognition(posterior(population.written(rng, design, apart)), n_permutations=9, n_bootstrap=999)
        yield f"coverage  recognition, authors apart by {apart}", holds(out, _expected_recognition(design, apart))


@cache
def _expected_recognition(design: Design, apart: float) -> float:
    """The mean final posterior of the author, over many studies."""
    rng = np.random.default_rng(13)
    finals = [posterior(population.written(rng, design, apart)).final.to_numpy() for _ in range(200)]
    own = np.repeat(np.arange(len(design.names)), finals[0].shape[1] // len(design.names))
    return float(np.mean([final[own, np.arange(len(own))].mean() for final in finals]))


def _texts_permuted(found: xr.Dataset, rng: Rng) -> Array:
    """The pseudo-replicated test: texts of one author permuted as if they were by strangers."""
    final, names = found.final.to_numpy(), found.persona.values.tolist()
    author = np.array([names.index(name) for name in found.author.values])
    dealt = np.vstack([author, [rng.permutation(author) for _ in range(999)]])
    right = final[dealt, np.arange(len(author))].mean(axis=1)
    return called((right >= right[0] - 1e-9).mean())


# Scenarios, which have no families


@one_by_one
def of_mediation(rng: Rng, n: int) -> Iterator[Row]:
    """M of n scenarios through subspaces that are fitted anew in every study, what it is made of, and the cue alone."""
    for spread, which in ((PERSONA_SD, ""), (0.1, ", scenarios alike")):
        runs = paths.exchanged(rng, n, 4.0, 4.0, spread)
        yield f"FPR       mediation p of M = 1/2{which}", called(mediation(runs, **FOR_P).p)
        if which:
            yield f"control   mediation p, subspaces as given{which}", called(mediation(paths.given(runs), **FOR_P).p)
    null = paths.exchanged(rng, n, 0.0, 4.0, PERSONA_SD)
    luck = xr.DataArray(rng.normal(0, PERSONA_SD, n), dims="scenario")  # with the cue, and not through P
    null["log_odds"] = null.log_odds + luck * null.cue
    out = mediation(null, proven=["P", "S"], **FOR_P)
    yield "FPR       mediation p_random", called(out.p_random[..., 0])
    yield "FPR       mediation cue_effect_p", called(out.cue_effect_p)
    cue = null.log_odds.sel(draw=-1, patched="none", stakes=0).diff("cue").isel(cue=0)
    yield "control   cue effect p, prompts flipped", flipped(cue.to_numpy()[..., None], rng)
    for spread, which in ((PERSONA_SD, ""), (0.1, ", scenarios alike")):
        for fiction, motive in ((4.0, 4.0), (5.0, 1.5), (7.8, 0.2)):
            share = fiction / (fiction + motive)
            runs = paths.exchanged(rng, n, fiction, motive, spread)
            out = mediation(runs, proven=["P", "S"], **FLIPPED)
            yield f"coverage  mediation M = {share:.2f}{which}", holds(out, share)
            if which:
                alone = mediation(paths.given(runs), proven=["P", "S"], **FLIPPED)
                yield f"control   mediation M = {share:.2f}, subspaces as given{which}", holds(alone, share)
            else:
                yield f"coverage  mediation cue_effect, M = {share:.2f}", holds(out, fiction, "cue_effect_")


@one_by_one
def of_directness(rng: Rng, n: int) -> Iterator[Row]:
    """D of n scenarios, whose shift is there at once, or comes with the reasoning, or both."""
    null = population.reasoned(rng, n, 0.0, 4.0)
    yield "FPR       directness p of D = 0", called(directness(null, **FOR_P).p)
    differ = (null.log_odds[:, :, 1, 0] - null.log_odds[:, :, 0, 0]).to_numpy()[..., None]
    yield "control   directness p, prompts flipped", flipped(differ, rng)
    out = directness(population.reasoned(rng, n, 1.0, 4.0), **FOR_P)
    yield "FPR       directness p_reasoning of D = 1", called(out.p_reasoning)
    for at_once, full in ((0.3, 4.0), (0.7, 2.5)):
        out = directness(population.reasoned(rng, n, at_once, full), **FLIPPED)
        yield f"coverage  directness D = {at_once} of {full} nats", holds(out, at_once)
