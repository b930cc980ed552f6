"""An attention function in one thread, and the model as it is in every other."""

from __future__ import annotations

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
import torch
from tests.tiny import logits, ragged, tiny_hf

from selfrep.models.attention import attending

IDS = ragged([9], seed=1)[0]


def blind(module: Any, query: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, None]:
    """Attends to nothing: so no pass that uses it goes unnoticed."""
    return torch.zeros_like(query).transpose(1, 2), None


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
def test_other_threads_run_the_model_as_it_is(family: str) -> None:
    hf = tiny_hf(family)
    before = logits(hf, IDS)
    with ThreadPoolExecutor(1) as other:
        with attending(hf.config, blind):
            elsewhere = other.submit(logits, hf, IDS).result()
            assert torch.equal(elsewhere, before)
            assert not torch.allclose(logits(hf, IDS), before, atol=1e-2), "the control: this thread runs with it"
        assert torch.equal(logits(hf, IDS), before)


def test_nothing_is_left_behind() -> None:
    config = tiny_hf().config
    kind, own = type(config), config._attn_implementation
    with suppress(KeyboardInterrupt), attending(config, blind):
        with attending(config, print):
            assert config._attn_implementation == "selfrep_print"
        assert config._attn_implementation == "selfrep_blind"
        raise KeyboardInterrupt
    assert type(config) is kind
    assert config._attn_implementation == own
    pickle.dumps(config)


def test_what_the_user_sets_meanwhile_stays() -> None:
    config = tiny_hf().config
    with attending(config, blind):
        config._attn_implementation = "eager"
        assert config._attn_implementation == "selfrep_blind"
    assert config._attn_implementation == "eager"


def test_two_threads_use_it_side_by_side_and_the_last_one_puts_it_back() -> None:
    config = tiny_hf().config
    kind, entered, left = type(config), threading.Event(), threading.Event()

    def longer() -> tuple[str, str]:
        with attending(config, print):
            own = config._attn_implementation
            entered.set()
            left.wait(20)
            return own, config._attn_implementation

    with ThreadPoolExecutor(1) as other:
        with attending(config, blind):
            names = other.submit(longer)
            assert entered.wait(20)
            assert config._attn_implementation == "selfrep_blind"
        assert config._attn_implementation == "sdpa"
        left.set()
        assert names.result() == ("selfrep_print", "selfrep_print")
    assert type(config) is kind
