"""Which model it is, by content: all that its numbers depend on, beside the prompts and the program.

The weights alone do not say it. A configuration turns positions and scales logits, a tokenizer decides what is read at
all, a type decides what is rounded. Each is kept by itself, so that what has changed can be named.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from selfrep import digests
from selfrep.models.language_model import LanguageModel

_BESIDE = ("_name_or_path", "_commit_hash", "transformers_version", "dtype", "torch_dtype", "use_cache")
"""Entries of a configuration on which no number depends, or which are kept elsewhere."""


def identity_of(lm: LanguageModel) -> dict[str, Any]:
    """All that makes a model the one that it is, as plain data.

    Returns:
        weights_hash: see `LanguageModel.weights_hash`.
        dtype, attention: what it computes in, and with which implementation of attention.
        configuration, generation: the settings of the model, and of what it writes.
        tokenizer_hash: sha256 of all that decides how texts are cut, see `tokenizer_hash`; None without a tokenizer.
        model_hash: sha256 of all these.

    Example:
        >>> import selfrep as sr
        >>> identity = identity_of(sr.load_model("organism:bleed?beta=0.4"))
        >>> identity["dtype"], identity["configuration"]["organism"]["beta"], len(identity["model_hash"])
        ('float32', 0.4, 64)
    """
    written = getattr(lm.hf, "generation_config", None)
    identity = {
        "weights_hash": lm.weights_hash,
        "dtype": str(lm.dtype).removeprefix("torch."),
        "attention": str(getattr(lm.hf.config.get_text_config(), "_attn_implementation", None)),
        "configuration": _plain(lm.hf.config.to_dict()),
        "generation": {} if written is None else _plain(written.to_diff_dict()),
        "tokenizer_hash": None if lm.tokenizer is None else tokenizer_hash(lm.tokenizer),
    }
    return {**identity, "model_hash": digests.of_json(identity)}


def tokenizer_hash(tokenizer: Any) -> str:
    """sha256 of how a tokenizer cuts texts: its vocabulary, its merges, what it does before and after, and its added
    and special tokens. How much it was told to pad or to cut off is none of it.

    Example:
        >>> from selfrep.models import organisms
        >>> tokenizer = organisms.tokenizer()
        >>> before = tokenizer_hash(tokenizer)
        >>> _ = tokenizer("are you ?", padding="max_length", max_length=9)
        >>> tokenizer_hash(tokenizer) == before
        True
        >>> _ = tokenizer.add_tokens(["novel"])
        >>> tokenizer_hash(tokenizer) == before
        False
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    described = {"vocabulary": tokenizer.get_vocab()} if backend is None else json.loads(backend.to_str())
    for name in ("padding", "truncation"):
        described.pop(name, None)
    return digests.of_json([described, tokenizer.special_tokens_map])


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as JSON has them, so that they can be compared with those that were read from a file."""
    kept = {name: value for name, value in settings.items() if name not in _BESIDE}
    return json.loads(json.dumps(kept, sort_keys=True, default=str))
