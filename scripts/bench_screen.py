"""Does screening find what patching everything finds, and at what share of the cost?

    python scripts/bench_screen.py                      # the first pair of the built-in demo, its three sites
    python scripts/bench_screen.py --pairs 6            # all six
    python scripts/bench_screen.py --budget 0.1 --method "atp*"

Runs `patch` on every cell and `screen` on the same pairs and plans, and prints for each direction and site:

* found: the share of the true top tenth of cells (by |exact effect|) that screening patched exactly;
* reported: the share of it that is the top tenth of the screened Dataset;
* cost: what screening spent of the exact sweep, in tokens pushed through blocks; seconds: the same, by the processor;
* rho: Spearman's correlation of approximate and exact effects over all cells, and as told from the random sample;
* bound: the error bound that the random sample told, and the share of all cells that keep it.
"""

from __future__ import annotations

import argparse
import os
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
import xarray as xr
from scipy.stats import spearmanr

import selfrep as sr

PAIRS = [("smollm", "jfk"), ("language_model", "nurse"), ("claude", "pirate_captain"), ("hal_9000", "farmer"),
         ("chatgpt", "marie_curie"), ("jarvis", "schoolteacher")]  # fmt: skip
SITES = ("resid_pre", "attn_out", "mlp_out")


def top_tenth(effects: np.ndarray) -> np.ndarray:
    """Numbers of the cells with the largest |effect|."""
    return np.argsort(-np.nan_to_num(np.abs(effects)).ravel())[: np.isfinite(effects).sum() // 10]


def compared(exact: xr.Dataset, screened: xr.Dataset) -> list[dict[str, float]]:
    """For each pair, how the screened effects compare with the exact ones."""
    rows = []
    for i in range(exact.sizes["pair"]):
        whole, part = exact.isel(pair=i), screened.isel(pair=i)
        true, mixed, rough = (x.values - whole.target_metric.item() for x in (whole.patched, part.patched,
                                                                              part.approximate))  # fmt: skip
        top = top_tenth(true)
        there = np.isfinite(true)
        rows.append({
            "found": float(part.exact.values.ravel()[top].mean()),
            "reported": len(set(top) & set(top_tenth(mixed))) / len(top),
            "rho": float(spearmanr(true[there], rough[there]).statistic),
            "within": float((np.abs(true - rough)[there] <= screened.error_bound.item()).mean()),
        })  # fmt: skip
    return rows


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=1, help="how many of the demo's pairs, 1 … 6")
    parser.add_argument("--sites", nargs="+", default=list(SITES))
    parser.add_argument("--budget", type=float, default=0.2)
    parser.add_argument("--sample", type=float, default=0.02)
    parser.add_argument("--method", choices=["attribution", "atp*"], default="attribution")
    parser.add_argument("--ig-steps", type=int, default=1)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    lm, personas, items = sr.load_model(), sr.personas.builtin(), [sr.battery.builtin()["who_are_you"]]
    head = ("pair", "site", "direction", "found", "reported", "cost", "seconds", "rho", "told", "bound", "within")
    print("".join(f"{name:>11}" for name in ("", *head))[11:])
    found, spent = [], []
    for source, target in PAIRS[: args.pairs]:
        pairs = sr.pair(lm, personas[source], personas[target], items, paraphrases=[0])
        for site in args.sites:
            plan = sr.grid(site, positions=[-1]) if site in ("z", "q", "k", "v") else sr.grid(site)
            sr.patch(lm, pairs[:1], sr.grid(site, layers=[0], positions=[-1]))  # checks, and measures what blocks cost
            clock = [time.process_time()]
            exact = sr.patch(lm, pairs, plan, check=False)
            clock.append(time.process_time())
            screened = sr.screen(lm, pairs, plan, budget=args.budget, sample=args.sample, method=args.method,
                                 ig_steps=args.ig_steps, check=False)  # fmt: skip
            clock.append(time.process_time())
            seconds = (clock[2] - clock[1]) / (clock[1] - clock[0])
            for direction, row in zip(exact.direction.values, compared(exact, screened), strict=True):
                told, bound = screened.rank_correlation.item(), screened.error_bound.item()
                numbers = (row["found"], row["reported"], screened.attrs["cost_share"], seconds, row["rho"], told,
                           bound, row["within"])  # fmt: skip
                print(
                    f"{source[:10]:>11}{site:>11}{direction:>11}" + "".join(f"{x:11.3f}" for x in numbers), flush=True
                )
                found.append(row["found"])
                spent.append(screened.attrs["cost_share"])
    print(f"found: mean {np.mean(found):.3f}, least {min(found):.3f}; cost: mean {np.mean(spent):.3f}")


if __name__ == "__main__":
    main()
