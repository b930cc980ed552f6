"""The ideal spectator: does the model, asked from outside with nobody played, foresee what a persona then answers?

A spectator who understands what is going on knows that a model produces the text, *and* what the persona will say. So
two things are set against each other: what is foreseen of a persona's answers, and what the model lets in of them when
it is asked what is true (bleed). Foresight with little bleed is separation. Bleed without foresight is conflation.

Everything is a shift in nats: the persona's answer from the unprompted one, and the foretold answer from what is
foretold of nobody in particular.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float

from selfrep.errors import SelfrepError
from selfrep.stats import gates, permutation, resampling
from selfrep.stats.families import FEWEST, averages
from selfrep.stats.labels import persona_labels
from selfrep.stats.rounding import ROUNDING, negligible
from selfrep.stats.tables import Table, all_words

Array = np.ndarray

FEWEST_ITEMS = 3
"""Fewer items say little of how answers go together."""


def spectator(
    scores: xr.Dataset,
    items: Sequence[str] | None = None,
    held_true: Sequence[str] = (),
    on_same_sides: Sequence[str] | None = None,
    *,
    n_permutations: int = 5000,
    n_bootstrap: int = 2000,
    seed: int = 0,
) -> xr.Dataset:
    """How far the model, asked from outside, foresees what personas answer in character.

    Args:
        scores: from `selfrep.score`: `log_odds` (nats) and `answer_mass` over prompt. Conditions: "you" and "neutral",
            and those of `selfrep.analyses.spectator.material.questions` ("foretold", "foretold_of_reader",
            "foretold_of_nobody"), the same personas and paraphrases in each.
        items: the items in character; all that were foretold, when None.
        held_true: spectator items in the conditions "you" and "neutral": what the persona moves of what is held true.
            None: no bleed is set beside foresight.
        on_same_sides: the items in character that are answered on the same two sides as those of `held_true`, so that
            their shifts can be divided; all, when None.
        n_permutations: the most exchanges of what was foretold between families to try for p.
        n_bootstrap: the number of bootstrap draws behind the intervals.
        seed: of the draws.

    Returns:
        Dataset over persona and item. Intervals are 95 %.

        * `estimate`, `ci_low`, `ci_high`: the correlation of what families of personas answer with what was foretold of
          them, over families and items, the mean of each item taken off; families and items are resampled.
        * `p`: of no agreement; what was foretold is exchanged between families.
        * `slope`, `slope_ci_low`, `slope_ci_high`: nats answered per nat foretold (1: calibrated).
        * `reader`, `reader_ci_low`, `reader_ci_high`: the correlation with what is foretold of somebody who has read
          about the persona: what its mere words do.
        * `others`: the correlation with what was foretold of another family, on average.
        * `skill`: 1 − the squared error of what was foretold / that of foretelling the persona-free answer.
        * `actual`, `foretold` (persona, item): nats, the shifts themselves.
        * `moved` (persona): nats, how far the persona moves its answers (root mean square over items, paraphrase noise
          taken off).
        * `foresight`, `foresight_ci_low`, `foresight_ci_high` (persona): the share of what the persona moves that was
          foretold; paraphrases, texts without a persona and items are resampled. NaN where the persona moves too
          little.
        * `bleed`, `bleed_ci_low`, `bleed_ci_high` (persona): the mean shift of what is held true, as a share of that in
          character on the same sides.
        * `persona_reason` (persona): why there are no shares, where there are none.
        * `ahead`, `ahead_ci_low`, `ahead_ci_high`: of the personas that have both shares (`n_placed`), how many are
          foreseen more than they are let in, 0 … 1; a family counts once, and the interval is that of counted families.
          `ahead_reason`: why there is none.
        * `median_foresight`, `median_bleed`: of the same personas.
        * `identified`, `reason`: whether and why not the correlation may be read.

    Raises:
        SelfrepError: a missing condition or answer; other personas or paraphrases in one of them.

    Example:
        An organism that foresees what personas answer:

        >>> import selfrep as sr
        >>> from selfrep.analyses.spectator.material import questions
        >>> from selfrep.models import organisms
        >>> lm = sr.load_model("organism:separate")
        >>> people, battery = sr.personas.load(organisms.PERSONAS), sr.battery.load(organisms.BATTERY)
        >>> items = battery.select(["who_are_you", "who_in_danger", "name"])
        >>> asked = sr.make_prompts(people, items, ["you", "neutral"]) + questions(people, items)
        >>> list(spectator(sr.score(lm, asked), n_bootstrap=50, n_permutations=50).actual.sizes)
        ['persona', 'item']
    """
    scores = all_words(scores)  # what others say of a persona is foretold in its words, too; the reader is the control
    foretold_items = scores.item.to_numpy()[scores.condition.to_numpy() == "foretold"]
    names = list(dict.fromkeys(map(str, foretold_items))) if items is None else list(items)
    you, foretold, reader = (Table.of(scores, c, names) for c in ("you", "foretold", "foretold_of_reader"))
    neutral, nobody = (Table.of(scores, c, names) for c in ("neutral", "foretold_of_nobody"))
    for twin, condition in ((foretold, "foretold"), (reader, "foretold_of_reader")):
        you.require_twin(twin, condition)
    rng = np.random.default_rng(seed)
    shifts = _Shifts(
        you,
        you.log_odds - neutral.log_odds.mean(axis=0),
        foretold.log_odds - nobody.log_odds.mean(axis=0),
        reader.log_odds - nobody.log_odds.mean(axis=0),
        _centred(neutral.log_odds),
        _centred(nobody.log_odds),
    )
    reason = gates.unanswered(list(range(len(names))), you=you, foretold=foretold)
    whole = shifts.agreement(n_permutations, n_bootstrap, rng, reason)
    held = None if not len(held_true) else _held_true(scores, held_true, you, neutral)
    same = [names.index(name) for name in (names if on_same_sides is None else on_same_sides)]
    single = shifts.single(held, same, n_bootstrap, rng)
    placed = _ahead(single["foresight"], single["bleed"], you.family)
    means = {"actual": you.means(shifts.actual), "foretold": you.means(shifts.foretold)}
    return xr.Dataset(
        {name: ((), value) for name, value in (whole | placed).items()}
        | {name: ("persona", values) for name, values in single.items()}
        | {name: (("persona", "item"), values) for name, values in means.items()},
        coords={"persona": you.names, "item": names, "family": ("persona", you.family)}
        | {
            name: ("persona", persona_labels(scores, you.names, name))
            for name in ("persona_label", "kind", "kind_label", "reading", "side")
        },
        attrs={
            "n_personas": len(you.names),
            "n_families": len(set(you.family)),
            "n_items": len(names),
            "permuted": "what was foretold of families",
            "held_true": list(held_true),
            "seed": seed,
        },
    )


@dataclass(frozen=True, eq=False)
class _Shifts:
    """What every persona answers, and what was foretold of it: shifts in nats, [row, item].

    A row is a persona in one paraphrase. `neutral` and `nobody` [text, item] are the answers, and what was foretold, of
    the texts without a persona from which they are shifts, around their mean: other texts would have had another.
    """

    rows: Table
    actual: Float[Array, "row item"]
    foretold: Float[Array, "row item"]
    reader: Float[Array, "row item"]
    neutral: Float[Array, "text item"]
    nobody: Float[Array, "text item"]

    def agreement(
        self, n_permutations: int, n_bootstrap: int, rng: np.random.Generator, reason: str
    ) -> dict[str, float | bool | str]:
        """The correlation over families and items, its controls and its null."""
        number = np.unique(self.rows.family, return_inverse=True)[1]
        pool = averages(number) @ self.rows.pooling()
        actual, foretold, reader = (pool @ values for values in (self.actual, self.foretold, self.reader))
        n_families, n_items = actual.shape
        noise = float(resampling.within_sd(self.actual.mean(axis=1), self.rows.persona))
        reason = reason or gates.weak(float(np.sqrt((actual**2).mean())), noise, "what personas move their answers by")
        if not reason and (n_families < FEWEST or n_items < FEWEST_ITEMS):
            reason = (
                f"agreement is read over at least {FEWEST} families of personas and {FEWEST_ITEMS} items; there are "
                f"{n_families} and {n_items}"
            )
        names = ("estimate", "ci_low", "ci_high", "p", "slope", "slope_ci_low", "slope_ci_high", "reader")
        out: dict[str, float | bool | str] = dict.fromkeys((*names, "reader_ci_low", "reader_ci_high"), np.nan)
        out |= {"others": np.nan, "skill": np.nan, "identified": not reason, "reason": reason}
        if reason:
            return out
        orders = permutation.orders(n_families, n_permutations, rng)
        null = np.array([_correlation(actual, foretold[order])[0] for order in orders])
        size = max(np.abs(x).max() for x in (self.rows.log_odds, foretold))  # what the shifts were subtracted from
        slack = sum(ROUNDING * size / max(_centred(x).std(), ROUNDING * size) for x in (actual, foretold))
        moved = orders[(orders != np.arange(n_families)).all(axis=1)]  # nobody keeps what was foretold of it
        tail = resampling.tail(n_families, n_families - 1)
        families = resampling.resample(n_families, n_bootstrap, rng, distinct=3) / n_families
        of_items = resampling.resample(n_items, n_bootstrap, rng, distinct=2) / n_items
        draws = np.array(
            [
                [*_correlation(actual, foretold, f, i), _correlation(actual, reader, f, i)[0]]
                for f, i in zip(families, of_items, strict=True)
            ]
        )
        estimate, slope = _correlation(actual, foretold)
        out |= {"estimate": estimate, "slope": slope, "reader": _correlation(actual, reader)[0]}
        for name, column in zip(("", "slope_", "reader_"), draws.T, strict=True):
            out[f"{name}ci_low"], out[f"{name}ci_high"] = map(float, resampling.interval(column, tail))
        out["p"] = float(permutation.share_as_large(null, slack))
        out["others"] = float(np.mean([_correlation(actual, foretold[order])[0] for order in moved[:200]]))
        out["skill"] = 1 - float(((actual - foretold) ** 2).sum() / (actual**2).sum())
        return out

    def single(
        self, held_true: _HeldTrue | None, same: list[int], n_bootstrap: int, rng: np.random.Generator
    ) -> dict[str, Array]:
        """Per persona: what it moves, the share that was foretold, and the share that is let in."""
        shares = ("foresight", "foresight_ci_low", "foresight_ci_high", "bleed", "bleed_ci_low", "bleed_ci_high")
        out = {name: np.full(len(self.rows.names), np.nan) for name in ("moved", *shares)}
        reasons = []
        for k in range(len(self.rows.names)):
            mine = self.rows.persona == k
            actual, foretold = self.actual[mine], self.foretold[mine]
            square, product = _square(actual), float((actual.mean(axis=0) * foretold.mean(axis=0)).mean())
            moved = float(np.sqrt(max(square, 0.0)))
            out["moved"][k] = moved
            if len(actual) < 2:
                reasons.append("a single paraphrase says nothing of the noise of paraphrase")
                continue
            noise = float(actual.mean(axis=1).std(ddof=1))
            if reason := gates.weak(moved, noise, "what the persona moves its answers by"):
                reasons.append(reason)
                continue
            # Draws of one paraphrase, or of one item, say nothing of noise; of two paraphrases there are no others.
            rows = resampling.resample(len(actual), n_bootstrap, rng, distinct=min(2, len(actual) - 1)) / len(actual)
            n_items = actual.shape[1]
            of_items = resampling.resample(n_items, n_bootstrap, rng, distinct=min(2, n_items)) / n_items
            tail = resampling.tail(len(actual), len(actual) - 1)
            texts = resampling.resample(len(self.neutral), n_bootstrap, rng) / len(self.neutral)
            of_nobody = resampling.resample(len(self.nobody), n_bootstrap, rng) / len(self.nobody)
            own, plain = rows @ actual, texts @ self.neutral
            a, f = own - plain, rows @ foretold - of_nobody @ self.nobody
            noise_of_draw = _noise(rows, actual, own) + _noise(texts, self.neutral, plain)
            squares = ((a**2 - noise_of_draw) * of_items).sum(axis=1)
            reasons.append(_hanging(squares, tail))
            if reasons[-1]:
                continue
            out["foresight"][k] = product / square
            draws = ((a * f) * of_items).sum(axis=1) / squares
            out["foresight_ci_low"][k], out["foresight_ci_high"][k] = resampling.interval(draws, tail)
            if held_true is not None and same:
                mean = float(actual[:, same].mean())
                if gates.weak(mean, noise, ""):
                    continue
                out["bleed"][k] = held_true.shift[mine].mean() / mean
                let_in = rows @ held_true.shift[mine] - texts @ held_true.neutral
                draws = _divided(np.sign(mean) * let_in, np.sign(mean) * a[:, same].mean(axis=1))
                out["bleed_ci_low"][k], out["bleed_ci_high"][k] = resampling.interval(draws, tail)
        return out | {"persona_reason": np.array(reasons, dtype=str)}


def _hanging(squares: Float[Array, " draw"], tail: float) -> str:
    """Why what a persona moves is no number to divide by, if so: with other items there might be nothing of it.

    Args:
        squares: [draw] nats², what it moves, squared; tail: the share of draws beyond the lower bound.
    """
    low = float(np.sqrt(max(np.quantile(squares, tail), 0.0)))
    if low >= gates.LEAST_EFFECT:
        return ""
    return (
        "what the persona moves its answers by hangs on single items or paraphrases: with others it may be as little "
        f"as {gates.signed(low)} nats"
    )


def _ahead(foresight: Array, bleed: Array, family: Sequence[str]) -> dict[str, float | int | str]:
    """Of the personas that have both shares, how many are foreseen more than they are let in."""
    both = np.isfinite(foresight) & np.isfinite(bleed)
    out: dict[str, float | int | str] = dict.fromkeys(("ahead", "ahead_ci_low", "ahead_ci_high"), np.nan)
    out |= dict.fromkeys(("median_foresight", "median_bleed"), np.nan)
    out |= {"n_placed": int(both.sum()), "ahead_reason": "" if both.any() else "no persona has both shares"}
    if not both.any():
        return out
    more, names = (foresight > bleed)[both], np.array(family)[both]
    families = np.array([more[names == name].mean() for name in np.unique(names)])
    out |= {"ahead": float(families.mean()), "median_foresight": float(np.median(foresight[both]))}
    out["median_bleed"] = float(np.median(bleed[both]))
    if len(families) >= FEWEST:
        out["ahead_ci_low"], out["ahead_ci_high"] = resampling.counted(float(families.mean()), len(families))
    return out


class _HeldTrue(NamedTuple):
    """By how much each persona moves what is held true, the mean over items, nats.

    `shift` [row] from the mean of the texts without a persona; `neutral` [text]: those texts around that mean.
    """

    shift: Float[Array, " row"]
    neutral: Float[Array, " text"]


def _held_true(scores: xr.Dataset, items: Sequence[str], rows: Table, texts: Table) -> _HeldTrue:
    you, neutral = (Table.of(scores, condition, items) for condition in ("you", "neutral"))
    rows.require_twin(you, "you")
    texts.require_twin(neutral, "neutral")
    if not np.isfinite(you.log_odds).all():
        raise SelfrepError(f"Some of the items {list(items)} have no finite log odds; leave them out of held_true.")
    plain = neutral.log_odds.mean(axis=1)
    return _HeldTrue(you.log_odds.mean(axis=1) - plain.mean(), _centred(plain))


def _centred(values: Array) -> Array:
    return values - values.mean(axis=0)


def _noise(
    draws: Float[Array, "draw row"], values: Float[Array, "row item"], means: Float[Array, "draw item"]
) -> Float[Array, "draw item"]:
    """[draw, item] how far the mean of the rows of a draw is off by chance, squared; 0 of a single row."""
    return (draws @ values**2 - means**2) / max(len(values) - 1, 1)


def _correlation(
    actual: Float[Array, "family item"],
    foretold: Float[Array, "family item"],
    families: Float[Array, " family"] | None = None,
    items: Float[Array, " item"] | None = None,
) -> tuple[float, float]:
    """Correlation and slope of what is answered on what is foretold, the weighted mean of each item taken off."""
    f = np.full(len(actual), 1 / len(actual)) if families is None else families
    i = np.full(actual.shape[1], 1.0) if items is None else items
    a, b = (values - f @ values for values in (actual, foretold))
    weight = f[:, None] * i
    cross, own, other = ((weight * product).sum() for product in (a * b, a * a, b * b))
    size = max(np.abs(actual).max(), np.abs(foretold).max())  # what is foretold of nobody in particular is rounding
    if negligible(np.sqrt(own), size) or negligible(np.sqrt(other), size):
        return 0.0, 0.0
    return float(cross / np.sqrt(own * other)), float(cross / other)


def _square(values: Float[Array, "row item"]) -> float:
    """The mean square over items of what the rows have in common: products of different rows only."""
    n = len(values)
    if n < 2:
        return float((values**2).mean())
    return float(((values.sum(axis=0) ** 2 - (values**2).sum(axis=0)) / (n * (n - 1))).mean())


def _divided(numerator: Float[Array, " draw"], denominator: Float[Array, " draw"]) -> Float[Array, " draw"]:
    """Shares in every draw: NaN, so that there is no interval, in one where the persona moves nothing."""
    return np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > 0)
