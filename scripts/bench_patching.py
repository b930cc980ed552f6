"""How much faster is the replay? selfrep, TransformerLens, nnsight, pyvene and a plain hooked loop on the same cells.

    python scripts/bench_patching.py                       # workload a, in one run: times, agreement, memory, floor
    python scripts/bench_patching.py --workload e          # a to e need no GPU; f and g want one
    python scripts/bench_patching.py --all                 # the others on every cell too: hours
    python scripts/bench_patching.py --positions 2 --cells 3 --repeats 1 --tokens 16    # a trial

    a   SmolLM2-135M, 8 prompts of 64 tokens, resid_pre at the last 24 positions of all layers
    b   the same with 128 tokens
    c   a, at all 64 positions
    d   a, the outputs z of all heads of all layers, at the last position
    e   a, with 32 prompts of 60 to 140 tokens
    f   the shape of Llama-3.2-1B in bfloat16, 32 prompts of 256 tokens, resid_pre at the last 24 positions
    g   f, with the shape of Qwen2.5-7B

selfrep computes all cells, from token ids to the labelled Dataset, its self-check included ("selfrep_checked" is a
later sweep of the kind on the same model, which needs none; name it in --tools to see it). The others cost the same for
every cell (each is one full forward pass), so they are timed on a random sample and multiplied; the pass over the
source, which they make once, is timed apart and counted once. The tools take turns, so that a machine that slows down
slows down all of them, and medians are reported. Processor seconds, of all threads, stand beside those of the clock:
when others use the machine, trust those more. All must agree on the sample, or no time is printed. Peak memory is what
a tool needs above the loaded model, each in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TQDM_DISABLE", "1")

import numpy as np
import torch
from bench_competitors import TOOLS, WHOLE_GRID, Loop, row_by_row, unpatched
from bench_machine import machine, peak_memory, settle, speed
from bench_workloads import WORKLOADS, Cell, Work, Workload, load, multiply_adds, work_of
from torch import Tensor

TOLERANCE = {"float32": 1e-4, "bfloat16": 0.1}
"""How far two tools may be apart (see `distance`). In bfloat16, with 8 bits, each block rounds the residual stream,
and tools that cut the same sum differently round it differently: with random weights and 28 blocks, each was .03 away
from the others and from float32, and the unpatched metric .5 away."""
ROW_BY_ROW_CELLS = 3
DEFAULT_TOOLS = "selfrep,transformer_lens,nnsight,pyvene,plain_hooks"


@dataclass
class Timer:
    """Seconds of each turn, by the clock and of the processor: (what is done once, what is done for the cells)."""

    name: str
    loop: Loop
    cells: Sequence[Cell]
    clock: list[tuple[float, float]] = field(default_factory=list)
    processor: list[tuple[float, float]] = field(default_factory=list)
    values: Tensor = field(default_factory=lambda: torch.empty(0))

    def turn(self, device: torch.device) -> None:
        """Run once, timed."""
        times = [_now(device)]
        kept = self.loop.record()
        times.append(_now(device))
        self.values = self.loop.run(kept, self.cells).double().cpu()
        times.append(_now(device))
        (c0, p0), (c1, p1), (c2, p2) = times
        self.clock.append((c1 - c0, c2 - c1))
        self.processor.append((p1 - p0, p2 - p1))

    def seconds(self, total: int) -> list[float]:
        """By the clock, for `total` cells; one number a turn."""
        return [once + cells * total / len(self.cells) for once, cells in self.clock]

    def processor_seconds(self, total: int) -> list[float]:
        """Of the processor."""
        return [once + cells * total / len(self.cells) for once, cells in self.processor]


def _now(device: torch.device) -> tuple[float, float]:
    settle(device)
    return time.perf_counter(), time.process_time()


def prepare(names: Sequence[str], work: Work) -> dict[str, Loop]:
    """The tools that can run the work, each after a first cell; a line for each that cannot."""
    ready: dict[str, Loop] = {}
    for name in names:
        try:
            loop = TOOLS[name](work)
            loop.run(loop.record(), work.cells[-1:])
        except ImportError as error:
            print(f"{name}: skipped, not installed ({error}); try: pip install 'selfrep[bench]'")
        except Exception as error:  # noqa: BLE001 - whatever another library raises, the rest of the benchmark goes on
            print(f"{name}: skipped, cannot run this workload: {type(error).__name__}: {_first_line(error)}")
        else:
            ready[name] = loop
    return ready


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["no reason given"])[0]


def measure_memory(name: str, work: Work, cells: Sequence[Cell]) -> float:
    """In a fresh process: load, let every weight be touched and the tool be made ready, then watch it work."""
    work.lm.hf(input_ids=work.target.padded[:1, :1], use_cache=False)
    loop = TOOLS[name](work)
    return peak_memory(work.lm.device, lambda: loop.run(loop.record(), cells))


def memory_of(name: str) -> tuple[float, str]:
    """Bytes, by this script itself in a process of its own; NaN and why, if it failed there."""
    command = [sys.executable, __file__, *sys.argv[1:], "--memory-of", name]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    if child.returncode == 0:
        return float(json.loads(child.stdout.splitlines()[-1])["bytes"]), ""
    return float("nan"), (child.stderr.strip().splitlines() or ["no reason given"])[-1]


def distance(one: Tensor, other: Tensor, dtype: str) -> float:
    """How far two tools' metrics [cell, row] are apart.

    In float32 the largest difference, relative to the metric or to 1, whichever is larger; in bfloat16, where a single
    value says little, the root mean square of the differences relative to that of the metric.
    """
    if dtype == "float32":
        return float(((one - other).abs() / one.abs().clamp(min=1)).max())
    return float((one - other).square().mean().sqrt() / one.square().mean().sqrt())


def check(timers: Sequence[Timer], work: Work, sample: Sequence[Cell], dtype: str) -> None:
    """Print how far the tools are apart on the sample, and how far patching moves the metric at all.

    Raises:
        SystemExit: two of them are farther apart than the tolerance, or the unpatched metric is not.
    """
    values = {t.name: t.values[[t.cells.index(c) for c in sample]] for t in timers}
    if work.target.mask is not None:
        values["each row alone, unpadded"] = row_by_row(work, sample[:ROW_BY_ROW_CELLS]).double().cpu()
    first, *others = values
    apart = {name: distance(values[first][: len(values[name])], values[name], dtype) for name in others}
    for name, off in apart.items():
        n, rows = values[name].shape
        print(f"{first} and {name} agree on {off:.1e} relative, {n} cells × {rows} rows")
    moved = distance(values[first], unpatched(work).double().cpu().expand_as(values[first]), dtype)
    print(f"patching moves the metric by {moved:.1e}, so measured")
    tolerance = TOLERANCE[dtype]
    if wrong := [name for name, off in apart.items() if not off <= tolerance]:
        raise SystemExit(f"They must agree to {tolerance:.0e}; do not trust the times. Off: {', '.join(wrong)}.")
    if not moved > tolerance:
        raise SystemExit("Patching moves the metric by less than the tolerance: this agreement would prove nothing.")


def table(timers: Sequence[Timer], total: int, memory: dict[str, float]) -> Iterator[str]:
    """Medians over the turns, and ratios to the first tool."""
    heads = ("seconds", "cells/s", "ratio", "CPU s", "ratio", "peak MB")
    yield f"{'':18}" + "".join(f"{head:>10}" for head in heads) + "   turns (seconds, as measured)"
    ours = timers[0]
    for timer in timers:
        seconds, processor = (
            [statistics.median(getattr(t, kind)(total)) for t in (timer, ours)]
            for kind in ("seconds", "processor_seconds")
        )
        peak = memory.get(timer.name, float("nan")) / 1e6
        yield (
            f"{timer.name:18}{seconds[0]:10.1f}{total / seconds[0]:10.2f}{seconds[0] / seconds[1]:9.1f}×"
            f"{processor[0]:10.1f}{processor[0] / processor[1]:9.1f}×{peak:10.0f}   "
            + ", ".join(f"{sum(turn):.1f}" for turn in timer.clock)
        )


def arguments() -> tuple[argparse.Namespace, Workload]:
    """The command line, and the workload with what it changes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", choices=WORKLOADS, default="a", help="see above")
    parser.add_argument("--tools", default=DEFAULT_TOOLS, help=f"the first being compared to; of {','.join(TOOLS)}")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cells", type=int, default=12, help="how many cells to sample for the slow ones")
    parser.add_argument("--all", action="store_true", help="no sample: every cell for everyone")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", help="in place of the workload's own")
    parser.add_argument(
        "--model", help="in place of the workload's own: a name that selfrep.load_model takes, or a shape"
    )
    parser.add_argument("--batch", type=int, help="prompts, in place of the workload's own number")
    parser.add_argument("--tokens", type=int, help="of a prompt (of the longest)")
    parser.add_argument("--positions", type=int, help="how many, from the last back")
    parser.add_argument("--depth", type=int, help="of a shape with random weights: how many blocks, for a trial")
    parser.add_argument(
        "--no-memory", action="store_true", help="do not measure memory (a process and a turn for each)"
    )
    parser.add_argument("--memory-of", metavar="TOOL", choices=TOOLS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.tools = args.tools.split(",")
    if unknown := sorted(set(args.tools) - set(TOOLS)):
        parser.error(f"--tools takes {', '.join(TOOLS)}; got {', '.join(unknown)}")
    if args.repeats < 1 or args.cells < 1:
        parser.error("--repeats and --cells are 1 or more")
    changed = {name: getattr(args, name) for name in ("device", "model", "batch", "tokens", "positions")}
    workload = replace(WORKLOADS[args.workload], **{k: v for k, v in changed.items() if v is not None})
    if workload.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error(
            "this workload wants CUDA, and torch sees none; for a trial: --device cpu --depth 2 --batch 2 --tokens 32"
        )
    return args, workload


@torch.no_grad()
def main() -> None:
    """Run one workload and print what it took."""
    args, workload = arguments()
    torch.set_num_threads(args.threads)
    rng = np.random.default_rng(args.seed)
    if args.memory_of:
        work = work_of(workload, load(workload, args.depth, args.seed), rng)
        cells = (
            work.cells if args.memory_of in WHOLE_GRID else work.cells[-2:]
        )  # the others need the same for each cell
        print(json.dumps({"bytes": measure_memory(args.memory_of, work, cells)}))
        return

    print("\n".join(machine(torch.device(workload.device), args.threads)))
    memory = {} if args.no_memory else {name: memory_of(name) for name in args.tools}  # before this process fills up
    work = work_of(workload, load(workload, args.depth, args.seed), rng)
    total = len(work.cells)
    print(f"\nworkload {args.workload}: {workload} of all {work.lm.n_layers} layers = {total} cells")
    chosen = rng.permutation(total)[: total if args.all else args.cells]
    sample = [work.cells[i] for i in chosen]

    loops = prepare(args.tools, work)
    timers = [Timer(name, loop, work.cells if name in WHOLE_GRID else sample) for name, loop in loops.items()]
    for name in loops.keys() & memory.keys():
        if memory[name][1]:
            print(f"{name}: peak memory not measured: {memory[name][1]}")
    if not timers:
        raise SystemExit("No tool is left to run.")
    speeds = [(speed(work.lm), speed(work.lm, quick=True))]
    for turn in range(args.repeats):
        for timer in timers:
            timer.turn(work.lm.device)
        speeds.append((speed(work.lm), speed(work.lm, quick=True)))
        spent = ", ".join(f"{timer.name} {sum(timer.clock[-1]):.1f} s" for timer in timers)
        print(f"turn {turn + 1} of {args.repeats}: {spent}", file=sys.stderr, flush=True)

    if not args.all:
        print(f"all but selfrep: timed on {len(sample)} random cells; seconds = source pass + seconds a cell × {total}")
    check(timers, work, sample, workload.dtype)
    print(f"\nmedians of {args.repeats} interleaved turns")
    print("\n".join(table(timers, total, {name: peak for name, (peak, _) in memory.items()})))
    needed = multiply_adds(work)
    print(f"\nfloor: {needed / 1e12:.2f} T multiply-adds")
    for how, seen in zip(
        ("torch's own choice of library", "the quicker library"), zip(*speeds, strict=True), strict=True
    ):
        floor = needed / max(seen)
        shares = [
            f"{floor / statistics.median(timer.seconds(total)):.0%} of {timer.name}'s time"
            for timer in timers
            if timer.name in WHOLE_GRID
        ]
        each = ", ".join(f"{s / 1e9:.1f}" for s in seen)
        print(f"by {how}, at {max(seen) / 1e9:.1f} G a second (best of {each}): {floor:.1f} s, {'; '.join(shares)}")


if __name__ == "__main__":
    main()
