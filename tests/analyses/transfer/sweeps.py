"""Effects of pairs of personas with a planted T."""

from __future__ import annotations

from typing import Any

import numpy as np
import synthetic
import xarray as xr

Array = np.ndarray
FAST: dict[str, Any] = {"n_bootstrap": 300, "n_flips": 500}


def apart(n: int) -> list[tuple[str, str]]:
    return [(f"ai{i}", f"human{i}") for i in range(n)]


def crossed(n: int, m: int) -> list[tuple[str, str]]:
    return [(f"ai{i}", f"human{j}") for i in range(n) for j in range(m)]


def planted(pairs: list[tuple[str, str]], t: Array, total: Array, **options: Any) -> xr.Dataset:
    """Every pair moved by exactly t[layer, place] of its total effect."""
    return synthetic.effects(pairs, total[:, None, None] * t, total, **options)


def with_families(effects: xr.Dataset, families: dict[str, str]) -> xr.Dataset:
    """The same effects of personas of these families; a persona that is not named is a family of its own."""
    of = {
        f"{end}_family": ("pair", np.array([families.get(str(name), "") for name in effects[end].to_numpy()]))
        for end in ("source", "target")
    }
    return effects.assign_coords(of)
