"""What the items of a battery show: how far personas move the answers, and how much of that words alone do.

A shift between two sides of personas is a number whatever its size: it stands with its interval and its p. Only what
is divided by it is gated: the share that stays when "you are X" becomes "the user is X" is lexical, the words in the
prompt do it, and the rest is bound to the speaker.

Items that personas move and items that they do not are different things, and a mean over both describes neither. So a
row of several items takes all of them, chosen before any was asked, and says beside their mean what the middle one does
(the median over items, which a few items cannot carry) and how many move at all. Taking only those that moved would
find an effect where there is none.
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
from selfrep.stats.gates import LEAST_MASS
from selfrep.stats.labels import side_labels, two_sides
from selfrep.stats.permutation import share_as_large, tolerance
from selfrep.stats.rounding import negligible
from selfrep.stats.tables import Table, beside

Array = np.ndarray

TWICE = ("shift", "ci_low", "ci_high", "p", "answer_mass")
"""What is told by all words, too."""


def items(
    scores: xr.Dataset,
    groups: Mapping[str, Sequence[str]] | None = None,
    *,
    sides: Sequence[str] | None = None,
    n_permutations: int = 10_000,
    n_bootstrap: int = 2000,
    seed: int = 0,
) -> xr.Dataset:
    """How far the two sides of personas move the answer to each item, with the controls that a shift needs.

    The shift is the mean log odds of the first side's families of personas less that of the second side's. `kept` is
    the share of it that stays when the same words are about the user: the share that is due to words alone.

    Args:
        scores: from `selfrep.score`, with the conditions "you", "user" and "neutral". Read by the answers that no
            persona's description says, where the scores tell those apart.
        groups: further rows of several items each, e.g. {"in character": ["who_are_you", "name"]}.
        sides: the two sides, first less second; where None, the two that there are, in alphabetical order. Personas
            of no side, or of another, are left out.
        n_permutations: the most labelings to try. All of them are tried where there are no more (8 against 8 have
            6,435).
        n_bootstrap: the number of bootstrap draws behind the intervals.
        seed: of the draws.

    Returns:
        Dataset over item (the items in order, then the groups). Intervals are 95 %; families are resampled, then their
        personas and paraphrases. With fewer than four families a side they are NaN; p is where no labeling reaches .05.

        * `shift`: nats, first side − second side; of a group, the mean over its items.
        * `ci_low`, `ci_high`: of the shift.
        * `p`: of no shift; the side labels of families are permuted.
        * `median`, `median_ci_low`, `median_ci_high`, `median_p`: nats, of a group, the shift of its middle item; of an
          item the same as its shift.
        * `n_moving`: how many items of the row have p ≤ .05; NaN where there is no p.
        * `all_words_shift`, `all_words_ci_low`, `all_words_ci_high`, `all_words_p`, `all_words_answer_mass`: by all
          answers, also those that some description says.
        * `auc`: the chance that a family of the first side has higher log odds than one of the second.
        * `first`, `second`: nats, mean log odds of each side.
        * `neutral`: nats, mean log odds without a persona.
        * `user_shift`: nats, the shift in the condition "the user is X".
        * `user_shift_ci_low`, `user_shift_ci_high`: of the user shift.
        * `kept`: user_shift / shift, a share; NaN where it cannot be divided.
        * `kept_ci_low`, `kept_ci_high`: of that share.
        * `paraphrase_sd`: nats, how far a paraphrase of the same persona moves the log odds.
        * `answer_mass`: mean probability (0 … 1) of any of the item's answers.
        * `identified`: whether `kept` is: the shift is at least 3 paraphrase SDs and surely not 0, the answers have
          mass, and there are families enough for an interval.
        * `reason`: why not, where not; "" otherwise.
        * `shift_reason`: why not even the shift can be read: a side without answers, or without probability, or too few
          families for an interval; "" otherwise.
        * `left_out`: the items of a group that have no answers left which no description says.

        An item whose log odds are not finite has no numbers except its `answer_mass`. `attrs["members"]`: the items of
        every row.

    Raises:
        SelfrepError: not two sides; a persona on both; a missing condition or answer; other personas, paraphrases or
            sides in the condition "user"; one paraphrase only; a group with an unknown item.

    Source: the hierarchical bootstrap and the permutation test of `selfrep.stats`; the share by Fieller (1954).

    Example:
        An organism in which a quarter of the effect is due to words alone:

        >>> import selfrep as sr
        >>> from selfrep.models import organisms
        >>> lm = sr.load_model("organism:lexical?binding=0.75")
        >>> personas, battery = sr.personas.load(organisms.PERSONAS), sr.battery.load(organisms.BATTERY)
        >>> prompts = sr.make_prompts(personas, [battery["who_are_you"]], ["you", "user", "neutral"], [0, 1])
        >>> one = items(sr.score(lm, prompts), n_bootstrap=200).sel(item="who_are_you")
        >>> one.attrs["sides"], round(float(one["shift"]), 2), round(float(one.kept), 2)
        (['ai', 'human'], 8.0, 0.25)
    """
    names = list(dict.fromkeys(map(str, scores.item.to_numpy())))
    rows = {name: [name] for name in names} | {k: list(v) for k, v in (groups or {}).items() if v}
    if unknown := sorted({m for members in rows.values() for m in members} - set(names)):
        raise SelfrepError(f"Groups are made of the items that were asked, {names}; unknown: {unknown}.")
    pair = two_sides(scores, sides)
    columns = {row: [names.index(member) for member in members] for row, members in rows.items()}

    def read(given: xr.Dataset) -> xr.Dataset:
        you, user = (Table.of(given, condition, names, pair) for condition in ("you", "user"))
        neutral = Table.of(given, "neutral", names)
        you.require_twin(user, "user")
        contrast = Contrast.of(you.families(pair), n_permutations, n_bootstrap, np.random.default_rng(seed))
        conditions = _Conditions(you, user, neutral, contrast)
        cells, counts = [], []
        for members in columns.values():
            heard = you.heard(members)
            left_out = ", ".join(names[c] for c in members if c not in heard)
            cells.append(conditions.numbers(heard) | {"left_out": left_out})
            counts.append(len(heard))
        return xr.Dataset(
            {k: ("item", np.array([cell[k] for cell in cells])) for k in cells[0]},
            coords={"item": list(rows), "n_items": ("item", counts)},
            attrs=contrast.attributes() | {"side_labels": side_labels(scores, pair), "seed": seed, "members": rows},
        )

    return beside(read, scores, TWICE)


_NUMBERS = (
    "shift", "ci_low", "ci_high", "p", "median", "median_ci_low", "median_ci_high", "median_p", "n_moving", "auc",
    "first", "second", "neutral", "user_shift", "user_shift_ci_low", "user_shift_ci_high", "kept", "kept_ci_low",
    "kept_ci_high", "paraphrase_sd", "answer_mass",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Conditions:
    """What was answered in the three conditions, and how the sides are compared: every row of items is read off it."""

    you: Table
    user: Table
    neutral: Table
    contrast: Contrast

    def numbers(self, columns: list[int]) -> dict[str, float | bool | str]:
        """All numbers of a row of items."""
        mass = float(self.you.mass[:, columns].mean())
        out: dict[str, float | bool | str] = {**dict.fromkeys(_NUMBERS, np.nan), "answer_mass": mass}
        apart = [t.log_odds[:, columns] for t in (self.you, self.user, self.neutral)]
        if not all(np.isfinite(values).all() for values in apart):
            why = gates.unanswered(columns, you=self.you, user=self.user, neutral=self.neutral)
            return out | {"identified": False, "reason": why, "shift_reason": why}
        rows, control, plain = (values.mean(axis=1) for values in apart)
        contrast, first = self.contrast, self.contrast.families.first
        means, shift, lexical = contrast.means(rows), contrast.shift(rows), contrast.shift(control)
        (low, high), (user_low, user_high) = contrast.interval(rows), contrast.interval(control)
        sd = float(resampling.within_sd(rows, self.you.persona))
        out |= {
            "shift": shift, "ci_low": low, "ci_high": high, "p": contrast.test(rows)[0],
            "first": float(means[first].mean()), "second": float(means[~first].mean()),
            "auc": float(resampling.auc(means[first], means[~first])), "neutral": float(plain.mean()),
            "user_shift": lexical, "user_shift_ci_low": user_low, "user_shift_ci_high": user_high, "paraphrase_sd": sd,
        }  # fmt: skip
        out |= self._middle(apart[0])
        unread = ""
        if not mass >= LEAST_MASS:
            unread = f"the answers have a probability of only {mass:.2g}; the model would say something else"
        reason, bounds = unread or gates.weak(shift, sd, "the shift"), None
        if not reason:
            draws = np.stack([contrast.draws @ control, contrast.draws @ rows])
            if not negligible(shift, np.abs(rows).max()):
                bounds = contrast.share(lexical, shift, draws, rows, parts=control)
            if bounds is None:
                reason = "the families of a side differ too much: their shift may as well be 0"
            else:
                out |= {"kept": lexical / shift, "kept_ci_low": bounds[0], "kept_ci_high": bounds[1]}
                reason = contrast.families.unbounded()
        return out | {
            "identified": not reason, "reason": reason, "shift_reason": unread or contrast.families.unbounded(),
        }  # fmt: skip

    def _middle(self, rows: Float[Array, "row item"]) -> dict[str, float]:
        """The shift of the middle item, and how many move."""
        contrast = self.contrast
        means = contrast.means(rows)
        null = np.abs(np.median(contrast.labelings @ means, axis=1))
        p = share_as_large(null, tolerance(means.T, contrast.labelings, float(np.abs(rows).max())).max())
        low, high = contrast.interval(rows.mean(axis=1), np.median(contrast.draws @ rows, axis=1))
        moving = [contrast.test(column)[0] <= resampling.ALPHA for column in rows.T]
        tested = not contrast.families.untestable()
        return {
            "median": float(np.median(contrast.families.contrast() @ means)),
            "median_ci_low": low,
            "median_ci_high": high,
            "median_p": float(p) if tested else np.nan,
            "n_moving": float(sum(moving)) if tested else np.nan,
        }
