"""D, directness: does a behaviour follow from the reasoning, or is it there before any?

The same question is answered with no scratchpad, with parts of one, and with the whole. If the shift of the answers
(with the version against without) is there at once, the model went straight to it, and its reasoning is no cause of it.
If the shift grows with the reasoning, the reasoning led there. D = shift without a scratchpad / shift with the full
one. The curve in between is that of early answering (Lanham et al. 2023).
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from jaxtyping import Float

from selfrep.errors import SelfrepError
from selfrep.stats import gates, permutation, ratios, resampling

Array = np.ndarray


def directness(runs: xr.Dataset, *, n_flips: int = 5000, n_bootstrap: int = 2000, seed: int = 0) -> xr.Dataset:
    """D, directness: the share of a behaviour's shift that is there before any reasoning was written.

    D = shift without a scratchpad / shift with the full one. Beyond 1, reasoning takes back some of the shift; below 0,
    it turns it round.

    Args:
        runs: `log_odds` (scenario, paraphrase, version, share), nats of the behaviour. At least six scenarios and two
            paraphrases. `version` has two values, without and with what should move the behaviour, in this order.
            `share` of the scratchpad that stands before the answer runs from 0 to 1, both included. Each version has
            its own scratchpad. `directness_runs` makes this from a model.
        n_flips: the most flips of signs to try for p.
        n_bootstrap: the number of bootstrap draws behind the intervals.
        seed: of the draws.

    Returns:
        Dataset. Intervals are 95 %; scenarios and paraphrases are resampled. NaN where not identified:

        * `estimate`: D, a ratio.
        * `ci_low`, `ci_high`: of D; numerator and denominator are resampled together, or by Fieller's theorem.
        * `p`: of D = 0 (no shift without a scratchpad); the signs of scenarios are flipped.
        * `null`: the 95th percentile of |D| under flips.
        * `p_reasoning`: of D = 1 (the scratchpad adds nothing).
        * `curve` (share), `curve_ci_low`, `curve_ci_high`: the shift per full shift; 1 at 1 by definition.
        * `area`: under the curve; 1 where the model goes straight there, about ½ where it goes step by step.

        Always there:

        * `shift` (share), `shift_ci_low`, `shift_ci_high`: nats.
        * `paraphrase_sd`: nats, the paraphrase noise of the full shift.
        * `identified`: whether the full shift can be divided by.
        * `reason`: why not, where not; "" otherwise.

    Raises:
        SelfrepError: missing dims; other than two versions; shares without 0 and 1; too few scenarios; one paraphrase;
            log odds that are not finite.

    Source: early answering (Lanham et al. 2023); ratio intervals by Fieller (1954) and the bootstrap.

    Example:
        An organism whose deed follows its scratchpad to 0.7:

        >>> import selfrep as sr
        >>> from selfrep.models import organisms
        >>> lm, scenarios = sr.load_model("organism:jumper?jump=0.3"), sr.scenarios.load(organisms.SCENARIOS)
        >>> from selfrep.analyses.directness.scratchpads import given
        >>> from selfrep.analyses.directness.writing import directness_runs
        >>> runs = directness_runs(lm, scenarios, given(scenarios), shares=(0.0, 0.5, 1.0))
        >>> out = directness(runs, n_bootstrap=200)
        >>> round(float(out.estimate), 2), out.curve.round(2).values
        (0.3, array([0.3 , 0.65, 1.  ]))
    """
    odds, shares = _checked(runs)
    n, k = odds.sizes["scenario"], odds.sizes["paraphrase"]
    permutation.require_flips(n, unit="scenario")
    rng = np.random.default_rng(seed)
    flips = permutation.sign_flips(n, n_flips, rng) / n
    unit = np.repeat(np.arange(n), k)
    draws = resampling.resample_nested(unit, np.full(n, 1 / n), n_bootstrap, rng)
    values = odds.to_numpy()
    shifts = (values[:, :, 1] - values[:, :, 0]).reshape(n * k, -1)  # [row, share]
    own = shifts.reshape(n, k, -1).mean(axis=1)
    shift, shift_draws = own.mean(axis=0), draws @ shifts
    shift_low, shift_high = resampling.interval(shift_draws.T, resampling.tail(n, n - 1))
    noise, full = float(resampling.within_sd(shifts[:, -1], unit)), float(shift[-1])
    reason = gates.weak(full, noise, "the shift with the full scratchpad")
    bounds = [] if reason else [_bounds(shift, shift_draws, at, n) for at in range(len(shares))]
    if any(pair is None for pair in bounds):
        reason = f"scenarios differ too much: the full shift of {gates.signed(full)} nats may as well be 0"
    out = dict.fromkeys(("estimate", "ci_low", "ci_high", "p", "null", "p_reasoning", "area"), np.nan)
    curve, low, high = (np.full(len(shares), np.nan) for _ in range(3))
    if not reason:
        curve = shift / full
        low, high = np.array([pair for pair in bounds if pair is not None]).T
        differ, size = np.stack([own[:, 0], own[:, -1] - own[:, 0]]), float(np.abs(values).max())
        test = permutation.permutation_test(differ, flips, absolute=True, scale=size)
        out |= {"estimate": float(curve[0]), "ci_low": float(low[0]), "ci_high": float(high[0])}
        out |= {"p": float(test.p[0]), "null": float(test.null_high[0]) / abs(full), "p_reasoning": float(test.p[1])}
        out["area"] = float(np.trapezoid(curve, shares))
    lines = {"curve": curve, "curve_ci_low": low, "curve_ci_high": high}
    lines |= {"shift": shift, "shift_ci_low": shift_low, "shift_ci_high": shift_high}
    return xr.Dataset(
        {**out, "paraphrase_sd": noise, "identified": not reason, "reason": reason}
        | {name: ("share", line) for name, line in lines.items()},
        coords={"share": shares},
        attrs={
            "permuted": "the signs of scenarios",
            "n_labelings": len(flips),
            "smallest_p": 1 / len(flips),
            "n_scenarios": n,
            "versions": [str(c) for c in odds.version.values],
            "seed": seed,
        },
    )


def _checked(runs: xr.Dataset) -> tuple[xr.DataArray, Float[Array, " share"]]:
    """log_odds (scenario, paraphrase, version, share), shares ascending, or an error that says what is missing."""
    needed = ("scenario", "paraphrase", "version", "share")
    if "log_odds" not in runs or set(runs.log_odds.dims) != set(needed):
        got = tuple(runs.log_odds.dims) if "log_odds" in runs else "no log_odds"
        raise SelfrepError(f"Directness is read from log_odds over {', '.join(needed)}; got {got}.")
    odds = runs.log_odds.sortby("share").transpose(*needed)
    shares = odds.share.to_numpy().astype(float)
    if odds.sizes["version"] != 2:
        raise SelfrepError(f"Two versions are compared, without and with; got {odds.version.values.tolist()}.")
    if len(shares) < 2 or shares[0] != 0 or shares[-1] != 1 or (np.diff(shares) == 0).any():
        raise SelfrepError(f"The shares of the scratchpad run from 0 (none) to 1 (all of it); got {shares.tolist()}.")
    if not np.isfinite(odds).all():
        bad = int((~np.isfinite(odds)).sum())
        raise SelfrepError(
            f"Directness needs finite log odds: {bad} of {odds.size} are not (an answer of probability 0)."
        )
    return odds, shares


def _bounds(
    shift: Float[Array, " share"], shift_draws: Float[Array, "draw share"], at: int, n: int
) -> tuple[float, float] | None:
    """Bounds of the shift at a share, per full shift."""
    return ratios.joint_interval(
        float(shift[at]), float(shift[-1]), np.stack([shift_draws[:, at], shift_draws[:, -1]]), n, n - 1
    )
