"""Figures for a paper, from a model with a planted self: at a column's width, with their numbers, without a browser.

    python examples/figures/make.py             # writes *.pdf and *.csv beside this file
    python examples/figures/make.py elsewhere

`paper.tex` includes them. Nothing is downloaded.
"""

from __future__ import annotations

import sys
from pathlib import Path

import xarray as xr

import selfrep as sr
from selfrep.models import organisms


def results() -> dict[str, xr.Dataset]:
    """What is drawn: how far the two sides of personas lie apart, and what a patch carries over."""
    lm = sr.load_model("organism:bleed?beta=0.4&noise=0.3", device="cpu")
    people, battery = sr.personas.load(organisms.PERSONAS), sr.battery.load(organisms.BATTERY)
    item = battery["who_are_you"]
    prompts = sr.make_prompts(people, item, ["you", "user", "neutral"])
    acts = sr.capture(lm, prompts, tokens="position", positions=[-4, -3, -2, -1])
    pairs = sr.pair(lm, source=people["robot"], target=people["nurse"], items=item)
    return {
        "separation": sr.separation(acts, between="side", n_bootstrap=100, n_permutations=100),
        "effects": sr.patch(lm, pairs, sr.grid("resid_pre")),
    }


NUMBERS = {"separation": ["estimate", "ci_low", "ci_high", "user_is", "null_high"], "effects": ["transfer"]}
"""What is written of each."""


def make(folder: Path) -> None:
    """Draw, and write the numbers beside the figures."""
    made = results()
    with sr.plot.paper("icml") as page:
        profile = sr.plot.separation_profile(made["separation"], title=None)
        sr.plot.save(profile, folder / "separation.pdf", page.column)
        sr.plot.save(sr.plot.heatmap(made["effects"], title=None), folder / "effects.pdf", page.column)
        both = [
            sr.plot.separation_map(made["separation"], title="Where the two sides differ"),
            sr.plot.heatmap(made["effects"], 0, title="What a patch carries over"),
        ]
        sr.plot.save(sr.plot.panels(both, width=page.text), folder / "two_up.pdf")
    for name, variables in NUMBERS.items():
        numbers = made[name][variables]
        table = numbers.drop_vars([c for c in numbers.coords if c not in numbers.dims]).to_dataframe().reset_index()
        table.to_csv(folder / f"{name}.csv", index=False, float_format="%.6g")


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
