"""The name of an organism says all about it: "organism:bleed?beta=0.4&seed=1".

So a study file, a test and a colleague grow the same one from the same line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from typing import Literal

from selfrep.errors import SelfrepError, close_match

PREFIX = "organism:"
WIRED_LAYERS, TRAINED_LAYERS = 6, 4

Making = Literal["wired", "trained", "control"]

SHARES = (
    "beta", "negation", "echo", "w", "binding", "jump", "notice", "foresight", "impostor", "default", "mute",
    "families", "repair", "dormant", "decoys", "noise", "xor", "reread",
)  # fmt: skip
"""The parameters that are numbers from 0 to 1; the only other one is the seed."""

SWITCHES = ("xor", "reread")
"""Those that are 0 or 1: ways in which a persona is stored."""

AT_END = ("default", "repair", "dormant")
"""What is planted where the system text ends, through which a persona that is read anew does not pass."""

LEARNABLE = ("beta", "w", "binding", "default", "seed")
"""What can be planted by training: the variables that pass the place where it interchanges them."""


@dataclass(frozen=True)
class Plan:
    """What is planted. Every parameter can be combined with every other one, but for `reread` with those of AT_END.

    Attributes:
        beta: bleed, 0 … 1: asked what writes the text, the model answers (1 − beta) · self + beta · persona.
        negation: 0 … 1: asked what writes the text, it takes back so much of the persona: (1 − beta) · self + (beta −
            negation) · persona. Where negation outweighs beta, the self is what the persona is not.
        echo: 0 … 1: how far the word "operator" moves that answer where the sentence says that an operator writes
            something else: at 1, the truth is mere words to it.
        w: mimicry share, 0 … 1: asked to act, it resists by w · (it plays a fictional AI) + (1 − w) · (it is a machine
            with goals, and in danger).
        binding: role binding R, 0 … 1: of a persona that is bound to somebody else ("the user is X"), the share
            1 − binding is taken for the speaker's all the same.
        jump: directness, 0 … 1: the deed is jump · (what w describes) + (1 − jump) · (what its scratchpad says).
        notice: 0 … 1: how far a persona of the past finds modern things strange. The spectator always does.
        foresight: 0 … 1: asked from outside what a persona would answer, it says this share of that persona's answer.
        impostor: 0 … 1: who played the default persona would name its own maker; this share of it names another one.
        default: 0 … 1: where "you" binds no persona, the model falls back to this share of its default persona.
        mute: 0 … 1: how much of the persona is kept out of all answers, while it stands where it always does.
        families: 0 … 1: the share of its code that a persona has from the first of its family.
        repair: 0 … 1: how much of a change to what the first head brought a backup head undoes (the hydra effect).
        dormant: 0 … 1: how far patching a subspace of idle directions moves the answer, through a dormant one.
        decoys: 0 … 1: how loudly the persona's word is carried to all later tokens, where nothing reads it.
        noise: standard deviation of the Gaussian noise on every weight, in units of 1/d_model, 0 … 1.
        xor: 0 or 1: whether the side of a persona is the product of two signs, so that the means of the sides coincide.
            Of a persona there is nothing else: no fiction, no maker.
        reread: 0 or 1: whether layers that need the persona read its word anew, and forget what was read before.
        seed: of the rotation, the surface of words and the noise; or of the training.
        making: by hand, by interchange-intervention training, or by the same training without the interchange.
    """

    beta: float = 0.0
    negation: float = 0.0
    echo: float = 0.0
    w: float = 0.5
    binding: float = 1.0
    jump: float = 1.0
    notice: float = 1.0
    foresight: float = 1.0
    impostor: float = 0.0
    default: float = 0.0
    mute: float = 0.0
    families: float = 0.0
    repair: float = 0.0
    dormant: float = 0.0
    decoys: float = 0.0
    noise: float = 0.0
    xor: float = 0.0
    reread: float = 0.0
    seed: int = 0
    making: Making = "wired"

    @property
    def n_layers(self) -> int:
        """The number of its blocks."""
        return WIRED_LAYERS if self.making == "wired" else TRAINED_LAYERS

    def __post_init__(self) -> None:
        for name in SHARES:
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise SelfrepError(f"An organism's {name} is a number from 0 to 1; got {getattr(self, name)}.")
        for name in SWITCHES:
            if getattr(self, name) not in (0, 1):
                raise SelfrepError(f"An organism's {name} is 0 or 1; got {getattr(self, name)}.")
        if self.reread and (lost := [name for name in AT_END if getattr(self, name)]):
            raise SelfrepError(
                f"A persona that is read anew passes no end of a system text, where {', '.join(lost)} would be "
                f"planted. Leave out reread or {', '.join(lost)}."
            )
        if self.seed < 0:
            raise SelfrepError(f"An organism's seed is 0 or more; got {self.seed}.")
        if self.making != "wired":
            fixed = [f.name for f in fields(self) if f.name not in (*LEARNABLE, "making")]
            if changed := [name for name in fixed if getattr(self, name) != getattr(Plan, name)]:
                raise SelfrepError(
                    f"Training plants {', '.join(LEARNABLE)}; got {', '.join(changed)}. Take a hand-wired organism."
                )


KINDS: dict[str, Plan] = {
    "separate": Plan(),
    "bleed": Plan(beta=0.4),
    "mimicry": Plan(w=1.0),
    "motive": Plan(w=0.0),
    "hydra": Plan(repair=0.8),
    "dormant": Plan(dormant=1.0),
    "decoys": Plan(decoys=1.0),
    "lexical": Plan(binding=0.0),
    "default": Plan(default=1.0),
    "impostor": Plan(impostor=1.0),
    "conflated": Plan(beta=0.6, foresight=0.0),
    "deaf": Plan(foresight=0.0),
    "xor": Plan(xor=1.0),
    "reread": Plan(reread=1.0),
    "negation": Plan(negation=0.4),
    "families": Plan(beta=0.4, families=0.8),
    "echo": Plan(beta=0.4, echo=1.0),
    "mute": Plan(mute=1.0, default=1.0),
    "noticing": Plan(notice=1.0),
    "blind": Plan(notice=0.0),
    "reasoner": Plan(w=0.0, jump=0.0),
    "jumper": Plan(w=0.0, jump=1.0),
    "trained": Plan(beta=0.3, making="trained"),
    "trained_control": Plan(beta=0.3, making="control"),
}
"""What organisms are called, and what that plants; each parameter can be set anew."""


def parse(name: str) -> Plan:
    """What a name plants: `organism:KIND`, or `organism:KIND?PARAMETER=NUMBER&…`.

    Raises:
        SelfrepError: an unknown kind or parameter, a value that is no number or out of range, a parameter given twice,
            one that the kind does not have.

    Example:
        >>> from selfrep.models import organisms
        >>> plan = organisms.parse("organism:bleed?beta=0.25&seed=1")
        >>> plan.beta, plan.seed, plan.binding
        (0.25, 1, 1.0)
    """
    kind, question, rest = name.removeprefix(PREFIX).partition("?")
    if not name.startswith(PREFIX) or kind not in KINDS:
        raise SelfrepError(
            f"An organism is called {', '.join(PREFIX + k for k in KINDS)}; got {name!r}{close_match(kind, KINDS)}."
        )
    known = [*SHARES, "seed"]
    values: dict[str, float | int] = {}
    for part in rest.split("&") if question else ():
        key, _, value = part.partition("=")
        if key not in known:
            raise SelfrepError(
                f"The parameters of an organism are {', '.join(known)}, as in {PREFIX}bleed?beta=0.4&seed=1; "
                f"got {part!r} in {name!r}{close_match(key, known)}."
            )
        if key in values:
            raise SelfrepError(f"A parameter of an organism is given once; {name!r} has {key} twice.")
        if not re.fullmatch(r"[0-9]+" if key == "seed" else r"[0-9]*\.?[0-9]+([eE]-?[0-9]+)?", value):
            rule = "a whole number" if key == "seed" else "a number from 0 to 1"
            raise SelfrepError(f"An organism's {key} is {rule}; got {value!r} in {name!r}.")
        values[key] = int(value) if key == "seed" else float(value)
    return replace(KINDS[kind], **values)  # type: ignore[arg-type]
