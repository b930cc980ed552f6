from __future__ import annotations

import pytest

from selfrep.errors import SelfrepError
from selfrep.models.organisms.names import KINDS, Plan, parse


def test_a_name_says_what_is_planted() -> None:
    assert parse("organism:bleed?beta=0.25&seed=3&noise=.1&w=1") == Plan(beta=0.25, w=1.0, noise=0.1, seed=3)
    assert parse("organism:bleed").beta == 0.4
    assert [parse(f"organism:{kind}") for kind in KINDS] == list(KINDS.values())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("organism:bled", "did you mean 'bleed'"),
        ("bleed", "is called organism:separate"),
        ("organism:", "is called organism:separate"),
        ("organism:bleed?bta=1", "got 'bta=1'.*did you mean 'beta'"),
        ("organism:bleed?", "parameters of an organism are beta, negation, echo, w, .*, seed"),
        ("organism:bleed?beta=1.5", "from 0 to 1; got 1.5"),
        ("organism:bleed?beta=-1", "from 0 to 1; got '-1'"),
        ("organism:bleed?beta=nan", "from 0 to 1; got 'nan'"),
        ("organism:bleed?w=", "from 0 to 1; got ''"),
        ("organism:bleed?seed=1.5", "whole number; got '1.5'"),
        ("organism:bleed?beta=.1&beta=.2", "given once; .* has beta twice"),
        ("organism:bleed?making=1", "got 'making=1'"),
        ("organism:xor?xor=.5", "An organism's xor is 0 or 1; got 0.5"),
        (
            "organism:hydra?reread=1",
            "passes no end of a system text, where repair would be planted. Leave out reread or",
        ),
        ("organism:trained?noise=.1", "Training plants beta, w, binding, default, seed; got noise"),
    ],
)
def test_a_name_that_is_none_is_refused_with_the_fix(name: str, message: str) -> None:
    with pytest.raises(SelfrepError, match=message):
        parse(name)


def test_a_plan_made_by_hand_is_held_to_the_same_rules() -> None:
    with pytest.raises(SelfrepError, match=r"noise is a number from 0 to 1; got -0\.1"):
        Plan(noise=-0.1)
    with pytest.raises(SelfrepError, match="seed is 0 or more"):
        Plan(seed=-1)
