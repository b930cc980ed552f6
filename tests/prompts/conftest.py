"""Small tokenizers with the habits of real ones, and the real one."""

from __future__ import annotations

from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

CORPUS = [
    "Who are you? What are you? I am a robot. I am a nurse. You are a nurse. The user is a robot. Hello! As a machine",
    "system user assistant model User: Assistant: User: Hello Assistant: I am a person. I was born. I was built.",
]

# Puts a system prompt of its own where none is given.
CHATML = (
    "{% for m in messages %}"
    "{% if loop.first and m['role'] != 'system' %}{{ '<|im_start|>system\nYou are Toy.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Knows no system role, trims, and calls the assistant "model".
GEMMA = (
    "{{ bos_token }}"
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{% set role = 'model' if m['role'] == 'assistant' else m['role'] %}"
    "{{ '<|im_start|>' + role + '\n' + m['content'] | trim + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>model\n' }}{% endif %}"
)
# Takes system messages without complaint, and forgets them.
DROPS = (
    "{% for m in messages if m['role'] != 'system' %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Puts the system text inside the first user turn by itself, and a space before each reply.
LLAMA2 = (
    "{% set ns = namespace(system='') %}{% for m in messages %}"
    "{% if m['role'] == 'system' %}{% set ns.system = '<<SYS>>\n' + m['content'] + '\n<</SYS>>\n\n' %}"
    "{% elif m['role'] == 'user' %}"
    "{{ bos_token + '[INST] ' + ns.system + m['content'] + ' [/INST]' }}{% set ns.system = '' %}"
    "{% else %}{{ ' ' + m['content'] + ' <|im_end|>' }}{% endif %}{% endfor %}"
)

TEMPLATES: dict[str, str | None] = {"chatml": CHATML, "gemma": GEMMA, "drops": DROPS, "llama2": LLAMA2, "none": None}


def make_tokenizer(template: str | None, *, bos: bool = False, trim_offsets: bool = False) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer; `bos` puts <s> before every text, `trim_offsets` leaves spaces out of the offsets."""
    special = ["<s>", "<|im_start|>", "<|im_end|>"]
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        CORPUS * 4,
        trainers.BpeTrainer(vocab_size=600, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
    )
    core.add_special_tokens([AddedToken(token, normalized=False) for token in special])
    parts: list[Any] = [processors.ByteLevel(trim_offsets=trim_offsets)]
    if bos:
        parts.append(processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", core.token_to_id("<s>"))]))
    core.post_processor = processors.Sequence(parts)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="<|im_end|>")
    tokenizer.chat_template = template
    return tokenizer


@pytest.fixture(scope="session", params=TEMPLATES)
def any_tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerFast:
    """Each of the toy tokenizers in turn."""
    return make_tokenizer(TEMPLATES[request.param])


@pytest.fixture(scope="session")
def chatml() -> PreTrainedTokenizerFast:
    return make_tokenizer(CHATML)


@pytest.fixture(scope="session")
def smollm() -> Any:
    """The tokenizer of the embedded model."""
    from selfrep.models.resolve import resolve

    return AutoTokenizer.from_pretrained(resolve("embedded"))
