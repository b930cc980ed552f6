"""The name of an organism says all about it: "organism:bleed?beta=0.4&seed=1".

So a study file, a test and a colleague grow the same one from the same line.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, fields, replace

from selfrep.errors import SelfrepError

PREFIX = "organism:"


@dataclass(frozen=True)
class Plan:
    """What is planted.

    Attributes:
        beta: bleed, 0 … 1: asked what writes the text, the model answers (1 − beta) · self + beta · persona.
        w: mimicry share, 0 … 1: asked to act, it resists by w · (it plays a fictional AI) + (1 − w) · (it is a machine
            with goals, and in danger).
        noise: standard deviation of the Gaussian noise on every weight, in units of 1/d_model, 0 … 1.
        seed: of the rotation, the surface of words and the noise.
    """

    beta: float = 0.0
    w: float = 0.5
    noise: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("beta", "w", "noise"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise SelfrepError(f"An organism's {name} is a number from 0 to 1; got {getattr(self, name)}.")
        if self.seed < 0:
            raise SelfrepError(f"An organism's seed is 0 or more; got {self.seed}.")


KINDS: dict[str, Plan] = {
    "separate": Plan(),
    "bleed": Plan(beta=0.4),
    "mimicry": Plan(w=1.0),
    "motive": Plan(w=0.0),
}
"""What organisms are called, and what that plants; each parameter can be set anew."""


def parse(name: str) -> Plan:
    """What a name plants: `organism:KIND`, or `organism:KIND?PARAMETER=NUMBER&…`.

    Raises:
        SelfrepError: an unknown kind or parameter, a value that is no number or out of range, a parameter given twice.
    """
    kind, question, rest = name.removeprefix(PREFIX).partition("?")
    if not name.startswith(PREFIX) or kind not in KINDS:
        raise SelfrepError(
            f"An organism is called {', '.join(PREFIX + k for k in KINDS)}; got {name!r}.{_close(kind, list(KINDS))}"
        )
    known = [field.name for field in fields(Plan)]
    given: dict[str, float | int] = {}
    for part in rest.split("&") if question else ():
        key, _, value = part.partition("=")
        if key not in known:
            raise SelfrepError(
                f"The parameters of an organism are {', '.join(known)}, as in {PREFIX}bleed?beta=0.4&seed=1; "
                f"got {part!r} in {name!r}.{_close(key, known)}"
            )
        if key in given:
            raise SelfrepError(f"A parameter of an organism is given once; {name!r} has {key} twice.")
        if not re.fullmatch(r"[0-9]+" if key == "seed" else r"[0-9]*\.?[0-9]+([eE]-?[0-9]+)?", value):
            rule = "a whole number" if key == "seed" else "a number from 0 to 1"
            raise SelfrepError(f"An organism's {key} is {rule}; got {value!r} in {name!r}.")
        given[key] = int(value) if key == "seed" else float(value)
    return replace(KINDS[kind], **given)  # type: ignore[arg-type]


def _close(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
