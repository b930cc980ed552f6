"""What a model from elsewhere can be asked: the words it knows, how long a prompt is, or prompts that the user names.

Compiled models are right about sequences of their own vocabulary and length only, and often begin with a mark of their
own; so this is part of what a folder must say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from selfrep.errors import SelfrepError

Word = str | int | float | bool
"""A value of a RASP program's input, as JSON keeps it."""
Prompt = tuple[int, ...]
"""Token ids."""


@dataclass(frozen=True)
class Inputs:
    """Prompts as token ids.

    Attributes:
        pairs: (source, target) that the user named; where there are any, nothing is drawn.
        drawn: the token ids that a prompt is drawn from, one at a place.
        first: the token id that every prompt begins with, or None.
        shortest, longest: how many tokens a prompt has, the first one included.
    """

    pairs: tuple[tuple[Prompt, Prompt], ...] = ()
    drawn: Prompt = ()
    first: int | None = None
    shortest: int = 1
    longest: int = 1

    def draw(self, rng: np.random.Generator) -> Prompt:
        """A prompt: its length, then each of its tokens, all alike."""
        begin = () if self.first is None else (self.first,)
        length = int(rng.integers(self.shortest, self.longest + 1))
        return (*begin, *rng.choice(self.drawn, size=length - len(begin)).tolist())


class Description(BaseModel):
    """What the JSON of a folder says of inputs.

    Attributes:
        vocabulary: the words in the order of their ids.
        bos: the one that every input begins with; pad: one that no input has.
        lengths: the least and the most tokens of an input, BOS included.
        pairs: [source, target] to be patched, in words (token ids without a vocabulary); then none are drawn.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    vocabulary: tuple[Word, ...] = ()
    bos: Word | None = None
    pad: Word | None = None
    lengths: tuple[int, int] | None = None
    pairs: tuple[tuple[tuple[Word, ...], tuple[Word, ...]], ...] = ()


def inputs(description: Description, place: Path, *, d_vocab: int, positions: int, shortest: int) -> Inputs:
    """The prompts that a folder allows, checked against the model.

    Args:
        place: the file that says so, for errors.
        d_vocab: token ids that the model reads; positions: how many it has; shortest: the least length where the
            description names none, the longest being all positions.

    Raises:
        SelfrepError: neither a vocabulary nor pairs; a vocabulary of another size; words, ids or lengths that are not
            there.
    """
    vocabulary = description.vocabulary
    ids = {_key(word): i for i, word in enumerate(vocabulary)}
    if vocabulary and (len(vocabulary) != d_vocab or len(ids) != d_vocab):
        raise SelfrepError(
            f"A vocabulary names each of the {d_vocab} tokens that the model embeds once, in the order of their ids; "
            f"{place} names {len(vocabulary)}, of which {len(ids)} differ."
        )

    def numbered(word: Word) -> int:
        if not vocabulary and isinstance(word, int) and 0 <= word < d_vocab:
            return int(word)
        if _key(word) not in ids:
            known = f"a word of its vocabulary, {_some(vocabulary)}" if ids else f"a token id, 0 … {d_vocab - 1}"
            raise SelfrepError(f"A token of an input is {known}; {place} has {word!r}.")
        return ids[_key(word)]

    if description.pairs:
        pairs = tuple((tuple(map(numbered, a)), tuple(map(numbered, b))) for a, b in description.pairs)
        lengths = [len(prompt) for pair in pairs for prompt in pair]
        if min(lengths) < 1 or max(lengths) > positions:
            raise SelfrepError(
                f"An input has 1 … {positions} tokens, as many as the model has positions; in the pairs of "
                f"{place} there are {min(lengths)} to {max(lengths)}."
            )
        return Inputs(pairs)
    if not vocabulary:
        raise SelfrepError(
            f'To draw inputs the words of the model must be known: give {place} a "vocabulary", in the order of '
            'their ids, with its "bos" and "pad" where it has them; or "pairs" of inputs, as token ids.'
        )
    marks = [numbered(mark) for mark in (description.bos, description.pad) if mark is not None]
    first = None if description.bos is None else numbered(description.bos)
    least = 1 if first is None else 2
    low, high = description.lengths or (min(max(shortest, least), positions), positions)
    if not least <= low <= high <= positions:
        raise SelfrepError(
            f'"lengths" are the least and the most tokens of an input, BOS included: {least} … {positions} here; '
            f"{place} says {low} and {high}."
        )
    drawn = tuple(i for i in range(d_vocab) if i not in marks)
    return Inputs(drawn=drawn, first=first, shortest=low, longest=high)


def tokenizer(description: Description) -> PreTrainedTokenizerFast | None:
    """A tokenizer of words between spaces; None where the words are not named, or are no such words."""
    words = [str(word) for word in description.vocabulary]
    if not words or len(set(words)) < len(words) or any(word.split() != [word] for word in words):
        return None
    reader = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token=words[0]))
    reader.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    marks = {"bos_token": description.bos, "pad_token": description.pad}
    return PreTrainedTokenizerFast(
        tokenizer_object=reader, **{name: str(mark) for name, mark in marks.items() if mark is not None}
    )


def _key(word: Word) -> tuple[bool, Word]:
    """1, 1.0 and true are one key of a dict, and two words."""
    return isinstance(word, bool), word


def _some(words: Sequence[Word]) -> str:
    return ", ".join(map(repr, words[:8])) + (", …" if len(words) > 8 else "")
