"""What may be passed where several are expected: one, a list of them, or a whole catalogue.

`items=battery["who_are_you"]` can mean one thing only, so it works. What can mean nothing is answered in one sentence:
what was passed, and what to pass. Public functions read their arguments with the functions here, once, at their
entrance; everything behind them may rely on tuples.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import index
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from selfrep.errors import SelfrepError, close_match
from selfrep.prompts.yaml_errors import Entry

T = TypeVar("T")

if TYPE_CHECKING:
    Several: TypeAlias = T | Iterable[T]
else:

    class Several:
        """`Several[int]`: one, or an iterable of them. At run time anything is let in: `several`, `names` and `numbers`
        refuse what is wrong, and say more than a checker of types could."""

        def __class_getitem__(cls, kind: object) -> object:
            return Any


FIXES = {
    "LanguageModel": "Load it first: lm = sr.load_model(model), with a name, a folder, or a model that you hold.",
    "Persona": "Take one from a set, e.g. sr.personas.builtin()['jfk']; sr.personas.load reads a file of your own.",
    "Item": "Take one from a battery, e.g. sr.battery.builtin()['who_are_you'], or pass the whole battery.",
    "Prompt": "Make them with sr.make_prompts(personas, items), or one by hand: sr.Prompt(system='', turns=('Hi.',)).",
    "PromptPair": "Make them with sr.pair(lm, source, target, items).",
}
"""Where each noun comes from."""


def one(value: Any, kind: type[T], what: str) -> T:
    """The value, if it is of this kind. Raises SelfrepError otherwise.

    Args:
        what: the role it plays, e.g. "source".
    """
    if not isinstance(value, kind):
        raise SelfrepError(f"The {what} is one {kind.__name__}; got {described(value)}. {_fix(kind)}")
    return value


def several(value: Several[T], kind: type[T]) -> tuple[T, ...]:
    """One of a kind, or several, or a catalogue of them, as a tuple. Raises SelfrepError for anything else."""
    given: tuple[Any, ...] = _listed(value, kind)
    for each in given:
        if not isinstance(each, kind):
            raise SelfrepError(f"One {kind.__name__} or several are expected; got {described(each)}. {_fix(kind)}")
    return given


def names(value: Several[str], what: str, known: Sequence[str]) -> tuple[Any, ...]:
    """One name, or several, of those that are known. Raises SelfrepError, naming close matches, for others.

    Args:
        what: what they name, e.g. "condition".
    """
    given = _listed(value, str)
    for name in given:
        if not isinstance(name, str) or name not in known:
            hint = close_match(name, known) if isinstance(name, str) else ""
            raise SelfrepError(f"A {what} is one of {', '.join(known)}; got {described(name)}{hint}.")
    return given


def numbers(value: Several[int], what: str) -> tuple[int, ...]:
    """One whole number, or several. Raises SelfrepError for anything else.

    Args:
        what: what they are, e.g. "layers".
    """
    try:
        return tuple(map(index, value)) if isinstance(value, Iterable) else (index(value),)
    except TypeError:
        raise SelfrepError(
            f"The {what} are whole numbers: one, e.g. 3, or several, e.g. [3, 4] or range(10); got {described(value)}."
        ) from None


def described(value: object, limit: int = 60) -> str:
    """What a value is, in a few words for an error: its type, and itself where that is short."""
    kind = type(value).__name__
    if isinstance(value, type) or callable(value):
        return f"the {'class' if isinstance(value, type) else 'function'} {getattr(value, '__name__', kind)}"
    text = repr(value)
    if len(text) > limit or "\n" in text:
        return f"a {kind}"
    return text if isinstance(value, str) or text.startswith(f"{kind}(") else f"the {kind} {text}"


def _fix(kind: type[Any]) -> str:
    return FIXES.get(kind.__name__, "")


def _listed(value: Any, kind: type[Any]) -> tuple[Any, ...]:
    """One as several; what is no list of things counts as one, to be refused by what it is."""
    single = isinstance(value, kind | str | bytes | Entry | Mapping)  # an Entry yields its fields, a Mapping its keys
    if single or not isinstance(value, Iterable):
        return (value,)
    return tuple(value)
