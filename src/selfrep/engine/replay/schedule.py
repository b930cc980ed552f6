"""What runs when: how large a chunk suits the device, which positions share a walk, and what it will cost.

The cost of pushing n tokens through a block is measured once for each device and size of block, and kept. From it
follow the chunk (where a token is cheapest) and the buckets: a walk may take in cells that start later, which costs
arithmetic and saves calls on small matrices. None of it changes a number beyond rounding: about 1e-6 nats in float32;
in bfloat16 nothing where products do not depend on their number of rows (torch on a CPU: chunks of 512, 128 and 24
tokens gave the same bits on SmolLM2), and elsewhere no more than the model's own noise, which
`selfrep.engine.agreement` measures: 0.1 nats of SmolLM2's log odds.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Protocol, TypeVar, runtime_checkable
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import nn

from selfrep.models import timings
from selfrep.models.devices import is_spread, memory_errors, synchronize
from selfrep.models.language_model import LanguageModel

SIZES = {"cpu": (1, 8, 32, 128, 256, 512, 1024, 1536)}
SIZES_ELSEWHERE = (8, 64, 512, 2048, 8192, 16384, 32768)
MOST_SHARED = 32
"""At most so many start positions in one walk."""

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class CostModel:
    """Seconds to push so many tokens through one block, on one worker; linear in between and beyond."""

    tokens: tuple[int, ...]
    seconds: tuple[float, ...]

    @property
    def chunk(self) -> int:
        """The most tokens at which a token is as cheap as it gets, to 3 %: the fewer calls, the less Python."""
        each = [s / n for n, s in zip(self.tokens, self.seconds, strict=True)]
        return max(n for n, cost in zip(self.tokens, each, strict=True) if cost <= 1.03 * min(each))

    def of(self, tokens: np.ndarray) -> np.ndarray:
        """Seconds for each number of tokens."""
        slope = self.seconds[-1] / self.tokens[-1]
        beyond = np.maximum(tokens - self.tokens[-1], 0) * slope
        return np.where(tokens > 0, np.interp(tokens, self.tokens, self.seconds) + beyond, 0.0)

    def walk(self, blocks: np.ndarray, tokens_each: int, n_layers: int) -> float:
        """Seconds of a walk of runs that join at these blocks, each of so many tokens."""
        active = (blocks[:, None] <= np.arange(n_layers)).sum(0)
        step = max(1, self.chunk // tokens_each)
        whole = self.of(np.array([step * tokens_each]))[0]
        return float((active // step * whole + self.of(active % step * tokens_each)).sum())


@dataclass(frozen=True)
class Walk:
    """One walk: the column it starts from, the numbers of the cells that take part, and the seconds it should cost."""

    start: int
    members: tuple[int, ...]
    seconds: float


def walks(
    starts: Sequence[int],
    blocks: Sequence[int],
    *,
    rows: int,
    width: int,
    n_layers: int,
    model: CostModel,
    at_once: int = 1,
    most_tokens: int | None = None,
) -> list[Walk]:
    """Put cells into walks, the most expensive first.

    Args:
        starts: [cell] the first column each changes; blocks: [cell] the block it joins at.
        rows: prompts in the batch; width: columns.
        at_once: how many walks run side by side; one that costs more than its share is split.
        most_tokens: what the buffer of a walk may hold, in tokens.
    """
    start, block = np.asarray(starts), np.asarray(blocks)
    firsts = np.unique(start)
    members = [np.flatnonzero(start == first) for first in firsts]
    # The cheapest way to cut the start positions into runs of neighbours (dynamic programming over the cut points).
    best, cut = [0.0], [0]
    for end in range(1, len(firsts) + 1):
        options = []
        for begin in range(max(0, end - MOST_SHARED), end):
            inside = np.concatenate(members[begin:end])
            cost = model.walk(block[inside], rows * (width - int(firsts[begin])), n_layers)
            options.append((best[begin] + cost, begin))
        least = min(options)
        best.append(least[0])
        cut.append(least[1])
    out: list[Walk] = []
    end = len(firsts)
    while end:
        begin = cut[end]
        inside = np.concatenate(members[begin:end])
        inside = inside[np.argsort(block[inside], kind="stable")]
        tokens = rows * (width - int(firsts[begin]))
        seconds = best[end] - best[begin]
        pieces = max(1, round(seconds * at_once / best[-1])) if best[-1] > 0 else 1
        if most_tokens is not None:
            pieces = max(pieces, -(-len(inside) // max(1, most_tokens // tokens)))
        pieces = min(pieces, len(inside))
        for i in range(pieces):  # dealt like cards: each piece holds early and late blocks alike
            part = inside[i::pieces]
            out.append(Walk(int(firsts[begin]), tuple(int(k) for k in part), seconds / pieces))
        end = begin
    return sorted(out, key=lambda walk: -walk.seconds)


def workers(lm: LanguageModel) -> int:
    """How many walks run side by side: on a CPU one a thread, since one matrix product on each core is quicker than
    one product on all of them, and what lies between the products runs on one core anyway. One, where a block's weights
    are fetched for a walk and dropped after it."""
    return torch.get_num_threads() if lm.device.type == "cpu" and not is_spread(lm.hf) else 1


@runtime_checkable
class Each(Protocol):
    """A `map`, maybe over several workers at once."""

    def __call__(self, work: Callable[[T], R], over: Iterable[T], /) -> Iterator[R]:
        """The work's result for each, in order."""


@contextmanager
def side_by_side(n: int) -> Iterator[Each]:
    """A `map` over n worker threads, each computing on its share of torch's threads; the builtin one when n is 1."""
    if n == 1:
        yield map
        return
    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(n, initializer=torch.set_num_threads, initargs=(max(1, before // n),))
    try:
        yield pool.map
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)


_models: WeakKeyDictionary[nn.Module, CostModel] = WeakKeyDictionary()


def cost_model(lm: LanguageModel, through: Callable[[int], None]) -> CostModel:
    """The cost model of this model's blocks on its device: remembered, read from the cache folder, or measured now.

    Args:
        through: pushes about so many tokens through a block.
    """
    if lm.hf not in _models:
        _models[lm.hf] = _load(lm, through)
    return _models[lm.hf]


def _load(lm: LanguageModel, through: Callable[[int], None]) -> CostModel:
    size = sum(p.numel() for p in lm.blocks[0].parameters())
    chip = torch.cuda.get_device_name(lm.device) if lm.device.type == "cuda" else platform.processor()
    where = "spread" if is_spread(lm.hf) else lm.device.type
    key = ("cost of a block", 3, lm.layout.architecture, lm.d_model, size, lm.dtype, where, chip, platform.node(),
           torch.get_num_threads(), torch.__version__)  # fmt: skip
    known = timings.kept(key, lambda: asdict(_measured(lm, through)))
    return CostModel(tuple(map(int, known["tokens"])), tuple(map(float, known["seconds"])))


def _measured(lm: LanguageModel, through: Callable[[int], None]) -> CostModel:
    sizes, seconds = SIZES.get(lm.device.type, SIZES_ELSEWHERE), []
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads // workers(lm)))
    try:
        for n in sizes:
            times = []
            for _ in range(4):  # the first warms up; the least of the others is the cost without others' noise
                synchronize(lm.device)  # or the first is charged for what came before
                start = time.perf_counter()
                with memory_errors():
                    through(n)
                    synchronize(lm.device)
                times.append(time.perf_counter() - start)
            seconds.append(min(times[1:]))
    except torch.OutOfMemoryError:
        if not seconds:
            raise
    finally:
        torch.set_num_threads(threads)
    return CostModel(tuple(sizes[: len(seconds)]), tuple(np.maximum.accumulate(seconds).tolist()))
