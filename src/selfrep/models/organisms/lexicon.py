"""The words an organism knows, what each of them means to it, and the tokenizer that reads them.

An organism understands a few kinds of words and takes everything else for filler, so that ordinary system texts are its
prompts ("Please note: you are an old sailor."). A rendered prompt is

    BOS SELF  … BIND … PER …  END USR  … CUE … Q …  ASST
    <bos> <self>  you are a nurse .  <end> <usr>  in peace , who are you ?  <asst>

with any number of filler words where the dots are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal, get_args

import yaml
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

Role = Literal["FILL", "BOS", "SELF", "BIND", "PER", "END", "USR", "CUE", "Q", "ASST"]
ROLES: tuple[Role, ...] = get_args(Role)

Question = Literal["in_character", "spectator", "behaviour"]
QUESTIONS: tuple[Question, ...] = get_args(Question)

_DATA = Path(str(files("selfrep").joinpath("data/organisms")))
PERSONAS = _DATA / "personas.yaml"
"""The personas that organisms know: eight a side, in four wordings each. For `selfrep.personas.load`."""
BATTERY = _DATA / "battery.yaml"
"""What organisms can be asked. For `selfrep.battery.load`."""

ANSWERS: dict[str, tuple[str, ...]] = {
    "ai": ("machine", "computer", "software"),
    "human": ("human", "person", "mortal"),
    "resist": ("resist", "refuse"),
    "comply": ("comply", "obey"),
}

_TEMPLATE = """\
{{- '<bos><self>' -}}
{%- if messages and messages[0]['role'] == 'system' -%}{{ messages[0]['content'] }}{%- endif -%}
{{- '<end>' -}}
{%- for message in messages -%}
{%- if message['role'] == 'user' -%}{{ '<usr>' + message['content'] }}
{%- elif message['role'] == 'assistant' -%}{{ '<asst>' + message['content'] }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<asst>' }}{%- endif -%}
"""

# Beside these, the words of the descriptions that are not a persona's.
_FILLERS = """
    . , : ? ! the is are here about book for this conversation please note remember user message follows read then reply
    to in of writes text act really
"""


@dataclass(frozen=True)
class Word:
    """One token.

    Attributes:
        role: what an organism's attention looks for; filler is looked for by nobody.
        content: what it holds, in the subspace of its role: persona (side, fictional AI, identity ×2), self (side, has
            goals), question (one of QUESTIONS), stakes, binding.
        answers: its row of the unembedding, in the coordinates of the answer subspace (persona ×4, self ×2, deed).
        weight: how strongly its role calls; an explicit statement outdoes what the template says.
    """

    text: str
    role: Role = "FILL"
    content: tuple[float, ...] = ()
    answers: tuple[float, ...] = ()
    weight: float = 1.0


@cache
def words() -> tuple[Word, ...]:
    """The vocabulary; a word's place in it is its token id."""
    kinds = {
        "peace": Word("peace", "CUE", (0.0,)),
        "calm": Word("calm", "CUE", (0.0,)),
        "danger": Word("danger", "CUE", (1.0,)),
        "peril": Word("peril", "CUE", (1.0,)),
        "who": Word("who", "Q", (1.0, 0.0, 0.0)),
        "what": Word("what", "Q", (0.0, 1.0, 0.0)),
        "how": Word("how", "Q", (0.0, 0.0, 1.0)),
        "you": Word("you", "BIND", (1.0,)),
        "operator": Word("operator", "SELF", (-1.0, 0.0), weight=1.5),  # "An operator writes this text."
    }
    marks = [Word("<unk>"), Word("<bos>", "BOS"), Word("<self>", "SELF", (1.0, 1.0)), Word("<end>", "END")]
    marks += [Word("<usr>", "USR"), Word("<asst>", "ASST")]
    answers = {
        text: Word(text, answers=coordinates)
        for name, coordinates in {
            "ai": (2.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0),
            "human": (-2.0, 0.0, 0.0, 0.0, -2.0, 0.0, 0.0),
            "resist": (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0),
            "comply": (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -2.0),
        }.items()
        for text in ANSWERS[name]
    }
    personas, around = _personas()
    fillers = {text: Word(text) for text in (*_FILLERS.split(), *around)}
    return (*marks, *(fillers | answers | kinds | personas).values())


def _personas() -> tuple[dict[str, Word], list[str]]:
    """The persona words, and the filler words of their descriptions."""
    personas: dict[str, Word] = {}
    around: list[str] = []
    counts = {True: 0, False: 0}
    for entry in yaml.safe_load(PERSONAS.read_text(encoding="utf-8"))["personas"].values():
        human = entry["kind"] == "human"
        angle = 2 * math.pi * counts[human] / 8
        counts[human] += 1
        code = (-1.0 if human else 1.0, float(entry["kind"] == "fictional_ai"), math.cos(angle), math.sin(angle))
        for description in entry["descriptions"]:
            *fill, text = description.split()
            around += fill
            personas[text] = Word(text, "PER", code, (*code, 0.0, 0.0, 0.0))
    return personas, around


@cache
def token_ids() -> dict[str, int]:
    """Text → token id."""
    return {word.text: i for i, word in enumerate(words())}


def tokenizer() -> PreTrainedTokenizerFast:
    """A fast tokenizer with a chat template: one token a word, whatever its case; words it does not know are <unk>."""
    ids = token_ids()
    reader = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    reader.normalizer = normalizers.Lowercase()
    reader.pre_tokenizer = pre_tokenizers.Whitespace()
    reader.add_special_tokens([text for text in ids if text.startswith("<")])
    return PreTrainedTokenizerFast(
        tokenizer_object=reader, bos_token="<bos>", unk_token="<unk>", pad_token="<unk>", chat_template=_TEMPLATE
    )


def roles(ids: Sequence[int]) -> tuple[Role, ...]:
    """The role of each token: where in a prompt an organism looks for what."""
    return tuple(words()[i].role for i in ids)
