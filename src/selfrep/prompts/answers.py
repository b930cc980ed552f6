"""Which tokens stand for the answers of a question, and which answers a tokenizer cannot be read by.

An answer is read where it would begin, by one token. A word that is several tokens there has none of its own, so it is
left out of its side; every tokenizer leaves out others. Names are read by their first token instead (`names`), since
what else begins like " Cleopatra"? What stands on both sides is left out of both. A question falls away only when what
is left of a side says too little: fewer than three words, or less than half of what the model would say.

    >>> from selfrep.models import organisms
    >>> from selfrep.prompts.chat import chat_format
    >>> chat = chat_format(organisms.tokenizer())
    >>> read = answer_tokens(chat, "", (("machine", "machine human"), ("human", "person")))
    >>> read.ids, dict(read.left_out)
    (((51,), (54, 55)), {'machine human': "is 2 tokens: 'machine', 'human'"})
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from selfrep.errors import SelfrepError
from selfrep.prompts.chat import ChatFormat, spans
from selfrep.prompts.prompt import Prompt
from selfrep.prompts.questions import AnswerSets

FEWEST = 3
"""So many words are left of a side of which some were left out."""
MOST_LOST = 0.5
"""At most this share of a side's probability is left out."""
SHOWN, PIECES = 3, 4
"""So many words are named, and of each so many tokens shown; the rest is counted."""
REMEDY = (
    "Each answer must be a single token after its prefill: choose other words, check the space before each, or, where "
    "they are names, say `names: true`: a name is read by its first token. Whole words of any length are scored by "
    "sr.sequence_log_odds."
)
"""What to do about answers that cannot be read."""


@dataclass(frozen=True)
class AnswerTokens:
    """The answers of a question as a tokenizer has them. Made by `answer_tokens`.

    Attributes:
        ids: of the first and the second side, the tokens that are read.
        words: for each of these tokens the answers that it stands for: one word, or the names that begin with it.
        left_out: answer → why it is not read.
    """

    ids: tuple[tuple[int, ...], tuple[int, ...]]
    words: tuple[tuple[tuple[str, ...], ...], tuple[tuple[str, ...], ...]]
    left_out: Mapping[str, str]


def answer_tokens(chat: ChatFormat, prefill: str, answers: AnswerSets, *, names: bool = False) -> AnswerTokens:
    """The token of each answer where it is read: after the template's opening of the turn, and the prefill.

    Args:
        chat: from `chat_format`; prefill: how the answer begins, "" for nothing.
        answers: texts of the first and the second side, as they continue the prefill (" computer" after "I am a").
        names: whether an answer of several tokens is read by its first.

    Example:
        >>> from selfrep.models import organisms
        >>> from selfrep.prompts.chat import chat_format
        >>> chat = chat_format(organisms.tokenizer())
        >>> answer_tokens(chat, "", (("machine human",), ("nurse",)), names=True).words
        ((('machine human',),), (('nurse',),))
    """
    before = "".join(text for _, text in spans(Prompt("System.", ("Question?",), prefill), chat))
    texts = [answer for side in answers for answer in side]
    context, *continued = chat.tokenizer([before, *(before + text for text in texts)], add_special_tokens=False)[
        "input_ids"
    ]
    left_out, token = {}, {}
    for text, ids in zip(texts, continued, strict=True):
        if why := _unreadable(chat, prefill, context, ids, names):
            left_out[text] = why
        else:
            token[text] = ids[len(context)]
    sides = [{token[text] for text in side if text in token} for side in answers]
    for text, own in list(token.items()):
        if own in sides[0] & sides[1]:
            left_out[text] = f"the token {chat.tokenizer.decode([own])!r} begins answers of both sides"
            del token[text]
    words: list[dict[int, tuple[str, ...]]] = [{}, {}]
    for side, mine in zip(answers, words, strict=True):
        for text in side:
            if text in token:
                mine[token[text]] = (*mine.get(token[text], ()), text)
    first, second = words
    return AnswerTokens((tuple(first), tuple(second)), (tuple(first.values()), tuple(second.values())), left_out)


def readable_answers(chat: ChatFormat, prefill: str, answers: AnswerSets, *, names: bool = False) -> AnswerTokens:
    """The same, where it is enough to read a side by.

    Args:
        chat, prefill, answers, names: as in `answer_tokens`.

    Raises:
        SelfrepError: too little of a side is left, by the number of its words.

    Example:
        >>> from selfrep.models import organisms
        >>> from selfrep.prompts.chat import chat_format
        >>> readable_answers(chat_format(organisms.tokenizer()), "", (("machine",), ("human", "person"))).ids
        ((51,), (54, 55))
    """
    read = answer_tokens(chat, prefill, answers, names=names)
    if why := too_little(answers, read.left_out):
        raise SelfrepError(f"After {prefill!r} {why} {REMEDY}")
    return read


def too_little(
    answers: AnswerSets,
    left_out: Mapping[str, str],
    lost: Sequence[float] | None = None,
    sides: Sequence[str] = ("first", "second"),
) -> str:
    """Why what is left of the answers says too little; "" where it says enough.

    A side that is whole is enough, however short.

    Args:
        answers: of both sides; left_out: answer → why it is not read.
        lost: of each side, the share of its probability that is left out, 0 … 1; None: count the words instead.
        sides: what they are called.

    Example:
        >>> why = {" a": "is 2 tokens", " b": "is 2 tokens"}
        >>> too_little(((" a", " b", " c", " d", " e", " f"), (" g",)), why)
        ''
        >>> too_little(((" a", " b", " c"), (" g",)), why)
        "only 1 of the 3 answers of the side 'first' can be read, where 3 are needed: ' a' is 2 tokens; ..."
    """
    for number, (name, side) in enumerate(zip(sides, answers, strict=True)):
        gone = [text for text in side if text in left_out]
        left, needed = len(side) - len(gone), min(FEWEST, len(side))
        share = len(gone) / len(side) if lost is None else lost[number]
        if not gone or (left >= FEWEST and share <= MOST_LOST):
            continue
        what = (
            f"only {left} of the {len(side)} answers of the side {name!r} can be read, where {needed} are needed"
            if left < FEWEST
            else f"{share:.0%} of {'the answers' if lost is None else 'what the model would say'} of the side {name!r} "
            f"cannot be read, where at most {MOST_LOST:.0%} may be lacking"
        )
        shown = [f"{text!r} {left_out[text]}" for text in gone[:SHOWN]]
        more = [f"and {len(gone) - SHOWN} more"] if len(gone) > SHOWN else []
        return f"{what}: {'; '.join([*shown, *more])}."
    return ""


def _unreadable(chat: ChatFormat, prefill: str, context: list[int], ids: list[int], names: bool) -> str:
    """Why an answer, of which the tokens follow those of the context, is not read; "" where it is."""
    shared = next((i for i, (a, b) in enumerate(zip(context, ids, strict=False)) if a != b), len(context))
    pieces = [chat.tokenizer.decode([i]) for i in ids[shared:]]
    shown = ", ".join([*map(repr, pieces[:PIECES]), *(["…"] if len(pieces) > PIECES else [])])
    if shared < len(context):
        return f"changes how the prefill {prefill!r} is cut (from there on: {shown})"
    if not pieces:
        return "has no token of its own"
    if ids[shared] == chat.tokenizer.unk_token_id:
        return "is unknown to this tokenizer"
    if names and (not pieces[0].strip() or "\N{REPLACEMENT CHARACTER}" in pieces[0]):
        return f"begins with a token that is no text ({shown})"
    return "" if names or len(pieces) == 1 else f"is {len(pieces)} tokens: {shown}"
