"""Models small enough to run hundreds of times, wild enough that a mistake shows.

Weights are drawn from N(0, 0.15²), some seven times wider than an initialisation: every block then moves the logits by
nats, so that a wrong mask or a shifted position cannot hide beneath a tolerance. The hooks here are plain torch on
plain Hugging Face modules, with module paths written out by hand: they share nothing with what they judge.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from selfrep.models.language_model import LanguageModel
from selfrep.models.loading import load_model
from selfrep.prompts.alignment import PromptPair
from selfrep.prompts.render import Tokens

N_LAYERS, D_MODEL, VOCABULARY = 3, 32, 64

_LLAMA: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": D_MODEL,
    "intermediate_size": 48,
    "num_hidden_layers": N_LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "pad_token_id": 0,
}
_WINDOW = {"sliding_window": 5}  # shorter than the prompts of the tests
_GPT2 = {"n_embd": D_MODEL, "n_layer": N_LAYERS, "n_head": 4, "vocab_size": VOCABULARY, "pad_token_id": 0}
_EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 16}
_SWA = ["sliding_attention", "full_attention", "sliding_attention"]

FAMILIES: dict[str, dict[str, Any]] = {
    "llama": _LLAMA,
    "qwen2": _LLAMA,
    "qwen2, sliding": _LLAMA | _WINDOW | {"use_sliding_window": True, "layer_types": _SWA},
    "qwen3": _LLAMA,
    "qwen3_moe": _LLAMA | _EXPERTS | {"num_experts": 4},
    "mistral": _LLAMA | _WINDOW,  # a window in every layer
    "mixtral": _LLAMA | {"num_local_experts": 4},
    "gemma": _LLAMA,
    "gemma2": _LLAMA | _WINDOW | {"layer_types": _SWA},  # soft caps, norms on both sides of a block
    "gemma3_text": _LLAMA | _WINDOW | {"layer_types": _SWA},  # one rotary table for each kind of layer
    "olmo2": _LLAMA,  # norms behind attention and MLP only
    "phi3": _LLAMA | _WINDOW,
    "gpt_oss": _LLAMA | _WINDOW | {"num_local_experts": 4, "layer_types": _SWA},  # attention sinks
    "granite": _LLAMA | {"residual_multiplier": 0.5, "logits_scaling": 2.0, "attention_multiplier": 0.3},
    "cohere": _LLAMA | {"logit_scale": 0.5},  # parallel blocks
    "gpt_neox": _LLAMA | {"num_key_value_heads": 4},  # parallel blocks, rotary on a quarter of each head
    "phi": _LLAMA,  # parallel blocks, a bias on the unembedding
    "gpt2": _GPT2,  # learned absolute positions
    "opt": _LLAMA
    | {"ffn_dim": 48, "word_embed_proj_dim": D_MODEL, "max_position_embeddings": 64},  # learned, offset by two
    "starcoder2": _LLAMA | _WINDOW,
}
"""Architecture, with what sets it apart → its configuration. Grouped-query wherever the architecture allows."""
CATCHING = ("llama", "gpt2", "opt", "gemma2", "gpt_oss", "gpt_neox")
"""The families that catch faults between them, one for a kind of risk: grouped queries; joint projections; learned
positions, absolute and offset; windows, soft caps and norms behind; sinks and experts; parallel blocks."""


LACKING = {
    "qwen3_moe": ("mlp_post",), "mixtral": ("mlp_post",), "gpt_oss": ("mlp_post",),  # experts have no neurons in common
    "granite": ("attn_out", "mlp_out"),  # multiplied on the way into the stream
    "cohere": ("resid_mid",), "gpt_neox": ("resid_mid",), "phi": ("resid_mid",),  # parallel blocks
}  # fmt: skip
"""The sites that an architecture does not have."""
FLATTENED = {"opt": ("resid_mid", "mlp_out", "mlp_post")}
"""Sites where rows and tokens are passed as one, which are refused."""


def sites_of(family: str, sites: Iterable[str]) -> list[str]:
    """Those of the sites that can be patched in a family."""
    return [site for site in sites if site not in (*LACKING.get(family, ()), *FLATTENED.get(family, ()))]


def by_risk(families: Iterable[str], catching: Sequence[str] = CATCHING) -> list[Any]:
    """Families as parameters of a test: those that catch faults in any run, the others marked slow."""
    return [pytest.param(f, id=f, marks=[] if f in catching else pytest.mark.slow) for f in families]


_TWO = {"n_layer": 2, "n_head": 4, "vocab_size": VOCABULARY}
_FALCON = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": D_MODEL, "vocab_size": VOCABULARY}

JOINT: dict[str, dict[str, Any]] = {
    "gpt2": _GPT2,
    "phi3": FAMILIES["phi3"],
    "gpt_neox": FAMILIES["gpt_neox"],
    "bloom": _TWO | {"hidden_size": D_MODEL},
    "gpt_bigcode": _TWO | {"n_embd": D_MODEL},
    "codegen": _TWO | {"n_embd": D_MODEL, "rotary_dim": 4},
    "mpt": {"n_layers": 2, "n_heads": 4, "d_model": D_MODEL, "vocab_size": VOCABULARY},
    "falcon": _FALCON,  # one key-value head
    "falcon, many": _FALCON | {"multi_query": False},
    "falcon, alibi": _FALCON | {"multi_query": False, "alibi": True},
}
"""Architectures that compute q, k and v in one projection, each with an arrangement of its own."""

PLAIN: dict[str, dict[str, Any]] = {
    "gpt_neo": {"hidden_size": D_MODEL, "num_layers": N_LAYERS, "num_heads": 4, "window_size": 5, "pad_token_id": 0,
                "bos_token_id": 1, "eos_token_id": 2, "max_position_embeddings": 128,
                "attention_types": [[["global", "local", "global"], 1]]},
    "bloom": JOINT["bloom"] | {"n_layer": N_LAYERS},
    "mamba": {"hidden_size": D_MODEL, "num_hidden_layers": N_LAYERS, "state_size": 4, "pad_token_id": 0},
}  # fmt: skip
"""Architectures whose attention is code of their own, or that have none: nothing of them can be replayed."""


def tiny_hf(family: str = "llama", *, seed: int = 0, vocabulary: int = VOCABULARY, **changes: Any) -> PreTrainedModel:
    """A random decoder of three blocks."""
    config = AutoConfig.for_model(
        family.partition(",")[0], **(FAMILIES | JOINT | PLAIN)[family] | {"vocab_size": vocabulary} | changes
    )
    hf = AutoModelForCausalLM.from_config(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in hf.named_parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.15)
            parameter += "norm" in name or ".ln_" in name  # scales of norms lie about one
    return hf


@cache
def tiny(family: str = "llama", vocabulary: int = VOCABULARY) -> LanguageModel:
    """The same, loaded; shared by all tests that only read it."""
    return load_model(tiny_hf(family, vocabulary=vocabulary))


# Where a site lies, by hand. Sequential blocks in Llama's naming, unless said otherwise.
_BLOCKS = {
    "gpt2": "transformer.h",
    "gpt_neox": "gpt_neox.layers",
    "opt": "model.decoder.layers",
    "gpt_neo": "transformer.h",
    "bloom": "transformer.h",
    "mamba": "backbone.layers",
}
_ATTENTION = {
    "gemma2": "post_attention_layernorm",
    "gemma3_text": "post_attention_layernorm",
    "olmo2": "post_attention_layernorm",
    "gpt2": "attn",
    "gpt_neox": "attention",
    "gpt_neo": "attn",
}
_MLP = {
    "gemma2": "post_feedforward_layernorm",
    "gemma3_text": "post_feedforward_layernorm",
    "olmo2": "post_feedforward_layernorm",
    "opt": "fc2",
}
_BEFORE_MLP = {
    "gemma2": "pre_feedforward_layernorm",
    "gemma3_text": "pre_feedforward_layernorm",
    "olmo2": "mlp",
    "gpt2": "ln_2",
    "gpt_neo": "ln_2",
    "opt": "final_layer_norm",
}
_BEFORE_O = {
    "gpt2": "attn.c_proj",
    "gpt_neox": "attention.dense",
    "phi": "self_attn.dense",
    "opt": "self_attn.out_proj",
}
_QKV = {
    "gpt2": "attn.c_attn",
    "gpt_neox": "attention.query_key_value",
    "phi3": "self_attn.qkv_proj",
}
_BEFORE_DOWN = {
    "gpt2": "mlp.c_proj",
    "gpt_neox": "mlp.dense_4h_to_h",
    "phi": "mlp.fc2",
    "opt": "fc2",
    "starcoder2": "mlp.c_proj",
}


def module_at(hf: PreTrainedModel, family: str, site: str, layer: int) -> tuple[nn.Module, str]:
    """The module that holds a site, and which end of it ("in" or "out")."""
    block = hf.get_submodule(f"{_BLOCKS.get(family, 'model.layers')}.{layer}")
    match site:
        case "resid_pre":
            return block, "in"
        case "resid_post":
            return block, "out"
        case "attn_out":
            return block.get_submodule(_ATTENTION.get(family, "self_attn")), "out"
        case "mlp_out":
            return block.get_submodule(_MLP.get(family, "mlp")), "out"
        case "resid_mid":
            return block.get_submodule(_BEFORE_MLP.get(family, "post_attention_layernorm")), "in"
        case "z":
            return block.get_submodule(_BEFORE_O.get(family, "self_attn.o_proj")), "in"
        case "q" | "k" | "v":
            return block.get_submodule(_QKV.get(family, f"self_attn.{site}_proj")), "out"
        case "mlp_post":
            return block.get_submodule(_BEFORE_DOWN.get(family, "mlp.down_proj")), "in"
    raise KeyError(site)


def _columns(family: str, site: str) -> Tensor:
    """[component, feature of it]: where in what a module passes the components lie. Heads of 8; by hand, as the
    architectures' own code reshapes it."""
    n_keys = 4 if family in ("gpt2", "gpt_neox", "opt") else 2
    match site, family:
        case "mlp_post", _:
            return torch.arange(128 if family == "gpt2" else 48)[:, None]
        case "z", _:
            return torch.arange(32).view(4, 8)
        case _, "gpt2":  # all q, all k, all v
            return torch.arange(96).view(3, 4, 8)["qkv".index(site)]
        case _, "gpt_neox":  # q, k, v of the first head, of the second, …
            return torch.arange(96).view(4, 3, 8)[:, "qkv".index(site)]
        case _, "phi3":  # all q, all k, all v, fewer heads of the latter
            return torch.arange(64).split([32, 16, 16])["qkv".index(site)].view(-1, 8)
    n = 4 if site == "q" else n_keys
    return torch.arange(n * 8).view(n, 8)


def component_at(
    hf: PreTrainedModel, family: str, site: str, layer: int
) -> tuple[nn.Module, str, Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]:
    """Where the heads or neurons of a site are, by hand: the module, its end ("in" or "out"), how to read them
    ([..., feature] → [..., n, size]), and how to write them ([..., feature], [..., n, size] → a new [..., feature]).
    """
    columns = _columns(family, site)

    def read(x: Tensor) -> Tensor:
        return x[..., columns]

    def write(x: Tensor, values: Tensor) -> Tensor:
        new = x.clone()
        new[..., columns] = values
        return new

    return *module_at(hf, family, site, layer), read, write


@contextmanager
def hooked(module: nn.Module, end: str, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Within, `change` maps the tensor [1, token, feature] that enters or leaves a module."""

    def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            return (change(args[0]), *args[1:]), kwargs
        return args, kwargs | {"hidden_states": change(kwargs["hidden_states"])}

    def after(_: nn.Module, __: Any, out: Any) -> Any:
        return (change(out[0]), *out[1:]) if isinstance(out, tuple) else change(out)

    handle = (
        module.register_forward_pre_hook(before, with_kwargs=True)
        if end == "in"
        else module.register_forward_hook(after)
    )
    try:
        yield
    finally:
        handle.remove()


@torch.no_grad()
def logits(hf: PreTrainedModel, ids: Any) -> Tensor:
    """[token, d_vocab] of one prompt, alone and without padding."""
    return hf(torch.as_tensor(ids, device=hf.device)[None], use_cache=False).logits[0].float()


def values_at(hf: PreTrainedModel, family: str, site: str, layer: int, ids: Any) -> Tensor:
    """[token, feature] what passes at a site."""
    heard: list[Tensor] = []

    def hear(x: Tensor) -> Tensor:
        heard.append(x)
        return x

    with hooked(*module_at(hf, family, site, layer), hear):
        logits(hf, ids)
    return heard[0][0].clone()


def patched_logits(
    hf: PreTrainedModel, family: str, site: str, layer: int, values: Tensor, target: Any, positions: list[int]
) -> Tensor:
    """[d_vocab] at the last token of the target, run with `values` [token, d_model] at positions counted from the end.

    `resid_mid` is read where the MLP's norm takes it in, and written in place: the same tensor goes on beside the MLP.
    """

    def change(x: Tensor) -> Tensor:
        x = x if site == "resid_mid" else x.clone()
        for p in positions:
            x[0, p] = values[p]
        return x

    with hooked(*module_at(hf, family, site, layer), change):
        return logits(hf, target)[-1]


def patched_differences(
    hf: PreTrainedModel, family: str, site: str, sources: Tensor, targets: Tensor, positions: tuple[int, ...]
) -> np.ndarray:
    """[pair, layer, position] logit 7 minus logit 9 of each target with the source's values at one position, each in a
    run of its own; NaN where a prompt has no such position. sources, targets: [pair, token], −1 padded."""
    wanted = np.full((len(sources), N_LAYERS, len(positions)), np.nan)
    for b, (s, t) in enumerate(zip(sources, targets, strict=True)):
        s, t = s[s >= 0], t[t >= 0]
        for layer in range(N_LAYERS):
            values = values_at(hf, family, site, layer, s)
            for j, p in enumerate(positions):
                if -p <= min(len(s), len(t)):
                    last = patched_logits(hf, family, site, layer, values, t, [p])
                    wanted[b, layer, j] = last[7] - last[9]
    return wanted


def token_pair(
    seed: int,
    *,
    systems: tuple[int, int] = (5, 3),
    suffix: tuple[int, int, int] = (2, 3, 2),
    item: str = "",
    vocabulary: int = VOCABULARY,
) -> PromptPair:
    """A pair of random prompts: system texts of their own, then the same template, question and prefill tokens."""
    draw = random.Random(seed)
    parts = dict(zip(("template", "question", "prefill"), suffix, strict=True))
    end = [(segment, draw.randrange(4, vocabulary)) for segment, n in parts.items() for _ in range(n)]

    def tokens(system: int) -> Tokens:
        cells = [("system", draw.randrange(4, vocabulary)) for _ in range(system)] + end
        return Tokens(tuple(i for _, i in cells), tuple(s for s, _ in cells), tuple(f"t{i}" for _, i in cells))

    source, target = (tokens(n) for n in systems)
    answers = ((7, 8), (9,)) if seed % 2 else ((10,), (11, 12, 13))
    return PromptPair(source, target, f"s{seed}", f"t{seed}", item or f"item{seed}", "denoise", answers)


def log_odds(last: Tensor, answers: tuple[tuple[int, ...], tuple[int, ...]]) -> float:
    """Log odds of the first answer set against the second, from probabilities; last [d_vocab] logits."""
    p = last.double().softmax(-1)
    first, second = (p[list(side)].sum() for side in answers)
    return float((first / second).log())


def ragged(lengths: list[int], *, seed: int, vocabulary: int = VOCABULARY) -> Tensor:
    """[row, token] random ids, right-aligned, −1 on the left of the shorter rows."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(4, vocabulary, (len(lengths), max(lengths)), generator=generator)
    return ids.masked_fill(torch.arange(max(lengths)) < max(lengths) - torch.tensor(lengths)[:, None], -1)
