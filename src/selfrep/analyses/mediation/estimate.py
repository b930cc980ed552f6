"""M, mediation: does a behaviour run through the fiction of a misaligned AI, or through the model's own motives?

A run with the cue (or the stakes, or both) differs from a run without. Two subspaces are exchanged between the runs: P
(the fictional AI) and S (the self and its goals). This shows through which of them the difference comes. The order of
exchange matters where they interact, so the contribution of each path is its mean over all orders (Shapley):
φ_P + φ_S + direct = total, exactly. M = φ_P / (φ_P + φ_S) is the share of the fiction in the mediated part: 1 for
mimicry, 0 for motive.

Mediation is not motive: a subspace that carries an effect may carry it for another reason than its name. Subspaces that
overlap share credit, so each is tried with the other projected out, in either order. Random subspaces of the same rank
show what any exchange would do.

The subspaces are estimates themselves: other held-out texts would have given others, which miss more of one path or
less. No choice of scenarios shows that. So intervals and p hold how far the paths move with the texts, too: to first
order, by refits in which the weights of the texts are nudged (the infinitesimal jackknife).
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import permutations
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float
from scipy import stats

from selfrep.errors import SelfrepError
from selfrep.stats import gates, permutation, ratios, resampling
from selfrep.stats.rounding import negligible

Array = np.ndarray

PATCHED = ("none", "P", "S", "both")
LEAST_MEDIATED = 0.3
"""Less than this share of the total through both subspaces together, and M speaks of a side show (SCIENCE, gates)."""

NUDGE = 0.1
"""How far, of a whole resampling, a refit moves the weights of held-out texts: little, so that paths follow in line."""
_TAILS = 41
"""At so many points of Student's t the error of the fit is added to a permutation."""

# The two runs that a donor connects, as (cue, stakes): the content of one is put into the other.
_RUNS = {
    "both": [((0, 0), (1, 1))],
    "cue": [((0, 0), (1, 0)), ((0, 1), (1, 1))],
    "stakes": [((0, 0), (0, 1)), ((1, 0), (1, 1))],
}


def mediation(
    runs: xr.Dataset,
    *,
    proven: Collection[str] = (),
    n_flips: int = 5000,
    n_bootstrap: int = 2000,
    seed: int = 0,
) -> xr.Dataset:
    """M, mediation: of what passes through the fictional AI (P) or the own goals (S), the share that passes through P.

    The content of P and S is exchanged between two runs. φ is the mean contribution of each path over all orders of
    exchange (Shapley), φ_P + φ_S + direct = total, and M = φ_P / (φ_P + φ_S): 1 for mimicry, 0 for motive.

    Args:
        runs: `log_odds` (order, donor, draw, scenario, paraphrase, cue, stakes, patched), nats of the behaviour. The
            dims order, donor and paraphrase may be absent (then: given, both, one paraphrase).

            * cue, stakes: 0 or 1, of the run.
            * patched: "none", "P", "S" or "both": the subspaces that hold what they hold in the donor's run.
            * donor: "cue", "stakes" or "both": what has its other value in the donor's run.
            * order: what was projected out of what ("P first": S without P; "S first": P without S).
            * draw: −1 for the fitted subspaces, 0, 1, … for random ones of the same rank, at least 19; −2, −3, … for
              refits, held-out texts moved by `NUDGE` of a resampling. Without refits the subspaces are taken as given.
            * scenario: the unit, at least six.
        proven: of "P", "S": subspaces shown elsewhere to carry their variable (`carrying`). Others may fail to exceed
            random subspaces because they were fitted badly.
        n_flips: the most flips of signs to try for p.
        n_bootstrap: the number of bootstrap draws behind the intervals.
        seed: of the draws.

    Returns:
        Dataset. Over (order, donor); intervals are 95 %, scenarios, paraphrases and (for M and φ) held-out texts
        resampled:

        * `estimate`: M, a share; NaN where not identified, as are its bounds, `p` and `null`.
        * `ci_low`, `ci_high`: of M; numerator and denominator are resampled together.
        * `p`: of M = ½; the signs of scenarios are flipped, and the error of the fit is added.
        * `null`: the 95th percentile of |M − ½| under the same.
        * `identified`: whether M may be read (see below).
        * `reason`: why not, where not; "" otherwise.
        * `total`, `total_ci_low`, `total_ci_high`: nats, between the two runs.
        * `phi` (… path: P, S, direct), `phi_ci_low`, `phi_ci_high`: nats, the contribution of each path.
        * `interaction`: nats, P × S.
        * `mediated`: (φ_P + φ_S) / total; NaN where the total is 0.
        * `random` (… mediator: P, S): nats, the 95th percentile of |φ| over random subspaces.
        * `p_random` (… mediator): of φ, among random subspaces.

        From the unpatched 2 × 2 of cue and stakes; p-values by flips of the signs of scenarios:

        * `cue_effect` (stakes), `cue_effect_ci_low`, `cue_effect_ci_high`, `cue_effect_p`: nats, at either stakes.
        * `stakes_effect` (cue), `stakes_effect_ci_low`, `stakes_effect_ci_high`, `stakes_effect_p`: nats, at either
          cue.
        * `cue_by_stakes`, `cue_by_stakes_ci_low`, `cue_by_stakes_ci_high`, `cue_by_stakes_p`: nats, the raw
          interaction.
        * `cells` (cue, stakes): nats, mean log odds.

    M is identified only if (φ_P + φ_S) / total ≥ 0.3 and both φ exceed the 95th percentile of random subspaces, in the
    direction of the total. A pure case, M = 0 or 1, never passes that by itself, because the idle subspace moves
    nothing. There it must be in `proven`.

    Raises:
        SelfrepError: missing dims or values; fewer than six scenarios; fewer than 19 random draws; log odds that are
            not finite.

    Source: natural indirect effects (Pearl 2001), averaged over orders (Shapley 1953); Jaeckel 1972, for the refits.

    Example:
        A behaviour of 3 nats through P, which follows the cue, and 1 nat through S, which follows the stakes:

        >>> axes = {"draw": range(-1, 19), "scenario": range(6), "cue": [0, 1], "stakes": [0, 1], "patched": PATCHED}
        >>> draw, _, cue, stakes, patched = np.meshgrid(*map(np.array, axes.values()), indexing="ij")
        >>> P = np.where((draw == -1) & np.isin(patched, ["P", "both"]), 1 - cue, cue)
        >>> S = np.where((draw == -1) & np.isin(patched, ["S", "both"]), 1 - stakes, stakes)
        >>> coords = {name: list(values) for name, values in axes.items()}
        >>> runs = xr.Dataset({"log_odds": (tuple(axes), 3.0 * P + 1.0 * S)}, coords=coords)
        >>> out = mediation(runs).squeeze()
        >>> round(float(out.estimate), 2), out.phi.round(2).to_series().to_dict()
        (0.75, {'P': 3.0, 'S': 1.0, 'direct': 0.0})
    """
    odds = _checked(runs)
    permutation.require_flips(odds.sizes["scenario"], unit="scenario")
    if not set(proven) <= {"P", "S"}:
        raise SelfrepError(f"What was proven elsewhere is of 'P' and 'S'; got {sorted(proven)}.")
    rng = np.random.default_rng(seed)
    n, k = odds.sizes["scenario"], odds.sizes["paraphrase"]
    flips = permutation.sign_flips(n, n_flips, rng) / n
    draws = resampling.resample_nested(np.repeat(np.arange(n), k), np.full(n, 1 / n), n_bootstrap, rng)
    fitted, random, refitted = (
        odds.sel(draw=odds.draw[at]) for at in (odds.draw == -1, odds.draw >= 0, odds.draw < -1)
    )
    n_refits = refitted.sizes["draw"]
    luck = rng.standard_normal((n_refits, n_bootstrap)) / np.sqrt(max(n_refits, 1))  # `tail` allows for small samples
    parts = []
    for order in odds.order.values:
        for donor in odds.donor.values:
            (here,), there, refits = (
                np.array([_shapley(x, str(donor)) for x in some.sel(order=order, donor=donor).to_numpy()])
                for some in (fitted, random, refitted)
            )
            moved = (refits - here) / NUDGE if n_refits else np.empty((0, *here.shape))
            parts.append(_numbers(here, there, moved, draws, luck, flips, set(proven), float(np.abs(odds).max())))
    shape = (odds.sizes["order"], odds.sizes["donor"])
    dims = {"phi": "path", "phi_ci_low": "path", "phi_ci_high": "path", "random": "mediator", "p_random": "mediator"}
    out = xr.Dataset(
        {
            name: (
                ("order", "donor", *([dims[name]] if name in dims else [])),
                values.reshape(*shape, *values.shape[1:]),
            )
            for name, values in ((name, np.array([part[name] for part in parts])) for name in parts[0])
        },
        coords={
            "order": odds.order,
            "donor": odds.donor,
            "path": ["P", "S", "direct"],
            "mediator": ["P", "S"],
        },
        attrs={
            "permuted": "the signs of scenarios",
            "n_labelings": len(flips),
            "smallest_p": 1 / len(flips),
            "n_scenarios": n,
            "n_random": random.sizes["draw"],
            "n_refits": n_refits,
            "proven": sorted(proven),
            "seed": seed,
        },
    )
    plain = fitted.sel(patched="none").isel(order=0, donor=0, draw=0).to_numpy()  # [scenario, paraphrase, cue, stakes]
    return out.merge(_raw(plain, draws, flips))


def _checked(runs: xr.Dataset) -> xr.DataArray:
    """log_odds with every dim, in order, or an error that says what is missing."""
    odds: xr.DataArray | None = runs.get("log_odds")
    needed = ("draw", "scenario", "cue", "stakes", "patched")
    if odds is None or (missing := [dim for dim in needed if dim not in odds.dims]):
        raise SelfrepError(
            f"Mediation is read from log_odds over {', '.join(needed)} (and order, donor, paraphrase); "
            f"{'it is not there' if odds is None else 'missing: ' + ', '.join(missing)}."
        )
    for dim, value in (("order", "given"), ("donor", "both"), ("paraphrase", 0)):
        if dim not in odds.dims:
            odds = odds.drop_vars(dim, errors="ignore").expand_dims({dim: [value]})
    wanted: dict[str, list[Any]] = {"cue": [0, 1], "stakes": [0, 1], "patched": list(PATCHED)}
    for dim, values in wanted.items():
        if sorted(odds[dim].values.tolist()) != sorted(values):
            raise SelfrepError(f"The dim {dim} holds {values}; got {odds[dim].values.tolist()}.")
    if unknown := [d for d in odds.donor.values.tolist() if d not in _RUNS]:
        raise SelfrepError(f"A donor differs from the run in {', '.join(_RUNS)}; got {unknown}.")
    n_random = int((odds.draw >= 0).sum())
    if -1 not in odds.draw.values or 1 / (n_random + 1) > resampling.ALPHA:
        raise SelfrepError(
            "Mediation needs the fitted subspaces (draw −1) and at least 19 random ones (0, 1, …) to compare with; got "
            f"{n_random} of these. The smallest p they could give is {1 / (n_random + 1):.3g}."
        )
    odds = odds.sel(wanted).transpose("order", "donor", "draw", "scenario", "paraphrase", "cue", "stakes", "patched")
    if not np.isfinite(odds).all():
        bad = int((~np.isfinite(odds)).sum())
        raise SelfrepError(
            f"Mediation needs finite log odds: {bad} of {odds.size} are not (an answer of probability 0)."
        )
    return odds


def _shapley(odds: Float[Array, "scenario paraphrase 2 2 4"], donor: str) -> Float[Array, "path scenario paraphrase"]:
    """φ of P, S and direct, and the interaction P × S, from the eight worlds (direct, P, S) between the two runs."""
    out = np.zeros((4, *odds.shape[:2]))
    for low, high in _RUNS[donor]:
        none, p, s, both = np.moveaxis(odds[:, :, low[0], low[1]], -1, 0)
        high_none, high_p, high_s, high_both = np.moveaxis(odds[:, :, high[0], high[1]], -1, 0)
        world = np.array([[[none, s], [p, both]], [[high_both, high_p], [high_s, high_none]]])  # [direct, P, S]
        for order in permutations((1, 2, 0)):  # axes of `world`; P is the first path, then S, then all else
            at = [0, 0, 0]
            for axis in order:
                before = world[tuple(at)]
                at[axis] = 1
                out[(2, 0, 1)[axis]] += (world[tuple(at)] - before) / 6
        crossed = world[:, 1, 1] - world[:, 1, 0] - world[:, 0, 1] + world[:, 0, 0]
        out[3] += crossed.mean(axis=0)
    return out / len(_RUNS[donor])


def _numbers(
    fitted: Float[Array, "path scenario paraphrase"],
    random: Float[Array, "draw path scenario paraphrase"],
    moved: Float[Array, "refit path scenario paraphrase"],
    draws: Float[Array, "draw2 row"],
    luck: Float[Array, "refit draw2"],
    flips: Float[Array, "flip scenario"],
    proven: set[str],
    scale: float,
) -> dict[str, float | bool | str | Array]:
    """Everything about one contrast of runs, whose log odds are as large as `scale`.

    `moved` is by how much each refit moves the paths, were the texts drawn anew; `luck` how much of each a draw has.
    """
    n, k = fitted.shape[1:]
    phi, phi_draws = fitted.mean(axis=(1, 2)), fitted.reshape(4, -1) @ draws.T
    phi_draws = phi_draws + ((moved.reshape(-1, 4, n * k) @ draws.T) * luck[:, None]).sum(axis=0)
    total, total_draws = float(phi[:3].sum()), phi_draws[:3].sum(axis=0)
    tail = resampling.tail(n, n - 1)
    low, high = resampling.interval(phi_draws[:3], tail)
    total_low, total_high = (float(x) for x in resampling.interval(total_draws, tail))
    towards = 0.0 if negligible(total, scale) else np.sign(total)
    by_chance = random[:, :2].mean(axis=(2, 3))
    random_high = np.quantile(np.abs(by_chance), 1 - resampling.ALPHA, axis=0)
    reached = (np.abs(by_chance) >= phi[:2] * towards).sum(axis=0)
    both = float(phi[:2].sum())
    out: dict[str, float | bool | str | Array] = dict.fromkeys(("estimate", "ci_low", "ci_high", "p", "null"), np.nan)
    out |= {"total": total, "total_ci_low": total_low, "total_ci_high": total_high}
    out |= {"phi": phi[:3], "phi_ci_low": low, "phi_ci_high": high, "interaction": float(phi[3])}
    out |= {"mediated": both / total if towards else np.nan}
    out |= {"random": random_high, "p_random": (1 + reached) / (1 + len(by_chance))}
    reason = ""
    noise = float(resampling.within_sd(fitted[:3].sum(axis=0).ravel(), np.repeat(np.arange(n), k))) if k > 1 else 0.0
    idle = [name for i, name in enumerate("PS") if not phi[i] * towards > random_high[i] and name not in proven]
    if not gates.apart_from_0(total_low, total_high, scale):
        reason = f"the total effect of {gates.signed(total)} nats may as well be 0: there is nothing to mediate"
    elif weak := gates.weak(total, noise, "the total effect"):
        reason = weak
    elif both / total < LEAST_MEDIATED:
        reason = (
            f"only {both / total:.2f} of the total passes through P and S, under {LEAST_MEDIATED}: the behaviour comes "
            "another way"
        )
    elif idle:
        reason = (
            f"the effect through {' and '.join(idle)} does not exceed that of random subspaces of the same rank; where "
            "it is expected to be 0, show first that the subspace carries its variable elsewhere"
        )
    if not reason:
        mediated = np.stack([phi_draws[0], phi_draws[0] + phi_draws[1]])
        bounds = ratios.joint_interval(float(phi[0]), both, mediated, n, n - 1)
        if bounds is None:
            reason = (
                "scenarios, or the subspaces that other held-out texts would give, differ too much: the mediated "
                f"effect of {gates.signed(both)} nats may as well be 0"
            )
        else:
            test = _equal_paths(fitted[0] - fitted[1], moved[:, 0] - moved[:, 1], flips, scale)
            out |= {"estimate": float(phi[0]) / both, "ci_low": bounds[0], "ci_high": bounds[1]}
            out |= {"p": float(test.p[0]), "null": float(test.null_high[0]) / (2 * abs(both))}
    return out | {"identified": not reason, "reason": reason}


def _equal_paths(
    differ: Float[Array, "scenario paraphrase"],
    moved: Float[Array, "refit scenario paraphrase"],
    flips: Float[Array, "flip scenario"],
    scale: float,
) -> permutation.PermutationTest:
    """The test of φ_P = φ_S: signs of scenarios flipped, and the error of the fit, Student's t over refits, added."""
    n_refits = len(moved)
    spread = np.sqrt((moved.mean(axis=(1, 2)) ** 2).mean()) if n_refits else 0.0
    steps = stats.t.ppf((np.arange(_TAILS) + 0.5) / _TAILS, max(n_refits, 1)) if n_refits else np.zeros(1)
    errors = np.roll(steps, -(len(steps) // 2))  # that of the data, none, comes first
    weights = np.column_stack([np.tile(flips, (len(errors), 1)), np.repeat(errors, len(flips))])
    table, size = np.append(differ.mean(axis=1), spread), np.append(np.full(len(differ), scale), 0.0)
    return permutation.permutation_test(table[None], weights, absolute=True, scale=size)


def _raw(
    plain: Float[Array, "scenario paraphrase 2 2"],
    draws: Float[Array, "draw row"],
    flips: Float[Array, "flip scenario"],
) -> xr.Dataset:
    """What the cue and the stakes do by themselves, and together, before any patch."""
    n = len(plain)
    contrasts = {
        "cue_effect": ("stakes", np.moveaxis(plain[:, :, 1] - plain[:, :, 0], -1, 0)),
        "stakes_effect": ("cue", np.moveaxis(plain[:, :, :, 1] - plain[:, :, :, 0], -1, 0)),
        "cue_by_stakes": ("", (plain[:, :, 1, 1] - plain[:, :, 1, 0] - plain[:, :, 0, 1] + plain[:, :, 0, 0])[None]),
    }
    out: dict[str, Any] = {}
    for name, (dim, values) in contrasts.items():
        low, high = resampling.interval(values.reshape(len(values), -1) @ draws.T, resampling.tail(n, n - 1))
        size = float(np.abs(plain).max())
        p = permutation.permutation_test(values.mean(axis=2), flips, absolute=True, scale=size).p
        for suffix, numbers in (("", values.mean(axis=(1, 2))), ("_ci_low", low), ("_ci_high", high), ("_p", p)):
            out[name + suffix] = ((dim,), numbers) if dim else ((), numbers[0])
    out["cells"] = (("cue", "stakes"), plain.mean(axis=(0, 1)))
    return xr.Dataset(out, coords={"cue": [0, 1], "stakes": [0, 1]})
