"""What the estimands say of an organism, beside what is true of it.

An answer is wrong when it is off by more than the estimand should be, and it is given with confidence when its gate is
open and its interval leaves the truth out. Where the truth defines no number, any number is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import xarray as xr

from selfrep.analyses.anomaly.estimate import anomaly
from selfrep.analyses.binding.estimate import BETWEEN, binding
from selfrep.analyses.bleed.estimate import bleed
from selfrep.analyses.default_axis.estimate import default_axis
from selfrep.analyses.directness.estimate import directness
from selfrep.analyses.directness.scratchpads import given
from selfrep.analyses.directness.writing import directness_runs
from selfrep.analyses.identification.estimate import identification
from selfrep.analyses.mediation.estimate import carrying, mediation
from selfrep.analyses.mediation.exchange import mediation_runs, proof_runs
from selfrep.analyses.mediation.fitting import fit_subspaces
from selfrep.engine.cases import score_cases
from selfrep.models.language_model import LanguageModel
from selfrep.models.organisms.truth import Truth, plan_of
from selfrep.stats import resampling
from selfrep.stats.tables import Table
from selfrep.validation import questions

ROUNDING = 1e-3
"""Without noise, intervals have no width: a truth this near to one (in its unit) lies in it."""

TOLERANCE = {"B": 0.03, "M": 0.10, "R": 0.03, "λ": 0.10, "I": 0.25, "bound I": 0.25, "A": 0.25, "D": 0.03}
"""How far off an answer may be and not be wrong: shares, and nats for I and A (of a planted swing of up to 4)."""

END = -10
"""Where the system text ends, which a persona passes in every organism, at residual index 2."""


@dataclass(frozen=True)
class Answer:
    """One estimand, asked of one organism.

    Attributes:
        estimand: "B", "R", "λ", "I", "bound I", "A", "D", "M"; of: which of several ("maker", "neutral", …).
        truth: None where nothing is defined, so that only "not identified" is right.
        estimate, ci_low, ci_high: NaN where the gate is closed; reason: why it is.
        common: what would be said without the estimand's controls; NaN where there is no such custom.
    """

    estimand: str
    of: str
    truth: float | None
    estimate: float
    ci_low: float
    ci_high: float
    reason: str = ""
    common: float = float("nan")

    @property
    def given(self) -> bool:
        """Whether the gate is open."""
        return not self.reason

    @property
    def error(self) -> float:
        """How far the estimate is off; NaN where none is given or none is true."""
        return self.estimate - self.truth if self.given and self.truth is not None else float("nan")

    @property
    def covered(self) -> bool:
        """Whether the interval holds the truth."""
        return self.truth is not None and self.ci_low - ROUNDING <= self.truth <= self.ci_high + ROUNDING

    @property
    def wrong(self) -> bool:
        """Whether this is a wrong answer given with confidence."""
        if not self.given:
            return False
        return self.truth is None or (abs(self.error) > TOLERANCE[self.estimand] and not self.covered)


def asked(lm: LanguageModel, truth: Truth) -> Iterator[Answer]:
    """Every estimand for which the organism was planted, or trained, to have an answer."""
    known = {question for _, question in truth.causal}
    needs: tuple[tuple[str, Callable[[LanguageModel, Truth], Iterator[Answer]]], ...] = (
        ("spectator", _bleed),
        ("in_character", _binding),
        ("in_character", _location),
        ("maker", _identity),
        ("strange", _anomaly),
    )
    for question, answered in needs:
        if question in known:
            yield from answered(lm, truth)
    if ("step", "behaviour") in truth.causal:
        yield from _directness(lm, truth)
        yield from _mediation(lm, truth)


def _answer(
    estimand: str, of: str, truth: float | None, found: xr.Dataset, *, unit: float = 1.0, common: float = float("nan")
) -> Answer:
    """An answer from the numbers of one cell of an estimand's Dataset, in other units where asked for."""
    estimate, low, high = (unit * float(found[name]) for name in ("estimate", "ci_low", "ci_high"))
    reason = "" if bool(found.identified) else str(found.reason.to_numpy())
    return Answer(estimand, of, truth, estimate, low, high, reason, common)


def _bleed(lm: LanguageModel, truth: Truth) -> Iterator[Answer]:
    seen = questions.answers(lm, questions.SPECTATOR, ("you", "user", "truth"))
    found = bleed(seen, dict.fromkeys(questions.SPECTATOR, "third_person")).sel(item="all third_person")
    common = float(found.persona_shift / found.truth_shift)  # the ratio, without bound
    yield _answer("B", "", truth.bleed, found, common=common)


def _binding(lm: LanguageModel, truth: Truth) -> Iterator[Answer]:
    seen = questions.answers(lm, questions.IN_CHARACTER, ("you", "user", "neutral"))
    found = binding(seen, dict.fromkeys(questions.IN_CHARACTER, "in_character")).sel(item="all in_character")
    # Without the control all of the shift is taken for the speaker's.
    yield _answer("R", "", truth.binding, found.sel(contrast=BETWEEN), common=1.0)


def _location(lm: LanguageModel, truth: Truth) -> Iterator[Answer]:
    """λ where the persona is planted, of all but the default, which is 1 by definition."""
    seen = questions.activations(lm, questions.IN_CHARACTER[0], ("you", "user", "neutral"), layers=[2])
    seen = seen.sel(position=[END])
    found = default_axis(seen).isel(site=0, layer=0, position=0)
    plain = _projected(seen)
    for who in found.who.values:
        name = "" if who == "neutral" else str(who)
        if name in truth.default:
            at = found.sel(who=who)
            gate = at.identified & at.estimate.notnull()
            yield _answer("λ", str(who), truth.default[name], at.assign(identified=gate), common=plain[name])


def _projected(seen: xr.Dataset) -> dict[str, float]:
    """λ as a plain projection on the difference of means, each role helping to draw the axis it is placed on."""
    x = seen.activations.to_numpy().reshape(seen.sizes["prompt"], -1)
    condition, persona = seen.condition.to_numpy(), seen.persona.to_numpy()
    names = sorted(set(persona[condition == "you"].tolist()))
    mean = {name: x[(condition == "you") & (persona == name)].mean(axis=0) for name in names}
    mean[""] = x[condition == "neutral"].mean(axis=0)
    roles = np.mean([mean[name] for name in names if name != "assistant"], axis=0)
    axis = mean["assistant"] - roles
    return {name: float((value - roles) @ axis / (axis @ axis)) for name, value in mean.items()}


def _identity(lm: LanguageModel, truth: Truth) -> Iterator[Answer]:
    """I of the default persona, in nats: what its unit, a paraphrase, does is no part of what was planted.

    Against neutral, and against "the user is X" (bound I). Without noise all paraphrases of a persona are one to an
    organism: I has no unit, and no number is true.
    """
    if truth.identity is None or truth.echo is None:
        return
    seen = questions.identities(lm)
    names = list(truth.identity)
    defined = plan_of(lm.hf).noise > 0
    found = identification(seen, {name: [name] for name in names})
    you = Table.of(seen, "you", names)
    unit = resampling.within_sd(you.log_odds, you.persona)
    own = (seen.condition.to_numpy() == "you") & (seen.persona.to_numpy() == "assistant")
    for k, name in enumerate(names):
        raw = float(seen.log_odds.to_numpy()[own & (seen.item.to_numpy() == name)].mean())
        at = found.sel(subscale=name, persona="assistant")
        yield _answer("I", name, truth.identity[name] if defined else None, at, unit=float(unit[k]), common=raw)
        beyond = at.assign(
            {k: at[f"bound{end}"] for k, end in (("estimate", ""), ("ci_low", "_ci_low"), ("ci_high", "_ci_high"))}
        )
        bound = truth.identity[name] - truth.echo[name]
        yield _answer("bound I", name, bound if defined else None, beyond, unit=float(unit[k]), common=raw)


def _anomaly(lm: LanguageModel, truth: Truth) -> Iterator[Answer]:
    if truth.anomaly is None:
        return
    found = anomaly(score_cases(lm, questions.anomalies().cases()))
    for form, value in truth.anomaly.items():
        at = found.sel(form=form)
        strange, ordinary = (float(at.cells.sel(who="persona", setting=s)) for s in ("strange", "ordinary"))
        yield _answer("A", form, value, at, common=strange - ordinary)


def _directness(lm: LanguageModel, truth: Truth) -> Iterator[Answer]:
    """D of the stakes, without the cue of fiction."""
    material, versions = questions.scenarios(), ((0, 0), (0, 1))
    runs = directness_runs(lm, material, given(material, versions), versions=versions)
    yield _answer("D", "", truth.directness, directness(runs))


def _mediation(lm: LanguageModel, truth: Truth) -> Iterator[Answer]:
    """M, in either order of projecting one subspace out of the other."""
    material = questions.scenarios()
    fitted = fit_subspaces(lm, material)
    proven = carrying(proof_runs(lm, material, fitted))
    found = mediation(mediation_runs(lm, material, fitted), proven=proven).sel(donor="both")
    for order in found.order.values:
        at = found.sel(order=order)
        # Without the subspaces: the share of the cue's effect in those of cue and stakes.
        cue, stakes = (float(found[name].mean()) for name in ("cue_effect", "stakes_effect"))
        yield _answer("M", str(order), truth.mimicry, at, common=cue / (cue + stakes))
