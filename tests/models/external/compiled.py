"""A program compiled by hand in Tracr's naming, written as both kinds of folder; and what it says, in plain numpy.

"The last token says whether the first word was a": MLP 0 writes whether a token is a, head 1.1 carries that from the
first word to all tokens. `via` asks for the second word, which head 1.1 brings to the first word, and head 2.0 from
there to all: only tokens that see later ones can do that. Nothing here uses selfrep.
"""

from __future__ import annotations

import json
from math import erf
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file

WORDS = ["BOS", "PAD", "a", "b", "c"]
POSITIONS, HEADS, SIZE, NEURONS = 6, 2, 3, 4
IS, IS_NOT, BROUGHT, BROUGHT_NOT, YES, NO, ONE = range(7)
"""Dimensions of the residual stream, followed by one for each position and one for each word."""
D = 7 + POSITIONS + len(WORDS)
CIRCUIT = {(0, None), (1, 1)}
VIA = {(0, None), (1, 1), (2, 0)}

Arrays = dict[str, np.ndarray]


def place(position: int) -> int:
    return 7 + position


def word(text: str) -> int:
    return 7 + POSITIONS + WORDS.index(text)


def arrays(*, via: bool = False, layers: int = 3, number: bool = False) -> Arrays:
    """Parameters by Tracr's names; `number` has one output, 1 for yes and 0 for no, in place of two."""
    rows = np.eye(D)
    found: Arrays = {
        "token_embed/embeddings": np.stack([rows[word(text)] + rows[ONE] for text in WORDS]),
        "pos_embed/embeddings": np.stack([rows[place(p)] for p in range(POSITIONS)]),
        "unembed": rows[:, [YES]] if number else rows[:, [YES, NO]],
    }
    for layer in range(layers):
        at = f"transformer/layer_{layer}"
        for name, shape in {
            "attn/query": (D, HEADS * SIZE),
            "attn/key": (D, HEADS * SIZE),
            "attn/value": (D, HEADS * SIZE),
            "attn/linear": (HEADS * SIZE, D),
            "mlp/linear_1": (D, NEURONS),
            "mlp/linear_2": (NEURONS, D),
        }.items():
            found |= {f"{at}/{name}/w": np.zeros(shape), f"{at}/{name}/b": np.zeros(shape[1])}
    found["transformer/layer_0/mlp/linear_1/w"][word("a"), 0] = 1
    found["transformer/layer_0/mlp/linear_1/w"][[ONE, word("a")], 1] = 1, -1
    found["transformer/layer_0/mlp/linear_2/w"][[0, 1], [IS, IS_NOT]] = 1
    if via:
        head(found, 1, 1, at=2, read=(IS, IS_NOT), write=(BROUGHT, BROUGHT_NOT))
        head(found, 2, 0, at=1, read=(BROUGHT, BROUGHT_NOT), write=(YES, NO))
    else:
        head(found, 1, 1, at=1, read=(IS, IS_NOT), write=(YES, NO))
    return {name: x.astype(np.float32) for name, x in found.items()}


def head(found: Arrays, layer: int, which: int, *, at: int, read: tuple[int, int], write: tuple[int, int]) -> None:
    """Every token looks at the one at a position, and takes two numbers from it."""
    name, first = f"transformer/layer_{layer}/attn", which * SIZE
    found[f"{name}/query/w"][ONE, first] = 100
    found[f"{name}/key/w"][place(at), first] = 1
    for k in (0, 1):
        found[f"{name}/value/w"][read[k], first + k] = 1
        found[f"{name}/linear/w"][first + k, write[k]] = 1


def config(**more: Any) -> dict[str, Any]:
    return {
        "num_heads": HEADS, "key_size": SIZE, "causal": True, "activation": "relu", "vocabulary": WORDS, "bos": "BOS",
        "pad": "PAD", **more,
    }  # fmt: skip


def write_tracr(folder: Path, params: Arrays, said: dict[str, Any], kind: str = "npz") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(said))
    if kind == "npz":
        np.savez(folder / "params.npz", **params)
    else:
        save_file(params, folder / "params.safetensors")
    return folder


def tracr_says(params: Arrays, ids: list[int], *, causal: bool) -> np.ndarray:
    """[token, output], token by token and head by head, as Tracr defines its models."""
    x = params["token_embed/embeddings"][ids] + params["pos_embed/embeddings"][: len(ids)]
    x = x.astype(float)
    layer = 0
    while f"transformer/layer_{layer}/attn/query/w" in params:
        at = f"transformer/layer_{layer}"
        q, k, v = (x @ params[f"{at}/attn/{n}/w"] + params[f"{at}/attn/{n}/b"] for n in ("query", "key", "value"))
        mixed = np.zeros_like(v)
        for h in range(HEADS):
            own = slice(h * SIZE, (h + 1) * SIZE)
            for t in range(len(ids)):
                seen = t + 1 if causal else len(ids)
                score = np.exp(k[:seen, own] @ q[t, own] / np.sqrt(SIZE))
                mixed[t, own] = score / score.sum() @ v[:seen, own]
        x = x + mixed @ params[f"{at}/attn/linear/w"] + params[f"{at}/attn/linear/b"]
        hidden = np.maximum(x @ params[f"{at}/mlp/linear_1/w"] + params[f"{at}/mlp/linear_1/b"], 0)
        x = x + hidden @ params[f"{at}/mlp/linear_2/w"] + params[f"{at}/mlp/linear_2/b"]
        layer += 1
    return x @ params["unembed"]


def says(known: Any, ids: list[int]) -> np.ndarray:
    """[token, output] of a loaded model."""
    with torch.no_grad():
        return known.lm.hf(torch.tensor([ids])).logits[0].numpy()


class Bomb:
    """Opening its pickle makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


# The same as an InterpBench folder

EDGES = [
    ["hook_embed", "blocks.0.hook_mlp_in"],
    ["blocks.0.hook_mlp_out", "blocks.1.hook_v_input[1]"],
    ["hook_pos_embed", "blocks.1.hook_k_input[1]"],
    ["blocks.1.hook_v_input[1]", "blocks.1.attn.hook_v[1]"],
    ["blocks.1.attn.hook_result[1]", "blocks.2.hook_resid_post"],
]
INPUTS = {"vocabulary": WORDS, "bos": "BOS", "pad": "PAD"}


def hooked(params: Arrays, noise: float = 0.0, seed: int = 0) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """State dict and configuration as TransformerLens has them; `noise` on every weight, as training leaves."""
    rng = np.random.default_rng(seed)
    n, outputs = sum(name.endswith("query/w") for name in params), params["unembed"].shape[1]
    state = {
        "embed.W_E": params["token_embed/embeddings"],
        "pos_embed.W_pos": params["pos_embed/embeddings"],
        "unembed.W_U": params["unembed"],
        "unembed.b_U": np.zeros(outputs),
    }
    for layer in range(n):
        at, to = f"transformer/layer_{layer}", f"blocks.{layer}"
        for letter, name in (("Q", "query"), ("K", "key"), ("V", "value")):
            state[f"{to}.attn.W_{letter}"] = np.stack(np.split(params[f"{at}/attn/{name}/w"], HEADS, axis=1))
            state[f"{to}.attn.b_{letter}"] = params[f"{at}/attn/{name}/b"].reshape(HEADS, SIZE)
        state[f"{to}.attn.W_O"] = params[f"{at}/attn/linear/w"].reshape(HEADS, SIZE, D)
        state[f"{to}.attn.b_O"] = params[f"{at}/attn/linear/b"]
        for end, name in (("in", "linear_1"), ("out", "linear_2")):
            state[f"{to}.mlp.W_{end}"] = params[f"{at}/mlp/{name}/w"]
            state[f"{to}.mlp.b_{end}"] = params[f"{at}/mlp/{name}/b"]
    noisy = {
        name: torch.tensor(x + noise * rng.standard_normal(x.shape), dtype=torch.float32) for name, x in state.items()
    }
    for layer in range(n):  # buffers, which older versions save
        noisy |= {
            f"blocks.{layer}.attn.mask": torch.ones(POSITIONS, POSITIONS).tril().bool(),
            f"blocks.{layer}.attn.IGNORE": torch.tensor(-torch.inf),
        }
    cfg = {
        "n_layers": n, "d_model": D, "n_ctx": POSITIONS, "d_head": SIZE, "model_name": "custom", "n_heads": HEADS,
        "d_mlp": NEURONS, "act_fn": "relu", "d_vocab": len(WORDS), "d_vocab_out": outputs, "normalization_type": None,
        "attention_dir": "causal", "positional_embedding_type": "standard", "eps": 1e-5, "use_attn_scale": True,
        "gated_mlp": False, "attn_scores_soft_cap": -1.0, "dtype": "torch.float32",
    }  # fmt: skip
    return noisy, cfg


def write_interpbench(
    folder: Path, state: dict[str, torch.Tensor], cfg: dict[str, Any], edges: Any = EDGES, inputs: Any = INPUTS
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(state, folder / "ll_model.pth")
    for name, said in (("ll_model_cfg", cfg), ("edges", edges), ("inputs", inputs)):
        (folder / f"{name}.json").write_text(json.dumps(said))
    return folder


def hooked_says(state: dict[str, torch.Tensor], cfg: dict[str, Any], ids: list[int]) -> np.ndarray:
    """[token, output], as TransformerLens defines its models."""
    w = {name: x.double().numpy() for name, x in state.items()}
    gelu = np.vectorize(lambda t: t * (1 + erf(t / np.sqrt(2))) / 2)
    act = {"relu": lambda t: np.maximum(t, 0), "gelu": gelu}[cfg["act_fn"]]

    def normed(x: np.ndarray, name: str) -> np.ndarray:
        if cfg["normalization_type"] is None:
            return x
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x**2).mean(-1, keepdims=True) + cfg["eps"])
        return x * w[f"{name}.w"] + w[f"{name}.b"] if cfg["normalization_type"] == "LN" else x

    x = w["embed.W_E"][ids] + w["pos_embed.W_pos"][: len(ids)]
    hidden = np.arange(len(ids))[:, None] < np.arange(len(ids))
    for layer in range(cfg["n_layers"]):
        at = f"blocks.{layer}"
        y = normed(x, f"{at}.ln1")
        for h in range(cfg["n_heads"]):
            q, k, v = (y @ w[f"{at}.attn.W_{n}"][h] + w[f"{at}.attn.b_{n}"][h] for n in "QKV")
            score = q @ k.T / np.sqrt(cfg["d_head"])
            if cfg["attention_dir"] == "causal":
                score = np.where(hidden, -np.inf, score)
            pattern = np.exp(score - score.max(-1, keepdims=True))
            x = x + pattern / pattern.sum(-1, keepdims=True) @ v @ w[f"{at}.attn.W_O"][h]
        x = x + w[f"{at}.attn.b_O"]
        y = act(normed(x, f"{at}.ln2") @ w[f"{at}.mlp.W_in"] + w[f"{at}.mlp.b_in"])
        x = x + y @ w[f"{at}.mlp.W_out"] + w[f"{at}.mlp.b_out"]
    return normed(x, "ln_final") @ w["unembed.W_U"] + w["unembed.b_U"]


def drawn(n: int = 6, length: int = POSITIONS, seed: int = 0) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [[0, *rng.integers(2, len(WORDS), size=length - 1).tolist()] for _ in range(n)]
