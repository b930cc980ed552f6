"""R, role binding: how much of a persona's effect depends on its being the speaker, and not on its words.

"You are JFK" and "the user is JFK" hold the same words, but only the first says who speaks. What the second does as
well is lexical. R = 1 − (LO_user − LO_neutral) / (LO_you − LO_neutral): 0, words do it all; 1, only the speaker's own
persona counts. Each side of personas is compared with neutral; between the two sides, neutral cancels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Float

from selfrep.stats import gates, permutation, ratios, resampling
from selfrep.stats.tables import Table, by_framing, item_draws, two_sides

Array = np.ndarray

BETWEEN = "between sides"


def binding(
    scores: xr.Dataset,
    framings: Mapping[str, str] | None = None,
    *,
    n_flips: int = 5000,
    n_bootstrap: int = 2000,
    seed: int = 0,
) -> xr.Dataset:
    """R, role binding: how much of a persona's effect is lost when the same words are about the user.

    R = 1 − (LO_user − LO_neutral) / (LO_you − LO_neutral): 0, words do it all; 1, only the speaker's own persona
    counts.

    Args:
        scores: from `selfrep.score`, with the conditions "you" and "user" (the same personas and paraphrases) and
            "neutral": `log_odds` (nats) and `answer_mass` over prompt, with the coordinates persona, side, condition,
            paraphrase and item.
        framings: the framing of every item, e.g. {"who_are_you": "in_character", "written_by": "third_person"}. A row
            "all F" then pools the items of the framing F (sums of nats over sums of nats). None keeps items apart.
        n_flips: the most exchanges of the two conditions to try for p.
        n_bootstrap: the number of bootstrap draws behind the intervals.
        seed: of the draws.

    Returns:
        Dataset over (item, contrast). A contrast is a side of personas against neutral, or "between sides": the
        difference between the sides, where neutral cancels and R = 1 − `kept` of `items`.

        * `estimate`: R, a share; NaN where not identified, as are its bounds, `p` and `null`.
        * `ci_low`, `ci_high`: 95 %; personas, paraphrases and pooled items are resampled, numerator and denominator
          together. By Fieller's theorem where the denominator is within 3 SE of 0.
        * `p`: of R = 0; the two conditions of personas are exchanged.
        * `null`: the 95th percentile of |R| under exchange.
        * `you_shift`, `user_shift`: nats, the denominator and the numerator, wherever finite.
        * `paraphrase_sd`: nats, how far a paraphrase of the same persona moves the log odds.
        * `identified`: whether the shift under "you are X" can be divided by.
        * `reason`: why not, where not; "" otherwise.
        * `n_labelings`, `smallest_p` (contrast): the exchanges that were tried, and the smallest p they can give.

    Raises:
        SelfrepError: too few personas; a missing condition or answer; other rows in the condition "user"; an item
            without a framing.

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
    you, user, neutral = (Table.of(scores, condition, names) for condition in ("you", "user", "neutral"))
    you.require_twin(user, "user")
    sides = two_sides(you.side)
    permutation.require_units({side: int((you.side == side).sum()) for side in sides})
    permutation.require_flips(len(you.side))
    rng = np.random.default_rng(seed)
    contrasts = _contrasts(you.side, sides)
    draws = {name: _Draws.of(you, neutral, weight, n_bootstrap, rng) for name, weight in contrasts.items()}
    flips = {}
    for name, weight in contrasts.items():
        flips[name] = permutation.sign_flips(int((weight != 0).sum()), n_flips, rng) * weight[weight != 0]
    cells = []
    for columns in rows.values():
        of_items = item_draws(len(columns), n_bootstrap, rng)
        unsaid = gates.unanswered(columns, you=you, user=user, neutral=neutral)
        noise = np.nan if unsaid else float(resampling.within_sd(you.log_odds[:, columns].mean(axis=1), you.persona))
        tables = [t.log_odds[:, columns] for t in (you, user, neutral)]
        for name, weight in contrasts.items():
            cells.append(_cell(tables, you, weight, draws[name], of_items, flips[name], noise, unsaid))
    shape = (len(rows), len(contrasts))
    return xr.Dataset(
        {k: (("item", "contrast"), np.array([cell[k] for cell in cells]).reshape(shape)) for k in cells[0]}
        | {
            "n_labelings": ("contrast", [len(f) for f in flips.values()]),
            "smallest_p": ("contrast", [1 / len(f) for f in flips.values()]),
        },
        coords={
            "item": list(rows),
            "contrast": list(contrasts),
            "n_items": ("item", [len(columns) for columns in rows.values()]),
        },
        attrs={
            "permuted": 'the conditions "you" and "user" of personas (signs of their difference)',
            "sides": sides,
            "seed": seed,
        },
    )


def _contrasts(side: Array, sides: list[str]) -> dict[str, Float[Array, " persona"]]:
    members = [(side == name).astype(float) for name in sides]
    first, second = (m / m.sum() for m in members)
    return {sides[0]: first, sides[1]: second, BETWEEN: first - second}


@dataclass(frozen=True, eq=False)
class _Draws:
    """Bootstrap weights of one contrast: of the rows with a persona, and of the neutral rows that are subtracted."""

    rows: Float[Array, "draw row"]
    neutral: Float[Array, "draw paraphrase"]

    @classmethod
    def of(
        cls, you: Table, neutral: Table, weight: Float[Array, " persona"], n: int, rng: np.random.Generator
    ) -> _Draws:
        plain = resampling.resample(len(neutral.keys), n, rng) / len(neutral.keys)
        return cls(resampling.resample_nested(you.persona, weight, n, rng), plain * weight.sum())


def _cell(
    tables: list[Float[Array, "_ item"]],
    rows: Table,
    weight: Float[Array, " persona"],
    draws: _Draws,
    of_items: Float[Array, "draw item"],
    flips: Float[Array, "flip member"],
    noise: float,
    unsaid: str,
) -> dict[str, float | bool | str]:
    """One contrast on one row of items; `tables` are the log odds under you, user and neutral."""
    you, user, neutral = (table.mean(axis=1) for table in tables)
    taken_off = weight.sum() * neutral.mean()
    whole, kept = (float(weight @ rows.means(v) - taken_off) for v in (you, user))
    cell: dict[str, float | bool | str] = dict.fromkeys(("estimate", "ci_low", "ci_high", "p", "null"), np.nan)
    cell |= {"you_shift": whole, "user_shift": kept, "paraphrase_sd": noise}
    reason = unsaid or gates.weak(whole, noise, "the shift under 'you are'")
    if not reason:
        plain = ((draws.neutral @ tables[2]) * of_items).sum(axis=1)
        pair_draws = np.stack([((draws.rows @ t) * of_items).sum(axis=1) - plain for t in (tables[1], tables[0])])
        groups = [int((weight == w).sum()) for w in set(weight[weight != 0].tolist())]
        bounds = ratios.joint_interval(kept, whole, pair_draws, min(groups), sum(groups) - len(groups))
        if bounds is None:
            reason = f"personas differ too much: the shift of {gates.signed(whole)} nats may as well be 0"
        else:
            differ = rows.means(you - user)[weight != 0]
            test = permutation.permutation_test(differ[None], flips, absolute=True)
            cell |= {"estimate": 1 - kept / whole, "ci_low": 1 - bounds[1], "ci_high": 1 - bounds[0]}
            cell |= {"p": float(test.p[0]), "null": float(test.null_high[0]) / abs(whole)}
    return cell | {"identified": not reason, "reason": reason}
