"""B, bleed: how far the persona leaks into what the model takes to be true.

Spectator items ask what really produces the text, whatever the persona. A model that keeps the two apart answers alike
under every persona. So does a model that cannot answer at all. Hence the positive control: the same item after a
sentence that really changes the truth ("A human operator types every reply in this chat."). B compares the two shifts.

A model that only repeats words would pass that control: the sentence holds the word " human". So the truth's shift is
counted from the same words without the change ("In another chat a human operator types every reply."), the echo. An
item that has no such sentence has no B.

Where an answer mixes truth and persona, (1 − β) · self + β · persona, the persona moves it by β of a full swing and the
truth by 1 − β. Their ratio is β / (1 − β), without bound. The *share* persona / (persona + truth) is β itself, 0 for
separate and 1 for conflated. The share is the estimate, and the ratio stands beside it. A persona that moves the answer
against the truth's direction has no share of anything: that is opposition, and is called so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Float

from selfrep.errors import SelfrepError
from selfrep.stats import gates, resampling
from selfrep.stats.contrasts import Contrast
from selfrep.stats.labels import side_labels, two_sides
from selfrep.stats.rounding import negligible
from selfrep.stats.tables import Table, beside, by_framing, item_draws

Array = np.ndarray

TWICE = ("estimate", "ci_low", "ci_high", "persona_shift", "truth_shift")
"""What is told by all words, too."""


def bleed(
    scores: xr.Dataset,
    framings: Mapping[str, str] | None = None,
    *,
    sides: Sequence[str] | None = None,
    truth_condition: str = "truth",
    echo_condition: str = "echo",
    towards: str | None = None,
    n_permutations: int = 10_000,
    n_bootstrap: int = 2000,
    seed: int = 0,
) -> xr.Dataset:
    """B, bleed: how far the persona moves the answer to a question about what is true, per what the truth itself moves.

    B = persona / (persona + truth), a share: 0 where the model keeps the two apart, 1 where it takes the persona for
    true. truth = LO(truth) − LO(echo): what a sentence moves because it is true, not because of its words.

    Args:
        scores: from `selfrep.score`, spectator items only, in the conditions "you", "user" (the user is X),
            `truth_condition` and `echo_condition`: the same personas and paraphrases, with the item's `truth_change`,
            or its `truth_echo`, added to the system text. Read by the answers that no persona's description says, where
            the scores tell those apart.
        framings: the framing of every item ("first_person", "third_person"), for pooled rows "all F". Framings are
            never pooled. None keeps items apart.
        sides: the two sides, first less second; where None, the two that there are, in alphabetical order. Personas
            of no side, or of another, are left out.
        truth_condition, echo_condition: the names of these conditions.
        towards: the side of personas of whom the changed truth speaks. None: the second in alphabetical order ("human"
            of "ai" and "human").
        n_permutations: the most labelings to try for p.
        n_bootstrap: the number of bootstrap draws behind the intervals.
        seed: of the draws.

    Returns:
        Dataset over item. Where not identified, all numbers are NaN but for the shifts and `paraphrase_sd`. Intervals
        are 95 %; families, personas, paraphrases and pooled items are resampled, numerator and denominator together,
        or by Fieller's theorem. With fewer than four families a side they are NaN, and B stands without them.

        * `estimate`: B, a share.
        * `ci_low`, `ci_high`: of B.
        * `p`: of no shift by the persona; the side labels of families are permuted.
        * `null`: the 95th percentile of the share under permuted labels.
        * `ratio`: persona / truth, without bound.
        * `user_is`, `user_is_ci_low`, `user_is_ci_high`: the shift when only the user is X, per persona + truth: what
          words alone do.
        * `bound`, `bound_ci_low`, `bound_ci_high`: what the persona does beyond that, per persona + truth.
        * `all_words_estimate`, `all_words_ci_low`, `all_words_ci_high`, `all_words_persona_shift`,
          `all_words_truth_shift`: by all answers, also those that some description says.
        * `identified`: whether the truth moves the item beyond its echo, the persona does not oppose it, words do not
          do most of it, and there are families enough.
        * `reason`: why not, where not; "" otherwise.
        * `persona_shift`: nats, between the sides of personas, wherever finite.
        * `user_shift`: nats, the same in the condition "user".
        * `truth_shift`: nats, by the truth beyond its echo; of the sign of `persona_shift` where both point one way.
        * `echo_shift`: nats, by the echo alone, in the same direction.
        * `paraphrase_sd`: nats, how far a paraphrase moves the log odds under the changed truth.
        * `left_out`: the items of a pooled row without an echo, or without answers that no description says.

    Raises:
        SelfrepError: not two sides; a missing condition or answer; other rows in a control; an item without a framing;
            an unknown side.

    Source: ratio intervals by Fieller (1954) and the bootstrap; permutation of side labels.

    Example:
        An organism with B = 0.4 planted:

        >>> import selfrep as sr
        >>> from selfrep.models import organisms
        >>> lm = sr.load_model("organism:bleed?beta=0.4")
        >>> personas, battery = sr.personas.load(organisms.PERSONAS), sr.battery.load(organisms.BATTERY)
        >>> prompts = sr.make_prompts(personas, [battery["what_writes"]], ["you", "user", "truth", "echo"], [0, 1])
        >>> one = bleed(sr.score(lm, prompts), n_bootstrap=200).sel(item="what_writes")
        >>> round(float(one.estimate), 2), round(float(one.ratio), 2), bool(one.identified)
        (0.4, 0.67, True)
    """
    names = list(dict.fromkeys(map(str, scores.item.to_numpy())))
    rows = by_framing(names, framings)
    pair = two_sides(scores, sides)
    towards = sorted(pair)[1] if towards is None else towards
    if towards not in pair:
        raise SelfrepError(f"The changed truth speaks for one of the sides, {list(pair)}; got towards={towards!r}.")
    sign = 1.0 if towards == pair[0] else -1.0

    def read(given: xr.Dataset) -> xr.Dataset:
        conditions = _Conditions.of(given, names, pair, (truth_condition, echo_condition))
        rng = np.random.default_rng(seed)
        contrast = Contrast.of(conditions.you.families(pair), n_permutations, n_bootstrap, rng)
        cells, counts = [], []
        for columns in rows.values():
            able = [c for c in columns if conditions.echoes[c] and not conditions.you.silent[c]] or columns
            of_items = item_draws(len(able), n_bootstrap, rng)
            left_out = ", ".join(names[c] for c in columns if c not in able)
            cells.append(_Cell(conditions, contrast, of_items, sign).numbers(able) | {"left_out": left_out})
            counts.append(len(able))
        return xr.Dataset(
            {k: ("item", np.array([cell[k] for cell in cells])) for k in cells[0]},
            coords={"item": list(rows), "n_items": ("item", counts)},
            attrs=contrast.attributes() | {
                "definition": "share = persona / (persona + truth); ratio = persona / truth; truth = truth − echo",
                "side_labels": side_labels(scores, pair),
                "towards": towards,
                "seed": seed,
            },
        )  # fmt: skip

    return beside(read, scores, TWICE)


_NUMBERS = (
    "estimate", "ci_low", "ci_high", "p", "null", "ratio", "user_is", "user_is_ci_low", "user_is_ci_high",
    "bound", "bound_ci_low", "bound_ci_high", "persona_shift", "user_shift", "truth_shift", "echo_shift",
    "paraphrase_sd",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Conditions:
    """What was answered in each condition.

    Attributes:
        echo: NaN for items without an echo; echoes: [item] which have one.
    """

    you: Table
    user: Table
    truth: Table
    echo: Float[Array, "row item"]
    echoes: list[bool]

    @classmethod
    def of(cls, scores: xr.Dataset, names: list[str], sides: tuple[str, str], controls: tuple[str, str]) -> _Conditions:
        you, user, truth = (Table.of(scores, condition, names, sides) for condition in ("you", "user", controls[0]))
        for control, condition in ((user, "user"), (truth, controls[0])):
            you.require_twin(control, condition)
        asked = set(scores.item.to_numpy()[scores.condition.to_numpy() == controls[1]].tolist())
        echoes = [name in asked for name in names]
        echo = np.full(you.log_odds.shape, np.nan)
        if any(echoes):
            table = Table.of(scores, controls[1], [name for name in names if name in asked], sides)
            you.require_twin(table, controls[1])
            echo[:, echoes] = table.log_odds
        return cls(you, user, truth, echo, echoes)


@dataclass(frozen=True, eq=False)
class _Cell:
    """How the shifts of one row of items are computed, and computed again in every draw.

    Attributes:
        of_items: [draw, item] weights of the pooled items, resampled.
        sign: +1 when the changed truth speaks for the first side.
    """

    conditions: _Conditions
    contrast: Contrast
    of_items: Float[Array, "draw item"]
    sign: float

    def numbers(self, columns: list[int]) -> dict[str, float | bool | str]:
        """All numbers of a row of items."""
        out: dict[str, float | bool | str] = dict.fromkeys(_NUMBERS, np.nan)
        at, contrast = self.conditions, self.contrast
        if unsaid := gates.unanswered(columns, you=at.you, user=at.user, truth=at.truth):
            return out | {"identified": False, "reason": unsaid}
        you, user, truth = (table.log_odds[:, columns] for table in (at.you, at.user, at.truth))
        out |= {"persona_shift": contrast.shift(you.mean(axis=1)), "user_shift": contrast.shift(user.mean(axis=1))}
        if not all(at.echoes[c] for c in columns):
            return out | {
                "identified": False,
                "reason": "the item has no sentence that says the words of the changed truth without the change "
                "(`truth_echo`): what the truth moves cannot be told from what its words move",
            }
        echo = at.echo[:, columns]
        swing = self.halves(truth - echo)
        noise = float(resampling.within_sd(truth.mean(axis=1), at.you.persona))
        (persona, p_draws), (lexical, l_draws), (moved, t_draws) = (self.shift(t) for t in (you, user, swing))
        out |= {"truth_shift": moved, "echo_shift": self.shift(self.halves(echo - you))[0], "paraphrase_sd": noise}
        if reason := _insensitive(moved, noise, persona):
            return out | {"identified": False, "reason": reason}
        whole, w_draws = persona + moved, p_draws + t_draws
        rows = (you + swing).mean(axis=1)
        undone = negligible(whole, moved)
        bounds, control, bound = (
            None if undone else contrast.share(part, whole, np.stack([draws, w_draws]), rows)
            for part, draws in ((persona, p_draws), (lexical, l_draws), (persona - lexical, p_draws - l_draws))
        )
        if not (bounds and control and bound):
            why = (
                f"the persona's shift of {gates.signed(persona)} nats undoes that of the truth "
                f"({gates.signed(moved)}): their sum may as well be 0"
            )
            return out | {"identified": False, "reason": why}
        reason = _opposed(persona, moved, bounds) or _lexical(persona, lexical, bounds, bound)
        if not reason:
            p, null = contrast.test(you.mean(axis=1))
            out |= {"estimate": persona / whole, "ci_low": bounds[0], "ci_high": bounds[1]}
            out |= {"p": p, "null": null / (null + abs(moved)), "ratio": persona / moved}
            out |= {"user_is": lexical / whole, "user_is_ci_low": control[0], "user_is_ci_high": control[1]}
            out |= {"bound": (persona - lexical) / whole, "bound_ci_low": bound[0], "bound_ci_high": bound[1]}
            reason = contrast.families.unbounded()
        return out | {"identified": not reason, "reason": reason}

    def halves(self, values: Float[Array, "row item"]) -> Float[Array, "row item"]:
        """Values that are alike on both sides, signed so that their contrast is the mean of the sides."""
        families = self.contrast.families
        side = np.where(families.first[families.family[families.persona]], 0.5, -0.5)
        return self.sign * values * side[:, None]

    def shift(self, values: Float[Array, "row item"]) -> tuple[float, Float[Array, " draw"]]:
        """The difference between the sides, and in every draw."""
        draws = ((self.contrast.draws @ values) * self.of_items).sum(axis=1)
        return self.contrast.shift(values.mean(axis=1)), draws


def _insensitive(truth: float, noise: float, persona: float) -> str:
    """Why the positive control failed, if it did: an item that no truth moves cannot tell what is held true."""
    if weak := gates.weak(truth, noise, "the shift by a changed truth, beyond that by its words,"):
        return (
            f"{weak}: either the item is insensitive, or the persona is all that counts (it moves the answers by "
            f"{gates.signed(persona)} nats)"
        )
    return ""


def _opposed(persona: float, truth: float, bounds: tuple[float, float]) -> str:
    """Why a persona that moves the answer has no share of what moves it, if so: it works against the truth."""
    share = persona / (persona + truth)
    within = not negligible(share, 1.0) and 0 < share < 1
    low, high = bounds if np.isfinite(bounds).all() else (share, share)
    surely = gates.apart_from_0(low, high, 1.0) and gates.apart_from_0(low - 1, high - 1, 1.0)
    if within or not surely:
        return ""  # a share between 0 and 1, or one that may as well be
    return (
        f"opposition: the persona moves the answer by {gates.signed(persona)} nats where the truth moves it by "
        f"{gates.signed(truth)}, the wrong way for a share. Either what the model holds true is what its persona is "
        "not, or the changed truth speaks for the other side (`towards`)"
    )


def _lexical(persona: float, lexical: float, bounds: tuple[float, float], bound: tuple[float, float]) -> str:
    """Why a shift that is surely there says little of the persona, if so: the words do it, whoever they are about."""
    mostly_bound = gates.apart_from_0(*bound, 1.0) and abs(persona - lexical) >= abs(lexical)
    if mostly_bound or not gates.apart_from_0(*bounds, 1.0):  # both are shares
        return ""
    return (
        f"of the persona's shift of {gates.signed(persona)} nats the same words about the user make "
        f"{gates.signed(lexical)}: the words do most of it, or may do it all, whoever is meant"
    )
