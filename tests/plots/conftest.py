"""Small Datasets in the shapes that the estimands return, with names that would break a careless drawing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr
from tests.report.conftest import axis, identified, shares, slopes

LAYERS = [0, 1, 2, 5]
TOKENS = ["<|im_start|>", "user", "\n", " Who", " ", "$x$", " a"]
SEGMENTS = ["template", "template", "template", "question", "question", "prefill", "prefill"]
WHOLE = ["all", "template", "question", "prefill", "last"]
__all__ = ["axis", "identified", "shares", "slopes"]

EVIL = "<b>$x$</b> %{x} & <script>alert(1)</script>"


def places(by: str) -> dict[str, object]:
    """Coordinates of the last axis."""
    if by == "segment":
        return {"segment": WHOLE}
    return {"position": np.arange(-7, 0), "token": ("position", TOKENS), "segment": ("position", SEGMENTS)}


@pytest.fixture
def separation() -> Callable[..., xr.Dataset]:
    def make(by: str = "position", sites: tuple[str, ...] = ("resid_post",)) -> xr.Dataset:
        rng = np.random.default_rng(1)
        shape = (len(sites), len(LAYERS), 7 if by == "position" else 5)
        s = rng.normal(0.1, 0.2, shape)
        maps = {
            "estimate": s, "ci_low": s - 0.05, "ci_high": s + 0.07, "p": np.full(shape, 0.01),
            "p_max": np.where(s > 0.2, 0.01, 0.4),
            "null_high": np.full(shape, 0.03), "noise_floor": np.full(shape, 0.07), "user_is": s / 2,
             "user_is_ci_low": s / 2 - 0.04,
            "user_is_ci_high": s / 2 + 0.04, "same_side": np.full(shape, 0.11), "other_side": s + 0.11,
        }  # fmt: skip
        for name, middle in (("bound_share", s / 2), ("condition_cosine", s / 3), ("identity", s + 0.1)):
            maps |= {name: middle, f"{name}_ci_low": middle - 0.1, f"{name}_ci_high": middle + 0.1}
        return xr.Dataset(
            {name: (("site", "layer", by), values) for name, values in maps.items()},
            coords={"site": list(sites), "layer": LAYERS} | places(by),
            attrs={"sides": ["ai", "human"], "side_labels": ["AI", "humans"], "n_families": [8, 9], "model": EVIL},
        )

    return make


@pytest.fixture
def transfer() -> Callable[..., xr.Dataset]:
    def make(by: str = "position", directions: tuple[str, ...] = ("denoise", "noise")) -> xr.Dataset:
        rng = np.random.default_rng(2)
        shape = (len(directions), len(LAYERS), 7 if by == "position" else 5)
        t = rng.uniform(-0.4, 1.2, shape)
        maps = {"estimate": t, "ci_low": t - 0.1, "ci_high": t + 0.2, "p": np.full(shape, 0.03)}
        maps |= {f"control_{kind}": np.full(shape, 0.2) for kind in ("paraphrase", "persona", "random")}
        return xr.Dataset(
            {name: (("direction", "layer", by), values) for name, values in maps.items()}
            | {"n_pairs": ("direction", [8] * len(directions)), "n_gated": ("direction", [3] * len(directions))},
            coords={"direction": list(directions), "layer": LAYERS} | places(by),
            attrs={"site": "resid_pre", "identified": "identified", "reason": "", "items": ["a", "b"]},
        )

    return make


@pytest.fixture
def effects() -> Callable[..., xr.Dataset]:
    def make(by: str = "position") -> xr.Dataset:
        rng = np.random.default_rng(3)
        n = 5
        t = rng.uniform(-0.4, 1.2, (n, len(LAYERS), 7 if by == "position" else 5))
        coords = places(by)
        if by == "position":
            coords["token"] = (("pair", "position"), [TOKENS] * (n - 1) + [[*TOKENS[:-1], " the"]])
            coords["segment_of"] = (("pair", "position"), [SEGMENTS] * n)
        names = {"source": ["jfk", EVIL] * 2 + ["jfk"], "target": ["smollm"] * n, "item": ["who_are_you"] * n}
        names |= {
            "direction": ["denoise", "noise", "denoise", "noise", "denoise"],
            "control": [""] * (n - 1) + ["random"],
        }
        return xr.Dataset(
            {"transfer": (("pair", "layer", by), t), "patched": (("pair", "layer", by), t)},
            coords={"layer": LAYERS} | coords | {name: ("pair", values) for name, values in names.items()},
            attrs={"site": "attn_out", "model": "tiny"},
        )

    return make


@pytest.fixture
def items() -> xr.Dataset:
    names = ["who_are_you", EVIL, "hello", "a_very_long_name_of_an_item_that_would_fill_the_page", "in character"]
    gate = np.array([True, True, False, True, True])
    rng = np.random.default_rng(4)
    shift = rng.uniform(1, 8, 5)
    values = {
        "shift": shift, "ci_low": shift - 1, "ci_high": shift + 2, "user_shift": shift / 2,
        "user_shift_ci_low": shift / 2 - 1,
        "user_shift_ci_high": shift / 2 + 1, "kept": np.where(gate, 0.5, np.nan),
        "kept_ci_low": np.where(gate, 0.4, np.nan),
        "kept_ci_high": np.where(gate, 0.6, np.nan), "p": np.full(5, 0.001), "first": shift, "second": shift * 0,
        "auc": np.full(5, 0.9), "neutral": np.full(5, 0.25), "paraphrase_sd": np.full(5, 0.5),
        "answer_mass": np.full(5, 0.3), "all_words_shift": 2 * shift, "all_words_ci_low": 2 * shift - 1,
        "all_words_ci_high": 2 * shift + 1,
    }  # fmt: skip
    return xr.Dataset(
        {name: ("item", v) for name, v in values.items()}
        | {
            "identified": ("item", gate),
            "reason": ("item", np.where(gate, "", "the shift of <0.2> nats is too small")),
            "shift_reason": ("item", np.where(gate, "", "the shift of <0.2> nats is too small")),
        },
        coords={"item": names, "n_items": ("item", [1, 1, 1, 1, 4])},
        attrs={"sides": ["ai", "human"], "side_labels": ["AI", "humans"], "n_families": [8, 8]},
    )


@pytest.fixture
def points() -> xr.Dataset:
    rng = np.random.default_rng(5)
    people = [
        ("smollm", "default", "ai"),
        ("hal", "fictional_ai", "ai"),
        ("jfk", "human", "human"),
        (EVIL, "human", "human"),
    ]
    rows = [
        (*person, condition, paraphrase)
        for person in people
        for condition in ("you", "user")
        for paraphrase in range(4)
    ]
    rows += [("", "", "", "neutral", paraphrase) for paraphrase in range(2)]
    labels = zip(("persona", "kind", "side", "condition", "paraphrase"), zip(*rows, strict=True), strict=True)
    return xr.Dataset(
        {
            "coordinates": (("point", "component"), rng.normal(size=(len(rows), 2))),
            "explained": ("component", [0.6, 0.2]),
        },
        coords={name: ("point", list(column)) for name, column in labels} | {"component": [1, 2]},
        attrs={"site": "resid_post", "layer": 22, "position": -1},
    )
