"""Which position of one prompt stands for which position of another.

Two prompts of the same item differ in their system text, and hence in length. Everything after the system text is the
same to the token, so positions are counted from the end: −1 is the last token of both. Prompts are never padded with
words to make their lengths match; where the ends differ by a single token the pair is refused, with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any, Literal

import numpy as np
from jaxtyping import Int64, Shaped

from selfrep.errors import SelfrepError
from selfrep.prompts.render import Tokens
from selfrep.prompts.shown import shown

Direction = Literal["denoise", "noise"]


@shown(
    lambda self: {
        "source": self.source_name,
        "target": self.target_name,
        "item": self.item,
        "direction": self.direction,
        "paraphrase": self.target_paraphrase,
        "control": self.control,
        "tokens": (len(self.source), len(self.target)),
    }
)
@dataclass(frozen=True)
class PromptPair:
    """A source prompt, whose activations are taken, and a target prompt, into which they are put.

    Fields:
        source_name, target_name: the personas; item: the question both are asked.
        direction: "denoise" (the source shows the behaviour that is looked for) or "noise" (the same pair with roles
            swapped).
        answers: token ids of the first and of the second answer set.
        control: "" for the real pair; "paraphrase", "persona" or "random" for pairs that a real one is compared with.
        source_paraphrase, target_paraphrase: which paraphrases.
        reference: for a control, the source prompt of the real pair: the control is measured on the real pair's scale.
    """

    source: Tokens
    target: Tokens
    source_name: str
    target_name: str
    item: str
    direction: Direction
    answers: tuple[tuple[int, ...], tuple[int, ...]]
    control: str = ""
    source_paraphrase: int = 0
    target_paraphrase: int = 0
    reference: Tokens | None = None


def swapped(pair: PromptPair) -> PromptPair:
    """The pair with source and target exchanged, in the other direction."""
    return replace(
        pair,
        source=pair.target,
        target=pair.source,
        source_name=pair.target_name,
        target_name=pair.source_name,
        source_paraphrase=pair.target_paraphrase,
        target_paraphrase=pair.source_paraphrase,
        direction="noise" if pair.direction == "denoise" else "denoise",
    )


def suffix_length(source: Tokens, target: Tokens) -> int:
    """The number of tokens after the last system token, identical in both prompts.

    A tokenizer may melt the line break after a system text into its last character; then the break stands in one suffix
    only, and the shorter suffix counts.

    Raises SelfrepError, naming the first tokens from the end that differ, when the suffixes are not the same to the
    token.
    """
    ends = [_after_system(tokens) for tokens in (source, target)]
    shared = min(ends)
    for back in range(1, shared + 1):
        if source.ids[-back] != target.ids[-back]:
            raise _unaligned(source, target, back)
    for tokens, end in zip((source, target), ends, strict=True):
        for back in range(shared + 1, end + 1):
            if tokens.texts[-back].strip():
                raise _unaligned(source, target, back)
    if shared == 0:
        raise SelfrepError("Source and target share no token after the system text; add a question or a prefill.")
    return shared


def _after_system(tokens: Tokens) -> int:
    return next((k for k, segment in enumerate(reversed(tokens.segments)) if segment == "system"), len(tokens))


def _unaligned(source: Tokens, target: Tokens, back: int) -> SelfrepError:
    def show(tokens: Tokens) -> str:
        if back > len(tokens):
            return "nothing"
        return f"{tokens.texts[-back]!r} (id {tokens.ids[-back]}, {tokens.segments[-back]})"

    return SelfrepError(
        f"Source and target must be the same to the token after the system text; at position {-back} the source has "
        f"{show(source)}, the target {show(target)}. Use the same item, prefill and chat template for both."
    )


@dataclass(frozen=True, eq=False)
class AlignedBatch:
    """Pairs as arrays, right-aligned: the last column is position −1 of every prompt.

    Fields:
        source_ids: [pair, source_token] int64, −1 left of each prompt.
        target_ids: [pair, target_token] int64, likewise.
        suffix: [pair] int64, how many positions at the end are shared.
        tokens: [pair, position] the text of each shared token, "" left of a row's suffix; position is −P … −1, P the
            longest suffix.
        segments: [pair, position] its segment, likewise.
        answer_ids: [item, side, k] int64, padded with −1.
        items: [item] the names of the items.
        item_index: [pair] int64, the row of `answer_ids` for each pair.
        pairs: what was aligned.
    """

    source_ids: Int64[np.ndarray, "pair source_token"]
    target_ids: Int64[np.ndarray, "pair target_token"]
    suffix: Int64[np.ndarray, " pair"]
    tokens: Shaped[np.ndarray, "pair position"]
    segments: Shaped[np.ndarray, "pair position"]
    answer_ids: Int64[np.ndarray, "item side k"]
    items: tuple[str, ...]
    item_index: Int64[np.ndarray, " pair"]
    pairs: tuple[PromptPair, ...]

    def rows(self, which: Sequence[int] | slice) -> AlignedBatch:
        """Some of the pairs, in that order, without the padding that only the others needed."""
        index = np.arange(len(self.suffix))[which]
        suffix = self.suffix[index]
        return replace(
            self,
            source_ids=trimmed(self.source_ids[index]),
            target_ids=trimmed(self.target_ids[index]),
            suffix=suffix,
            tokens=self.tokens[index][:, -suffix.max() :],
            segments=self.segments[index][:, -suffix.max() :],
            item_index=self.item_index[index],
            pairs=tuple(self.pairs[i] for i in index) if self.pairs else (),
        )


def trimmed(ids: np.ndarray) -> np.ndarray:
    """[prompt, token] without the columns in which all prompts are padded."""
    return ids[:, (ids >= 0).any(0)]


def align(pairs: Sequence[PromptPair]) -> AlignedBatch:
    """Lay pairs out as arrays.

    Raises SelfrepError when there are no pairs, when a pair cannot be aligned (naming it), or when pairs of one item
    carry different answers.
    """
    if not pairs:
        raise SelfrepError(
            "There is nothing to align: no pairs were given. Choose at least one source, target and item."
        )
    suffixes = [_suffix(pair) for pair in pairs]
    answers: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}
    for pair in pairs:
        if answers.setdefault(pair.item, pair.answers) != pair.answers:
            raise SelfrepError(
                f"Item {pair.item!r} comes with two different sets of answers; give one of them another name."
            )
    items = tuple(answers)
    sides = [side for both in answers.values() for side in both]
    shared = [(pair.target, n) for pair, n in zip(pairs, suffixes, strict=True)]
    return AlignedBatch(
        source_ids=right_aligned([pair.source.ids for pair in pairs], -1, np.int64),
        target_ids=right_aligned([pair.target.ids for pair in pairs], -1, np.int64),
        suffix=np.array(suffixes, dtype=np.int64),
        tokens=right_aligned([target.texts[-n:] for target, n in shared], "", np.str_),
        segments=right_aligned([target.segments[-n:] for target, n in shared], "", np.str_),
        answer_ids=np.array(list(zip_longest(*sides, fillvalue=-1)), dtype=np.int64).T.reshape(len(items), 2, -1),
        items=items,
        item_index=np.array([items.index(pair.item) for pair in pairs], dtype=np.int64),
        pairs=tuple(pairs),
    )


def _suffix(pair: PromptPair) -> int:
    try:
        return suffix_length(pair.source, pair.target)
    except SelfrepError as error:
        raise SelfrepError(f"{pair.source_name} → {pair.target_name}, item {pair.item!r}: {error}") from None


def right_aligned(rows: Sequence[Sequence[Any]], fill: Any, dtype: Any) -> Shaped[np.ndarray, "row column"]:
    """Rows of different lengths as one array, filled on the left."""
    width = max(map(len, rows))
    return np.array([[fill] * (width - len(row)) + list(row) for row in rows], dtype=dtype)
