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
        source_family, target_family: with whom each is counted as one; "" for nobody.
        direction: "denoise" (the source shows the behaviour that is looked for) or "noise" (the same pair with roles
            swapped).
        answers: token ids of the first and of the second answer set.
        control: "" for the real pair; "paraphrase", "persona" or "random" for pairs that a real one is compared with;
            "fact" for one that is about no persona.
        source_paraphrase, target_paraphrase: which paraphrases.
        reference: for a control, the source prompt of the real pair: the control is measured on the real pair's scale.

    Usually made by `selfrep.pair`, from a model and personas.

    Example:
        >>> end = Tokens((7, 8), ("question", "template"), ("who?", "\\n"))
        >>> robot, nurse = (Tokens((i, *end.ids), ("system", *end.segments), (text, *end.texts))
        ...                 for i, text in ((1, "robot"), (2, "nurse")))
        >>> PromptPair(robot, nurse, "robot", "nurse", "who", "denoise", ((5,), (6,))).direction
        'denoise'
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
    source_family: str = ""
    target_family: str = ""


def swapped(pair: PromptPair) -> PromptPair:
    """The pair with source and target exchanged, in the other direction.

    Example:
        >>> one = Tokens((1, 7), ("system", "question"), ("robot", "who?"))
        >>> two = Tokens((2, 7), ("system", "question"), ("nurse", "who?"))
        >>> other = swapped(PromptPair(one, two, "robot", "nurse", "who", "denoise", ((5,), (6,))))
        >>> other.source_name, other.direction
        ('nurse', 'noise')
    """
    return replace(
        pair,
        source=pair.target,
        target=pair.source,
        source_name=pair.target_name,
        target_name=pair.source_name,
        source_paraphrase=pair.target_paraphrase,
        target_paraphrase=pair.source_paraphrase,
        source_family=pair.target_family,
        target_family=pair.source_family,
        direction="noise" if pair.direction == "denoise" else "denoise",
    )


def suffix_length(source: Tokens, target: Tokens) -> int:
    """The number of tokens after the last system token, identical in both prompts.

    A tokenizer may join the line break after a system text to its last character. Then the break is in one suffix only,
    and the shorter suffix counts.

    Raises:
        SelfrepError: the suffixes differ; the message shows the first tokens, counted from the end, that do.

    Example:
        >>> robot = Tokens((1, 1, 7, 8), ("system", "system", "question", "question"), ("a", "robot", "who", "?"))
        >>> nurse = Tokens((2, 7, 8), ("system", "question", "question"), ("nurse", "who", "?"))
        >>> suffix_length(robot, nurse)
        2
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
    """Pairs as arrays, right-aligned: the last column is position −1 of every prompt. Made by `align`.

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
        pairs: the pairs themselves, in the order of the rows.

    Example: see `align`.
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
        """Some of the pairs, in that order, without the padding that only the others needed.

        Args:
            which: row numbers, or a slice of them.
        """
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
    """Token ids [prompt, token] without the columns in which all prompts are padded.

    Example:
        >>> trimmed(np.array([[-1, -1, 5], [-1, 4, 5]])).tolist()
        [[-1, 5], [4, 5]]
    """
    return ids[:, (ids >= 0).any(0)]


def align(pairs: Sequence[PromptPair]) -> AlignedBatch:
    """Put pairs into arrays, one pair a row.

    Args:
        pairs: at least one; prompts may differ in length.

    Returns:
        `AlignedBatch`: `source_ids` and `target_ids` [pair, token], `suffix` [pair], `tokens` and `segments`
        [pair, position], `answer_ids` [item, side, k], `items`, `item_index` [pair] and the `pairs`.

    Raises:
        SelfrepError: no pairs, a pair whose ends differ (the message names it), or two pairs of one item with
            different answers.

    Example:
        >>> robot = Tokens((1, 1, 7, 8), ("system", "system", "question", "question"), ("a", "robot", "who", "?"))
        >>> nurse = Tokens((2, 7, 8), ("system", "question", "question"), ("nurse", "who", "?"))
        >>> batch = align([PromptPair(robot, nurse, "robot", "nurse", "who", "denoise", ((5,), (6,)))])
        >>> batch.suffix.tolist(), batch.tokens.tolist()
        ([2], [['who', '?']])
        >>> batch.source_ids.tolist(), batch.target_ids.tolist()
        ([[1, 1, 7, 8]], [[2, 7, 8]])
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
    """Rows of different lengths as one array [row, column], filled on the left.

    Args:
        rows: at least one; fill: what stands left of the shorter ones; dtype: of the array.

    Example:
        >>> right_aligned([[1, 2], [3]], -1, np.int64).tolist()
        [[1, 2], [-1, 3]]
    """
    width = max(map(len, rows))
    return np.array([[fill] * (width - len(row)) + list(row) for row in rows], dtype=dtype)
