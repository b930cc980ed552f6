"""Tiny models that can read and be asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

import pytest
import torch
from tests.prompts.conftest import TEMPLATES, make_tokenizer
from tests.tiny import tiny_hf

from selfrep.models.language_model import LanguageModel
from selfrep.models.loading import load_model

Talker = Callable[..., LanguageModel]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Models as small as these are slower on many threads, and several times so on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def talker() -> Talker:
    """talker(family, template): a random model, and a toy tokenizer whose template has the habits of a real one."""

    @cache
    def make(family: str = "llama", template: str = "chatml") -> LanguageModel:
        tokenizer = make_tokenizer(TEMPLATES[template])
        return load_model(tiny_hf(family, vocabulary=len(tokenizer)), tokenizer=tokenizer)

    return make
