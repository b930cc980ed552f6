"""Figures that are hard to fit: hundreds of tokens, scripts that fonts lack, forty personas, names without end."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from selfrep.analyses.identification.figures import identification_dots
from selfrep.analyses.items.figures import degree_of_separation, item_bars
from selfrep.analyses.separation.figures import separation_map
from selfrep.analyses.transfer.figures import transfer_maps
from selfrep.plots.effects import heatmap

LONG = "the_captain_of_a_ship_that_was_lost_for_many_years_in_the_northern_seas"
CHINESE = ["你是谁", "？", " 我", "是", "一个", "助手", "<|im_end|>", "\n", "👩‍⚕️", "من", " أنت"]
CHINESE += ["$x$"]


def tokens(n: int, words: list[str]) -> dict[str, object]:
    """Positions with tokens and segments of a chat, n of them."""
    ends = [0.05, 0.45, 0.5, 0.85, 0.92, 1.0]
    names = ["template", "system", "template", "question", "template", "prefill"]
    of = [names[next(k for k, end in enumerate(ends) if (i + 0.5) / n <= end)] for i in range(n)]
    shown = ("position", [words[i % len(words)] for i in range(n)])
    return {"position": np.arange(-n, 0), "token": shown, "segment": ("position", of)}


def effects(n: int, words: list[str], layers: int = 30) -> xr.Dataset:
    """A sweep over n tokens in both directions."""
    rng = np.random.default_rng(0)
    values = np.cumsum(rng.normal(0, 0.04, (4, layers, n)), axis=2)
    who = {"source": LONG, "target": "smollm", "item": LONG, "control": ""}
    coords = {"layer": np.arange(layers), "direction": ("pair", ["denoise", "noise"] * 2)} | tokens(n, words)
    coords |= {name: ("pair", [text] * 4) for name, text in who.items()}
    return xr.Dataset(
        {"transfer": (("pair", "layer", "position"), values)}, coords, {"site": "resid_pre", "model": LONG}
    )


def items(n: int, many: int = 1) -> xr.Dataset:
    """The shifts of n items with long names."""
    rng, names = np.random.default_rng(1), [f"{LONG[: 8 + 4 * (i % 12)]}_{i}" for i in range(n)]
    shift = rng.normal(0, 3, n)
    of = {"shift": shift, "ci_low": shift - 1, "ci_high": shift + 2, "kept": shift / 9}
    for name in ("user_shift", "all_words_shift"):
        of |= {name: shift / 2}
    for name in (
        "user_shift_ci_low", "user_shift_ci_high", "kept_ci_low", "kept_ci_high", "p", "first", "second", "auc",
        "neutral",
        "paraphrase_sd", "answer_mass", "all_words_ci_low", "all_words_ci_high",
    ):  # fmt: skip
        of[name] = shift / 2
    reasons = np.where(np.arange(n) % 5 == 0, "too small", "")
    return xr.Dataset(
        {name: ("item", values) for name, values in of.items()} | {"shift_reason": ("item", reasons)},
        {"item": names, "n_items": ("item", [1] * (n - many) + [4] * many)},
        {"sides": ["ai", "human"], "side_labels": ["AI of every kind and maker", "people of flesh and blood"]},
    )


def people(n: int) -> xr.Dataset:
    """The answers of n personas in character and from outside."""
    rng = np.random.default_rng(2)
    names = [f"persona_{'x' * (i % 9)}_{i}" for i in range(n)]
    out: dict[str, object] = {}
    for name in ("in_character", "outside"):
        value = rng.normal(0, 2, n)
        for end, shift in (("", 0.0), ("_ci_low", -0.3), ("_ci_high", 0.3)):
            out[f"{name}{end}"] = ("persona", value + shift)
    kinds = [f"kind number {i % 7}" for i in range(n)]
    coords = {"persona": names, "kind": ("persona", kinds), "side": ("persona", ["a", "b"] * (n // 2))}
    return xr.Dataset(out, coords, {"in_character": ["x"], "outside": ["y"]})


def scales(n: int) -> xr.Dataset:
    """The subscales of n personas."""
    rng, subscales = np.random.default_rng(3), ["ai_human", "own_name", "maker", "body"]
    value = rng.normal(0, 2, (4, n))
    names = ("estimate", "ci_low", "ci_high", "user_is", "user_is_ci_low", "user_is_ci_high")
    return xr.Dataset(
        {name: (("subscale", "persona"), value + 0.3 * k) for k, name in enumerate(names)}
        | {"identified": ("subscale", [True] * 4), "reason": ("subscale", [""] * 4)},
        {"subscale": subscales, "persona": [f"{LONG[: 5 + i]}" for i in range(n)]}
        | {"kind": ("persona", [f"kind number {i % 5}" for i in range(n)])},
    )


def transfer(n: int) -> xr.Dataset:
    """An estimate of transfer over n tokens."""
    rng = np.random.default_rng(4)
    t = np.cumsum(rng.normal(0, 0.03, (2, 30, n)), axis=2)
    coords = {"direction": ["denoise", "noise"], "layer": np.arange(30)} | tokens(
        n, [" we", " are", " who", " we", " are"]
    )
    shifts = {"estimate": 0.0, "ci_low": -0.1, "ci_high": 0.1, "p": 0.0, "control_fact": 0.1}
    data = {name: (("direction", "layer", "position"), t + shift) for name, shift in shifts.items()}
    data |= {"n_pairs": ("direction", [8, 8]), "n_gated": ("direction", [3, 0])}
    return xr.Dataset(data, coords, {"site": "resid_pre", "items": ["a"], "ends": ["self", "persona"], "reason": ""})


def separation(n: int) -> xr.Dataset:
    """S over n tokens at two sites."""
    rng = np.random.default_rng(5)
    s = np.abs(rng.normal(0.1, 0.2, (2, 40, n)))
    names = (
        "estimate", "ci_low", "ci_high", "p", "p_max", "null_high", "noise_floor", "user_is", "user_is_ci_low",
        "user_is_ci_high", "same_side", "identity", "identity_ci_low", "identity_ci_high", "bound_share",
        "bound_share_ci_low", "bound_share_ci_high", "condition_cosine", "condition_cosine_ci_low",
        "condition_cosine_ci_high",
    )  # fmt: skip
    coords = {"site": ["resid_post", "attn_out"], "layer": np.arange(40)} | tokens(n, CHINESE)
    data = dict.fromkeys(names, (("site", "layer", "position"), s))
    return xr.Dataset(data, coords, {"sides": ["ai", "human"], "n_families": [8, 9], "model": LONG})


def hard() -> dict[str, go.Figure]:
    """Each by what is hard about it."""
    return {
        "300 tokens": heatmap(effects(300, [" a", " long", " question", " of", " three", " hundred", " tokens"])),
        "Chinese": heatmap(effects(24, CHINESE)),
        "one pair": heatmap(effects(60, CHINESE), 0),
        "transfer": transfer_maps(transfer(120)),
        "two sites": separation_map(separation(40)),
        "items": item_bars(items(14)),
        "forty personas": degree_of_separation(people(40)),
        "forty rows": identification_dots(scales(40)),
        "reason": heatmap(effects(9, CHINESE) * np.nan),
    }
