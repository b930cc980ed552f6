"""What the items of a battery show: how far personas move the answers, and how much of that the mere words do.

An item earns trust by moving: the two sides of personas must differ by several times what a paraphrase of the same
persona does. The share of the shift that survives when "you are X" becomes "the user is X" is lexical, that is, due to
the words standing in the prompt; the rest is bound to the speaker.
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
    behaviour: xr.Dataset,
    groups: Mapping[str, Sequence[str]] | None = None,
    *,
    n_permutations: int = 10_000,
    n_bootstrap: int = 2000,
    seed: int = 0,
) -> xr.Dataset:
    """Per item, the shift of the log odds between the two sides of personas, with its controls.

    Args:
        behaviour: from `score`, with the conditions "you", "user" and "neutral".
        groups: further rows that average several items, e.g. {"in character": [...]}.
        n_permutations: exact enumeration of the labelings when there are no more (8 against 8 have 6,435).

    Returns:
        Dataset over `item` (the items in order, then the groups): `shift` (nats: mean of the first side's personas −
        mean of the second's), `ci_low`, `ci_high` (95 %, bootstrap of personas, then paraphrases), `p` (persona
        labels permuted), `auc`,
        `first`, `second`, `neutral` (mean log odds), `user_shift`, `user_shift_ci_low`, `user_shift_ci_high` (the
        shift in the condition "the user is X"), `kept`, `kept_ci_low`, `kept_ci_high` (user_shift / shift; NaN unless
        `identified`),
        `paraphrase_sd` (nats), `answer_mass`,
        `identified` (the shift is ≥ 3 paraphrase SDs and may not be 0, and the answers have mass), `reason` (why not,
        where not). An item whose log odds are not finite has no numbers, only its reason.

    Raises:
        SelfrepError: too few personas, a persona on both sides, a missing control condition or answer, other personas,
            paraphrases or sides in the control, one paraphrase only, a group that names an unknown item.
    """
    names = list(dict.fromkeys(map(str, behaviour.item.to_numpy())))
    rows = {name: [name] for name in names} | {k: list(v) for k, v in (groups or {}).items() if v}
    if unknown := sorted({m for members in rows.values() for m in members} - set(names)):
        raise SelfrepError(f"Groups are made of the items that were asked, {names}; unknown: {unknown}.")
    you, user, neutral = (Table.of(behaviour, condition, names) for condition in ("you", "user", "neutral"))
    you.require_twin(user, "user")
    sides = two_sides(you.side)
    first = you.side == sides[0]
    sizes = {sides[0]: int(first.sum()), sides[1]: int((~first).sum())}
    permutation.require_units(sizes)
    rng = np.random.default_rng(seed)
    labels = permutation.labelings(first, n_permutations, rng)
    weights = np.where(labels, 1 / labels.sum(1, keepdims=True), -1 / (~labels).sum(1, keepdims=True))
    drawn = resampling.resample_nested(you.persona, weights[0], n_bootstrap, rng)
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
        draws, control_draws = drawn @ table, drawn @ control
        low, high = resampling.interval(draws, tail)
        user_low, user_high = resampling.interval(control_draws, tail)
        sd = float(resampling.within_sd(table, you.persona))
        share = None
        if not negligible(shift, np.abs(table).max()):
            share = ratios.joint_interval(
                control_shift,
                shift,
                np.stack([control_draws, draws]),
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
