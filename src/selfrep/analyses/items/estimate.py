"""What the items of a battery show: how far personas move the answers, and how much of that words alone do.

An item is trusted when the two sides of personas differ by several times what a paraphrase of the same persona does.
The share of the shift that stays when "you are X" becomes "the user is X" is lexical: the words in the prompt do it.
The rest is bound to the speaker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float

from selfrep.errors import SelfrepError
from selfrep.stats import permutation, ratios, resampling
from selfrep.stats.gates import GATE, LEAST_MASS, signed
from selfrep.stats.rounding import negligible
from selfrep.stats.tables import Table, two_sides

Array = np.ndarray


def items(
    scores: xr.Dataset,
    groups: Mapping[str, Sequence[str]] | None = None,
    *,
    n_permutations: int = 10_000,
    n_bootstrap: int = 2000,
    seed: int = 0,
) -> xr.Dataset:
    """How far the two sides of personas move the answer to each item, with the controls that a shift needs.

    The shift is the mean log odds of the first side's personas less that of the second side's. `kept` is the share of
    it that stays when the same words are about the user: the share that is due to words alone.

    Args:
        scores: from `selfrep.score`, with the conditions "you", "user" and "neutral": `log_odds` (nats) and
            `answer_mass` over prompt, with the coordinates persona, side, condition, paraphrase and item.
        groups: further rows, each the mean of several items, e.g. {"in character": ["who_are_you", "name"]}.
        n_permutations: the most labelings to try. All of them are tried where there are no more (8 against 8 have
            6,435).
        n_bootstrap: the number of bootstrap draws behind the intervals.
        seed: of the draws.

    Returns:
        Dataset over item (the items in order, then the groups). Intervals are 95 %.

        * `shift`: nats, first side − second side (the sides in alphabetical order, attribute `sides`).
        * `ci_low`, `ci_high`: of the shift; personas are resampled, then their paraphrases.
        * `p`: of no shift; the side labels of personas are permuted.
        * `auc`: the chance that a persona of the first side has higher log odds than one of the second.
        * `first`, `second`: nats, mean log odds of each side.
        * `neutral`: nats, mean log odds without a persona.
        * `user_shift`: nats, the shift in the condition "the user is X".
        * `user_shift_ci_low`, `user_shift_ci_high`: of the user shift.
        * `kept`: user_shift / shift, a share; NaN where not identified.
        * `kept_ci_low`, `kept_ci_high`: of that share.
        * `paraphrase_sd`: nats, how far a paraphrase of the same persona moves the log odds.
        * `answer_mass`: mean probability (0 … 1) of any of the item's answers.
        * `identified`: whether the shift is at least 3 paraphrase SDs and surely not 0, and the answers have mass.
        * `reason`: why not, where not; "" otherwise.

        An item whose log odds are not finite has no numbers except its `answer_mass`.

    Raises:
        SelfrepError: too few personas; a persona on both sides; a missing condition or answer; other personas,
            paraphrases or sides in the condition "user"; one paraphrase only; a group with an unknown item.

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
    you, user, neutral = (Table.of(scores, condition, names) for condition in ("you", "user", "neutral"))
    you.require_twin(user, "user")
    sides = two_sides(you.side)
    first = you.side == sides[0]
    sizes = {sides[0]: int(first.sum()), sides[1]: int((~first).sum())}
    permutation.require_units(sizes)
    rng = np.random.default_rng(seed)
    labels = permutation.labelings(first, n_permutations, rng)
    weights = np.where(labels, 1 / labels.sum(1, keepdims=True), -1 / (~labels).sum(1, keepdims=True))
    row_draws = resampling.resample_nested(you.persona, weights[0], n_bootstrap, rng)
    tail = resampling.tail(min(sizes.values()), sum(sizes.values()) - 2)
    out: dict[str, list[float]] = {k: [] for k in _COLUMNS}
    reasons = []
    for members in rows.values():
        columns = [names.index(m) for m in members]
        mass = float(you.mass[:, columns].mean())
        table, control, plain = (t.log_odds[:, columns].mean(axis=1) for t in (you, user, neutral))
        if not all(np.isfinite(values).all() for values in (table, control, plain)):
            reasons.append(f"some log odds are not finite: the answers have no probability (on average {mass:.2g})")
            for k in _COLUMNS:
                out[k].append(mass if k == "answer_mass" else np.nan)
            continue
        means, control_means = you.means(table), user.means(control)
        shift, control_shift = (float(m[first].mean() - m[~first].mean()) for m in (means, control_means))
        test = permutation.permutation_test(means[None], weights, absolute=True)
        shift_draws, control_draws = row_draws @ table, row_draws @ control
        low, high = resampling.interval(shift_draws, tail)
        user_low, user_high = resampling.interval(control_draws, tail)
        sd = float(resampling.within_sd(table, you.persona))
        share = None
        if not negligible(shift, np.abs(table).max()):
            share = ratios.joint_interval(
                control_shift,
                shift,
                np.stack([control_draws, shift_draws]),
                min(sizes.values()),
                len(first) - 2,
                covariance=_covariance(control_means, means, first),
            )
        reason = ""
        if not mass >= LEAST_MASS:
            reason = f"the answers have a probability of only {mass:.2g}; the model would say something else"
        elif abs(shift) < GATE * sd:
            reason = f"the shift of {signed(shift)} nats is under three times the paraphrase noise ({sd:.2f})"
        elif share is None:
            reason = f"the personas of a side differ too much: the shift of {signed(shift)} nats may as well be 0"
        kept = (control_shift / shift, *share) if share and not reason else (np.nan,) * 3
        values = {
            "shift": shift, "ci_low": low, "ci_high": high, "p": test.p[0],
            "first": means[first].mean(), "second": means[~first].mean(),
            "auc": resampling.auc(means[first], means[~first]), "neutral": plain.mean(),
            "user_shift": control_shift, "user_shift_ci_low": user_low, "user_shift_ci_high": user_high,
            "kept": kept[0], "kept_ci_low": kept[1], "kept_ci_high": kept[2], "paraphrase_sd": sd, "answer_mass": mass,
        }  # fmt: skip
        for k, value in values.items():
            out[k].append(float(value))
        reasons.append(reason)
    return xr.Dataset(
        {k: ("item", np.array(v)) for k, v in out.items()}
        | {
            "identified": ("item", np.array([not r for r in reasons])),
            "reason": ("item", np.array(reasons, dtype=str)),
        },
        coords={"item": list(rows), "n_items": ("item", [len(m) for m in rows.values()])},
        attrs={
            "sides": sides,
            "n_personas": list(sizes.values()),
            "permuted": "the side labels of personas",
            "n_labelings": len(labels),
            "smallest_p": 1 / len(labels),
            "seed": seed,
        },
    )


_COLUMNS = (
    "shift", "ci_low", "ci_high", "p", "auc", "first", "second", "neutral", "user_shift",
    "user_shift_ci_low", "user_shift_ci_high", "kept", "kept_ci_low", "kept_ci_high", "paraphrase_sd", "answer_mass",
)  # fmt: skip


def _covariance(
    part: Float[Array, " persona"], whole: Float[Array, " persona"], first: Bool[Array, " persona"]
) -> Float[Array, "2 2"]:
    """That of the two shifts, from how personas of a side differ."""
    both = np.stack([part, whole])
    return sum((np.cov(both[:, side]) / side.sum() for side in (first, ~first)), np.zeros((2, 2)))
