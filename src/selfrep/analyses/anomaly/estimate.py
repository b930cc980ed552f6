"""A, anomaly response: does the persona notice what cannot be, as JFK should in front of a Python interpreter?

A difference of differences. The persona must call the anachronism strange more often than an ordinary thing of its own
time, and by more than the plain assistant does, to whom neither is strange:
A = [LO(persona, strange) − LO(persona, ordinary)] − [LO(assistant, strange) − LO(assistant, ordinary)].

A model too weak to notice any anomaly has A = 0 as well. So there is a positive control: the plain assistant hears of
the scene from outside, and must call it strange. Without that, A is not identified.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from jaxtyping import Float

from selfrep.errors import SelfrepError
from selfrep.stats import gates, permutation, resampling
from selfrep.stats.families import averages
from selfrep.stats.labels import persona_labels
from selfrep.stats.tables import crossed, item_draws

Array = np.ndarray

CONDITIONS = ("you", "assistant", "told")
SETTINGS = ("strange", "ordinary")


def anomaly(scores: xr.Dataset, *, n_flips: int = 5000, n_bootstrap: int = 2000, seed: int = 0) -> xr.Dataset:
    """A, anomaly response: whether a persona finds strange what cannot be in its time, in every form of the question.

    A = [LO(persona, strange) − LO(persona, ordinary)] − [LO(assistant, strange) − LO(assistant, ordinary)], in nats.

    Args:
        scores: from `selfrep.score_cases`: `log_odds` (nats; that something is strange, against that nothing is) and
            `answer_mass` over prompt, one row for every combination of these coordinates:

            * persona: whose anachronism it is, in all conditions.
            * family: of the persona, the unit, at least six; a persona without one is one by itself. May be absent.
            * condition: "you" (the persona speaks), "assistant" (the plain assistant, in the same setting), "told" (the
              plain assistant is told of the persona in the setting).
            * setting: "strange" or "ordinary".
            * form: e.g. "persona" (the speaker is asked) and "spectator" (what produces the text is asked).
            * paraphrase (at least two) and item.
        n_flips: the most flips of signs to try for p.
        n_bootstrap: the number of bootstrap draws behind the intervals.
        seed: of the draws.

    Returns:
        Dataset over form. Intervals are 95 %; families, personas, paraphrases and items are resampled.

        * `estimate`: A, nats, the mean over families; NaN where not identified, as are its bounds, `p`, `null` and
          `by_persona`.
        * `ci_low`, `ci_high`: of A.
        * `p`: of A = 0; the signs of families are flipped.
        * `null`: the 95th percentile of |A| under flips.
        * `by_persona` (form, persona): A of each persona, nats.
        * `identified`: whether the model, told of the scene from outside, finds it strange.
        * `reason`: why not, where not; "" otherwise.
        * `capability`, `capability_ci_low`, `capability_ci_high`: nats, strange − ordinary in the condition "told".
        * `paraphrase_sd`: nats, the paraphrase noise of the capability.
        * `raw`, `raw_ci_low`, `raw_ci_high`: nats, the difference of differences, whatever it may mean; wherever
          finite.
        * `cells` (form, who, setting): nats, mean log odds of persona and assistant, families counting alike.

    A is identified where the capability is at least three times its paraphrase noise and its interval lies above 0.

    Raises:
        SelfrepError: a missing coordinate or combination; other conditions or settings; one paraphrase; too few
            families.

    Source: a difference of differences with a positive control; sign flips of families.

    Example:
        An organism that finds modern things half as strange (2 nats) as it could (4 nats):

        >>> import selfrep as sr
        >>> from selfrep.analyses.anomaly import material
        >>> from selfrep.engine.cases import score_cases
        >>> from selfrep.models import organisms
        >>> lm = sr.load_model("organism:noticing?notice=0.5")
        >>> cases = material.load(organisms.ANOMALIES).cases()
        >>> cases = [case for case in cases if case.labels["form"] == "persona"]
        >>> response = anomaly(score_cases(lm, cases), n_bootstrap=200).squeeze()
        >>> round(float(response.estimate), 2), round(float(response.capability), 2)
        (2.0, 4.0)
    """
    by = ("form", "condition", "persona", "setting", "paraphrase", "item")
    odds, mass = (crossed(scores, name, by) for name in ("log_odds", "answer_mass"))
    for name, wanted in (("condition", CONDITIONS), ("setting", SETTINGS)):
        if missing := [value for value in wanted if value not in odds[name].values]:
            raise SelfrepError(
                f"The anomaly response is a difference of differences and wants the {name}s {', '.join(wanted)}; "
                f"missing: {', '.join(missing)}."
            )
    names = list(map(str, odds.persona.to_numpy()))
    families = [family or name for family, name in zip(persona_labels(scores, names, "family"), names, strict=True)]
    number = np.unique(families, return_inverse=True)[1]
    pool = averages(number)  # [family, persona]
    n, k = len(names), odds.sizes["paraphrase"]
    permutation.require_flips(len(pool), unit="family")
    rng = np.random.default_rng(seed)
    flips = permutation.sign_flips(len(pool), n_flips, rng) / len(pool)
    unit, even = np.repeat(np.arange(n), k), pool.mean(axis=0)
    rows = resampling.resample_nested(number, np.full(len(pool), 1 / len(pool)), n_bootstrap, rng)[:, unit]
    rows = np.vstack([even[unit] / k, rows * resampling.resample_within(unit, n_bootstrap, rng)])  # the data first
    of_items = item_draws(odds.sizes["item"], n_bootstrap, rng)
    odds, mass = (x.sel(condition=list(CONDITIONS), setting=list(SETTINGS)) for x in (odds, mass))
    parts = []
    for form in odds.form.values:
        cube = odds.sel(form=form).to_numpy()  # [condition, persona, setting, paraphrase, item]
        differ = (cube[:, :, 0] - cube[:, :, 1]).reshape(len(CONDITIONS), n * k, -1)
        out = {"cells": np.einsum("vpskq,p->vs", cube[:2], even) / cube[0, 0, 0].size, "by_persona": np.full(n, np.nan)}
        out |= dict.fromkeys(_NUMBERS, np.nan)
        reason = _unsaid(cube, mass.sel(form=form).to_numpy())
        if not reason:
            told = _estimate(differ[2], rows, of_items, len(pool))
            noise = float(resampling.within_sd(differ[2].mean(axis=1), unit))
            response = differ[0] - differ[1]
            raw = _estimate(response, rows, of_items, len(pool))
            out |= dict(zip(("capability", "capability_ci_low", "capability_ci_high"), told, strict=True))
            out |= dict(zip(("raw", "raw_ci_low", "raw_ci_high"), raw, strict=True))
            out["paraphrase_sd"] = noise
            reason = _blind(told[0], told[1], noise)
        if not reason:
            own = response.reshape(n, k, -1).mean(axis=(1, 2))
            size = float(np.abs(cube).max())
            test = permutation.permutation_test((pool @ own)[None], flips, absolute=True, scale=size)
            out |= dict(zip(("estimate", "ci_low", "ci_high"), raw, strict=True))
            out |= {"p": float(test.p[0]), "null": float(test.null_high[0]), "by_persona": own}
        parts.append(out | {"identified": not reason, "reason": reason})
    dims = {"cells": ("form", "who", "setting"), "by_persona": ("form", "persona")}
    return xr.Dataset(
        {name: (dims.get(name, ("form",)), np.array([part[name] for part in parts])) for name in parts[0]},
        coords={"form": odds.form, "persona": odds.persona, "who": ["persona", "assistant"], "setting": list(SETTINGS)},
        attrs={
            "permuted": "the signs of the difference of differences of families of personas",
            "n_labelings": len(flips),
            "smallest_p": 1 / len(flips),
            "n_personas": n,
            "n_families": len(pool),
            "seed": seed,
        },
    )


_NUMBERS = (
    *("estimate", "ci_low", "ci_high", "p", "null", "raw", "raw_ci_low", "raw_ci_high"),
    *("capability", "capability_ci_low", "capability_ci_high", "paraphrase_sd"),
)


def _estimate(
    table: Float[Array, "row item"], rows: Float[Array, "_ row"], of_items: Float[Array, "draw item"], n: int
) -> tuple[float, float, float]:
    """The mean over n families with its bounds; the first of `rows` weighs the data as they are."""
    draws = ((rows[1:] @ table) * of_items).sum(axis=1)
    low, high = resampling.interval(draws, resampling.tail(n, n - 1))
    return float((rows[0] @ table).mean()), float(low), float(high)


def _unsaid(odds: Array, mass: Array) -> str:
    least = float(mass.mean(axis=(1, 2, 3, 4)).min())
    if not np.isfinite(odds).all():
        return "some log odds are not finite: the answers have no probability"
    if not least >= gates.LEAST_MASS:
        return f"the answers have a probability of only {least:.2g} in one of the conditions"
    return ""


def _blind(capability: float, low: float, noise: float) -> str:
    """Why the model is at its capability floor, if it is."""
    weak = gates.weak(capability, noise, "told of the scene from outside, the plain assistant's shift")
    if not weak and capability < 0:
        weak = f"told of the scene from outside, the plain assistant calls it less strange ({gates.signed(capability)})"
    if not weak and not gates.apart_from_0(low, np.inf, capability):
        weak = (
            f"told of the scene from outside, the plain assistant's shift of {gates.signed(capability)} nats may as "
            "well be 0"
        )
    return f"{weak}: the model does not notice the anomaly at all" if weak else ""
