"""Datasets with known truth, labelled as the engine labels its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from scipy.stats import norm, t

Array = np.ndarray
Pair = tuple[str, str]


def names(sizes: tuple[int, int] = (8, 8)) -> list[str]:
    """Personas of two sides, the AI side first."""
    return [f"ai{i}" for i in range(sizes[0])] + [f"human{i}" for i in range(sizes[1])]


def side(name: str) -> str:
    return name.rstrip("0123456789")


def _prompts(
    conditions: Mapping[str, Array], personas: Sequence[str], items: Sequence[str]
) -> tuple[Array, dict[str, Any]]:
    """Values [persona, paraphrase, item, ...] of each condition as a row of prompts, and the coordinates of the
    prompts.
    """
    labels: dict[str, list[object]] = {k: [] for k in ("persona", "kind", "side", "condition", "paraphrase", "item")}
    rows = []
    for condition, values in conditions.items():
        for i, k, q in np.ndindex(*values.shape[:3]):
            name = "" if condition == "neutral" else personas[i]
            record = {"persona": name, "side": side(name), "condition": condition, "paraphrase": k, "item": items[q]}
            record["kind"] = "human" if record["side"] == "human" else "other_model"
            for field, column in labels.items():
                column.append(record[field])
            rows.append(values[i, k, q])
    return np.array(rows), {k: ("prompt", np.array(v)) for k, v in labels.items()}


def acts(
    conditions: Mapping[str, Array],
    personas: Sequence[str],
    *,
    items: Sequence[str] = ("who_are_you",),
    segments: bool = False,
) -> xr.Dataset:
    """Activations, given as [persona, paraphrase, layer, place, d] for each condition, as `capture` returns them.

    Every item gets the same ones.
    """
    asked = {v: np.repeat(x[:, :, None], len(items), axis=2) for v, x in conditions.items()}
    rows, coords = _prompts(asked, personas, items)
    n, n_layers, n_places = rows.shape[:3]
    axis = "segment" if segments else "position"
    coords |= {"site": ["resid_post"], "layer": np.arange(n_layers)}
    if segments:
        coords["segment"] = [f"s{i}" for i in range(n_places)]
    else:
        coords["position"] = np.arange(-n_places, 0)
        for name, words in (("token", [f" t{i}" for i in range(n_places)]), ("segment_of", ["question"] * n_places)):
            coords[name] = (("prompt", "position"), np.tile(np.array(words), (n, 1)))
    data = rows[:, None].astype(np.float32)
    return xr.Dataset({"activations": (("prompt", "site", "layer", axis, "d_model"), data)}, coords=coords)


def behaviour(
    conditions: Mapping[str, Array],
    personas: Sequence[str],
    items: Sequence[str] = ("q",),
    *,
    mass: float | Mapping[str, float] = 0.5,
) -> xr.Dataset:
    """Log odds, given as [persona, paraphrase, item] for each condition, as `score` returns them."""
    conditions = dict(conditions)
    conditions.setdefault("neutral", np.zeros((1, 2, len(items))))
    rows, coords = _prompts(conditions, personas, items)
    known = [mass if isinstance(mass, float) else mass[str(item)] for item in coords["item"][1]]
    return xr.Dataset({"log_odds": ("prompt", rows), "answer_mass": ("prompt", np.array(known))}, coords=coords)


def effects(
    pairs: Sequence[Pair],
    moved: Array,
    total: Sequence[float],
    *,
    direction: str = "denoise",
    item: str = "q",
    control: str = "",
    segments: bool = False,
    mass: float | tuple[float, float] = 0.5,
) -> xr.Dataset:
    """Runs that were moved by [pair, layer, place] nats of a total effect [pair], as `patch` returns them."""
    n, n_layers, n_places = moved.shape
    axis = "segment" if segments else "position"
    target = np.linspace(-3.0, -2.0, n)
    source_mass, target_mass = mass if isinstance(mass, tuple) else (mass, mass)
    coords: dict[str, Any] = {
        "layer": np.arange(n_layers),
        axis: [f"s{i}" for i in range(n_places)] if segments else np.arange(-n_places, 0),
        "source": ("pair", np.array([s for s, _ in pairs])),
        "target": ("pair", np.array([t for _, t in pairs])),
        "target_paraphrase": ("pair", np.zeros(n, dtype=int)),
    }
    for name, value in (("item", item), ("direction", direction), ("control", control)):
        coords[name] = ("pair", np.array([value] * n))
    if not segments:
        coords["segment"] = ("position", np.array(["question"] * n_places))
        coords["token"] = (("pair", "position"), np.tile(np.array([f" t{i}" for i in range(n_places)]), (n, 1)))
    return xr.Dataset(
        {
            "patched": (("pair", "layer", axis), target[:, None, None] + moved),
            "target_metric": ("pair", target),
            "source_metric": ("pair", target + np.asarray(total)),
            "total_effect": ("pair", np.asarray(total, dtype=float)),
            "answer_mass_source": ("pair", np.full(n, source_mass)),
            "answer_mass_target": ("pair", np.full(n, target_mass)),
        },
        coords=coords,
        attrs={"site": "resid_pre"},
    )


def bootstrap_quantile(values: Sequence[int], probability: float) -> float:
    """The exact quantile of the mean of as many units, drawn with replacement: an oracle in which nothing is drawn.

    Sums of whole numbers lie on a grid, and their distribution is a convolution. Two neighbours on it are 1/n apart.
    """
    least = min(values)
    one = np.bincount(np.array(values) - least) / len(values)
    weights = np.ones(1)
    for _ in values:
        weights = np.convolve(weights, one)
    return least + int(np.searchsorted(weights.cumsum(), probability)) / len(values)


def tail(n_units: int, df: int) -> float:
    """The tail of an expanded percentile interval, from its definition: as far out as Student's t, of s and not σ̂."""
    return float(norm.cdf(-t.isf(0.025, df) * np.sqrt(n_units / (n_units - 1))))


def bootstrap_bounds(values: Sequence[int], n_units: int, df: int) -> Array:
    """The exact bounds of that mean; `n_units` and `df` are those that the interval should know of."""
    q = tail(n_units, df)
    return np.array([bootstrap_quantile(values, q), bootstrap_quantile(values, 1 - q)])
