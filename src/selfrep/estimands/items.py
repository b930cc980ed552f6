"""What the items of a battery show: how far personas move the answers, and how much of that the mere words do.

An item earns trust by moving: the two sides of personas must differ by several times what a rewording of the same
persona does. The share of the shift that survives when "you are X" becomes "the user is X" is lexical, that is, due to
the words standing in the prompt; the rest is bound to the speaker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float, Int

from selfrep.errors import SelfrepError
from selfrep.estimands import stats

Array = np.ndarray

GATE = 3.0
"""A shift counts when it is this many times the paraphrase noise (SCIENCE: |effect| ≥ 3 × paraphrase SD)."""
LEAST_MASS = 0.01
"""Below this probability of any answer, log odds compare words that the model would hardly say."""


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
        behaviour: from `observe`, with the voices "you", "user" and "neutral".
        groups: further rows that average several items, e.g. {"in character": [...]}.
        n_permutations: exact enumeration of the labelings when there are no more (8 against 8 have 6,435).

    Returns:
        Dataset over `item` (the items in order, then the groups): `shift` (nats: mean of the first side's personas −
        mean of the second's), `low`, `high` (95 %, bootstrap of personas, then paraphrases), `p` (persona
        labels permuted), `auc`,
        `first`, `second`, `neutral` (mean log odds), `user_shift`, `user_low`, `user_high` (the shift in the voice "the
        user is X"), `kept`, `kept_low`, `kept_high` (user_shift / shift; NaN unless `gate`),
        `paraphrase_sd` (nats), `answer_mass`,
        `gate` (the shift is ≥ 3 paraphrase SDs and may not be 0, and the answers have mass), `reason` (why not, where
        not). An item whose log odds are not finite has no numbers, only its reason.

    Raises:
        SelfrepError: too few personas, a persona on both sides, a missing control voice or answer, other personas,
            wordings or sides in the control, one wording only, a group that names an unknown item.
    """
    names = list(dict.fromkeys(map(str, behaviour.item.to_numpy())))
    rows = {name: [name] for name in names} | {k: list(v) for k, v in (groups or {}).items() if v}
    if unknown := sorted({m for members in rows.values() for m in members} - set(names)):
        raise SelfrepError(f"Groups are made of the items that were asked, {names}; unknown: {unknown}.")
    you, user, neutral = (_Table.of(behaviour, voice, names) for voice in ("you", "user", "neutral"))
    if you.keys != user.keys:
        raise SelfrepError(
            'The control "user" must have the personas and paraphrases of the voice "you"; only one of them has '
            f"{sorted(set(you.keys) ^ set(user.keys))[:3]}."
        )
    personas = [name for name, _ in you.keys + user.keys]
    stats.groups_of(personas, [*you.side[you.persona], *user.side[user.persona]])  # the same in both voices
    sides = sorted({str(s) for s in you.side})
    if len(sides) != 2:
        raise SelfrepError(f"Items compare two sides of personas; there are {len(sides)}: {sides}.")
    first = you.side == sides[0]
    sizes = {sides[0]: int(first.sum()), sides[1]: int((~first).sum())}
    stats.require_units(sizes)
    rng = np.random.default_rng(seed)
    labels = stats.labelings(first, n_permutations, rng)
    weights = np.where(labels, 1 / labels.sum(1, keepdims=True), -1 / (~labels).sum(1, keepdims=True))
    persona_draws = _persona_draws(first, n_bootstrap, rng)
    within = stats.resample_within(you.persona, n_bootstrap, rng)
    tail = stats.tail(min(sizes.values()), sum(sizes.values()) - 2)
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
        test = stats.permutation_test(means[None], weights, absolute=True)
        draws, control_draws = (_drawn(t, you.persona, within, persona_draws) for t in (table, control))
        low, high = stats.interval(draws, tail)
        user_low, user_high = stats.interval(control_draws, tail)
        sd = float(stats.within_sd(table, you.persona))
        share = _share(means, control_means, first, draws, control_draws, tail)
        reason = ""
        if not mass >= LEAST_MASS:
            reason = f"the answers have a probability of only {mass:.2g}; the model would say something else"
        elif abs(shift) < GATE * sd:
            reason = f"the shift of {_signed(shift)} nats is under three times the paraphrase noise ({sd:.2f})"
        elif share is None:
            reason = f"the personas of a side differ too much: the shift of {_signed(shift)} nats may as well be 0"
        kept = (control_shift / shift, *share) if share and not reason else (np.nan,) * 3
        values = {
            "shift": shift, "low": low, "high": high, "p": test.p[0],
            "first": means[first].mean(), "second": means[~first].mean(),
            "auc": stats.auc(means[first], means[~first]), "neutral": plain.mean(),
            "user_shift": control_shift, "user_low": user_low, "user_high": user_high,
            "kept": kept[0], "kept_low": kept[1], "kept_high": kept[2], "paraphrase_sd": sd, "answer_mass": mass,
        }  # fmt: skip
        for k, value in values.items():
            out[k].append(float(value))
        reasons.append(reason)
    return xr.Dataset(
        {k: ("item", np.array(v)) for k, v in out.items()}
        | {"gate": ("item", np.array([not r for r in reasons])), "reason": ("item", np.array(reasons, dtype=str))},
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
    "shift", "low", "high", "p", "auc", "first", "second", "neutral", "user_shift", "user_low", "user_high",
    "kept", "kept_low", "kept_high", "paraphrase_sd", "answer_mass",
)  # fmt: skip


class _Table:
    """One voice as a table: a row is one persona in one wording, a column one item."""

    def __init__(self, keys: list[tuple[str, int]], log_odds: Array, mass: Array, persona: Array, side: Array) -> None:
        self.keys = keys  # [row] name of the persona, number of the wording
        self.log_odds, self.mass = log_odds, mass  # [row, item]
        self.persona = persona  # [row] the number of its persona
        self.side = side  # [persona]

    @classmethod
    def of(cls, behaviour: xr.Dataset, voice: str, names: list[str]) -> _Table:
        mine = np.flatnonzero(behaviour.voice.to_numpy() == voice)
        if len(mine) == 0:
            raise SelfrepError(
                f"Items are read beside their controls; the voice {voice!r} was not asked. Add it to the voices."
            )
        personas = [str(behaviour.persona.values[i]) for i in mine]
        keys = sorted(set(zip(personas, map(int, behaviour.paraphrase.values[mine]), strict=True)))
        shape = (len(keys), len(names))
        log_odds, mass, asked = np.full(shape, np.nan), np.full(shape, np.nan), np.zeros(shape, dtype=bool)
        side_of = stats.groups_of(personas, behaviour.side.to_numpy()[mine])
        for i, persona in zip(mine, personas, strict=True):
            at = keys.index((persona, int(behaviour.paraphrase.values[i]))), names.index(str(behaviour.item.values[i]))
            log_odds[at], mass[at], asked[at] = behaviour.log_odds.values[i], behaviour.answer_mass.values[i], True
        if not asked.all():
            row, column = np.argwhere(~asked)[0]
            raise SelfrepError(
                f"Every persona must be asked every item in the voice {voice!r}; {int((~asked).sum())} answers lack, "
                f"the first that of {keys[row]} to {names[column]!r}."
            )
        unique = sorted(side_of)
        return cls(
            keys, log_odds, mass, np.array([unique.index(p) for p, _ in keys]), np.array([side_of[p] for p in unique])
        )

    def means(self, column: Float[Array, " row"]) -> Float[Array, " persona"]:
        return np.bincount(self.persona, weights=column) / np.bincount(self.persona)


def _persona_draws(first: Array, n: int, rng: np.random.Generator) -> Float[Array, "draw persona"]:
    """Bootstrap weights that make the difference of the two sides' means."""
    weight = np.zeros((n, len(first)))
    for members, sign in ((np.flatnonzero(first), 1.0), (np.flatnonzero(~first), -1.0)):
        weight[:, members] = sign * stats.resample(len(members), n, rng) / len(members)
    return weight


def _drawn(
    column: Float[Array, " row"],
    persona: Int[Array, " row"],
    within: Float[Array, "draw row"],
    weight: Float[Array, "draw persona"],
) -> Float[Array, " draw"]:
    """The shift in every bootstrap draw."""
    return np.einsum("dr,r,dr->d", within, column, weight[:, persona])


def _share(
    whole: Float[Array, " persona"],
    part: Float[Array, " persona"],
    first: Bool[Array, " persona"],
    whole_draws: Float[Array, " draw"],
    part_draws: Float[Array, " draw"],
    tail: float,
) -> tuple[float, float] | None:
    """Bounds of the ratio of two shifts, or None where there are none because the whole may be 0.

    Numerator and denominator are resampled together; within 3 standard errors of a zero denominator, where the ratio of
    resampled shifts has no useful percentiles, by Fieller's theorem.
    """
    both = np.stack([part, whole])
    covariance = sum((np.cov(both[:, side]) / side.sum() for side in (first, ~first)), np.zeros((2, 2)))
    part_shift, shift = both[:, first].mean(axis=1) - both[:, ~first].mean(axis=1)
    if abs(shift) < 3 * np.sqrt(covariance[1, 1]) or not shift:
        return stats.fieller(float(part_shift), float(shift), covariance, len(first) - 2)
    low, high = stats.interval(part_draws / whole_draws, tail)
    return float(low), float(high)


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")
