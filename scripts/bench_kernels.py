"""What the engine would ask of a GPU, counted without one: kernels a block call, copies, waits, mixed devices.

    python scripts/bench_kernels.py                       # the table
    python scripts/bench_kernels.py --family llama --ops  # one family, and which operations they are
    python scripts/bench_kernels.py --family llama --compile   # with blocks compiled by torch: a minute

Below about a billion parameters a block call on a GPU takes as long as its kernels take to launch, so their number is
its cost. It depends on the architecture and on the precision, not on widths, so models are tiny here. What a walk does
once is shared by its block calls; twelve blocks are few. `scripts/pretended_cuda.py` is the device. "alone" is
the block of Hugging Face by itself, its attention written out ("eager").

What a compiler would launch on a GPU cannot be seen here, so "compiled" is put together from two counts: the kernels
(fused loops, products by a library) in the code that torch generates for a block with its backend for the CPU, which
decides alike what is fused; and what a walk asks of the pretended device outside of that code: attention's own but for
its merge, and the walk's.
"""

from __future__ import annotations

import argparse
import os
import re
import warnings
from collections import Counter
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
from pretended_cuda import Counting, Pretended, place
from torch._inductor.utils import run_and_get_code
from transformers import AutoConfig, AutoModelForCausalLM

import selfrep as sr
from selfrep.engine.replay import cells, fused, schedule, walk

SHAPE: dict[str, Any] = {
    "vocab_size": 300, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 12, "num_attention_heads": 8,
    "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0,
}  # fmt: skip
WINDOWS = ["sliding_attention", "full_attention"] * 6
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": SHAPE,
    "qwen2": SHAPE,
    "qwen3": SHAPE,
    "mistral": SHAPE | {"sliding_window": 16},
    "gemma2": SHAPE | {"sliding_window": 16, "layer_types": WINDOWS},
    "gpt_oss": SHAPE | {"sliding_window": 16, "layer_types": WINDOWS, "num_local_experts": 4},
    "gpt2": {"vocab_size": 300, "n_embd": 64, "n_layer": 12, "n_head": 8, "pad_token_id": 0},
}
GRAPHS = 5
"""Pieces that are compiled of a block: two of attention and two around it, and attention's merge."""
LOOP, LIBRARY = r"\bcpp_fused\w*\(", r"\b(?:extern_kernels|torch\.ops|aten)\.[\w.]+\("
LAUNCH_BOUND = schedule.CostModel((8, 512, 2048, 8192), (4e-4, 4e-4, 6e-4, 2e-3))
"""Seconds of a block call, as a small model has them on a GPU: so the walks are those that a GPU would be given."""
ROWS, TOKENS, POSITIONS = 8, 48, range(-12, 0)


@dataclass
class Walks:
    """What was counted inside the walks of a sweep."""

    block_calls: int = 0
    walks: int = 0
    kernels: Counter[str] | None = None
    kernels_in_walks: int = 0
    copies_in_walks: int = 0
    waits_in_walks: int = 0
    kernels_in_modules: int = 0
    """Of blocks and of attention's merge: what a compiler would fuse."""


def model(family: str, dtype: torch.dtype) -> Any:
    """A random model on the pretended device."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **FAMILIES[family], attn_implementation="eager")
    return place(AutoModelForCausalLM.from_config(config, dtype=dtype).eval())


def prompts(ragged: bool) -> tuple[np.ndarray, np.ndarray]:
    """Token ids of sources and targets [pair, token]; of uneven lengths where they are to be padded."""
    draw = np.random.default_rng(0)
    source, target = (draw.integers(1, 299, (ROWS, TOKENS)) for _ in range(2))
    if ragged:
        for i in range(1, ROWS):
            source[i, :i] = target[i, :i] = -1
    return source, target


def sweep(family: str, dtype: torch.dtype, ragged: bool) -> tuple[Walks, Counting]:
    """A sweep of `resid_pre`, and what was counted inside its walks and in all."""
    seen, count = Walks(kernels=Counter()), Counting()
    inner_walk, inner_through, inner_attention = walk.walk, walk._through, walk.shared_prefix_attention

    def through(*args: Any, **how: Any) -> Any:
        seen.block_calls += 1
        before = count.kernels.total()
        out = inner_through(*args, **how)
        seen.kernels_in_modules += count.kernels.total() - before
        return out

    def merge(*args: Any) -> Any:
        before = count.kernels.total()
        out = fused.merged(*args)
        seen.kernels_in_modules += count.kernels.total() - before
        return out

    def attention(*args: Any, **how: Any) -> Any:
        before = count.kernels.total()
        out = inner_attention(*args, **how, merge=merge)
        seen.kernels_in_modules -= count.kernels.total() - before
        return out

    def walked(*args: Any, **how: Any) -> Any:
        before = count.kernels.copy(), count.to_host.total() + count.to_device.total(), count.waits.total()
        out = inner_walk(*args, **how)
        seen.walks += 1
        seen.kernels += count.kernels - before[0]
        seen.kernels_in_walks += count.kernels.total() - before[0].total()
        seen.copies_in_walks += count.to_host.total() + count.to_device.total() - before[1]
        seen.waits_in_walks += count.waits.total() - before[2]
        return out

    walk._through, cells.walk, walk.shared_prefix_attention = through, walked, attention
    try:
        with count:
            lm = sr.load_model(model(family, dtype))
            schedule._models[lm.hf] = LAUNCH_BOUND
            plan = sr.grid("resid_pre", positions=POSITIONS)
            lm.weights_hash  # noqa: B018  (read once a model, and remembered)
            count.clear()
            sr.patch_tokens(lm, *prompts(ragged), plan, sr.logit_difference(7, 9), check=False, budget_gb=60)
    finally:
        walk._through, cells.walk, walk.shared_prefix_attention = inner_through, inner_walk, inner_attention
    return seen, count


def compiled(family: str, dtype: torch.dtype) -> tuple[int, int]:
    """In the code that is generated for a block: fused loops, and calls of a library."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **FAMILIES[family], attn_implementation="eager")
    lm = sr.load_model(AutoModelForCausalLM.from_config(config, dtype=dtype).eval(), compile=True)
    schedule._models[lm.hf] = LAUNCH_BOUND
    plan = sr.grid("resid_pre", layers=[0, 1], positions=[-3, -2])

    def patch() -> None:
        sr.patch_tokens(lm, *prompts(False), plan, sr.logit_difference(7, 9), check=False)

    fused.DEVICES.add("cpu")
    try:
        _, codes = run_and_get_code(patch)
    finally:
        fused.DEVICES.remove("cpu")
    whole = [code[code.index("def call(") :] for code in codes[:GRAPHS]]  # what follows is for other numbers of tokens
    loops, library = (sum(len(re.findall(what, code)) for code in whole) for what in (LOOP, LIBRARY))
    return loops, library


def alone(family: str, dtype: torch.dtype) -> float:
    """Kernels of a block of Hugging Face's own model: a pass of it, less what is not its blocks', over its blocks."""
    count = Counting()
    numbers: list[int] = []
    with count, torch.no_grad():
        hf = model(family, dtype)
        for block in hf.get_decoder().layers if hasattr(hf.get_decoder(), "layers") else hf.get_decoder().h:
            block.register_forward_pre_hook(lambda *_: numbers.append(-count.kernels.total()))
            block.register_forward_hook(lambda *_: numbers.append(count.kernels.total()))
        hf(input_ids=Pretended(torch.as_tensor(prompts(False)[0])), use_cache=False)
    return sum(numbers) / (len(numbers) / 2)


def row(family: str, dtype: torch.dtype, ragged: bool, ops: bool, compile: bool) -> str:
    """A line of the table."""
    seen, count = sweep(family, dtype, ragged)
    kernels = seen.kernels_in_walks / seen.block_calls
    print(f"kernels a block call: {kernels:.1f}  ({family}, {str(dtype)[6:]}, {'padded' if ragged else 'even'})")
    by_compiler = "–"
    if compile and not ragged:
        loops, library = compiled(family, dtype)
        outside = (seen.kernels_in_walks - seen.kernels_in_modules) / seen.block_calls
        by_compiler = f"{loops + library + outside:.0f}"
        parts = f"{loops} fused loops, {library} products by a library, {outside:.1f} of attention and the walk"
        print(f"kernels a block call, compiled: {loops + library + outside:.1f}  ({parts})")
    if ops:
        each = {name: round(n / seen.block_calls, 1) for name, n in seen.kernels.most_common()}
        print("  by operation:", each)
        for what in ("to_host", "to_device", "waits", "mixed"):
            print(f"  {what}:", dict(getattr(count, what)))
    numbers = (
        f"{kernels:.0f}",
        by_compiler,
        f"{alone(family, dtype):.0f}",
        seen.walks,
        seen.block_calls,
        count.to_host.total(),
        count.to_device.total(),
        seen.copies_in_walks + seen.waits_in_walks,
        count.mixed.total(),
    )
    return f"| {family}, {str(dtype)[6:]}{', padded' if ragged else ''} | " + " | ".join(map(str, numbers)) + " |"


def main() -> None:
    """Count, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", choices=FAMILIES, help="one family alone")
    parser.add_argument("--ops", action="store_true", help="which operations, and where copies and waits are asked for")
    parser.add_argument("--compile", action="store_true", help="what is left of them with blocks compiled by torch")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    families = [options.family] if options.family else list(FAMILIES)
    cases = [(family, torch.bfloat16, ragged) for family in families for ragged in (False, True)]
    cases += [(family, torch.float32, False) for family in families[:1]]
    lines = [row(*case, options.ops, options.compile) for case in cases]
    print("\n| model | kernels a block call | compiled | alone | walks | block calls | copies to host | "
          "copies to device | copies and waits inside walks | mixed devices |")  # fmt: skip
    print("|" + "---|" * 10)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
