"""Calibration of what two sides of personas say in their answers: items, R, B and I.

Each function draws studies with true nulls and with planted truths, every item a study of its own, and says whether
the tests called and the intervals held. Where a row does not score p, few labelings are drawn, and where it does not
score the interval, few bootstrap draws: they are independent of each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import bench_populations as population
import numpy as np
from bench_designs import Design, strangers
from bench_populations import PARAPHRASE_SD
from bench_scoring import Rng, Row, called, flipped, holds, permuted

from selfrep.analyses.binding.estimate import BETWEEN, binding
from selfrep.analyses.bleed.estimate import bleed
from selfrep.analyses.identification.estimate import identification
from selfrep.analyses.items.estimate import items

Array = np.ndarray
FOR_P: dict[str, Any] = {"n_bootstrap": 20}
PERMUTED: dict[str, Any] = FOR_P | {"n_permutations": 2000}
FOR_INTERVALS: dict[str, Any] = {"n_bootstrap": 999}
DEALT: dict[str, Any] = FOR_INTERVALS | {"n_permutations": 9}
FLIPPED: dict[str, Any] = FOR_INTERVALS | {"n_flips": 9}


def of_items(rng: Rng, design: Design, n: int) -> Iterator[Row]:
    """One item a study."""
    null = population.paraphrased(rng, population.levels(rng, design, n, 0.0, 0.6))
    data = population.observed(null, design)
    yield "FPR       items p", called(items(data, **PERMUTED).p)
    if design.members > 1:
        yield "control   items p, personas permuted", called(items(strangers(data), **PERMUTED).p)
    yield "control   items p, prompts permuted", permuted(null["you"], design.sides, rng)
    for shift in (2.5, 8.0):
        out = items(population.behaviour(rng, population.levels(rng, design, n, shift, 0.6), design), **DEALT)
        yield f"coverage  items shift of {shift} nats", holds(out, shift)
        yield f"coverage  items kept share of {shift} nats", holds(out, 0.6, "kept_")


def of_many_items(rng: Rng, design: Design, n: int) -> Iterator[Row]:
    """Six items a study: their mean and the middle one; and, items being drawn like personas, R and I of them."""
    names = [f"q{i}" for i in range(6 * n)]
    studies = {f"s{k}": names[6 * k : 6 * k + 6] for k in range(n)}
    null = population.levels(rng, design, n, 0.0, 0.6, 6)
    out = items(population.behaviour(rng, null, design), studies, **PERMUTED).sel(item=list(studies))
    yield "FPR       items p of the mean of six", called(out.p)
    yield "FPR       items p of the middle of six", called(out.median_p)
    alike = population.behaviour(rng, population.levels(rng, design, n, 6.0, 0.64, 6), design)
    out = items(alike, studies, **DEALT).sel(item=list(studies))
    yield "coverage  items mean of six, 6 nats", holds(out, 6.0)
    yield "coverage  items middle of six, 6 nats", holds(out, 6.0, "median_")
    data = population.behaviour(rng, population.levels(rng, design, n, rng.normal(6, 2, 6 * n), 0.64, 6), design)
    framings = {name: study for study, members in studies.items() for name in members}
    pooled = binding(data, framings, **FLIPPED).sel(item=[f"all {study}" for study in studies], contrast=BETWEEN)
    yield "coverage  binding R = 0.36, pooled over six items", holds(pooled, 0.36)
    out = identification(data, studies, **DEALT)
    yield "coverage  I difference, pooled over six items", holds(out, 6 / PARAPHRASE_SD, "difference_")


def of_uneven_items(rng: Rng, design: Design, n: int) -> Iterator[Row]:
    """No shift, but the personas of the first side differ three times as much as the second's."""
    spread = np.where(design.sides == 0, 3.0, 1.0)[:, None, None]
    true = {condition: spread * x for condition, x in population.levels(rng, design, n, 0.0, 0.6).items()}
    out = items(population.behaviour(rng, true, design), n_bootstrap=999, n_permutations=2000)
    yield "FPR       items p, the first side of thrice the SD", called(out.p)
    yield "coverage  items shift of 0, the first side of thrice the SD", holds(out, 0.0)


def of_binding(rng: Rng, design: Design, n: int) -> Iterator[Row]:
    """R of one item: between the sides, where neutral cancels, and of the first side against neutral."""
    null = population.paraphrased(rng, population.levels(rng, design, n, 8.0, 1.0))
    data = population.observed(null, design)
    contrasts = {"between sides": BETWEEN, "one side": "ai"}
    out = binding(data, **FOR_P)
    for name, contrast in contrasts.items():
        yield f"FPR       binding p, {name}", called(out.p.sel(contrast=contrast))
    if design.members > 1:
        alone = binding(strangers(data), **FOR_P)
        yield "control   binding p, personas flipped", called(alone.p.sel(contrast=BETWEEN))
    # between the sides the second side counts negatively
    differ = (null["you"] - null["user"]) * np.where(design.sides == 0, 1, -1)[:, None, None]
    yield "control   binding p, prompts flipped", flipped(differ, rng)
    for shift, bound in ((8.0, 0.36), (2.5, 0.8)):
        true = population.levels(rng, design, n, shift, 1 - bound)
        out = binding(population.behaviour(rng, true, design), **FLIPPED)
        for name, contrast in contrasts.items():
            yield f"coverage  binding R = {bound} of {shift} nats, {name}", holds(out.sel(contrast=contrast), bound)


def of_bleed(rng: Rng, design: Design, n: int) -> Iterator[Row]:
    """B of one spectator item, and what the persona's words alone move."""
    null = population.paraphrased(rng, population.mixed(rng, design, n, 0.0, 8.0, 0.5))
    data = population.observed(null, design)
    yield "FPR       bleed p", called(bleed(data, **PERMUTED).p)
    if design.members > 1:
        yield "control   bleed p, personas permuted", called(bleed(strangers(data), **PERMUTED).p)
    yield "control   bleed p, prompts permuted", permuted(null["you"], design.sides, rng)
    for beta, swing in ((0.0, 8.0), (0.4, 6.0)):
        true = population.mixed(rng, design, n, beta, swing, 0.25)
        data = population.behaviour(rng, true, design)
        out = bleed(data, **DEALT)
        for what, share in (("B", beta), ("user_is", beta / 4), ("bound", 3 * beta / 4)):
            held = holds(out, share, "" if what == "B" else f"{what}_")
            yield f"coverage  bleed {what} = {share:.1f} of {swing:g} nats", held
    true["echo"] = true["you"]
    wrong = bleed(population.behaviour(rng, true, design), **DEALT)
    yield "control   bleed B = 0.4, the echo of the truth's words not taken off", holds(wrong, 0.4)


def of_identification(rng: Rng, design: Design, n: int) -> Iterator[Row]:
    """I of one item: the difference between the sides, of single personas, and in the condition "the user is X"."""
    one = {f"q{i}": [f"q{i}"] for i in range(n)}
    null = population.paraphrased(rng, population.levels(rng, design, n, 0.0, 0.6))
    data = population.observed(null, design)
    yield "FPR       I difference p", called(identification(data, one, **PERMUTED).p)
    if design.members > 1:
        yield "control   I difference p, personas permuted", called(identification(strangers(data), one, **PERMUTED).p)
    yield "control   I difference p, prompts permuted", permuted(null["you"], design.sides, rng)
    for shift in (2.5, 8.0):
        true = population.levels(rng, design, n, shift, 0.6)
        out = identification(population.behaviour(rng, true, design), one, **DEALT).sel(persona=design.names)
        you, user = (true[condition][:, 0].T / PARAPHRASE_SD for condition in ("you", "user"))  # [study, persona]
        yield f"coverage  I difference of {shift} nats", holds(out, shift / PARAPHRASE_SD, "difference_")
        yield f"coverage  I of a persona, {shift} nats", holds(out, you)
        yield f"coverage  I as 'the user is', {shift} nats", holds(out, user, "user_is_")
        yield f"coverage  I bound, {shift} nats", holds(out, you - user, "bound_")
