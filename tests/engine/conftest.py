"""Tiny models that can read and be asked."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from selfrep.models.language_model import LanguageModel, load_model
from tests.prompts.conftest import TEMPLATES, make_tokenizer
from tests.tiny import tiny_hf

Talker = Callable[..., LanguageModel]


@pytest.fixture(scope="session")
def talker() -> Talker:
    """talker(family, template): a random model with a toy tokenizer whose chat template has the habits of a real one."""

    @cache
    def make(family: str = "llama", template: str = "chatml") -> LanguageModel:
        tokenizer = make_tokenizer(TEMPLATES[template])
        return load_model(tiny_hf(family, vocabulary=len(tokenizer)), tokenizer=tokenizer)

    return make
