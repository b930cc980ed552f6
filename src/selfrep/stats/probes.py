"""What can be read off activations: probes for the side of a persona, tried on personas that are new to them.

A probe with many dimensions and few personas can learn each persona by heart, and then tells nothing about sides. There
are two guards. The probe is tested on a family of personas that was left out. And a control task gives every family a
random side and tests on new paraphrases (Hewitt & Liang 2019): what the probe reads there is memory. Selectivity is the
accuracy on new paraphrases beyond that of the control task.

The probe is the plainest there is, the difference of means (nearest centroid): nothing to tune, and linear.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float
from scipy import stats as scipy_stats

from selfrep.errors import SelfrepError
from selfrep.stats import permutation, resampling
from selfrep.stats.cells import place_axis
from selfrep.stats.families import Families
from selfrep.stats.geometry import normalised, products
from selfrep.stats.labels import side_labels, two_sides
from selfrep.stats.rounding import ROUNDING, negligible
from selfrep.stats.rows import Rows

Array = np.ndarray


def direction(z: Float[Array, "persona d"], first: Bool[Array, " persona"]) -> Float[Array, " d"]:
    """The difference of means, from the second side to the first, of unit length.

    Args:
        z: [persona, d].
        first: [persona] whether it is on the first side.

    Returns:
        [d]; 0 where the means are the same.

    Example:
        >>> direction(np.array([[1.0, 3.0], [1.0, 0.0]]), np.array([True, False]))
        array([0., 1.])
    """
    axis = z[first].mean(axis=0) - z[~first].mean(axis=0)
    length = np.linalg.norm(axis)
    size = np.linalg.norm(z) / np.sqrt(len(z))
    return np.zeros_like(axis) if negligible(length, size) else axis / length


def probe(
    acts: xr.Dataset,
    *,
    sides: Sequence[str] | None = None,
    between: str = "side",
    condition: str = "you",
    n_permutations: int = 1000,
    n_controls: int = 200,
    seed: int = 0,
) -> xr.Dataset:
    """How well the side of a persona can be read off captured activations, at every cell.

    A nearest-centroid probe, tried on a family of personas that was left out. A control task with random sides shows
    how much of its accuracy on new paraphrases is memory.

    Args:
        acts: from `selfrep.capture`: `activations` (prompt, site, layer, position | segment, d_model) with the
            coordinates persona, `between`, condition, paraphrase and item on prompt; at least two paraphrases a
            persona. Personas of one `family` count as one.
        sides: which two; where None, the two that there are. Personas of no side are left out.
        between: the coordinate whose values are the sides; a persona has one of them.
        condition: the condition of the prompts that are read.
        n_permutations: the most labelings of families to try for p; all of them where there are no more.
        n_controls: the number of random sides for the control task.
        seed: of the random ones.

    Returns:
        Dataset over (site, layer, position | segment). NaN at a place that some prompt lacks.

        * `estimate`: accuracy (0 … 1) on a family that was left out, both sides counting alike; chance is ½.
        * `ci_low`, `ci_high`: 95 %, from how many families of either side are read rightly; NaN with fewer than four a
          side (attribute `unbounded` says so).
        * `p`: of chance; the side labels of families are permuted. NaN, as `null`, where too few could ever reach .05
          (attribute `untestable` says so).
        * `null`: the 95th percentile of the accuracy under permuted labels.
        * `paraphrase`: accuracy on a paraphrase that was left out.
        * `control`: the same with random sides.
        * `selectivity`: paraphrase − control.
        * `identified`: whether every prompt has the place, and either side two families.
        * `reason`: why not, where not; "" otherwise.

    Raises:
        SelfrepError: one paraphrase; other than two sides; a family on both; personas asked different items.

    Source: control tasks (Hewitt & Liang 2019); interval of Agresti & Caffo 2000.

    Example:
        From layer 2 on, an organism's last token says which side its persona is on:

        >>> import selfrep as sr
        >>> from selfrep.models import organisms
        >>> lm = sr.load_model("organism:separate")
        >>> personas, battery = sr.personas.load(organisms.PERSONAS), sr.battery.load(organisms.BATTERY)
        >>> prompts = sr.make_prompts(personas, [battery["who_are_you"]], ["you"], [0, 1])
        >>> acts = sr.capture(lm, prompts, layers=[0, 2], tokens="position", positions=[-1])
        >>> probe(acts, n_permutations=100).p.squeeze().values < 0.05
        array([False,  True])
    """
    axis = place_axis(acts)
    two = two_sides(acts, sides, between)
    rows = Rows.of(acts, condition, between, two)
    if single := [name for name, n in zip(rows.names, np.bincount(rows.persona), strict=True) if n < 2]:
        raise SelfrepError(
            f"The control task tests on new paraphrases; every persona needs two: {single[:3]} have one."
        )
    families = rows.families()
    first, alone = families.first, min(families.sizes.values()) < 2
    rng = np.random.default_rng(seed)
    labels = permutation.labelings(first, n_permutations, rng) if not families.untestable() else first[None]
    random = np.array([rng.permutation(first) for _ in range(n_controls)])
    x = acts.activations.to_numpy()
    x = x.reshape(x.shape[0], -1, x.shape[-1])
    used = np.concatenate(rows.groups)
    ends = np.cumsum([0, *(len(group) for group in rows.groups)])
    names = ("estimate", "ci_low", "ci_high", "p", "null", "paraphrase", "control", "selectivity")
    maps = {name: np.full(x.shape[1], np.nan) for name in names}
    reasons = np.full(x.shape[1], "some prompt has no such place", dtype=object)
    for c in range(x.shape[1]):
        if not np.isfinite(x[used, c]).all():
            continue
        reasons[c] = "a side has one family, and none is left when it is left out" if alone else ""
        if alone:
            continue
        z, _ = normalised(x[used, c])
        means = np.array([z[a:b].mean(axis=0) for a, b in pairwise(ends)])
        gram = products(means, float((z**2).sum(axis=1).mean()))
        right = _left_out(gram, families, labels)  # [labeling, family]
        scores = _balanced(right, labels)
        by_paraphrase = _balanced(
            _new_paraphrases(gram, families, np.vstack([first, random])), np.vstack([first, random])
        )
        here = {"estimate": scores[0], "paraphrase": by_paraphrase[0]}
        here |= {"control": by_paraphrase[1:].mean(), "selectivity": by_paraphrase[0] - by_paraphrase[1:].mean()}
        if not families.unbounded():
            here["ci_low"], here["ci_high"] = _bounds(right[0], first)
        if not families.untestable():
            here |= {
                "p": permutation.share_as_large(scores, ROUNDING),
                "null": np.quantile(scores, 1 - resampling.ALPHA),
            }
        for name, value in here.items():
            maps[name][c] = value
    shape, dims = acts.activations.shape[1:4], ("site", "layer", axis)
    return xr.Dataset(
        {name: (dims, values.reshape(shape)) for name, values in maps.items()}
        | {
            "identified": (dims, (reasons == "").reshape(shape)),
            "reason": (dims, reasons.astype(str).reshape(shape)),
        },
        coords={name: acts[name] for name in dims},
        attrs={
            "between": between,
            "sides": list(two),
            "side_labels": side_labels(acts, two),
            "n_personas": [int((rows.side == i).sum()) for i in (0, 1)],
            "n_families": list(families.sizes.values()),
            "unbounded": families.unbounded(),
            "untestable": families.untestable(),
            "permuted": f"the {between} labels of families of personas",
            "n_labelings": 0 if families.untestable() else len(labels),
            "smallest_p": np.nan if families.untestable() else 1 / len(labels),
            "n_controls": n_controls,
            "seed": seed,
        },
    )


def _left_out(
    gram: Float[Array, "row row"], families: Families, labels: Bool[Array, "labeling family"]
) -> Float[Array, "labeling family"]:
    """The share of each family's rows that a probe drawn from the other families reads rightly."""
    pool = families.pooling()
    onto, among = gram @ pool.T, pool @ gram @ pool.T
    right = np.zeros(labels.shape)
    for k, mine in enumerate(pool):
        others = np.arange(len(pool)) != k
        margin = _margin(onto[mine > 0], among, labels & others, ~labels & others)
        right[:, k] = _read(margin, labels[:, [k]], np.abs(gram).max()) @ mine[mine > 0]
    return right


def _new_paraphrases(
    gram: Float[Array, "row row"], families: Families, labels: Bool[Array, "labeling family"]
) -> Float[Array, "labeling family"]:
    """The share of each family's rows that a probe drawn from everyone's other paraphrases reads rightly."""
    pool, family = families.pooling(), families.family[families.persona]
    turn = np.array([int((families.persona[:r] == k).sum()) for r, k in enumerate(families.persona)])
    right = np.zeros((len(labels), len(gram)))
    for held in (turn == t for t in range(int(turn.max()) + 1)):
        members = pool * ~held
        means = members / members.sum(axis=1, keepdims=True)
        margin = _margin(gram[held] @ means.T, means @ gram @ means.T, labels, ~labels)
        right[:, held] = _read(margin, labels[:, family[held]], np.abs(gram).max())
    return right @ pool.T


def _margin(
    onto: Float[Array, "test family"],
    among: Float[Array, "family family"],
    first: Bool[Array, "labeling family"],
    second: Bool[Array, "labeling family"],
) -> Float[Array, "labeling test"]:
    """How much nearer each test row lies to the centre of the first members than to that of the second.

    From products alone: `onto` of test rows with the means of families, `among` of these with each other.
    """
    near = []
    for members in (first, second):
        weight = members / members.sum(axis=1, keepdims=True)
        near.append(weight @ onto.T - ((weight @ among) * weight).sum(axis=1, keepdims=True) / 2)
    return np.asarray(near[0] - near[1])


def _read(
    margin: Float[Array, "labeling test"], truth: Bool[Array, "labeling _"], scale: float
) -> Float[Array, "labeling test"]:
    """1 where the side is read rightly, ½ on a tie; `scale` is the largest of the products that margins are made of."""
    return np.where(negligible(margin, scale, degree=2), 0.5, (margin > 0) == truth)


def _balanced(
    right: Float[Array, "labeling family"], labels: Bool[Array, "labeling family"]
) -> Float[Array, " labeling"]:
    """Accuracy in which both sides count alike."""
    sides = [(right * members).sum(axis=1) / members.sum(axis=1) for members in (labels, ~labels)]
    return np.asarray((sides[0] + sides[1]) / 2)


def _bounds(right: Float[Array, " family"], first: Bool[Array, " family"]) -> tuple[float, float]:
    """95 % bounds of the accuracy in which both sides count alike.

    A side that is all right says nothing by resampling: it comes out all right again. So one family read rightly and
    one wrongly are added to either side (Agresti & Caffo 2000), and what is said of a family is taken to go together.
    """
    counts = np.array([first.sum(), (~first).sum()])
    rates = (np.array([right[first].sum(), right[~first].sum()]) + 1) / (counts + 2)
    half = scipy_stats.norm.ppf(1 - resampling.ALPHA / 2) * np.sqrt((rates * (1 - rates) / (counts + 2)).sum()) / 2
    return max(0.0, float(rates.mean() - half)), min(1.0, float(rates.mean() + half))
