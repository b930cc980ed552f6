"""What the patching benchmark knows of the machine: its name, how fast it multiplies, how much memory is in use."""

from __future__ import annotations

import ctypes
import datetime
import gc
import importlib.metadata
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from selfrep.engine.replay.matmul import quick_products
from selfrep.models.language_model import LanguageModel

SPEED_TOKENS = {"cpu": 768, "cuda": 16384}
"""Tokens in one of the matrix products by which a machine's speed is measured: enough for the best it can do."""


def machine(device: torch.device, threads: int) -> Iterator[str]:
    """The date, what the numbers were measured on, and with what."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        cpu = next((line.split(":")[1].strip() for line in info.open() if line.startswith("model name")), cpu)
    yield f"{datetime.date.today()}, {platform.system()}, {cpu}, {os.cpu_count()} cores, {threads} threads used"
    if hasattr(os, "getloadavg"):
        yield f"load of the last minute before the run: {os.getloadavg()[0]:.1f}"
    if device.type == "cuda":
        yield f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}"
    versions = [f"Python {platform.python_version()}"]
    for package in ("selfrep", "torch", "transformers", "transformer-lens", "nnsight", "pyvene"):
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"no {package}")
    yield ", ".join(versions)


def speed(lm: LanguageModel, *, quick: bool = False) -> float:
    """Multiply-adds a second of one block's matrix products over many tokens; best of several.

    As torch does them, or by the quicker of its libraries (see `selfrep.engine.replay.matmul`).
    """
    weights: Sequence[Tensor] = [w for w in lm.blocks[0].parameters() if w.ndim == 2]
    tokens = SPEED_TOKENS.get(lm.device.type, SPEED_TOKENS["cuda"])
    x = {w.shape[1]: torch.randn(tokens, w.shape[1], device=lm.device, dtype=lm.dtype) for w in weights}
    best = float("inf")
    for _ in range(20):
        settle(lm.device)
        start = time.perf_counter()
        with quick_products(lm.device, tokens if quick else 0):
            for w in weights:
                torch.nn.functional.linear(x[w.shape[1]], w)
        settle(lm.device)
        best = min(best, time.perf_counter() - start)
    return tokens * sum(w.numel() for w in weights) / best


def settle(device: torch.device) -> None:
    """Wait until everything asked of the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_memory(device: torch.device, run: Callable[[], object]) -> float:
    """Bytes that `run` needs at its peak above what is in use before it: of the GPU, or resident (Linux only)."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    ctypes.CDLL(None).malloc_trim(0)  # give back what was freed, or it would be used again unseen
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from here; see proc(5)
    before = _resident("VmRSS")
    run()
    return _resident("VmHWM") - before


def _resident(field_name: str) -> float:
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return float(lines[field_name].split()[0]) * 1024
