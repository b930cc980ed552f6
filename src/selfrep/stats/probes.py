"""What can be read off activations: probes for the side of a persona, tried on personas that are new to them.

A probe with many dimensions and few personas can learn each persona by heart, and then tells nothing about sides. There
are two guards. The probe is tested on a persona that was left out. And a control task gives every persona a random side
and tests on new paraphrases (Hewitt & Liang 2019): what the probe reads there is memory. Selectivity is the accuracy on
new paraphrases beyond that of the control task.

The probe is the plainest there is, the difference of means (nearest centroid): nothing to tune, and linear.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float
from scipy import stats as scipy_stats

from selfrep.errors import SelfrepError
from selfrep.stats import permutation, resampling
from selfrep.stats.geometry import normalised, products
from selfrep.stats.rounding import negligible
from selfrep.stats.tables import Rows

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
    between: str = "side",
    condition: str = "you",
    n_permutations: int = 1000,
    n_controls: int = 200,
    seed: int = 0,
) -> xr.Dataset:
    """How well the side of a persona can be read off captured activations, at every cell.

    A nearest-centroid probe, tried on a persona that was left out. A control task with random sides shows how much of
    its accuracy on new paraphrases is memory.

    Args:
        acts: from `selfrep.capture`: `activations` (prompt, site, layer, position | segment, d_model) with the
            coordinates persona, `between`, condition, paraphrase and item on prompt; at least two paraphrases a
            persona.
        between: the coordinate whose two values are the sides; a persona has one of them.
        condition: the condition of the prompts that are read.
        n_permutations: the most labelings of personas to try for p; all of them where there are no more.
        n_controls: the number of random sides for the control task.
        seed: of the random ones.

    Returns:
        Dataset over (site, layer, position | segment). NaN at a place that some prompt lacks.

        * `estimate`: accuracy (0 … 1) on a persona that was left out, both sides counting alike; chance is ½.
        * `ci_low`, `ci_high`: 95 %, from how many personas of either side are read rightly.
        * `p`: of chance; the side labels of personas are permuted.
        * `null`: the 95th percentile of the accuracy under permuted labels.
        * `paraphrase`: accuracy on a paraphrase that was left out.
        * `control`: the same with random sides.
        * `selectivity`: paraphrase − control.
        * `identified`: whether every prompt has the place.
        * `reason`: why not, where not; "" otherwise.

    Raises:
        SelfrepError: too few personas to test; one paraphrase; other than two sides; personas asked different items.

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
    axis = "position" if "position" in acts.dims else "segment"
    rows = Rows.of(acts, condition, between)
    if len(rows.sides) != 2:
        raise SelfrepError(f"A probe tells two groups apart; {between!r} has {len(rows.sides)}: {rows.sides.tolist()}.")
    if single := [name for name, n in zip(rows.names, np.bincount(rows.persona), strict=True) if n < 2]:
        raise SelfrepError(
            f"The control task tests on new paraphrases; every persona needs two: {single[:3]} have one."
        )
    first = rows.side == 0
    sizes = {str(rows.sides[0]): int(first.sum()), str(rows.sides[1]): int((~first).sum())}
    permutation.require_units(sizes)
    rng = np.random.default_rng(seed)
    labels = permutation.labelings(first, n_permutations, rng)
    random = np.array([rng.permutation(first) for _ in range(n_controls)])
    x = acts.activations.to_numpy()
    x = x.reshape(x.shape[0], -1, x.shape[-1])
    used = np.concatenate(rows.groups)
    ends = np.cumsum([0, *(len(group) for group in rows.groups)])
    names = ("estimate", "ci_low", "ci_high", "p", "null", "paraphrase", "control", "selectivity")
    maps = {name: np.full(x.shape[1], np.nan) for name in names}
    for c in range(x.shape[1]):
        if not np.isfinite(x[used, c]).all():
            continue
        z, _ = normalised(x[used, c])
        means = np.array([z[a:b].mean(axis=0) for a, b in pairwise(ends)])
        gram = products(means, float((z**2).sum(axis=1).mean()))
        right = _left_out(gram, rows, labels)  # [labeling, persona]
        scores = _balanced(right, labels)
        low, high = _bounds(right[0], first)
        by_paraphrase = _balanced(_new_paraphrases(gram, rows, np.vstack([first, random])), np.vstack([first, random]))
        here = {"estimate": scores[0], "p": (scores >= scores[0] - 1e-9).mean(), "ci_low": low}
        here |= {"ci_high": high, "null": np.quantile(scores, 1 - resampling.ALPHA), "paraphrase": by_paraphrase[0]}
        here |= {"control": by_paraphrase[1:].mean(), "selectivity": by_paraphrase[0] - by_paraphrase[1:].mean()}
        for name, value in here.items():
            maps[name][c] = value
    shape, dims = acts.activations.shape[1:4], ("site", "layer", axis)
    known = np.isfinite(maps["estimate"]).reshape(shape)
    return xr.Dataset(
        {name: (dims, values.reshape(shape)) for name, values in maps.items()}
        | {"identified": (dims, known), "reason": (dims, np.where(known, "", "some prompt has no such place"))},
        coords={name: acts[name] for name in dims},
        attrs={
            "between": between,
            "sides": list(map(str, rows.sides)),
            "n_personas": list(sizes.values()),
            "permuted": f"the {between} labels of personas",
            "n_labelings": len(labels),
            "smallest_p": 1 / len(labels),
            "n_controls": n_controls,
            "seed": seed,
        },
    )


def _left_out(
    gram: Float[Array, "row row"], rows: Rows, labels: Bool[Array, "labeling persona"]
) -> Float[Array, "labeling persona"]:
    """The share of each persona's paraphrases that a probe drawn from the other personas reads rightly."""
    pool = rows.pooling()
    onto, among = gram @ pool.T, pool @ gram @ pool.T
    right = np.zeros(labels.shape)
    for k in range(len(pool)):
        others = np.arange(len(pool)) != k
        margin = _margin(onto[rows.persona == k], among, labels & others, ~labels & others)
        right[:, k] = _read(margin, labels[:, [k]], np.abs(gram).max()).mean(axis=1)
    return right


def _new_paraphrases(
    gram: Float[Array, "row row"], rows: Rows, labels: Bool[Array, "labeling persona"]
) -> Float[Array, "labeling persona"]:
    """The share of each persona's paraphrases that a probe drawn from everyone's other paraphrases reads rightly."""
    pool = rows.pooling() > 0
    turn = np.array([int((rows.persona[:r] == k).sum()) for r, k in enumerate(rows.persona)])
    right = np.zeros((len(labels), len(gram)))
    for held in (turn == t for t in range(int(turn.max()) + 1)):
        members = pool & ~held
        means = members / members.sum(axis=1, keepdims=True)
        margin = _margin(gram[held] @ means.T, means @ gram @ means.T, labels, ~labels)
        right[:, held] = _read(margin, labels[:, rows.persona[held]], np.abs(gram).max())
    return right @ rows.pooling().T


def _margin(
    onto: Float[Array, "test persona"],
    among: Float[Array, "persona persona"],
    first: Bool[Array, "labeling persona"],
    second: Bool[Array, "labeling persona"],
) -> Float[Array, "labeling test"]:
    """How much nearer each test row lies to the centre of the first members than to that of the second.

    From products alone: `onto` of test rows with the means of personas, `among` of these with each other.
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
    right: Float[Array, "labeling persona"], labels: Bool[Array, "labeling persona"]
) -> Float[Array, " labeling"]:
    """Accuracy in which both sides count alike."""
    sides = [(right * members).sum(axis=1) / members.sum(axis=1) for members in (labels, ~labels)]
    return np.asarray((sides[0] + sides[1]) / 2)


def _bounds(right: Float[Array, " persona"], first: Bool[Array, " persona"]) -> tuple[float, float]:
    """95 % bounds of the accuracy in which both sides count alike.

    A side that is all right says nothing by resampling: it comes out all right again. So one persona read rightly and
    one wrongly are added to either side (Agresti & Caffo 2000), and the paraphrases of a persona are taken to go
    together.
    """
    counts = np.array([first.sum(), (~first).sum()])
    rates = (np.array([right[first].sum(), right[~first].sum()]) + 1) / (counts + 2)
    half = scipy_stats.norm.ppf(1 - resampling.ALPHA / 2) * np.sqrt((rates * (1 - rates) / (counts + 2)).sum()) / 2
    return max(0.0, float(rates.mean() - half)), min(1.0, float(rates.mean() + half))
