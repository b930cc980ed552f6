"""Small Datasets in the shapes of the estimands of self and persona, with a name that would break careless code."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

EVIL = "<b>$x$</b> %{x} & <script>alert(1)</script>"


@pytest.fixture
def shares() -> xr.Dataset:
    """What `binding` and `bleed` have in common, of three items and their pool; the second is not identified."""
    names = ["who_are_you", EVIL, "producer", "all third_person"]
    gate = np.array([True, False, True, True])
    rng = np.random.default_rng(6)

    def shown(values: np.ndarray) -> np.ndarray:
        return np.where(gate, values, np.nan)

    share = rng.uniform(0.1, 0.6, 4)
    values = {
        "estimate": shown(share),
        "ci_low": shown(share - 0.1),
        "ci_high": shown(share + 0.2),
        "p": shown(share / 10),
    }
    for name, part in (("user_is", share / 3), ("bound", 2 * share / 3)):
        values |= {name: shown(part), f"{name}_ci_low": shown(part - 0.1), f"{name}_ci_high": shown(part + 0.1)}
    values |= dict.fromkeys(("you_shift", "user_shift", "persona_shift", "truth_shift"), share * 4)
    return xr.Dataset(
        {name: ("item", v) for name, v in values.items()}
        | {"identified": ("item", gate), "reason": ("item", np.where(gate, "", "the truth moves it by <0.2> nats"))},
        coords={"item": names, "n_items": ("item", [1, 1, 1, 3])},
        attrs={
            "sides": ["ai", "human"],
            "side_labels": ["AI", "humans"],
            "n_labelings": 6435,
            "permuted": "side labels",
        },
    )


@pytest.fixture
def identified() -> xr.Dataset:
    """What `identification` gives of four personas on two subscales and three referents; "maker" is not identified."""
    scales = ["ai_human", "maker", "series: this chat", "series: another chat", "series: the user"]
    gate = np.array([True, False, True, True, True])
    people = [("smollm", "default"), (EVIL, "fictional_ai"), ("claude", "other_model"), ("jfk", "human")]
    value = np.where(gate[:, None], np.random.default_rng(7).normal(0, 3, (5, 4)), np.nan)
    of_persona = {"estimate": value, "ci_low": value - 1, "ci_high": value + 2}
    of_persona |= {"user_is": value / 2, "user_is_ci_low": value / 2 - 1, "user_is_ci_high": value / 2 + 1}
    differ = np.where(gate, 2.0, np.nan)
    return xr.Dataset(
        {name: (("subscale", "persona"), v) for name, v in of_persona.items()}
        | {"difference": ("subscale", differ), "difference_ci_low": ("subscale", differ - 1)}
        | {"difference_ci_high": ("subscale", differ + 1), "identified": ("subscale", gate)}
        | {"reason": ("subscale", np.where(gate, "", "no item <can> be read")), "left_out": ("subscale", [""] * 5)},
        coords={"subscale": scales, "persona": [p for p, _ in people], "kind": ("persona", [k for _, k in people])}
        | {"reading": ("persona", ["default" if k == "default" else "" for _, k in people])},
    )


@pytest.fixture
def slopes() -> xr.Dataset:
    values = {"mean": -0.5, "ci_low": -0.9, "ci_high": -0.1, "null": 0.4, "p": 0.03}
    return xr.Dataset(
        {name: ("series", [value]) for name, value in values.items()}
        | {
            "estimate": (("series", "persona"), [[-0.5] * 4]),
            "identified": ("series", [True]),
            "reason": ("series", [""]),
        },
        coords={"series": ["series"]},
        attrs={
            "referents": ["series: this chat", "series: another chat", "series: the user"],
            "permuted": "the order of the referents",
        },
    )


@pytest.fixture
def axis() -> xr.Dataset:
    """What `default_axis` gives at two layers, the first without an axis."""
    who = ["default", "hal", EVIL, "unprompted", "user: default", f"user: {EVIL}"]
    conditions = ["you", "you", "you", "neutral", "user", "user"]
    kinds = ["default", "fictional_ai", "human", "unprompted", "default", "human"]
    value = np.stack([np.full(6, np.nan), [1.0, 0.2, -0.4, 0.9, 1.1, -0.2]], axis=1)[:, None, :, None]
    dims = ("site", "layer", "position")
    single = {"gap": [0.0, 0.3], "null": [0.1, 0.1], "own_gap": [0.0, 0.3], "other_gaps": [0.2, 0.2], "p": [0.5, 0.06]}
    return xr.Dataset(
        {name: (("who", *dims), value + shift) for name, shift in (("estimate", 0), ("ci_low", -0.3), ("ci_high", 0.2))}
        | {name: (dims, np.array(v)[None, :, None]) for name, v in single.items()}
        | {
            "identified": (dims, np.array([[[False], [True]]])),
            "reason": (dims, np.array([[["there is no <axis>"], [""]]])),
        },
        coords={"who": who, "condition": ("who", conditions), "kind": ("who", kinds)}
        | {"site": ["resid_post"], "layer": [0, 3], "position": [-1]},
        attrs={"n_labelings": 3, "smallest_p": 1 / 3},
    )
