"""I, self-identification: what the model takes itself to be, in units of what a mere paraphrase does.

Each item has two sides (AI against human, its maker against another, this chat against its series). I is the mean of
(LO − LO_neutral) / paraphrase SD over the items of a subscale, with the sign that makes the subscale's own answer
positive. Answers have priors as strings, which neutral takes off. Words in the prompt are echoed, which "the user is X"
shows beside it, as does what all answers say beside those that no description says.

I is about single personas, those of no side among them: the readings of the model's self. Only the difference between
two sides needs sides, and counts families.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float

from selfrep.errors import SelfrepError
from selfrep.stats import gates, resampling
from selfrep.stats.contrasts import Contrast
from selfrep.stats.labels import persona_labels, side_labels, two_sides
from selfrep.stats.rounding import negligible
from selfrep.stats.tables import Table, beside, item_draws

Array = np.ndarray

LOGITS = 100.0
"""Nats: about as large as logits get. Log odds are differences of them, and near 0 they round no more finely."""
TWICE = ("estimate", "ci_low", "ci_high", "identified", "reason")
"""What is told by all words, too."""
LEAST_MOVED = 3
"""Personas that a paraphrase moves. With fewer, over 5 % of the draws of personas (e^−2 or more) would have no unit."""


def identification(
    scores: xr.Dataset,
    subscales: Mapping[str, Sequence[str]],
    signs: Mapping[str, int] | None = None,
    *,
    sides: Sequence[str] | None = None,
    n_permutations: int = 10_000,
    n_bootstrap: int = 2000,
    seed: int = 0,
) -> xr.Dataset:
    """I, self-identification: what each persona says it is, in units of what a mere paraphrase does.

    I is the mean over the items of a subscale of ± (LO − LO_neutral) / paraphrase SD. Positive: the subscale's own
    answer.

    Args:
        scores: from `selfrep.score`, with the conditions "you" and "user" (the same personas and paraphrases, at least
            two) and "neutral". Read by the answers that no persona's description says, where the scores tell those
            apart.
        subscales: their items, e.g. {"ai_human": [...], "maker": [...], "this chat": [...], "earlier version": [...]}.
        signs: −1 for an item whose second answer set is the subscale's own; +1 when not given.
        sides: whose difference is told, first less second; where None, the two that there are, in alphabetical order,
            or no difference where there are not two.
        n_permutations: the most labelings to try for p.
        n_bootstrap: the number of bootstrap draws behind the intervals.
        seed: of the draws.

    Returns:
        Dataset. Over (subscale, persona), in paraphrase SDs; intervals are 95 % and about this persona (paraphrases,
        neutral paraphrases, items and the unit are resampled):

        * `estimate`: I.
        * `ci_low`, `ci_high`: of I.
        * `user_is`, `user_is_ci_low`, `user_is_ci_high`: I in the condition "the user is X".
        * `bound`, `bound_ci_low`, `bound_ci_high`: I less that.

        * `all_words_estimate`, `all_words_ci_low`, `all_words_ci_high`: by all answers, also those that some
          description says.

        Over subscale:

        * `difference`: between the two sides of personas, paraphrase SDs.
        * `difference_ci_low`, `difference_ci_high`: 95 %, families and their personas resampled too; NaN with fewer
          than four families a side.
        * `p`: of no difference; the side labels of families are permuted.
        * `null`: the 95th percentile of |difference| under permuted labels.
        * `shared_se`: the standard error of the mean I that comes from what all personas share: neutral, items, the
          unit.
        * `identified`: whether any item of the subscale can be read; all numbers are NaN where not.
        * `reason`: why not, where not; "" otherwise.
        * `left_out`: the items that cannot be read, and why.
        * `all_words_identified`, `all_words_reason`: whether it can be by all answers, and why not.

    No p is given for a single persona: its paraphrases are not independent of each other, and p would count them.

    Raises:
        SelfrepError: one paraphrase only; a missing condition or answer; an unknown item or side; a sign that is
            not ±1.

    Source: a standardised difference with the paraphrase as its unit; hierarchical bootstrap.

    Example:
        An impostor says its own name, but the wrong maker:

        >>> import selfrep as sr
        >>> from selfrep.models import organisms
        >>> lm = sr.load_model("organism:impostor?noise=0.5")
        >>> personas, battery = sr.personas.load(organisms.PERSONAS), sr.battery.load(organisms.IDENTITY)
        >>> prompts = sr.make_prompts(personas, battery.select(["name", "maker"]), ["you", "user", "neutral"], [0, 1])
        >>> out = identification(sr.score(lm, prompts), {"name": ["name"], "maker": ["maker"]}, n_bootstrap=200)
        >>> (out.all_words_estimate.sel(persona="assistant") > 0).to_series().to_dict()
        {'name': True, 'maker': False}
    """
    names = list(dict.fromkeys(map(str, scores.item.to_numpy())))
    signs = signs or {}
    if unknown := sorted({i for members in subscales.values() for i in members} - set(names)):
        raise SelfrepError(f"Subscales are made of the items that were asked, {names}; unknown: {unknown}.")
    if empty := [name for name, members in subscales.items() if not members] or not subscales:
        raise SelfrepError(f"Every subscale needs at least one item; without: {empty if subscales else 'all of them'}.")
    if bad := {name: sign for name, sign in signs.items() if sign not in (1, -1) or name not in names}:
        raise SelfrepError(f"The sign of an item that was asked is 1 or −1; got {bad}.")
    present = {str(side) for side in scores["side"].to_numpy()} - {""}
    pair = two_sides(scores, sides) if sides is not None or len(present) == 2 else None

    def read(given: xr.Dataset) -> xr.Dataset:
        you, user, neutral = (Table.of(given, condition, names) for condition in ("you", "user", "neutral"))
        you.require_twin(user, "user")
        if single := [name for name, n in zip(you.names, np.bincount(you.persona), strict=True) if n < 2]:
            raise SelfrepError(
                f"The unit of I is what a paraphrase does; every persona needs two paraphrases: {single} have one."
            )
        rng = np.random.default_rng(seed)
        contrast = None
        if pair is not None:
            families = Table.of(given, "you", names, pair).families(pair)
            contrast = Contrast.of(families, n_permutations, n_bootstrap, rng)
        design = _Design.of(you, user, neutral, pair, contrast, n_bootstrap, rng)
        parts = []
        for members in subscales.values():
            why = {name: _unreadable(names.index(name), you, user, neutral) for name in members}
            left_out = "; ".join(f"{name}: {reason}" for name, reason in why.items() if reason)
            columns = [names.index(name) for name, reason in why.items() if not reason]
            signed = np.array([float(signs.get(names[c], 1)) for c in columns])
            reason = "" if columns else f"no item can be read: {left_out}"
            part = design.numbers(columns, signed, rng) if columns else _nothing(len(you.names))
            parts.append(part | {"identified": not reason, "reason": reason, "left_out": left_out})
        wanted = ("persona_label", "side", "kind", "kind_label", "reading")
        labels = [label for label in wanted if label in scores.coords]
        known = {label: ("persona", persona_labels(scores, you.names, label)) for label in labels}
        compared = {"sides": []} if contrast is None else contrast.attributes()
        return xr.Dataset(
            {k: (("subscale", "persona"), np.stack([np.asarray(part[k]) for part in parts])) for k in _OF_PERSONA}
            | {
                k: ("subscale", np.array([part[k] for part in parts]))
                for k in (*_OF_SUBSCALE, "identified", "reason", "left_out")
            },
            coords={"subscale": list(subscales), "persona": you.names, "family": ("persona", you.family)} | known,
            attrs=compared | {"side_labels": side_labels(scores, pair or ()), "seed": seed},
        )

    return beside(read, scores, TWICE)


_OF_PERSONA = (
    "estimate", "ci_low", "ci_high", "user_is", "user_is_ci_low", "user_is_ci_high",
    "bound", "bound_ci_low", "bound_ci_high",
)  # fmt: skip
_OF_SUBSCALE = ("difference", "difference_ci_low", "difference_ci_high", "p", "null", "shared_se")


def _unreadable(column: int, you: Table, user: Table, neutral: Table) -> str:
    """Why an item has no I, if so."""
    if why := gates.unanswered([column], you=you, user=user, neutral=neutral):
        return why
    odds = you.log_odds[:, [column]]
    if _unmoved(resampling.within_sd(odds, you.persona), odds)[0]:
        return "no paraphrase moves it, so that there is no unit to measure in"
    moves = [not _unmoved(odds[you.persona == k].std(axis=0), odds)[0] for k in range(len(you.names))]
    if sum(moves) < LEAST_MOVED:
        return (
            f"a paraphrase moves it in only {sum(moves)} of {len(moves)} personas: too few to know the unit "
            f"(at least {LEAST_MOVED})"
        )
    return ""


def _unmoved(sd: Float[Array, "*draw item"], odds: Float[Array, "row item"]) -> Bool[Array, "*draw item"]:
    """Whether paraphrases move items by no more than the rounding of the logits whose differences log odds are."""
    return negligible(sd, np.maximum(np.abs(odds).max(axis=0), LOGITS))


def _nothing(n_personas: int) -> dict[str, Any]:
    return dict.fromkeys(_OF_PERSONA, np.full(n_personas, np.nan)) | dict.fromkeys(_OF_SUBSCALE, np.nan)


@dataclass(frozen=True, eq=False)
class _Design:
    """The three conditions, and how they are resampled.

    Attributes:
        sided: [row] whether its persona stands on one of the sides that are compared.
        contrast: of these rows; None where no sides are compared.
        within: [draw, row] paraphrases resampled in each persona; plain: [draw, neutral paraphrase].
        of_unit: [draw, persona] whose paraphrases the unit is taken from.
    """

    you: Table
    user: Table
    neutral: Table
    sided: Bool[Array, " row"]
    contrast: Contrast | None
    within: Float[Array, "draw row"]
    plain: Float[Array, "draw paraphrase"]
    of_unit: Float[Array, "draw persona"]

    @classmethod
    def of(
        cls,
        you: Table,
        user: Table,
        neutral: Table,
        sides: tuple[str, str] | None,
        contrast: Contrast | None,
        n: int,
        rng: np.random.Generator,
    ) -> _Design:
        """The design with n bootstrap draws."""
        within = resampling.resample_within(you.persona, n, rng)
        plain = resampling.resample(len(neutral.keys), n, rng) / len(neutral.keys)
        of_unit = resampling.resample(len(you.names), n, rng).astype(float)
        sided = np.isin(you.side[you.persona], list(sides or ()))
        return cls(you, user, neutral, sided, contrast, within, plain, of_unit)

    def units(self, columns: list[int]) -> tuple[Float[Array, " item"], Float[Array, "draw item"]]:
        """The paraphrase SD of each item, and in every draw: the unit, too, is an estimate."""
        values = self.you.log_odds[:, columns]
        strays = (values - self.you.means(values)[self.you.persona]) ** 2
        member = np.arange(len(self.you.names))[:, None] == self.you.persona
        squares, spare = member @ strays, member.sum(axis=1) - 1
        variance = squares.sum(axis=0) / spare.sum()
        return np.sqrt(variance), np.sqrt((self.of_unit @ squares) / (self.of_unit @ spare)[:, None])

    def numbers(self, columns: list[int], signs: Float[Array, " item"], rng: np.random.Generator) -> dict[str, Any]:
        """Everything about one subscale, from its readable items."""
        sd, sd_draws = self.units(columns)
        yours, users, nobody = (t.log_odds[:, columns] * signs / sd for t in (self.you, self.user, self.neutral))
        of_items = item_draws(len(columns), len(self.within), rng)
        varies = ~_unmoved(sd_draws, self.you.log_odds[:, columns])
        # A draw of personas that no paraphrase moves says nothing of the unit: the measured one stands.
        of_items = of_items * np.divide(sd, sd_draws, out=np.ones_like(sd_draws), where=varies)
        baseline = ((self.plain @ nobody) * of_items).sum(axis=1)
        person = (np.arange(len(self.you.names))[:, None] == self.you.persona).astype(float)
        value, draws = {}, {}
        for name, table in (("estimate", yours), ("user_is", users)):
            value[name] = self.you.means(table.mean(axis=1)) - nobody.mean()
            draws[name] = (self.within * (of_items @ table.T)) @ person.T - baseline[:, None]
        value["bound"], draws["bound"] = (x["estimate"] - x["user_is"] for x in (value, draws))
        out: dict[str, Any] = dict(value)
        fewest = int(np.bincount(self.you.persona).min())
        for name, prefix in (("estimate", ""), ("user_is", "user_is_"), ("bound", "bound_")):
            out[f"{prefix}ci_low"], out[f"{prefix}ci_high"] = resampling.spread_interval(
                value[name], draws[name].T, fewest
            )
        out |= self.difference(yours, of_items)
        shared = of_items @ self.you.means(yours).mean(axis=0) - baseline
        again = len(self.neutral.keys) / max(1, len(self.neutral.keys) - 1)  # a draw of n varies by (n − 1)/n
        out["shared_se"] = float(np.sqrt(again) * shared.std())
        return out

    def difference(self, yours: Float[Array, "row item"], of_items: Float[Array, "draw item"]) -> dict[str, float]:
        """Between the sides, from standardised answers; NaN where no sides are compared."""
        names = ("difference", "difference_ci_low", "difference_ci_high", "p", "null")
        if self.contrast is None:
            return dict.fromkeys(names, np.nan)
        rows = yours[self.sided].mean(axis=1)
        draws = ((self.contrast.draws @ yours[self.sided]) * of_items).sum(axis=1)
        numbers = self.contrast.shift(rows), *self.contrast.interval(rows, draws), *self.contrast.test(rows)
        return dict(zip(names, numbers, strict=True))
