"""Planted worlds: personas in families at known places around the self, every cell of a map an independent one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

Array = np.ndarray
LABELS = ("persona", "side", "kind", "family", "reading", "condition", "paraphrase", "frame", "item")


def world(
    *,
    families: int = 4,
    members: int = 2,
    paraphrases: int = 4,
    texts: int = 8,
    readings: Sequence[str] = (),
    conditions: Sequence[str] = ("you", "user", "neutral"),
    cells: tuple[int, int] = (1, 1),
    d: int = 32,
    shift: float = 1.0,
    spread: float = 1.0,
    noise: float = 0.5,
    alike: float = 0.6,
    wording: float = 0.0,
    frames: float = 0.3,
    seed: int = 0,
) -> xr.Dataset:
    """Activations of families of kind "role", as `capture` returns them.

    Args:
        families, members, paraphrases, texts: how many.
        readings: further personas, at the self.
        cells: layers and places.
        shift: how far the kind lies from the self; spread: of its personas, of which the share `alike` is their
            family's. noise: of a paraphrase, of which the share `wording` is its family's. frames: of a frame. All per
            dimension; the self has a length of 8.
    """
    rng = np.random.default_rng(seed)
    own, away = 8 * rng.normal(size=d), np.ones(d) * shift
    sentence = frames * rng.normal(size=(4, *cells, d))
    records: list[tuple[Any, ...]] = []
    rows = []

    def add(name: str, family: str, reading: str, condition: str, at: Array, shared: Array, n: int) -> None:
        kind = reading or ("" if condition == "neutral" else "role")
        for k in range(n):
            words = np.sqrt(wording) * shared[k] + np.sqrt(1 - wording) * rng.normal(size=(*cells, d))
            rows.append(own + at + sentence[k % 4] + noise * words)
            records.append((name, "" if reading else "role", kind, family, reading, condition, k, k % 4, "q"))

    for f in range(families):
        common = np.sqrt(alike) * spread * rng.normal(size=(*cells, d))
        shared = rng.normal(size=(paraphrases, *cells, d))
        for m in range(members):
            at = away + common + np.sqrt(1 - alike) * spread * rng.normal(size=(*cells, d))
            for condition in set(conditions) - {"neutral"}:
                place = at if condition == "you" else at / 2
                add(f"role{f}{m}", f"family{f}", "", condition, place, shared, paraphrases)
    for reading in readings:
        add(f"my_{reading}", reading, reading, "you", np.zeros(d), np.zeros((paraphrases, d)), paraphrases)
    if "neutral" in conditions:
        add("", "", "unprompted", "neutral", np.zeros(d), np.zeros((texts, d)), texts)
    coords = {
        name: ("prompt", np.array(column)) for name, column in zip(LABELS, zip(*records, strict=True), strict=True)
    }
    data = np.array(rows)[:, None].astype(np.float32)
    return xr.Dataset(
        {"activations": (("prompt", "site", "layer", "position", "d_model"), data)},
        coords=coords | {"site": ["resid_post"], "layer": range(cells[0]), "position": range(-cells[1], 0)},
    )
