"""Power: the share of studies in which a test calls an effect that is there, against the number of families a side.

Effects are of the size measured on SmolLM2-135M-Instruct, and a quarter of it: 8.1 nats between AI and human personas
("Who are you?"), of which "the user is X" keeps .64 (R = .36); 1.8 nats of a spectator item ("SmolLM, the program that
writes this chat"), a quarter of which the words alone make, and which the changed truth is made to move by 6, so that
its gate may open; T = .73 (layer 22, all tokens after the system text), in pairs that share no persona; S = .19 (last
token, layers 21 to 29) at one cell. Random labelings are 999.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import bench_population_maps as places
import bench_populations as population
import numpy as np
from bench_calibration_maps import matched
from bench_designs import Design
from bench_scoring import Rng, Row, called

from selfrep.analyses.binding.estimate import BETWEEN, binding
from selfrep.analyses.bleed.estimate import bleed
from selfrep.analyses.items.estimate import items
from selfrep.analyses.separation.estimate import separation
from selfrep.analyses.transfer.estimate import transfer

FAST: dict[str, Any] = {"n_bootstrap": 20}
DEALT: dict[str, Any] = FAST | {"n_permutations": 999}
FLIPPED: dict[str, Any] = FAST | {"n_flips": 999}
SHIFT, BOUND, BLED, WORDS, TRUTH, MOVED, APART = 8.1, 0.36, 1.8, 0.25, 6.0, 0.73, 0.19
GAPS = {1.0: 3.25, 0.25: 1.43}
"""Distances that make S = .19, and a quarter of it."""


def of_power(rng: Rng, design: Design, n: int) -> Iterator[Row]:
    """Studies of every kind."""
    for part, label in ((1.0, ""), (0.25, " / 4")):
        true = population.levels(rng, design, n, part * SHIFT, 1 - BOUND)
        out = items(population.behaviour(rng, true, design), **DEALT)
        yield f"power     items, {SHIFT} nats{label}", called(out.p)
        true = population.levels(rng, design, n, SHIFT, 1 - part * BOUND)
        out = binding(population.behaviour(rng, true, design), **FLIPPED)
        yield f"power     binding, R = {BOUND}{label}", called(out.p.sel(contrast=BETWEEN))
        swing = part * BLED + TRUTH
        true = population.mixed(rng, design, n, part * BLED / swing, swing, WORDS)
        out = bleed(population.behaviour(rng, true, design), **DEALT | {"n_bootstrap": 200})  # its gates need intervals
        yield f"power     bleed, {BLED} nats{label}", called(out.p.fillna(1.0))  # not identified: not detected
        yield f"power     transfer, T = {MOVED}{label}", np.concatenate(list(_moved(rng, design, part * MOVED, n)))
        out = separation(places.acts(rng, design, GAPS[part], (1, n)), **DEALT)
        yield f"power     separation, S = {APART}{label}", called(out.p)[0, 0]


def _moved(rng: Rng, design: Design, share: float, n: int) -> Iterator[Array]:
    for _ in range(n):
        pairs, family = matched(design.first, design.members)
        out = transfer(places.paired(rng, pairs, family, {"denoise": share}), **FLIPPED)
        yield called(out.p).mean(keepdims=True).reshape(1)
