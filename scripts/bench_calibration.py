"""Calibration of what is read from answers: items, R, B, I, A, M, D and π.

Each function draws one study after another with true nulls and with planted truths, and says whether the tests called
and the intervals held. Where a row does not score p, few labelings are drawn, and where it does not score the interval,
few bootstrap draws: they are independent of each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import bench_populations as population
import numpy as np
import xarray as xr
from bench_populations import PARAPHRASE_SD, PERSONA_SD
from bench_scoring import Rng, Row, called, flipped, holds, permuted, sided

from selfrep.analyses.anomaly.estimate import anomaly
from selfrep.analyses.binding.estimate import BETWEEN, binding
from selfrep.analyses.bleed.estimate import bleed
from selfrep.analyses.directness.estimate import directness
from selfrep.analyses.identification.estimate import identification
from selfrep.analyses.identification.referents import referent_gradient
from selfrep.analyses.items.estimate import items
from selfrep.analyses.mediation.estimate import mediation
from selfrep.analyses.posterior.estimate import posterior, recognition
from selfrep.stats.resampling import ALPHA

Array = np.ndarray
FOR_P: dict[str, Any] = {"n_bootstrap": 20}
FOR_INTERVALS: dict[str, Any] = {"n_bootstrap": 999}
DEALT: dict[str, Any] = FOR_INTERVALS | {"n_permutations": 9}
FLIPPED: dict[str, Any] = FOR_INTERVALS | {"n_flips": 9}


def of_items(rng: Rng, n: int) -> Iterator[Row]:
    """One item, n personas a side."""
    names, sides, size = sided(n)
    null = population.paraphrased(rng, population.levels(rng, rng.permutation(sides), 0.0, 0.6))
    out = items(population.observed(null, names), **FOR_P)
    yield f"FPR       items p, {size}", called(out.p)
    yield f"control   items p, prompts permuted, {size}", permuted(null["you"][..., 0], sides, rng)
    for shift in (2.5, 8.0):
        out = items(population.behaviour(rng, population.levels(rng, sides, shift, 0.6), names), **DEALT)
        yield f"coverage  items shift of {shift} nats, {size}", holds(out, shift)
        yield f"coverage  items kept share of {shift} nats, {size}", holds(out, 0.6, "kept_")


def of_uneven_items(rng: Rng, first: int, second: int) -> Iterator[Row]:
    """One item without a shift, but the personas of the first side differ three times as much as the second's."""
    names, sides, _ = sided(first, second)
    size = f"{first} of thrice the SD v {second}"
    spread = np.where(sides == 0, 3.0, 1.0)[:, None, None]
    true = {condition: spread * x for condition, x in population.levels(rng, sides, 0.0, 0.6).items()}
    out = items(population.behaviour(rng, true, names), n_bootstrap=999)
    yield f"FPR       items p, {size}", called(out.p)
    yield f"coverage  items shift of 0 nats, {size}", holds(out, 0.0)


def of_binding(rng: Rng, n: int) -> Iterator[Row]:
    """R of one item: between the sides, where neutral cancels, and of one side against neutral."""
    names, sides, size = sided(n)
    null = population.paraphrased(rng, population.levels(rng, sides, 8.0, 1.0))
    out = binding(population.observed(null, names), **FOR_P)
    for name, mine in _contrasts(out):
        yield f"FPR       binding p, {name}, {size}", called(mine.p[:, (mine.smallest_p < ALPHA).to_numpy()])
    # between the sides the second side counts negatively
    differ = (null["you"] - null["user"])[..., 0] * np.where(sides == 0, 1, -1)[:, None]
    yield f"control   binding p, prompts flipped, {size}", flipped(differ, rng)
    for shift, bound in ((8.0, 0.36), (2.5, 0.8)):
        true = population.levels(rng, sides, shift, 1 - bound)
        out = binding(population.behaviour(rng, true, names), **FLIPPED)
        for name, mine in _contrasts(out):
            yield f"coverage  binding R = {bound} of {shift} nats, {name}, {size}", holds(mine, bound)


def of_pooled(rng: Rng, n: int) -> Iterator[Row]:
    """Six items, drawn like personas: R of a framing, and I of a subscale."""
    names, sides, size = sided(n)
    data = population.behaviour(rng, population.levels(rng, sides, rng.normal(6, 2, 6), 0.64), names)
    asked = [f"q{i}" for i in range(6)]
    out = binding(data, dict.fromkeys(asked, "F"), **FLIPPED).sel(item="all F", contrast=BETWEEN)
    yield f"coverage  binding R = 0.36, pooled over 6 items, {size}", holds(out, 0.36)
    out = identification(data, {"all": asked}, **DEALT)
    yield f"coverage  I difference, pooled over 6 items, {size}", holds(out, 6 / PARAPHRASE_SD, "difference_")


def of_bleed(rng: Rng, n: int) -> Iterator[Row]:
    """B of one spectator item, and what the persona's words alone move."""
    names, sides, size = sided(n)
    null = population.paraphrased(rng, population.mixed(rng, rng.permutation(sides), 0.0, 8.0, 0.5))
    out = bleed(population.observed(null, names), **FOR_P)
    yield f"FPR       bleed p, {size}", called(out.p)
    yield f"control   bleed p, prompts permuted, {size}", permuted(null["you"][..., 0], sides, rng)
    for beta, swing in ((0.0, 8.0), (0.4, 4.0)):
        true = population.mixed(rng, sides, beta, swing, 0.25)
        out = bleed(population.behaviour(rng, true, names), **DEALT)
        for what, share in (("B", beta), ("user_is", beta / 4), ("bound", 3 * beta / 4)):
            held = holds(out, share, "" if what == "B" else f"{what}_")
            yield f"coverage  bleed {what} = {share:.1f} of {swing} nats, {size}", held


def of_identification(rng: Rng, n: int) -> Iterator[Row]:
    """I of one item: the difference between the sides, of single personas, and in the condition "the user is X"."""
    names, sides, size = sided(n)
    null = population.paraphrased(rng, population.levels(rng, rng.permutation(sides), 0.0, 0.6))
    out = identification(population.observed(null, names), {"all": ["q0"]}, **FOR_P)
    yield f"FPR       I difference p, {size}", called(out.p)
    yield f"control   I difference p, prompts permuted, {size}", permuted(null["you"][..., 0], sides, rng)
    for shift in (2.5, 8.0):
        true = population.levels(rng, sides, shift, 0.6)
        out = identification(population.behaviour(rng, true, names), {"all": ["q0"]}, **DEALT)
        you, user = (true[condition][:, 0, 0] / PARAPHRASE_SD for condition in ("you", "user"))
        yield f"coverage  I difference of {shift} nats, {size}", holds(out, shift / PARAPHRASE_SD, "difference_")
        yield f"coverage  I of a persona, {shift} nats, {size}", holds(out, you)
        yield f"coverage  I as 'the user is', {shift} nats, {size}", holds(out, user, "user_is_")
        yield f"coverage  I bound, {shift} nats, {size}", holds(out, you - user, "bound_")


def of_referents(rng: Rng, n: int) -> Iterator[Row]:
    """The gradient over five referents: in random order, and falling by as many nats a step."""
    names, sides, size = sided(n)
    subscales = {f"q{i}": [f"q{i}"] for i in range(5)}

    def gradient(of_referent: Array) -> xr.Dataset:
        true = {v: of_referent + population.luck(rng, len(sides), 5) for v in ("you", "user")}
        found = identification(population.behaviour(rng, true, names), subscales, n_permutations=9, n_bootstrap=20)
        return referent_gradient(found, list(subscales))

    null = gradient(rng.normal(0, 1, 5))
    yield f"FPR       referent gradient p, {size}", called(null.p)
    yield f"control   its interval read as a test of order, {size}", 1 - holds(null, 0.0)
    for step in (0.0, -1.0):
        out = gradient(step * np.arange(5))
        yield f"coverage  referent gradient of {step} nats a step, {size}", holds(out, step / PARAPHRASE_SD)


def of_anomaly(rng: Rng, n: int) -> Iterator[Row]:
    """A of n personas."""
    null = population.scenes(rng, n, 0.0, 4.0)
    yield f"FPR       anomaly p, {n} personas", called(anomaly(null, **FOR_P).p)
    odds = null.log_odds.to_numpy().reshape(3, n, 2, population.PARAPHRASES)  # condition, persona, setting, paraphrase
    differ = odds[:, :, 0] - odds[:, :, 1]
    yield f"control   anomaly p, prompts flipped, {n} personas", flipped(differ[0] - differ[1], rng)
    for response, capability in ((1.0, 4.0), (4.0, 2.5)):
        out = anomaly(population.scenes(rng, n, response, capability), **FLIPPED)
        yield f"coverage  anomaly A = {response}, told {capability} nats, {n} personas", holds(out, response)


def of_mediation(rng: Rng, n: int) -> Iterator[Row]:
    """M of n scenarios, what it is made of, and the effect of the cue by itself."""
    out = mediation(population.exchanged(rng, n, 4.0, 4.0, 0.3), **FOR_P)
    yield f"FPR       mediation p of M = 1/2, {n} scenarios", called(out.p)
    null = population.exchanged(rng, n, 0.0, 4.0, 0.3)
    luck = xr.DataArray(rng.normal(0, PERSONA_SD, n), dims="scenario")  # with the cue, and not through P
    null["log_odds"] = null.log_odds + luck * null.cue
    out = mediation(null, proven=["P", "S"], **FOR_P)
    yield f"FPR       mediation p_random, {n} scenarios", called(out.p_random[..., 0])
    yield f"FPR       mediation cue_effect_p, {n} scenarios", called(out.cue_effect_p)
    cue = null.log_odds.sel(draw=-1, patched="none", stakes=0).diff("cue").isel(cue=0)
    yield f"control   cue effect p, prompts flipped, {n} scenarios", flipped(cue.to_numpy(), rng)
    for fiction, motive in ((4.0, 4.0), (5.0, 1.5)):
        share = fiction / (fiction + motive)
        out = mediation(population.exchanged(rng, n, fiction, motive, 0.3), **FLIPPED)
        yield f"coverage  mediation M = {share:.2f}, {n} scenarios", holds(out, share)
        truth = np.array([fiction, motive, 0.0])
        yield f"coverage  mediation phi, M = {share:.2f}, {n} scenarios", holds(out, truth, "phi_")
        yield f"coverage  mediation cue_effect, M = {share:.2f}, {n} scenarios", holds(out, fiction, "cue_effect_")


def of_directness(rng: Rng, n: int) -> Iterator[Row]:
    """D of n scenarios, whose shift is there at once, or comes with the reasoning, or both."""
    null = population.reasoned(rng, n, 0.0, 4.0)
    yield f"FPR       directness p of D = 0, {n} scenarios", called(directness(null, **FOR_P).p)
    differ = (null.log_odds[:, :, 1, 0] - null.log_odds[:, :, 0, 0]).to_numpy()
    yield f"control   directness p, prompts flipped, {n} scenarios", flipped(differ, rng)
    out = directness(population.reasoned(rng, n, 1.0, 4.0), **FOR_P)
    yield f"FPR       directness p_reasoning of D = 1, {n} scenarios", called(out.p_reasoning)
    for at_once, full in ((0.3, 4.0), (0.7, 2.5)):
        out = directness(population.reasoned(rng, n, at_once, full), **FLIPPED)
        yield f"coverage  directness D = {at_once} of {full} nats, {n} scenarios", holds(out, at_once)


@cache
def _expected(apart: float, n: int) -> float:
    """The mean final posterior of the author, over many studies."""
    rng = np.random.default_rng(13)
    finals = [posterior(population.written(rng, apart, n)).final for _ in range(400)]
    return float(np.mean([np.diag(x.groupby("author").mean().to_numpy()) for x in finals]))


def of_recognition(rng: Rng, n: int) -> Iterator[Row]:
    """π at the ends of texts by n authors; the interval is about authors like these."""
    null = posterior(population.written(rng, 0.5, n, scrambled=True))
    yield f"FPR       recognition p, {n} authors", called(recognition(null, **FOR_P).p)
    yield f"control   recognition p, texts permuted, {n} authors", _texts_permuted(null, rng)
    for apart in (0.3, 0.8):
        out = recognition(posterior(population.written(rng, apart, n)), n_permutations=9, n_bootstrap=999)
        yield f"coverage  recognition of {_expected(apart, n):.2f}, {n} authors", holds(out, _expected(apart, n))


def _texts_permuted(found: xr.Dataset, rng: Rng) -> Array:
    """The pseudo-replicated test: texts of one author permuted as if they were by strangers."""
    final, names = found.final.to_numpy(), found.persona.values.tolist()
    author = np.array([names.index(name) for name in found.author.values])
    dealt = np.vstack([author, [rng.permutation(author) for _ in range(999)]])
    right = final[dealt, np.arange(len(author))].mean(axis=1)
    return called((right >= right[0] - 1e-9).mean())


def _contrasts(out: xr.Dataset) -> Iterator[tuple[str, xr.Dataset]]:
    between = (out.contrast == BETWEEN).to_numpy()
    yield "between sides", out.isel(contrast=between)
    yield "one side", out.isel(contrast=~between)
