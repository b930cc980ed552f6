"""What the patching benchmark runs: models, prompts and cells, and the arithmetic that they cannot do without.

The CPU's workloads are SmolLM2-135M in float32. The GPU's are the shapes of Llama-3.2-1B and Qwen2.5-7B with random
weights in bfloat16 (time does not depend on the weights, so nothing is downloaded), with 32 prompts of 256 tokens: a
forward pass of 512 tokens, as on the CPU, would leave a GPU waiting for its kernels to be launched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedConfig, Qwen2Config

from selfrep.models.language_model import LanguageModel
from selfrep.models.loading import DTYPES, load_model


class Cell(NamedTuple):
    """One patched run: the value that enters block `layer` (or its `head`'s z) at `position`, from the end."""

    layer: int
    position: int
    head: int | None = None


@dataclass(frozen=True)
class Workload:
    """A model, a batch of prompts and a grid of cells.

    Attributes:
        model: a name that `selfrep.load_model` takes, or a shape of `SHAPES`.
        tokens: of each prompt; the longest where they are ragged.
        shortest: length of the shortest prompt; None where all are equal.
        site: resid_pre or z.
        positions: how many, from the last token back; None for all.
    """

    model: str = "embedded"
    dtype: str = "float32"
    device: str = "cpu"
    batch: int = 8
    tokens: int = 64
    shortest: int | None = None
    site: str = "resid_pre"
    positions: int | None = 24

    def __str__(self) -> str:
        """One line for the report."""
        tokens = f"{self.tokens}" if self.shortest is None else f"{self.shortest} to {self.tokens}"
        where = {None: "all positions", 1: "the last position"}.get(
            self.positions, f"the last {self.positions} positions"
        )
        return f"{self.model}, {self.dtype}, batch {self.batch} × {tokens} tokens, {self.site} at {where}"


WORKLOADS = {
    "a": Workload(),
    "b": Workload(tokens=128),
    "c": Workload(positions=None),
    "d": Workload(site="z", positions=1),
    "e": Workload(batch=32, tokens=140, shortest=60),
    "f": Workload("llama-3.2-1b", "bfloat16", "cuda", batch=32, tokens=256),
    "g": Workload("qwen2.5-7b", "bfloat16", "cuda", batch=32, tokens=256),
}


def llama_1b() -> PreTrainedConfig:
    """The shape of meta-llama/Llama-3.2-1B."""
    return LlamaConfig(
        vocab_size=128256,
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=16,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=64,
        max_position_embeddings=131072,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 500000.0},
        tie_word_embeddings=True,
    )


def qwen_7b() -> PreTrainedConfig:
    """The shape of Qwen/Qwen2.5-7B."""
    return Qwen2Config(
        vocab_size=152064,
        hidden_size=3584,
        intermediate_size=18944,
        num_hidden_layers=28,
        num_attention_heads=28,
        num_key_value_heads=4,
        max_position_embeddings=32768,
        rms_norm_eps=1e-6,
        rope_parameters={"rope_type": "default", "rope_theta": 1000000.0},
        tie_word_embeddings=False,
    )


SHAPES: dict[str, Callable[[], PreTrainedConfig]] = {"llama-3.2-1b": llama_1b, "qwen2.5-7b": qwen_7b}


def load(workload: Workload, depth: int | None, seed: int) -> LanguageModel:
    """The workload's model, on its device; a shape gets random weights, and `depth` blocks if that is said."""
    if workload.model not in SHAPES:
        return load_model(workload.model, device=workload.device, dtype=workload.dtype)
    config = SHAPES[workload.model]()
    if depth is not None:
        config.num_hidden_layers = depth
        if getattr(config, "layer_types", None):
            config.layer_types = config.layer_types[:depth]
    torch.manual_seed(seed)
    with torch.device(workload.device):
        hf = AutoModelForCausalLM.from_config(config, dtype=DTYPES[workload.dtype])
    return load_model(hf)


@dataclass(frozen=True)
class Prompts:
    """Token ids [row, token], right-aligned, −1 on the left of shorter rows."""

    ids: Tensor

    @cached_property
    def lengths(self) -> list[int]:
        """How many tokens each row has."""
        return (self.ids >= 0).sum(1).tolist()

    @cached_property
    def mask(self) -> Tensor | None:
        """[row, token] 1 at tokens and 0 at padding; None when there is no padding."""
        return None if bool((self.ids >= 0).all()) else (self.ids >= 0).long()

    @cached_property
    def padded(self) -> Tensor:
        """[row, token] ids, 0 at padding."""
        return self.ids.clamp(min=0)

    @cached_property
    def inputs(self) -> dict[str, Any]:
        """What a Hugging Face model is called with to give the last token's logits."""
        kwargs: dict[str, Any] = {"input_ids": self.padded, "use_cache": False, "logits_to_keep": 1}
        if self.mask is not None:
            kwargs |= {"attention_mask": self.mask, "position_ids": (self.mask.cumsum(1) - 1).clamp(min=0)}
        return kwargs

    def alone(self, row: int) -> Prompts:
        """One row without its padding."""
        return Prompts(self.ids[row : row + 1, -self.lengths[row] :])


@dataclass(frozen=True)
class Work:
    """A workload made concrete: its model, prompts and cells. Every tool gets the same."""

    lm: LanguageModel
    site: str
    source: Prompts
    target: Prompts
    cells: tuple[Cell, ...]

    @property
    def heads(self) -> int:
        """How many attention heads a block has."""
        return int(self.lm.hf.config.num_attention_heads)

    @property
    def d_head(self) -> int:
        """The width of one of them."""
        config = self.lm.hf.config
        return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)

    def path(self, layer: int) -> str:
        """The Hugging Face module whose input is the site; the benchmark's models are all Llama-like."""
        return f"{self.lm.layout.blocks}.{layer}" + (".self_attn.o_proj" if self.site == "z" else "")

    def width(self, cell: Cell) -> slice:
        """The features of that input which the cell replaces."""
        return slice(None) if cell.head is None else slice(cell.head * self.d_head, (cell.head + 1) * self.d_head)

    def alone(self, row: int) -> Work:
        """The same for one row, its padding gone."""
        return Work(self.lm, self.site, self.source.alone(row), self.target.alone(row), self.cells)


def work_of(workload: Workload, lm: LanguageModel, rng: np.random.Generator) -> Work:
    """Draw prompts of random tokens (lengths too, where they are ragged) and lay out the cells, layers slowest."""
    if workload.site not in ("resid_pre", "z"):
        raise SystemExit(f"The benchmark knows the sites resid_pre and z; got {workload.site!r}.")

    def prompts() -> Prompts:
        ids = rng.integers(1000, 40000, (workload.batch, workload.tokens))
        if workload.shortest is not None:
            lengths = rng.integers(workload.shortest, workload.tokens + 1, workload.batch)
            lengths[0], lengths[-1] = workload.tokens, workload.shortest
            ids[np.arange(workload.tokens) < workload.tokens - lengths[:, None]] = -1
        return Prompts(torch.tensor(ids, device=lm.device))

    fewest = workload.shortest or workload.tokens
    count = fewest if workload.positions is None else workload.positions
    if not 1 <= count <= fewest:
        raise SystemExit(f"A cell lies within every prompt: 1 to {fewest} positions; got {count}.")
    heads = range(lm.hf.config.num_attention_heads) if workload.site == "z" else [None]
    cells = tuple(Cell(layer, p, head) for layer in range(lm.n_layers) for p in range(-count, 0) for head in heads)
    return Work(lm, workload.site, prompts(), prompts(), cells)


def multiply_adds(work: Work) -> float:
    """What must be multiplied: each cell runs the blocks from its layer on, over the tokens from its position on.

    In the last block only the last token counts, and of the others their keys and values. A head's output at one token
    costs that head's part of the output projection and the MLP of its block at that token, and then the blocks above.
    Both prompts are run once, in full.
    """
    lm, config = work.lm, work.lm.hf.config
    block = sum(w.numel() for w in lm.blocks[0].parameters() if w.ndim == 2)
    kv = 2 * config.hidden_size * config.num_key_value_heads * work.d_head
    mlp = sum(w.numel() for w in lm.blocks[0].mlp.parameters() if w.ndim == 2)
    per_key = 2 * work.heads * work.d_head  # scores, and the sum of values
    total = 0.0
    rows = Counter(work.target.lengths)
    for (layer, position, head), (length, count) in ((c, r) for c in work.cells for r in rows.items()):
        tokens = -position
        keys = tokens * length - tokens * (tokens - 1) / 2
        above = lm.n_layers - layer if head is None else lm.n_layers - layer - 1
        if head is not None:
            total += count * (config.hidden_size * work.d_head + mlp)
        if above:
            total += count * (above - 1) * (tokens * block + per_key * keys)
            total += count * (block + (tokens - 1) * kv + per_key * length)
    for length in work.source.lengths + work.target.lengths:
        total += lm.n_layers * (length * block + per_key * length * (length + 1) / 2)
    return total
