"""Activations made comparable, and what their inner products say, on plain arrays.

Two things spoil raw distances in a residual stream. Its norm grows with depth, so vectors are divided by their root
mean square first. And a few massive dimensions hold half of its energy (Sun et al. 2024), so that a distance is mostly
the distance along these: they are brought down to the spread of an ordinary dimension.

What remains may still be loud with words. Where paraphrases of the same persona differ, a direction says little about
the persona, and `noise_normalised` gives such directions less weight.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float, Int
from scipy.linalg import helmert

from selfrep.errors import SelfrepError
from selfrep.stats.cells import place_axis
from selfrep.stats.distances import shrinkage
from selfrep.stats.rounding import negligible

Array = np.ndarray

POINT_LABELS = ("persona", "persona_label", "kind", "side", "kind_label", "side_label", "condition", "paraphrase")
"""What is known of each point of a persona map."""
MASSIVE = 100.0
"""A dimension is massive when its mean square is this many times the median dimension's."""
FEW = 20
"""No more than one dimension in this many is massive: where more stand out, they are the representation itself."""


def normalised(x: Float[Array, "row d"]) -> tuple[Float[Array, "row d"], Bool[Array, " d"]]:
    """Activations on one scale: rows divided by their root mean square, massive dimensions tamed.

    Ordinary dimensions are divided by their size in the row. Massive ones are centred and brought down to the median
    spread of the others: they are biases, much the same whatever the input, and a division would lend them the
    variation of the rows' lengths. One that hardly varies is not blown up.

    Args:
        x: [row, d] activations.

    Returns:
        [row, d] float64, and [d] which dimensions were massive.

    Source: massive activations (Sun et al. 2024).

    Example:
        >>> x = np.random.default_rng(0).normal(size=(50, 64))
        >>> x[:, 7] += 1000.0  # a bias
        >>> z, massive = normalised(x)
        >>> np.flatnonzero(massive), bool(abs(z[:, 7]).max() < 4)
        (array([7]), True)
    """
    x = x.astype(np.float64)
    size = np.sqrt((x**2).mean(axis=1, keepdims=True))
    z = np.divide(x, size, out=np.zeros_like(x), where=~negligible(size, size.max(initial=0.0)))
    energy = (z**2).mean(axis=0)
    used = ~negligible(energy, 1.0, degree=2)  # dimensions that are always 0 say nothing about what is ordinary
    if not used.any():
        return z, used
    massive = energy > MASSIVE * np.median(energy[used])
    if massive.sum() > max(1, used.sum() // FEW):
        massive[:] = False
    if massive.any():
        outliers = x[:, massive] - x[:, massive].mean(axis=0)
        unit = np.maximum(outliers.std(axis=0), np.median(x[:, used & ~massive].std(axis=0)))
        ordinary = np.sqrt((z[:, ~massive] ** 2).mean(axis=1, keepdims=True))  # else they would set every row's length
        z = np.divide(z, ordinary, out=np.zeros_like(z), where=~negligible(ordinary, 1.0))
        typical = np.median(z[:, used & ~massive].std(axis=0))
        varies = ~negligible(unit, np.abs(x[:, massive]).max(axis=0))
        z[:, massive] = np.divide(outliers, unit, out=np.zeros_like(outliers), where=varies) * typical
    return z, massive


def standardised(acts: xr.Dataset) -> xr.Dataset:
    """Captured activations on one scale: at every cell those of all prompts that have the place, `normalised`.

    What is standardised already stays as it is, so that an estimate takes both kinds.

    Args:
        acts: from `selfrep.capture`: `activations` (prompt, site, layer, position | segment, d_model).

    Returns:
        The same Dataset with `activations` on one scale, in float32 or what they were in, and beside them `rms`
        (prompt, site, layer, position | segment), the root mean square that each had. The attribute
        `massive_dimensions` lists those that were tamed at any cell.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(50, 1, 1, 1, 64)) * 9
        >>> cell = ("prompt", "site", "layer", "position", "d_model")
        >>> scaled = standardised(xr.Dataset({"activations": (cell, x)}))
        >>> float((scaled.activations**2).mean().round(3)), bool(abs(scaled.rms - 9).max() < 3)
        (1.0, True)
    """
    if acts.attrs.get("standardised"):
        return acts
    x = acts.activations.to_numpy()
    out, massive = np.full(x.shape, np.nan, dtype=np.result_type(x, np.float32)), set[int]()
    size = np.full(x.shape[:-1], np.nan, dtype=np.float32)
    for cell in np.ndindex(x.shape[1:-1]):
        here = x[:, *cell]
        there = np.isfinite(here).all(axis=1)
        if there.any():
            out[there, *cell], dims = normalised(here[there])
            size[there, *cell] = np.sqrt((here[there].astype(np.float64) ** 2).mean(axis=-1))
            massive.update(np.flatnonzero(dims).tolist())
    dims = acts.activations.dims
    return acts.assign(activations=(dims, out), rms=(dims[:-1], size)).assign_attrs(
        standardised=True, massive_dimensions=sorted(massive)
    )


def noise_normalised(
    x: Float[Array, "row d"], unit: Int[Array, " row"], of: Sequence[int] | None = None, d: int | None = None
) -> Float[Array, "row dimension"]:
    """Rows in the metric of their noise: distances count in standard deviations of rows of the same unit.

    The noise within units has covariance Σ, shrunk towards a multiple of the identity as far as so few rows ask for,
    and rows become x Σ^(−1/2), in any basis of what they span. A difference of means is then reliable where noise has
    directions.

    Args:
        x: [row, d].
        unit: [row] a number; rows of the same unit differ by noise alone. Without any noise, rows stay.
        of: the units whose noise sets the metric; all when None. A metric fits its own units' noise too well: they seem
            quieter in it than new ones of their kind would.
        d: in how many dimensions noise could be, where rows are given in a basis of fewer; those of x when None.

    Returns:
        [row, dimension] of at most min(row, d) dimensions.

    Source: multivariate noise normalisation (Walther et al. 2016); shrinkage (Ledoit & Wolf 2004).

    Example:
        Noise that is three times louder along one dimension is brought to one standard deviation along both:

        >>> unit = np.repeat(np.arange(2000), 2)
        >>> x = np.random.default_rng(0).normal(size=(4000, 2)) * [3.0, 1.0]
        >>> z = noise_normalised(x, unit)
        >>> np.cov((z[::2] - z[1::2]).T / np.sqrt(2)).round(1) + 0.0
        array([[1., 0.],
               [0., 1.]])
    """
    groups = [x[unit == u] for u in (np.unique(unit) if of is None else of)]
    noise = np.concatenate([helmert(len(rows)) @ rows for rows in groups])  # independent, and of the rows' covariance
    d = d or x.shape[1]
    variance = float((noise**2).sum()) / (len(noise) * d) if len(noise) else 0.0
    basis = np.linalg.svd(x, full_matrices=False)[2]
    if negligible(variance, float((x**2).sum()) / (len(x) * d), degree=2):
        return x @ basis.T
    share = shrinkage(noise @ noise.T, d)
    along = noise @ basis.T
    spread, turn = np.linalg.eigh((1 - share) * along.T @ along / len(noise) + share * variance * np.eye(len(basis)))
    return x @ basis.T @ turn / np.sqrt(np.maximum(spread, 1e-6 * variance))


def centred(rows: Float[Array, "row d"], scale: float) -> Float[Array, "row d"]:
    """Rows taken from the mean of all; exactly 0 where they differ by rounding only.

    Args:
        rows: [row, d].
        scale: the mean squared length of what the rows are means of.

    Returns:
        [row, d].
    """
    apart = rows - rows.mean(axis=0)
    return np.zeros_like(apart) if negligible((apart**2).sum(axis=1).max(), scale, degree=2) else apart


def products(rows: Float[Array, "row d"], scale: float) -> Float[Array, "row row"]:
    """The products between rows, each taken from the mean of all (see `centred`).

    Args:
        rows: [row, d].
        scale: the mean squared length of what the rows are means of.

    Returns:
        [row, row] the Gram matrix.
    """
    apart = centred(rows, scale)
    return apart @ apart.T


def persona_map(acts: xr.Dataset, *, site: str, layer: int, where: int | str, condition: str = "you") -> xr.Dataset:
    """Personas in the plane of their first two principal components, every paraphrase a point.

    The components are fitted on the means of the personas in `condition`. The points of the other conditions are
    projected on them.

    Args:
        acts: from `selfrep.capture`: `activations` (prompt, site, layer, position | segment, d_model).
        site, layer: where to look, e.g. "resid_post", 3.
        where: a position (−1 is the last token) or the name of a segment.
        condition: whose personas set the plane.

    Returns:
        Dataset with the coordinates persona, kind, side, their labels, condition and paraphrase on point.

        * `coordinates` (point, component): of each prompt, in units of the normalised activations.
        * `explained` (component): the share of the variance of the means.

    Raises:
        SelfrepError: fewer than three personas; personas that do not differ; a place that some prompt lacks.

    Source: principal components of class means.

    Example:
        >>> import selfrep as sr
        >>> from selfrep.models import organisms
        >>> lm = sr.load_model("organism:separate")
        >>> personas, battery = sr.personas.load(organisms.PERSONAS), sr.battery.load(organisms.BATTERY)
        >>> acts = sr.capture(lm, sr.make_prompts(personas, [battery["who_are_you"]], ["you"], [0, 1]), layers=[5])
        >>> dict(persona_map(acts, site="resid_post", layer=5, where="template").coordinates.sizes)
        {'point': 36, 'component': 2}
    """
    axis = place_axis(acts)
    cell = standardised(acts.sel({"site": [site], "layer": [layer], axis: [where]})).activations
    z = cell.to_numpy()[:, 0, 0, 0].astype(np.float64)
    if np.isnan(z).any():
        raise SelfrepError(f"A persona map needs a place that every prompt has; {axis} {where!r} is missing in some.")
    personas, conditions = acts.persona.to_numpy(), acts.condition.to_numpy()
    names = np.unique(personas[conditions == condition])
    if len(names) < 3:
        raise SelfrepError(
            f"A persona map needs at least three personas in the condition {condition!r}; got {len(names)}."
        )
    means = np.array([z[(personas == name) & (conditions == condition)].mean(axis=0) for name in names])
    centre = means.mean(axis=0)
    along, singular, components = np.linalg.svd(means - centre, full_matrices=False)
    first = along[np.abs(along).argmax(axis=0), np.arange(len(singular))]
    components *= np.sign(first)[:, None]  # whoever lies farthest along a component lies on its positive side
    if negligible(singular[0], np.linalg.norm(means)):
        raise SelfrepError(
            f"A persona map needs personas that differ; at {axis} {where!r} of layer {layer} all lie in one point."
        )
    share = singular**2 / (singular**2).sum()
    labels = {k: ("point", acts[k].to_numpy()) for k in POINT_LABELS if k in acts.coords}
    return xr.Dataset(
        {
            "coordinates": (("point", "component"), (z - centre) @ components[:2].T),
            "explained": ("component", share[:2]),
        },
        coords=labels | {"component": [1, 2]},
        attrs={"site": site, "layer": int(layer), axis: where},
    )
