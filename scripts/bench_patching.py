"""How much faster is the replay? selfrep, TransformerLens and a plain hooked loop on the same cells, in one run.

    python scripts/bench_patching.py                    # workload a: batch 8, 64 tokens, last 24 positions, all layers
    python scripts/bench_patching.py --workload b       # the same with 128 tokens
    python scripts/bench_patching.py --all              # TransformerLens on every cell too (10 to 20 minutes a repeat)

selfrep computes all cells, from token ids to the labelled Dataset, its proofs included. The others cost the same for
every cell (each is one full forward pass), so they are timed on a random sample and multiplied; the numbers of that
sample must agree with selfrep's. The three take turns, so that a machine that slows down slows down all of them, and
medians are reported. Processor seconds, of all threads, stand beside those of the clock: when others use the machine,
trust those more.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from transformer_lens import patching

from selfrep.engine.metrics import logit_difference
from selfrep.engine.patch import patch_tokens
from selfrep.engine.plan import grid
from selfrep.engine.replay import CHUNK_TOKENS
from selfrep.models.language_model import LanguageModel, load_model

WORKLOADS = {"a": 64, "b": 128}
BATCH, SUFFIX = 8, 24
FIRST, SECOND = 198, 271
"""The two tokens whose logits are compared; any two would do."""


@dataclass
class Timer:
    """Seconds of each turn, by the clock and of the processor, and the metric [cell, row] that came out."""

    name: str
    cells: int
    seconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    values: Tensor = field(default_factory=lambda: torch.empty(0))

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Time what runs within."""
        clock, processor = time.perf_counter(), time.process_time()
        yield
        self.seconds.append(time.perf_counter() - clock)
        self.processor.append(time.process_time() - processor)

    @property
    def per_cell(self) -> float:
        """Median seconds a cell."""
        return statistics.median(self.seconds) / self.cells

    @property
    def processor_per_cell(self) -> float:
        """Median processor seconds a cell."""
        return statistics.median(self.processor) / self.cells


def with_selfrep(lm: LanguageModel, source: Tensor, target: Tensor) -> np.ndarray:
    """All cells: [row, layer, position]."""
    plan = grid("resid_pre", positions=range(-SUFFIX, 0))
    return patch_tokens(lm, source, target, plan, logit_difference(FIRST, SECOND), batch_size=BATCH).patched.values


def with_transformer_lens(lm: LanguageModel, source: Tensor, target: Tensor, cells: list[tuple[int, int]]) -> Tensor:
    """[cell, row], by `generic_activation_patch` on the bridge; positions from the end."""
    rows: list[Tensor] = []

    def metric(logits: Tensor) -> Tensor:
        rows.append(logits[:, -1, FIRST] - logits[:, -1, SECOND])
        return rows[-1].mean()

    _, cache = lm.bridge.run_with_cache(source, names_filter=lambda name: name.endswith("hook_resid_pre"))
    index = pd.DataFrame([(layer, target.shape[1] + p) for layer, p in cells], columns=["layer", "pos"])
    patching.generic_activation_patch(
        lm.bridge, target, cache, metric, patching.layer_pos_patch_setter, "resid_pre", index_df=index
    )
    return torch.stack(rows)


def with_plain_hooks(lm: LanguageModel, source: Tensor, target: Tensor, cells: list[tuple[int, int]]) -> Tensor:
    """[cell, row], by one hooked forward pass of the Hugging Face model a cell, reading the last logits only."""
    clean = lm.hf(source, output_hidden_states=True, use_cache=False, logits_to_keep=1).hidden_states
    out = []
    for layer, p in cells:

        def change(_: object, args: tuple[Tensor, ...], layer: int = layer, p: int = p) -> tuple[Tensor, ...]:
            x = args[0].clone()
            x[:, p] = clean[layer][:, p]
            return (x, *args[1:])

        handle = lm.blocks[layer].register_forward_pre_hook(change)
        logits = lm.hf(target, use_cache=False, logits_to_keep=1).logits[:, -1]
        handle.remove()
        out.append(logits[:, FIRST] - logits[:, SECOND])
    return torch.stack(out)


def multiply_adds(lm: LanguageModel, tokens: int) -> float:
    """What must be multiplied: each cell runs the blocks from its layer on, over the tokens from its position on.

    In the last block only the last token counts, and of the others their keys and values.
    """
    config = lm.hf.config
    kv = 2 * config.hidden_size * config.num_key_value_heads * config.head_dim
    block = sum(w.numel() for w in lm.blocks[0].parameters() if w.ndim == 2)
    per_key = 2 * config.num_attention_heads * config.head_dim  # scores, and the sum of values
    total = 0.0
    for start in range(tokens - SUFFIX, tokens):
        keys = sum(range(start + 1, tokens + 1))
        blocks = sum(range(1, lm.n_layers + 1))  # layer L runs n_layers - L of them
        total += blocks * BATCH * ((tokens - start) * block + per_key * keys)
        total -= lm.n_layers * BATCH * ((tokens - start - 1) * (block - kv) + per_key * (keys - tokens))
    both = 2 * lm.n_layers * BATCH * (tokens * block + per_key * tokens * (tokens + 1) / 2)
    return total + both


def speed(lm: LanguageModel) -> float:
    """Multiply-adds a second of one block's matrix products over one chunk of tokens; best of several."""
    x = {w.shape[1]: torch.randn(CHUNK_TOKENS["cpu"], w.shape[1]) for w in lm.blocks[0].parameters() if w.ndim == 2}
    weights = [w for w in lm.blocks[0].parameters() if w.ndim == 2]
    best = float("inf")
    for _ in range(20):
        start = time.perf_counter()
        for w in weights:
            torch.nn.functional.linear(x[w.shape[1]], w)
        best = min(best, time.perf_counter() - start)
    return CHUNK_TOKENS["cpu"] * sum(w.numel() for w in weights) / best


@torch.no_grad()
def main() -> None:
    """Run one workload and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", choices=WORKLOADS, default="a", help="a: 64 tokens; b: 128 tokens")
    parser.add_argument("--model", default="embedded", help="a name that selfrep.load_model takes")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cells", type=int, default=24, help="how many cells to sample for the slow ones")
    parser.add_argument("--all", action="store_true", help="no sample: every cell for everyone")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    lm, tokens = load_model(args.model, device="cpu"), WORKLOADS[args.workload]
    rng = np.random.default_rng(args.seed)
    source, target = (torch.tensor(rng.integers(1000, 40000, (BATCH, tokens))) for _ in range(2))
    grid_cells = [(layer, p) for layer in range(lm.n_layers) for p in range(-SUFFIX, 0)]
    chosen = rng.permutation(len(grid_cells))[: len(grid_cells) if args.all else args.cells]
    cells = [grid_cells[i] for i in chosen]

    ours, theirs, plain = (
        Timer("selfrep", len(grid_cells)),
        Timer("TransformerLens", len(cells)),
        Timer("plain hooks", len(cells)),
    )
    with_transformer_lens(lm, source, target, cells[:1])  # boots the bridge
    speeds = [speed(lm)]
    for turn in range(args.repeats):
        with ours.turn():
            patched = with_selfrep(lm, source, target)
        for timer, run in ((theirs, with_transformer_lens), (plain, with_plain_hooks)):
            with timer.turn():
                timer.values = run(lm, source, target, cells)
        speeds.append(speed(lm))
        spent = ", ".join(f"{timer.name} {timer.seconds[-1]:.1f} s" for timer in (ours, theirs, plain))
        print(f"turn {turn + 1} of {args.repeats}: {spent}", file=sys.stderr, flush=True)
    ours.values = torch.stack([torch.tensor(patched[:, layer, p + SUFFIX]) for layer, p in cells])

    print(f"workload {args.workload}: {lm.name}, batch {BATCH} × {tokens} tokens, resid_pre,")
    print(f"{lm.n_layers} layers × the last {SUFFIX} positions = {len(grid_cells)} cells")
    print(f"torch {torch.__version__}, {args.threads} threads, float32; medians of {args.repeats} interleaved turns")
    if not args.all:
        sample = f"{len(cells)} random cells; seconds = seconds a cell × {len(grid_cells)}"
        print(f"TransformerLens and plain hooks: timed on {sample}")
    for timer in (theirs, plain):
        off = float(((ours.values - timer.values).abs() / timer.values.abs().clamp(min=1)).max())
        print(f"selfrep and {timer.name} agree on {off:.1e} relative, {len(cells)} cells × {BATCH} rows")
        if not off <= 1e-4:
            raise SystemExit("They must agree to 1e-4; do not trust the times.")
    heads = ("seconds", "cells/s", "s/cell", "ratio", "CPU s", "ratio")
    print(f"\n{'':16}" + "".join(f"{head:>10}" for head in heads) + "   turns (seconds)")
    for timer in (ours, theirs, plain):
        ratios = timer.per_cell / ours.per_cell, timer.processor_per_cell / ours.processor_per_cell
        print(
            f"{timer.name:16}{timer.per_cell * len(grid_cells):10.1f}{1 / timer.per_cell:10.2f}{timer.per_cell:10.4f}"
            f"{ratios[0]:9.1f}×{timer.processor_per_cell * len(grid_cells):10.1f}{ratios[1]:9.1f}×   "
            + ", ".join(f"{s:.1f}" for s in timer.seconds)
        )
    work, best = multiply_adds(lm, tokens), max(speeds)
    floor = work / best
    share = floor / (ours.per_cell * len(grid_cells))
    print(f"\nfloor: {work / 1e12:.2f} T multiply-adds at {best / 1e9:.1f} G a second (best seen) = {floor:.1f} s,")
    print(f"which is {share:.0%} of selfrep's time")
    print(f"matrix products before and after turns, G a second: {', '.join(f'{s / 1e9:.1f}' for s in speeds)}")


if __name__ == "__main__":
    main()
