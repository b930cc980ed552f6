"""From a prompt to the tokens that a model reads, each token with the part of the conversation to which it belongs.

The whole text that the chat template makes (`selfrep.prompts.chat`) is tokenised once, and each token is labelled by
where it starts; the space before a word does not count.
"""

from __future__ import annotations

import bisect
import hashlib
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, starmap

from selfrep.prompts.chat import ChatFormat, spans
from selfrep.prompts.prompt import Prompt

SEGMENTS = ("system", "template", "question", "prefill")
"""The parts of a prompt; earlier turns, where there are any, are "history"."""
NO_CHARACTER = "\N{REPLACEMENT CHARACTER}"
"""What stands for bytes that are no character by themselves."""


@dataclass(frozen=True)
class Tokens:
    """A rendered prompt. Made by `render`; `len` is the number of tokens.

    Fields:
        ids: token ids; segments: the segment of each (see `SEGMENTS`).
        texts: each token decoded on its own, a piece of a character as that character.

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
    covered = ["" for _ in opening] + [text[slice(*span)] for span in encoded["offset_mapping"]]
    return Tokens(
        ids=(*opening, *ids),
        segments=(*("template" for _ in opening), *labels),
        texts=tuple(starmap(partial(_shown, chat), zip((*opening, *ids), covered, strict=True))),
    )


def _shown(chat: ChatFormat, token: int, covered: str) -> str:
    """A token decoded on its own; where that is no text, the blank that it is, or the character it is a piece of."""
    alone = str(chat.tokenizer.decode([token], clean_up_tokenization_spaces=False))
    piece = NO_CHARACTER in alone and NO_CHARACTER not in covered
    return covered if covered and (piece or not (alone or covered.strip())) else alone


def own_length(tokens: Tokens) -> int:
    """How many tokens follow the system text: those that prompts of one item have in common.

    Example:
        >>> own_length(Tokens((5, 6, 7), ("system", "question", "prefill"), ("nurse", "who", "I")))
        2
    """
    return len(tokens) - max((t + 1 for t, segment in enumerate(tokens.segments) if segment == "system"), default=0)


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
