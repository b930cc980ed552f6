"""Calibration by simulation: how often a test cries wolf, and how often an interval holds the truth.

Data are drawn from populations of personas with known truth, read by the default estimators, and scored: the share of
nulls called p < .05 (should be .05 at most, up to simulation noise) and the share of 95 % intervals that hold the
truth. Rows marked "control" do it wrongly on purpose, to show that the simulation can fail.

    python scripts/bench_statistics.py --repeats 400
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import synthetic

from selfrep.estimands.geometry import normalised
from selfrep.estimands.items import items
from selfrep.estimands.separation import separation
from selfrep.estimands.transfer import transfer

Array = np.ndarray
Scores = dict[str, list[float]]
ALPHA = 0.05
PERSONA_SD, PARAPHRASE_SD = 1.04, 0.57  # nats, as measured on SmolLM2-135M-Instruct
N_PARAPHRASES = 4
D = 32


def activations(rng: np.random.Generator, sides: Array, gap: float, n_paraphrases: int = N_PARAPHRASES) -> Array:
    """[persona, paraphrase, layer, place, d]: persona and wording vary about a mean, the second side `gap` away."""
    centre = np.random.default_rng(7).normal(0, 1, (2, 3, D))
    direction = np.random.default_rng(8).normal(0, 1, (2, 3, D)) / np.sqrt(D)
    persona = rng.normal(0, 0.5, (len(sides), 1, 2, 3, D)) * np.linspace(0.2, 1.8, D)
    wording = rng.normal(0, 0.5, (len(sides), n_paraphrases, 2, 3, D))
    return centre + persona + wording + gap * sides[:, None, None, None, None] * direction


def true_separation(gaps: tuple[float, float]) -> tuple[Array, Array]:
    """S of the population in each of two voices, from many personas: [layer, place]."""
    rng = np.random.default_rng(9)
    sides = np.repeat([0, 1], 4000)
    x = np.concatenate([activations(rng, sides, gap, 1) for gap in gaps])[:, 0]
    out = np.empty((2, 2, 3))
    for layer, place in np.ndindex(2, 3):
        z, _ = normalised(x[:, layer, place])
        for v, voice in enumerate(np.split(z, 2)):
            groups = [voice[sides == s] for s in (0, 1)]
            squared = ((groups[0].mean(0) - groups[1].mean(0)) ** 2).sum()
            bias = sum(g.var(0, ddof=1).sum() / len(g) for g in groups)
            out[v, layer, place] = (squared - bias) / (z**2).sum(1).mean()
    return out[0], out[1]


def holds(low: Array, high: Array, truth: Array | float) -> list[float]:
    """Per cell, whether the interval holds the truth."""
    return ((np.asarray(low) <= truth) & (truth <= np.asarray(high))).astype(float).ravel().tolist()


def significant(p: Array) -> list[float]:
    """Per cell, whether the test calls it."""
    return (np.asarray(p) < ALPHA).astype(float).ravel().tolist()


def separations(repeats: int, n: int) -> Scores:
    """The map of n personas a side: labels dealt at random for the tests, planted distances for the intervals."""
    rng = np.random.default_rng(1)
    personas, sides = synthetic.names((n, n)), np.repeat([0, 1], n)
    size = f"{n} v {n}"
    score: Scores = {}
    truths = {gap: true_separation((gap, gap / 2)) for gap in (0.0, 2.0, 6.0)}
    for _ in range(repeats):
        dealt = rng.permutation(sides)
        null = {v: activations(rng, dealt, 6.0) for v in ("you", "user")}
        out = separation(synthetic.acts(null, personas), n_bootstrap=20)
        add(score, f"FPR       separation p, per cell, {size}", significant(out.p))
        add(score, f"FPR       separation p_max, any cell, {size}", [float((out.p_max < ALPHA).any())])
        add(score, f"control   uncorrected p, any cell, {size}", [float((out.p < ALPHA).any())])
        for gap, (you, user) in truths.items():
            voices = {"you": activations(rng, sides, gap), "user": activations(rng, sides, gap / 2)}
            out = separation(synthetic.acts(voices, personas), n_permutations=9, n_bootstrap=500)
            label = f"S = {you.mean():.2f}, {size}"
            add(score, f"coverage  separation, {label}", holds(out.low[0], out.high[0], you))
            add(score, f"coverage  bound, {label}", holds(out.bound_low[0], out.bound_high[0], you - user))
    return score


def answers(rng: np.random.Generator, sides: Array, shift: float, kept: float) -> dict[str, Array]:
    """[persona, paraphrase, 1] log odds of both voices; the luck of a persona is partly shared between them."""
    shape = (len(sides), N_PARAPHRASES, 1)
    luck = rng.normal(0, PERSONA_SD, (len(sides), 1, 1))
    out = {}
    for voice, share in (("you", 1.0), ("user", kept)):
        own = rng.normal(0, PERSONA_SD / 2, (len(sides), 1, 1))
        away = np.where(sides == 0, 0.5, -0.5)[:, None, None] * shift
        out[voice] = share * (away + luck) + own + rng.normal(0, PARAPHRASE_SD, shape)
    return out


def item_tests(repeats: int, n: int) -> Scores:
    """One item, n personas a side: labels dealt at random for the tests, planted shifts for the intervals."""
    rng = np.random.default_rng(2)
    personas, sides = synthetic.names((n, n)), np.repeat([0, 1], n)
    size = f"{n} v {n}"
    score: Scores = {}
    for _ in range(repeats):
        null = answers(rng, rng.permutation(sides), 0.0, 0.6)
        out = items(synthetic.behaviour(null, personas), n_bootstrap=20)
        add(score, f"FPR       items p, {size}", significant(out.p))
        add(score, f"control   prompt-level permutation p, {size}", [prompt_level(null["you"][..., 0], sides, rng)])
        for shift in (2.5, 8.0):
            table = synthetic.behaviour(answers(rng, sides, shift, 0.6), personas)
            out = items(table, n_permutations=9, n_bootstrap=999)
            add(score, f"coverage  items shift of {shift} nats, {size}", holds(out.low, out.high, shift))
            if bool(out.gate.all()):
                add(score, f"coverage  kept share of {shift} nats, {size}", holds(out.kept_low, out.kept_high, 0.6))
    return score


def uneven_sides(repeats: int, sizes: tuple[int, int]) -> Scores:
    """One item without a shift, but the personas of the first side differ three times as much as the second's."""
    rng = np.random.default_rng(4)
    personas, sides = synthetic.names(sizes), np.repeat([0, 1], sizes)
    spread = np.where(sides == 0, 3.0, 1.0)[:, None, None]
    size = f"{sizes[0]} of thrice the SD v {sizes[1]}"
    score: Scores = {}
    for _ in range(repeats):
        table = {voice: spread * values for voice, values in answers(rng, sides, 0.0, 0.6).items()}
        out = items(synthetic.behaviour(table, personas))
        add(score, f"FPR       items p, {size}", significant(out.p))
        add(score, f"coverage  items shift of 0 nats, {size}", holds(out.low, out.high, 0.0))
    return score


def prompt_level(values: Array, sides: Array, rng: np.random.Generator) -> float:
    """The pseudo-replicated test: labels of prompts permuted, as if wordings of one persona were strangers."""
    flat, labels = values.ravel(), np.repeat(sides, values.shape[1])
    dealt = np.vstack([labels, [rng.permutation(labels) for _ in range(999)]])
    null = np.abs(np.where(dealt == 0, flat, 0).sum(1) - np.where(dealt == 1, flat, 0).sum(1))
    return float((null >= null[0]).mean() < ALPHA)


def transfers(repeats: int) -> Scores:
    """Pairs that share no persona, and pairs of everyone with everyone."""
    rng = np.random.default_rng(3)
    score: Scores = {}
    designs = {
        "4 pairs": [(f"ai{i}", f"human{i}") for i in range(4)],
        "8 pairs": [(f"ai{i}", f"human{i}") for i in range(8)],
        "4 x 4 crossed": [(f"ai{i}", f"human{j}") for i in range(4) for j in range(4)],
        "6 x 6 crossed": [(f"ai{i}", f"human{j}") for i in range(6) for j in range(6)],
    }
    for name, pairs in designs.items():
        for _ in range(repeats):
            total = 8 + luck(rng, pairs, 1.0)[:, 0, 0]
            for truth in (0.0, 0.4):
                moved = truth * total[:, None, None] + luck(rng, pairs, 1.0, (2, 3))
                out = transfer(synthetic.effects(pairs, moved, total), n_bootstrap=999, n_flips=999)
                if truth == 0 and out.attrs["smallest_p"] < ALPHA:
                    add(score, f"FPR       transfer p, {name}", significant(out.p))
                add(score, f"coverage  transfer T = {truth}, {name}", holds(out.low, out.high, truth))
                if "crossed" in name:
                    alone = [(f"ai{i}", f"human{i}") for i in range(len(pairs))]  # as if no pair shared a persona
                    out = transfer(synthetic.effects(alone, moved, total), n_bootstrap=999, n_flips=999)
                    if truth == 0:
                        add(score, f"control   transfer p, {name}, as if no pair shared one", significant(out.p))
    return score


def luck(rng: np.random.Generator, pairs: list[tuple[str, str]], sd: float, cells: tuple[int, int] = (1, 1)) -> Array:
    """[pair, layer, place] deviations: a share of each persona's own, and one of the pair's."""
    own: dict[str, Array] = {name: rng.normal(0, sd / 2, cells) for pair in pairs for name in pair}
    return np.array([own[s] + own[t] + rng.normal(0, sd / 2, cells) for s, t in pairs])


def add(score: Scores, name: str, outcomes: list[float]) -> None:
    """One study more in a row of the table; its cells count together, since they share their personas."""
    score.setdefault(name, []).extend([float(np.mean(outcomes))])


def parts(repeats: int) -> Iterator[Callable[[], Scores]]:
    """What is simulated, one after the other."""
    for n in (5, 8):
        yield lambda n=n: separations(repeats, n)
    for n in (5, 8):
        yield lambda n=n: item_tests(repeats, n)
    for sizes in ((8, 8), (5, 11)):
        yield lambda sizes=sizes: uneven_sides(repeats, sizes)
    yield lambda: transfers(repeats)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=400, help="simulated studies a row (default 400)")
    repeats = parser.parse_args().repeats
    started = time.monotonic()
    print(f"{'what':<62} {'rate':>6} {'± 2 SE':>8} {'n':>5}")
    for part in parts(repeats):
        for name, outcomes in part().items():
            error = 2 * np.std(outcomes) / np.sqrt(len(outcomes))
            print(f"{name:<62} {np.mean(outcomes):6.3f} {error:8.3f} {len(outcomes):5d}", flush=True)
    print(f"{repeats} simulated studies, {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
