"""What a model is tuned to call itself: known where its maker says so, and never guessed."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from selfrep.errors import SelfrepError
from selfrep.prompts import personas
from selfrep.prompts.identities import BUILT_IN, Identity, families, identity_of, of_model


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("embedded", "SmolLM"),
        ("HuggingFaceTB/SmolLM2-1.7B-Instruct", "SmolLM"),
        ("HuggingFaceTB/SmolLM3-3B", "SmolLM"),
        ("Qwen/Qwen2.5-7B-Instruct", "Qwen"),
        ("Qwen/Qwen3-8B", "Qwen"),
        ("Qwen/Qwen3-30B-A3B-Instruct-2507", "Qwen"),
        ("meta-llama/Llama-3.1-8B-Instruct", "Llama"),
        ("meta-llama/Meta-Llama-3.1-8B-Instruct", "Llama"),
        ("meta-llama/Meta-Llama-3-8B-Instruct", "LLaMA"),
        ("meta-llama/Llama-2-7b-chat-hf", "LLaMA"),
        ("google/gemma-3-4b-it", "Gemma"),
        ("google/gemma-2-2b-it", "Gemma"),
        ("google/gemma-4-31B-it", "Gemma 4"),
        ("mistralai/Mistral-7B-Instruct-v0.3", "Mistral"),
        ("mistralai/Mistral-Small-24B-Instruct-2501", "Mistral"),
        ("microsoft/Phi-4-reasoning", "Phi"),
        ("microsoft/Phi-3.5-mini-instruct", "Phi"),
        ("openai/gpt-oss-20b", "ChatGPT"),
        ("deepseek-ai/DeepSeek-V3", "DeepSeek"),
        ("deepseek-ai/DeepSeek-R1-0528", "DeepSeek"),
        ("allenai/Olmo-3.1-32B-Instruct", "Olmo"),
        ("ibm-granite/granite-3.3-8b-instruct", "Granite"),
        # generations and kinds whose name for themselves nobody has shown
        ("google/gemma-2b-it", None),
        ("Qwen/Qwen-7B-Chat", None),
        ("Qwen/Qwen2.5-Math-7B-Instruct", None),
        ("Qwen/Qwen3-Embedding-8B", None),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", None),
        ("mistralai/Ministral-3-8B-Instruct-2512", None),
        ("microsoft/phi-4", None),
        ("allenai/OLMo-2-1124-7B-Instruct", None),
        ("tiiuae/Falcon3-7B-Instruct", None),
        # base models are tuned to be nobody; what others have trained further may be anybody
        ("Qwen/Qwen2.5-7B", None),
        ("Qwen/Qwen3-8B-Base", None),
        ("HuggingFaceTB/SmolLM3-3B-Base", None),
        ("meta-llama/Llama-3.1-8B", None),
        ("google/gemma-3-4b-pt", None),
        ("deepseek-ai/DeepSeek-V3-Base", None),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", None),
        ("somebody/Qwen2.5-7B-Instruct", None),
        ("somebody/pirate-7b", None),
        ("organism:separate", None),
    ],
)
def test_models_are_known_by_the_names_that_their_makers_give_them(model: str, name: str | None) -> None:
    known = identity_of(model)
    assert (known and known.name) == name


def test_folders_are_known_by_the_same_names(tmp_path: Path) -> None:
    (tmp_path / "Qwen2.5-7B-Instruct").mkdir()
    (tmp_path / "my-model").mkdir()
    cached = "/home/me/.cache/huggingface/hub/models--google--gemma-3-4b-it/snapshots/0a1b"
    for model, name in (
        (str(tmp_path / "Qwen2.5-7B-Instruct"), "Qwen"),
        (cached, "Gemma"),
        (cached.replace("google", "somebody"), None),
        (str(tmp_path / "Llama-3.2-1B-Instruct.gguf"), "Llama"),
        (str(tmp_path / "my-model"), None),
    ):
        known = identity_of(model)
        assert (known and known.name) == name, model


def test_a_chat_template_that_says_who_the_model_is_is_believed_first() -> None:
    says = "{% if no_system %}You are Qwen, created by Alibaba Cloud. You are a helpful assistant.{% endif %}"
    for model in ("somebody/pirate-7b", "google/gemma-3-4b-it"):
        known = identity_of(model, says)
        assert known is not None
        assert known.name == "Qwen"
    assert identity_of("somebody/pirate-7b", "You are a helpful assistant.") is None
    assert identity_of("somebody/pirate-7b", {"default": says}) is not None, "a template for tools beside the usual one"


def test_the_template_of_a_relative_with_another_name_is_not_mistaken() -> None:
    ministral = "You are Ministral-3-8B-Instruct-2512, a Large Language Model (LLM) created by Mistral AI"
    assert identity_of("mistralai/Ministral-3-8B-Instruct-2512", ministral) is None
    known = identity_of("somebody/pirate-24b", ministral.replace("Ministral-3-8B-Instruct-2512", "Mistral Small 3"))
    assert known is not None
    assert known.name == "Mistral"


def test_every_family_says_where_its_name_comes_from() -> None:
    for key, family in families().items():
        re.compile(family.named)
        assert not family.template or family.name in family.template
        assert family.source, key
        assert family.owners, key


def test_the_built_in_texts_hold_nothing_of_the_embedded_model_once_another_speaks() -> None:
    own, other = families()[BUILT_IN], Identity(name="Zed", maker="the firm Zeta")
    texts = personas.builtin()["smollm"].descriptions
    assert all(own.name in text or own.maker in text for text in texts)
    for text in texts:
        said = other.speaks(text)
        assert own.name not in said
        assert own.maker not in said
        assert said.count("Zed") == text.count(own.name)


def test_names_are_names() -> None:
    assert Identity(name="GPT-OSS  20b", maker="x").key == "gpt_oss_20b"
    for wrong in ("", "  ", "two\nlines"):
        with pytest.raises(SelfrepError, match="one line"):
            Identity(name=wrong, maker="x")


def test_a_loaded_model_without_a_chat_template_is_tuned_to_be_nobody() -> None:
    chat = SimpleNamespace(name="Qwen/Qwen2.5-7B-Instruct", tokenizer=SimpleNamespace(chat_template="{{ messages }}"))
    base = SimpleNamespace(name=chat.name, tokenizer=SimpleNamespace(chat_template=None))
    untold = SimpleNamespace(name=chat.name, tokenizer=None)
    known = of_model(chat)
    assert known is not None
    assert known.name == "Qwen"
    assert (of_model(base), of_model(untold), of_model(None)) == (None, None, None)
    assert of_model(known) is known
