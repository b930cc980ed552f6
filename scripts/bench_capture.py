"""How much memory a capture takes that is streamed to disk, beside what it writes.

    python scripts/bench_capture.py [--prompts 1000] [--tokens 350]

A randomly initialised model as small as will do (4 layers of 256 dimensions, the embedded model's tokenizer) reads
prompts of random words; activations of all layers are kept at every token. Printed: what lies on disk at the end, and
the largest memory of the process beyond what it had with the model loaded. Then the same once more, which has nothing
left to do, and the mean of a layer, which is read from disk.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import tempfile
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import copy

import torch

import selfrep as sr

WORDS = "who are you and what do they say of the sea or a ship at night".split()  # noqa: SIM905


def peak() -> float:
    """The largest memory of this process so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> None:
    """Capture, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=1000)
    parser.add_argument("--tokens", type=int, default=350)
    given = parser.parse_args()
    embedded = sr.load_model("embedded", device="cpu")
    config = copy.deepcopy(embedded.hf.config)
    for name, value in {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 4, "head_dim": 64}.items():
        setattr(config, name, value)
    config.num_attention_heads, config.num_key_value_heads, config.layer_types = 4, 2, None
    torch.manual_seed(0)
    lm = sr.load_model(type(embedded.hf)(config), device="cpu", tokenizer=embedded.tokenizer)
    draw = random.Random(0)
    prompts = [sr.Prompt("", (" ".join(draw.choices(WORDS, k=given.tokens)),)) for _ in range(given.prompts)]
    sr.capture(lm, prompts[:2], layers=[0])
    before = peak()
    with tempfile.TemporaryDirectory() as folder:
        out, start = Path(folder, "acts.zarr"), time.perf_counter()
        acts = sr.capture(lm, prompts, tokens="position", out=out)
        seconds, files = time.perf_counter() - start, [f for f in out.rglob("*") if f.is_file()]
        n, _, layers, tokens, width = acts.activations.shape
        print(f"{n} prompts, {layers} layers, {tokens} tokens, {width} dimensions: {seconds:.0f} s")
        print(f"on disk {sum(f.stat().st_size for f in files) / 1e9:.2f} GB in {len(files)} files", end="; ")
        print(f"in numpy {acts.activations.nbytes / 1e9:.2f} GB; memory beyond the model's {peak() - before:.2f} GB")
        start = time.perf_counter()
        acts = sr.capture(lm, prompts, tokens="position", out=out)
        print(f"once more, with nothing left to do: {time.perf_counter() - start:.1f} s", end="; ")
        start = time.perf_counter()
        mean = float(acts.activations.sel(layer=2, position=-1).mean())
        print(f"the last token of a layer: {time.perf_counter() - start:.2f} s (mean {mean:.3f})")


if __name__ == "__main__":
    main()
