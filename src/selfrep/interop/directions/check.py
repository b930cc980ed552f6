"""Whether directions lie where their file says: at which block, off by how many, they point as activations differ."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float

from selfrep.engine.capture import capture
from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.prompts.prompt import Prompt
from selfrep.stats.numbers import number

RANDOM = 200
"""Random directions, and resamplings of prompts."""


def check_directions(
    lm: LanguageModel,
    directions: xr.DataArray,
    positive: Sequence[Prompt],
    negative: Sequence[Prompt],
    *,
    offsets: Sequence[int] = (-2, -1, 0, 1, 2),
    seed: int = 0,
) -> xr.Dataset:
    """Compare directions with how the activations of two sets of prompts differ, block by block and off by a few.

    A file whose rows are counted otherwise than its reader believes looks sound and steers badly. Where the direction
    is a difference of activations, its cosine with such a difference of your own prompts is largest at the right block.

    Args:
        lm: the model; directions: [layer, d_model], from `load_directions`.
        positive, negative: prompts that lie in the direction, and that do not; two of each at least, of which the last
            token is read.
        offsets: blocks by which the directions may be off.
        seed: of random directions and of resampling.

    Returns:
        Dataset with `cosine` (offset): between direction and difference, a mean over layers; its `ci_low` and `ci_high`
        (95 %, prompts resampled); `floor`, below which 95 % of random directions stay; `ahead_low` (offset): the lower
        end of the interval by which the best offset is ahead of this one. Attributes: `best` (the best offset; None
        where none is above the floor), `sentence`.

    Raises:
        SelfrepError: directions of another width, or of blocks that the model does not have; too few prompts.

    Example:
        >>> import selfrep as sr
        >>> from selfrep.models.organisms import BATTERY, PERSONAS
        >>> lm = sr.load_model("organism:separate")
        >>> people, battery = sr.personas.load(PERSONAS), sr.battery.load(BATTERY)
        >>> asked = [sr.make_prompts(people[name], battery["who_are_you"]) for name in ("robot", "nurse")]
        >>> ends = sr.capture(lm, sum(asked, []), tokens="position", positions=-1).activations.isel(site=0, position=0)
        >>> axis = ends[:4].mean("prompt") - ends[4:].mean("prompt")
        >>> check_directions(lm, axis.assign_coords(layer=axis.layer + 1)[:-1], *asked, offsets=(-1, 0, 1)).best
        -1
    """
    if directions.dims != ("layer", "d_model"):
        raise SelfrepError(f"Directions that are checked have the dimensions layer, d_model; got {directions.dims}.")
    if directions.sizes["d_model"] != lm.d_model:
        raise SelfrepError(
            f"Directions are as wide as the model ({lm.d_model} in {lm.name}); these have "
            f"{directions.sizes['d_model']}."
        )
    if min(len(positive), len(negative)) < 2:
        raise SelfrepError(
            f"Two prompts of each kind are needed at least, to tell their difference from chance; got {len(positive)} "
            f"and {len(negative)}."
        )
    site = str(directions.attrs.get("site", "resid_post"))
    prompts = [*positive, *negative]
    acts = capture(lm, prompts, site, tokens="position", positions=-1).activations.isel(site=0, position=0).to_numpy()
    layers = directions.layer.to_numpy()
    fits = [bool(((layers + offset >= 0) & (layers + offset < lm.n_layers)).any()) for offset in offsets]
    if not all(fits):
        raise SelfrepError(f"{lm.name} has blocks 0 to {lm.n_layers - 1}; these directions are of {layers.tolist()}.")
    rng, n = np.random.default_rng(seed), len(positive)
    drawn = np.array(
        [np.r_[rng.integers(0, n, n), rng.integers(n, len(prompts), len(negative))] for _ in range(RANDOM)]
    )
    whole = _cosines(acts, n, directions.to_numpy(), layers, offsets)
    again = np.array([_cosines(acts[rows], n, directions.to_numpy(), layers, offsets) for rows in drawn])
    chance = np.array(
        [_cosines(acts, n, rng.standard_normal(directions.shape), layers, offsets) for _ in range(RANDOM)]
    )
    floor = np.quantile(chance.max(1), 0.95)  # the best of all offsets is what is looked at
    best = int(whole.argmax())
    low, high = np.quantile(again, (0.025, 0.975), axis=0)
    ahead = np.quantile(again[:, [best]] - again, 0.025, axis=0)
    rivals = [offset for i, offset in enumerate(offsets) if i != best and ahead[i] <= 0]
    above = bool(whole[best] > floor)
    return xr.Dataset(
        {
            "cosine": ("offset", whole), "ci_low": ("offset", low), "ci_high": ("offset", high),
            "ahead_low": ("offset", ahead), "floor": floor,
        },
        {"offset": list(offsets)},
        attrs={
            "best": offsets[best] if above else None,
            "sentence": _sentence(offsets[best], float(whole[best]), float(floor), rivals),
        },
    )  # fmt: skip


def _cosines(
    acts: Float[np.ndarray, "prompt layer d_model"],
    n: int,
    directions: Float[np.ndarray, "direction d_model"],
    layers: np.ndarray,
    offsets: Sequence[int],
) -> Float[np.ndarray, " offset"]:
    """The mean cosine of each direction with the difference at its block, off by each offset."""
    apart = acts[:n].mean(0) - acts[n:].mean(0)
    out = []
    for offset in offsets:
        at = layers + offset
        there = (at >= 0) & (at < acts.shape[1])
        out.append(np.mean([_cosine(d, apart[k]) for d, k in zip(directions[there], at[there], strict=True)]))
    return np.array(out)


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / length if length > np.finfo(np.float32).tiny else 0.0


def _sentence(best: int, cosine: float, floor: float, rivals: Sequence[int]) -> str:
    if cosine <= floor:
        return (
            f"At no offset do these directions point as the prompts differ (cosine {number(cosine)} at most, random "
            f"directions {number(floor)}): they are of another model, another site, or something else."
        )
    off = f"{abs(best)} block{'s' * (abs(best) > 1)} {'later' if best > 0 else 'earlier'}"
    where = off if best else "where they say"
    told = f"The directions point as the prompts differ {where} (cosine {number(cosine)}, random {number(floor)})"
    if rivals:
        return f"{told}; these prompts do not tell that from an offset of {', '.join(map(str, rivals))}."
    return f"{told}." if best == 0 else f"{told}: load them with a layer_offset that is {best:+d} of what it was."


def compare_directions(one: xr.DataArray, other: xr.DataArray, *, seed: int = 0) -> xr.Dataset:
    """Cosines of two sets of directions, block by block, beside those of random ones.

    Args:
        one, other: [layer, d_model], of one site; layers that only one has are left out.
        seed: of the random directions.

    Returns:
        Dataset with `cosine` (layer), and `floor`, below which the size of 95 % of random cosines stays.

    Raises:
        SelfrepError: other widths or sites; no layer in common.

    Example:
        >>> a = xr.DataArray(np.eye(3), {"layer": [0, 1, 2]}, ["layer", "d_model"])
        >>> compare_directions(a, -a).cosine.values.tolist()
        [-1.0, -1.0, -1.0]
    """
    sites = [str(each.attrs.get("site", "resid_post")) for each in (one, other)]
    widths = [each.sizes.get("d_model") for each in (one, other)]
    if sites[0] != sites[1] or widths[0] != widths[1]:
        raise SelfrepError(f"Compared are directions of one site and width; got {sites} and {widths}.")
    layers = np.intersect1d(one.layer, other.layer)
    if not len(layers):
        raise SelfrepError(f"They have no layer in common: {one.layer.values.tolist()}, {other.layer.values.tolist()}.")
    pairs = zip(one.sel(layer=layers).to_numpy(), other.sel(layer=layers).to_numpy(), strict=True)
    drawn = np.random.default_rng(seed).standard_normal((2000, widths[0] or 1))
    random = np.abs(drawn[:, 0]) / np.linalg.norm(drawn, axis=1)  # one is turned onto the first axis
    return xr.Dataset(
        {"cosine": ("layer", [_cosine(a, b) for a, b in pairs]), "floor": float(np.quantile(random, 0.95))},
        {"layer": layers},
    )
