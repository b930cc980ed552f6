"""A run made by hand, with something in it for every part of the page to explore, and foreign words wherever people or
tokenizers write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import yaml

from selfrep.store.findings import Finding
from selfrep.store.run_directory import RunDirectory

LAYERS, POSITIONS = [0, 2, 5, 9], list(range(-12, 0))
TOKENS = [" who", " are", " you", "?", "\n", "<b>", " I", " am", " a", "$x$", "\u202eevil", " 'a\"&"]
SWEPT = [
    ("unprompted", "clerk", "denoise"), ("clerk", "unprompted", "noise"),
    ("unprompted", "engine", "denoise"), ("engine", "unprompted", "noise"),
]  # fmt: skip


def study(text: Callable[[str], str] = str) -> dict[str, Any]:
    """Two personas who are asked one question."""
    answers = {"ai": [" machine"], "human": [" man"]}
    item = {"question": text("Who are you?"), "prefill": "I am a", "answers": answers, "perspective": "in_character"}
    people = {
        "clerk": {"descriptions": [text("a clerk"), "a man of files"], "side": "human", "label": text("the clerk")},
        "engine": {"descriptions": ["an engine", "a machine"], "side": "ai", "label": text("the engine")},
    }
    return {"name": text("by hand"), "personas": {"define": people}, "battery": {"define": {"who": item}}}


def effects(control: str = "", seed: int = 0) -> xr.Dataset:
    """Four runs by position, of which the first layer has no number at the first token."""
    values = np.random.default_rng(seed).normal(0.3, 0.5, (len(SWEPT), len(LAYERS), len(POSITIONS))).astype("f4")
    values[:, 0, 0] = np.nan
    source, target, direction = (list(column) for column in zip(*SWEPT, strict=True))
    of_pairs = {
        "source": source,
        "target": target,
        "direction": direction,
        "item": ["who"] * 4,
        "control": [control] * 4,
    }
    numbers = {"source_metric": 2.5, "target_metric": -1.5, "total_effect": 4.0, "answer_mass_source": 0.5}
    return xr.Dataset(
        {"transfer": (("pair", "layer", "position"), values), "patched": (("pair", "layer", "position"), values)}
        | {name: ("pair", np.full(4, value, "f4")) for name, value in (numbers | {"answer_mass_target": 0.25}).items()},
        coords={"layer": LAYERS, "position": POSITIONS, "token": (("pair", "position"), [TOKENS] * 4)}
        | {name: ("pair", column) for name, column in of_pairs.items()}
        | {f"{end}_paraphrase": ("pair", [0] * 4) for end in ("source", "target")},
        attrs={"site": "resid_pre"},
    )


def shares(labels: list[str]) -> xr.Dataset:
    """The mean of these effects, with an interval and a control."""
    mean = np.stack([effects().transfer[k::2].mean("pair") for k in (0, 1)])
    dims = ("direction", "layer", "position")
    parts = {
        "estimate": mean,
        "ci_low": mean - 0.1,
        "ci_high": mean + 0.2,
        "p": mean * 0 + 0.03,
        "control_random": mean / 9,
    }
    return xr.Dataset(
        {name: (dims, values) for name, values in parts.items()}
        | {name: ("direction", [2.0, 2.0]) for name in ("n_pairs", "n_units", "n_runs")}
        | {"n_gated": ("direction", [0.0, 0.0])}
        | {name: ("direction", ["", ""]) for name in ("reason", "left_out")},
        coords={"direction": ["denoise", "noise"], "layer": LAYERS, "position": POSITIONS},
        attrs={"pairs": labels, "ends": ["self", "persona"], "items": ["who"]},
    )


def made(folder: Path, text: Callable[[str], str] = str) -> RunDirectory:
    """The run; `text` is put around every foreign word."""
    run = RunDirectory(folder)
    run.create_or_resume(yaml.safe_dump(study(text), sort_keys=False, allow_unicode=True), "abc123")
    run.provenance(model=text("org/tiny"), seed=0)
    run.write_findings(
        [Finding(text("The sides differ by"), 5.8, (4.9, 6.8), text("the user: 4 nats"), text("p < .01"), unit="nats")]
    )
    run.write("effects/resid_pre", effects())
    run.write("controls/effects/resid_pre", effects("random", seed=1))
    run.write(
        "transfer/effects/resid_pre", shares([f"no persona → {text(f'the {who}')}" for who in ("clerk", "engine")])
    )
    cells = np.random.default_rng(2).normal(0, 0.1, (1, 4, 1))
    names = ("estimate", "ci_low", "ci_high", "p", "user_is", "noise_floor", "null_high")
    run.write(
        "separation",
        xr.Dataset(
            {name: (("site", "layer", "segment"), cells + k) for k, name in enumerate(names)}
            | {"reason": (("site", "layer", "segment"), np.full((1, 4, 1), ""))},
            coords={"site": ["resid_post"], "layer": LAYERS, "segment": ["system"]},
            attrs={"side_labels": [text("AI"), "humans"], "items": ["who"]},
        ),
    )
    return run
