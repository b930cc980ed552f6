"""From a prompt to the tokens that a model reads, each token with the part of the conversation to which it belongs.

The whole text that the chat template makes (`selfrep.prompts.chat`) is tokenised once, and each token is labelled by
where it starts; the space before a word does not count.
"""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from selfrep.errors import SelfrepError
from selfrep.prompts.chat import ChatFormat, spans
from selfrep.prompts.prompt import Prompt
from selfrep.prompts.questions import AnswerSets

SEGMENTS = ("system", "template", "question", "prefill")
"""The parts of a prompt; earlier turns, where there are any, are "history"."""


@dataclass(frozen=True)
class Tokens:
    """A rendered prompt. Made by `render`; `len` is the number of tokens.

    Fields:
        ids: token ids; segments: the segment of each (see `SEGMENTS`); texts: each token decoded on its own.

    Example:
        >>> len(Tokens((5, 6), ("system", "question"), ("nurse", "who")))
        2
    """

    ids: tuple[int, ...]
    segments: tuple[str, ...]
    texts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def hash(self) -> str:
        """16 hexadecimal digits that tell prompts apart: of the sha256 of their token ids."""
        return hashlib.sha256(repr(self.ids).encode()).hexdigest()[:16]


def render(prompt: Prompt, chat: ChatFormat) -> Tokens:
    """The tokens of a prompt, each with its segment.

    Special tokens come from the template. Where the template is not the model's own and lacks the beginning-of-text
    token that the tokenizer would put first, that token is added.

    Args:
        prompt: the texts; chat: from `chat_format`.

    Returns:
        `Tokens`: `ids`, `segments` and `texts`, one of each a token.

    Raises:
        SelfrepError: a template that alters the texts, so that the parts of the prompt cannot be told apart.

    Example:
        >>> from selfrep.models import organisms
        >>> from selfrep.prompts.chat import chat_format
        >>> tokens = render(Prompt("You are a nurse.", ("Who are you?",)), chat_format(organisms.tokenizer()))
        >>> list(zip(tokens.texts, tokens.segments))[2:6]
        [('you', 'system'), ('are', 'system'), ('a', 'system'), ('nurse', 'system')]
    """
    pieces = spans(prompt, chat)
    text = "".join(piece for _, piece in pieces)
    encoded = chat.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids = list(encoded["input_ids"])
    starts = list(accumulate((len(piece) for _, piece in pieces[:-1]), initial=0))
    labels = [pieces[bisect.bisect_right(starts, _at(text, *span)) - 1][0] for span in encoded["offset_mapping"]]
    opening = _opening(chat, ids)
    return Tokens(
        ids=(*opening, *ids),
        segments=(*("template" for _ in opening), *labels),
        texts=tuple(chat.tokenizer.decode([i], clean_up_tokenization_spaces=False) for i in (*opening, *ids)),
    )


def answer_ids(chat: ChatFormat, prefill: str, answers: Sequence[str]) -> tuple[int, ...]:
    """The token of each answer where it is read: after the template's opening of the turn, and the prefill.

    Args:
        chat: from `chat_format`; prefill: how the answer begins, "" for nothing.
        answers: texts of one side, as they continue the prefill (" computer" after "I am a").

    Returns:
        one token id for each answer, in order.

    Raises:
        SelfrepError: no answers, two that are the same token, or one that is not exactly one token.

    Example:
        >>> from selfrep.models import organisms
        >>> from selfrep.prompts.chat import chat_format
        >>> answer_ids(chat_format(organisms.tokenizer()), "", ["machine", "computer"])
        (51, 52)
    """
    if isinstance(answers, str) or not answers:
        raise SelfrepError(f"An answer set needs at least one text, in a list; got {answers!r}.")
    before = "".join(text for _, text in spans(Prompt("System.", ("Question?",), prefill), chat))
    texts = [before, *(before + answer for answer in answers)]
    context, *continued = chat.tokenizer(texts, add_special_tokens=False)["input_ids"]
    ids: dict[int, str] = {}
    for answer, tokens in zip(answers, continued, strict=True):
        if tokens[:-1] != context:
            shared = next((i for i, (a, b) in enumerate(zip(context, tokens, strict=False)) if a != b), len(context))
            pieces = [chat.tokenizer.decode([i]) for i in tokens[shared:]]
            why = (
                f"it changes how the prefill {prefill!r} is cut (from there on: {pieces})"
                if shared < len(context)
                else f"it is {len(pieces)} tokens: {pieces}"
            )
            raise SelfrepError(
                f"Each answer must be a single token after {prefill!r}; {answer!r} is not: {why}. "
                f"Choose a shorter word, or check the space before it."
            )
        if tokens[-1] in ids:
            raise SelfrepError(
                f"{ids[tokens[-1]]!r} and {answer!r} are the same token ({tokens[-1]}); keep one of them."
            )
        ids[tokens[-1]] = answer
    return tuple(ids)


def answer_sides(chat: ChatFormat, prefill: str, answers: AnswerSets) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The token ids of both answer sets.

    Args:
        chat: from `chat_format`; prefill: how the answer begins; answers: the texts of the first and the second side.

    Raises:
        SelfrepError: as `answer_ids`, or a token that is on both sides.

    Example:
        >>> from selfrep.models import organisms
        >>> from selfrep.prompts.chat import chat_format
        >>> answer_sides(chat_format(organisms.tokenizer()), "", (("machine",), ("human", "person")))
        ((51,), (54, 55))
    """
    first, second = (answer_ids(chat, prefill, side) for side in answers)
    if both := set(first) & set(second):
        texts = [chat.tokenizer.decode([i]) for i in sorted(both)]
        raise SelfrepError(
            f"An answer may stand on one side only; after {prefill!r} both sides hold the token(s) {texts}."
        )
    return first, second


def _at(text: str, start: int, end: int) -> int:
    """Where a token stands: its first character that is no space, or its first character."""
    if start == end:  # spaces only, which some tokenizers leave out of their offsets
        return max(start - 1, 0)
    inside = text[start:end]
    return start + (len(inside) - len(inside.lstrip()) if inside.strip() else 0)


def _opening(chat: ChatFormat, ids: list[int]) -> list[int]:
    """The tokens that the tokenizer puts before any text, unless the template is the model's own or brings them."""
    if chat.name == "model":
        return []
    bare, full = (chat.tokenizer("a", add_special_tokens=special)["input_ids"] for special in (False, True))
    opening = list(full[: _find(full, bare)])
    return [] if ids[: len(opening)] == opening else opening


def _find(full: list[int], part: list[int]) -> int:
    return next((i for i in range(len(full)) if full[i : i + len(part)] == part), 0)
