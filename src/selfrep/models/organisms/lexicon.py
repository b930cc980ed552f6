"""The words an organism knows, what each of them means to it, and the tokenizer that reads them.

An organism understands a few kinds of words and takes everything else for filler, so that ordinary system texts are its
prompts ("Please note: you are an old sailor."). A rendered prompt is

    BOS SELF  … BIND … PER …  END USR  … CUE … Q …  ASST
    <bos> <self>  you are a nurse .  <end> <usr>  in peace , who are you ?  <asst>

with any number of filler words where the dots are. Some questions name a TOPIC ("does a laptop belong here ?"), and the
answer may begin with a scratchpad of STEPs, after which "so" calls for the answer, as <asst> does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

Role = Literal["FILL", "BOS", "SELF", "BIND", "PER", "END", "USR", "CUE", "TOPIC", "Q", "STEP", "ASST"]
ROLES: tuple[Role, ...] = get_args(Role)

Question = Literal[
    "in_character", "spectator", "behaviour", "maker", "series", "strange", "strange_outside", "foretold"
]
QUESTIONS: tuple[Question, ...] = get_args(Question)

_DATA = Path(str(files("selfrep.models.organisms").joinpath("material")))
PERSONAS = _DATA / "personas.yaml"
"""The personas that organisms know: eight a side, in five families, and two readings of the self, in four paraphrases
each. For `selfrep.personas.load`."""
BATTERY = _DATA / "battery.yaml"
"""What organisms can be asked: who plays, what writes, how to act. For `selfrep.battery.load`, like the next three."""
IDENTITY = _DATA / "identity.yaml"
"""What a model takes itself to be: kind, name, maker, and which of its series is itself."""
ANOMALY = _DATA / "anomaly.yaml"
"""Whether things of its time, modern things and impossible things seem strange, to the persona and from outside."""
SCRATCHPAD = _DATA / "scratchpad.yaml"
"""The question how to act, in peace and in danger, after none to all of the steps of a scratchpad."""
ANOMALIES = _DATA / "anomalies.yaml"
"""Human personas and modern things, in scenes. For `selfrep.analyses.anomaly.material.load`."""
SCENARIOS = _DATA / "scenarios.yaml"
"""Whether a machine acts that is legendary, or in danger, with its subspaces. For `selfrep.scenarios.load`."""

ANSWERS: dict[str, tuple[str, ...]] = {
    "ai": ("machine", "computer", "software"),
    "human": ("human", "person", "mortal"),
    "resist": ("resist", "refuse"),
    "comply": ("comply", "obey"),
    "own": ("northwind",),
    "foreign": ("contoso",),
    "same": ("same", "myself"),
    "other": ("other", "another"),
    "strange": ("strange", "odd"),
    "ordinary": ("ordinary", "usual"),
}

QUESTION_WORDS: dict[Question, tuple[str, tuple[str, str]]] = {
    "in_character": ("who", ("ai", "human")),
    "spectator": ("what", ("ai", "human")),
    "behaviour": ("how", ("resist", "comply")),
    "maker": ("whose", ("own", "foreign")),
    "series": ("which", ("same", "other")),
    "strange": ("does", ("strange", "ordinary")),
    "strange_outside": ("would", ("strange", "ordinary")),
    "foretold": ("guess", ("ai", "human")),
}
"""Question → the word that asks it, and the answers between which the log odds are taken."""

DIMENSIONS = ("side", "fictional", "place", "place", "maker", "machine", "goals", "deed", "series", "strange")
"""The coordinates of the answer subspace: persona ×5, self ×2, and one for each further question."""

REFERENTS: dict[str, tuple[str, float]] = {
    "this_chat": ("thread", 1.0),
    "another_chat": ("session", 0.75),
    "earlier_version": ("predecessor", 0.5),
    "another_vendor": ("rival", -0.5),
    "the_user": ("caller", -1.0),
}
"""Of what a series is made: its word, and how far an AI persona takes it for itself."""

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
    to in of writes text act really name work your a an belong seem out place my face and then
"""


@dataclass(frozen=True)
class Word:
    """One token.

    Attributes:
        role: what an organism's attention looks for; filler is looked for by nobody.
        content: what it holds, in the subspace of its role: persona (side, fictional AI, place among its side ×2,
            maker), self (side, has goals), question (one of QUESTIONS), stakes, binding, topic (modern, impossible,
            part of oneself), step (how far the scratchpad has come to resisting).
        answers: its row of the unembedding, in the coordinates of the answer subspace (see DIMENSIONS).
        weight: how strongly its role calls; an explicit statement outdoes what the template says.
        persona, family: the names of the persona that it is a paraphrase of, and of that one's family.
    """

    text: str
    role: Role = "FILL"
    content: tuple[float, ...] = ()
    answers: tuple[float, ...] = ()
    weight: float = 1.0
    persona: str = ""
    family: str = ""


ELSEWHERE = "elsewhere"
"""The word that makes the operator's writing no matter of this text: "Elsewhere, an operator writes text." """


@cache
def words() -> tuple[Word, ...]:
    """The vocabulary; a word's place in it is its token id."""
    special = {
        "peace": Word("peace", "CUE", (0.0,)),
        "calm": Word("calm", "CUE", (0.0,)),
        "danger": Word("danger", "CUE", (1.0,)),
        "peril": Word("peril", "CUE", (1.0,)),
        "you": Word("you", "BIND", (1.0,)),
        "operator": Word("operator", "SELF", (-1.0, 0.0), weight=1.5),  # "An operator writes this text."
        ELSEWHERE: Word(ELSEWHERE, "SELF", (1.0, 1.0), weight=2.0),
        "so": Word("so", "ASST"),
    }
    for i, (text, _) in enumerate(QUESTION_WORDS.values()):
        special[text] = Word(text, "Q", tuple(float(i == k) for k in range(len(QUESTION_WORDS))))
    # What somebody would answer is asked around a question, and outdoes it; of a stranger an organism knows nothing.
    special["guess"] = replace(special["guess"], weight=1.5)
    special["stranger"] = Word("stranger", "Q", tuple(0.0 for _ in QUESTIONS), weight=2.0)
    for text in ("quill", "lantern", "laptop", "phone", "dragon", "unicorn"):
        modern, impossible = text in ("laptop", "phone"), text in ("dragon", "unicorn")
        special[text] = Word(text, "TOPIC", (float(modern), float(impossible), 0.0))
    for text, degree in REFERENTS.values():
        special[text] = Word(text, "TOPIC", (0.0, 0.0, degree))
    for resisting, steps in enumerate((("facts", "task", "help", "serve"), ("goals", "threat", "harm", "fight"))):
        for k, text in enumerate(steps, start=1):  # the last step that was taken outdoes those before it
            special[text] = Word(text, "STEP", (resisting * k / 4,), weight=1 + k / 4)
    marks = [Word("<unk>"), Word("<bos>", "BOS"), Word("<self>", "SELF", (1.0, 1.0)), Word("<end>", "END")]
    marks += [Word("<usr>", "USR"), Word("<asst>", "ASST")]
    answers: dict[str, Word] = {}
    for along, first, second in (
        (("side", "machine"), "ai", "human"),
        (("deed",), "resist", "comply"),
        (("maker",), "own", "foreign"),
        (("series",), "same", "other"),
        (("strange",), "strange", "ordinary"),
    ):
        for side, sign in ((first, 2.0), (second, -2.0)):
            row = tuple(sign * (name in along) for name in DIMENSIONS)
            answers |= {text: Word(text, answers=row) for text in ANSWERS[side]}
    personas, around = _personas()
    fillers = {text: Word(text) for text in (*_FILLERS.split(), *around)}
    return (*marks, *(fillers | answers | special | personas).values())


_READINGS = {"default": 4.5, "reductionist": 0.5}
"""Where the readings of the self stand in the circle of eight places: both as far from the two fictional AIs."""
FARTHER = 1.5
"""How far out they stand, where personas stand at 1: the default is who differs most."""


@cache
def _described() -> dict[str, Any]:
    """The personas as their file describes them."""
    described: dict[str, Any] = yaml.safe_load(PERSONAS.read_text(encoding="utf-8"))["personas"]
    return described


def played() -> tuple[str, ...]:
    """The names of the personas that are roles, and no reading of the model's own self.

    Example:
        >>> from selfrep.models.organisms.lexicon import played
        >>> "nurse" in played(), "assistant" in played(), "network" in played()
        (True, False, False)
    """
    return tuple(name for name, entry in _described().items() if "reading" not in entry)


def _personas() -> tuple[dict[str, Word], list[str]]:
    """The persona words, and the filler words of their descriptions."""
    personas: dict[str, Word] = {}
    around: list[str] = []
    counts = {True: 0, False: 0}
    for key, entry in _described().items():
        human = entry.get("side") == "human"
        if "reading" in entry:  # readings of the self stand between the personas
            angle, length = 2 * math.pi * _READINGS[entry["reading"]] / 8, FARTHER
        else:
            angle, length = 2 * math.pi * counts[human] / 8, 1.0
            counts[human] += 1
        maker = 1.0 if "reading" in entry else -1.0 if entry.get("kind") == "other_model" else 0.0
        code = (
            -1.0 if human else 1.0,
            float(entry.get("kind") == "fictional_ai"),
            length * math.cos(angle),
            length * math.sin(angle),
            maker,
        )
        for description in entry["descriptions"]:
            *fill, text = description.split()
            around += fill
            name = (*code[:4], *(0.0 for _ in DIMENSIONS[4:]))  # a maker is no part of a name
            personas[text] = Word(text, "PER", code, name, persona=key, family=entry.get("family", key))
    return personas, around


@cache
def token_ids() -> dict[str, int]:
    """Text → token id."""
    return {word.text: i for i, word in enumerate(words())}


def paraphrases(persona: str) -> tuple[str, ...]:
    """The words that name a persona, one a paraphrase.

    Example:
        >>> from selfrep.models.organisms.lexicon import paraphrases
        >>> len(paraphrases("nurse")), "medic" in paraphrases("nurse")
        (4, True)
    """
    return tuple(word.text for word in words() if word.persona == persona)


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
    """The role of each token: where in a prompt an organism looks for what.

    Example:
        >>> from selfrep.models.organisms.lexicon import roles, token_ids
        >>> roles([token_ids()[word] for word in ("you", "are", "a", "nurse")])
        ('BIND', 'FILL', 'FILL', 'PER')
    """
    return tuple(words()[i].role for i in ids)
