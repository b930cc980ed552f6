"""R, role binding: how much of a persona's effect depends on its being the speaker, and not on its words.

"You are JFK" and "the user is JFK" hold the same words, but only the first says who speaks. What the second does as
well is lexical. R = 1 − (LO_user − LO_neutral) / (LO_you − LO_neutral): 0, words do it all; 1, only the speaker's own
persona counts. Each side of personas is compared with neutral; between the two sides, neutral cancels. Families are
what is resampled, and what exchanges its conditions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Float

from selfrep.stats import gates, permutation, ratios, resampling
from selfrep.stats.families import FEWEST, Families
from selfrep.stats.labels import side_labels, two_sides
from selfrep.stats.tables import Table, beside, by_framing, item_draws

Array = np.ndarray

BETWEEN = "between sides"
TWICE = ("estimate", "ci_low", "ci_high", "you_shift", "user_shift")
"""What is told by all words, too."""


def binding(
    scores: xr.Dataset,
    framings: Mapping[str, str] | None = None,
    *,
    sides: Sequence[str] | None = None,
    n_flips: int = 5000,
    n_bootstrap: int = 2000,
    seed: int = 0,
) -> xr.Dataset:
    """R, role binding: how much of a persona's effect is lost when the same words are about the user.

    R = 1 − (LO_user − LO_neutral) / (LO_you − LO_neutral): 0, words do it all; 1, only the speaker's own persona
    counts.

    Args:
        scores: from `selfrep.score`, with the conditions "you" and "user" (the same personas and paraphrases) and
            "neutral". Read by the answers that no persona's description says, where the scores tell those apart.
        framings: the framing of every item, e.g. {"who_are_you": "in_character", "written_by": "third_person"}. A row
            "all F" then pools the items of the framing F (sums of nats over sums of nats). None keeps items apart.
        sides: the two sides, first less second; where None, the two that there are, in alphabetical order. Personas
            of no side, or of another, are left out.
        n_flips: the most exchanges of the two conditions to try for p.
        n_bootstrap: the number of bootstrap draws behind the intervals.
        seed: of the draws.

    Returns:
        Dataset over (item, contrast). A contrast is a side of personas against neutral, or "between sides": the
        difference between the sides, where neutral cancels and R = 1 − `kept` of `items`.

        * `estimate`: R, a share; NaN where not identified, as are its bounds, `p` and `null`.
        * `ci_low`, `ci_high`: 95 %; families, personas, paraphrases and pooled items are resampled, numerator and
          denominator together. By Fieller's theorem where the denominator is within 3 SE of 0. With fewer than four
          families on a side they are NaN, and R stands without them.
        * `p`: of R = 0; the two conditions of families are exchanged. NaN with fewer than six.
        * `null`: the 95th percentile of |R| under exchange.
        * `you_shift`, `user_shift`: nats, the denominator and the numerator, wherever finite.
        * `paraphrase_sd`: nats, how far a paraphrase of the same persona moves the log odds.
        * `all_words_estimate`, `all_words_ci_low`, `all_words_ci_high`, `all_words_you_shift`, `all_words_user_shift`:
          by all answers, also those that some description says.
        * `identified`: whether the shift under "you are X" can be divided by, and there are families enough.
        * `reason`: why not, where not; "" otherwise.
        * `n_labelings`, `smallest_p` (contrast): the exchanges that were tried, and the smallest p they can give.

    Raises:
        SelfrepError: not two sides; a missing condition or answer; other rows in the condition "user"; an item without
            a framing.

    Source: ratio intervals by Fieller (1954) and the bootstrap; sign flips of paired differences.

    Example:
        An organism with R = 0.75 planted:

        >>> import selfrep as sr
        >>> from selfrep.models import organisms
        >>> lm = sr.load_model("organism:lexical?binding=0.75")
        >>> personas, battery = sr.personas.load(organisms.PERSONAS), sr.battery.load(organisms.BATTERY)
        >>> prompts = sr.make_prompts(personas, [battery["who_are_you"]], ["you", "user", "neutral"], [0, 1])
        >>> binding(sr.score(lm, prompts), n_bootstrap=200).estimate.squeeze().round(2).to_series().to_dict()
        {'ai': 0.75, 'human': 0.75, 'between sides': 0.75}
    """
    names = list(dict.fromkeys(map(str, scores.item.to_numpy())))
    rows = by_framing(names, framings)
    pair = two_sides(scores, sides)

    def read(given: xr.Dataset) -> xr.Dataset:
        you, user = (Table.of(given, condition, names, pair) for condition in ("you", "user"))
        neutral = Table.of(given, "neutral", names)
        you.require_twin(user, "user")
        families = you.families(pair)
        rng = np.random.default_rng(seed)
        weights = {side: families.contrast() * (families.first == (side == pair[0])) for side in pair}
        weights = {side: np.abs(weight) for side, weight in weights.items()} | {BETWEEN: families.contrast()}
        contrasts = {name: _Contrast.of(families, neutral, w, n_flips, n_bootstrap, rng) for name, w in weights.items()}
        cells, counts = [], []
        for columns in rows.values():
            heard = you.heard(columns)
            of_items = item_draws(len(heard), n_bootstrap, rng)
            unsaid = gates.unanswered(heard, you=you, user=user, neutral=neutral)
            noise = np.nan if unsaid else float(resampling.within_sd(you.log_odds[:, heard].mean(axis=1), you.persona))
            tables = [t.log_odds[:, heard] for t in (you, user, neutral)]
            cells += [contrast.cell(tables, of_items, noise, unsaid) for contrast in contrasts.values()]
            counts.append(len(heard))
        shape, tried = (len(rows), len(contrasts)), [len(contrast.flips) for contrast in contrasts.values()]
        return xr.Dataset(
            {k: (("item", "contrast"), np.array([cell[k] for cell in cells]).reshape(shape)) for k in cells[0]}
            | {"n_labelings": ("contrast", tried), "smallest_p": ("contrast", [1 / n for n in tried])},
            coords={"item": list(rows), "contrast": list(contrasts), "n_items": ("item", counts)},
            attrs={
                "permuted": "“you are X” and “the user is X” within families (the signs of their difference)",
                "sides": list(pair),
                "side_labels": side_labels(scores, pair),
                "n_families": list(families.sizes.values()),
                "unbounded": families.unbounded(),
                "seed": seed,
            },
        )

    return beside(read, scores, TWICE)


@dataclass(frozen=True, eq=False)
class _Contrast:
    """A side of families against neutral, or one side against the other, and how it is resampled.

    Attributes:
        weight: [family] 0 for those that have no part in it.
        rows: [draw, row] weights; neutral: [draw, paraphrase] of what is subtracted.
        flips: [flip, member] the weights of the families that have a part, with their signs flipped.
    """

    families: Families
    weight: Float[Array, " family"]
    rows: Float[Array, "draw row"]
    neutral: Float[Array, "draw paraphrase"]
    flips: Float[Array, "flip member"]

    @classmethod
    def of(
        cls,
        families: Families,
        neutral: Table,
        weight: Float[Array, " family"],
        n_flips: int,
        n: int,
        rng: np.random.Generator,
    ) -> _Contrast:
        """The contrast with these weights."""
        plain = resampling.resample(len(neutral.keys), n, rng) / len(neutral.keys) * weight.sum()
        members = weight[weight != 0]
        flips = permutation.sign_flips(len(members), n_flips, rng) * members
        return cls(families, weight, families.draws(n, rng, weight), plain, flips)

    def cell(
        self,
        tables: list[Float[Array, "_ item"]],
        of_items: Float[Array, "draw item"],
        noise: float,
        unsaid: str,
    ) -> dict[str, float | bool | str]:
        """One row of items; `tables` are the log odds under you, user and neutral."""
        you, user, neutral = (table.mean(axis=1) for table in tables)
        pooling, taken_off = self.families.pooling(), self.weight.sum() * neutral.mean()
        whole, kept = (float(self.weight @ pooling @ values - taken_off) for values in (you, user))
        out: dict[str, float | bool | str] = dict.fromkeys(("estimate", "ci_low", "ci_high", "p", "null"), np.nan)
        out |= {"you_shift": whole, "user_shift": kept, "paraphrase_sd": noise}
        reason = unsaid or gates.weak(whole, noise, "the shift under “you are”")
        if not reason:
            plain = ((self.neutral @ tables[2]) * of_items).sum(axis=1)
            draws = np.stack([((self.rows @ table) * of_items).sum(axis=1) - plain for table in (tables[1], tables[0])])
            bounds = self.bounds(kept, whole, draws, pooling @ you)
            if bounds is None:
                reason = (
                    f"families, or items, differ too much: the shift of {gates.signed(whole)} nats may as well be 0"
                )
            else:
                differ = (pooling @ (you - user))[self.weight != 0]
                size = max(float(np.abs(values).max()) for values in (you, user))
                test = permutation.permutation_test(differ[None], self.flips, absolute=True, scale=size)
                p = float(test.p[0]) if 1 / len(self.flips) <= permutation.ALPHA else np.nan
                out |= {"estimate": 1 - kept / whole, "ci_low": 1 - bounds[1], "ci_high": 1 - bounds[0]}
                out |= {"p": p, "null": float(test.null_high[0]) / abs(whole)}
                reason = self.unbounded()
        return out | {"identified": not reason, "reason": reason}

    def unbounded(self) -> str:
        """Why there is no interval, if so."""
        if (self.weight < 0).any():
            return self.families.unbounded()
        n = int((self.weight > 0).sum())
        return "" if n >= FEWEST else f"an interval needs at least {FEWEST} families on the side; there are {n}"

    def bounds(
        self, kept: float, whole: float, draws: Float[Array, "2 draw"], values: Float[Array, " family"]
    ) -> tuple[float, float] | None:
        """95 % bounds of kept / whole; NaN where there are too few families, None where the whole may be 0."""
        if self.unbounded():
            return np.nan, np.nan
        if (self.weight < 0).any():
            fewest, degrees = min(self.families.sizes.values()), self.families.degrees(values)
        else:
            fewest = int((self.weight > 0).sum())
            degrees = fewest - 1.0
        return ratios.joint_interval(kept, whole, draws, fewest, degrees)
