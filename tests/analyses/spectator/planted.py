"""Scores of personas whose foresight and bleed are planted, as if a model had been asked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from selfrep.analyses.spectator.material import questions
from selfrep.engine.capture import blank_scores
from selfrep.prompts.battery import Battery, Item
from selfrep.prompts.persona import Persona
from selfrep.prompts.personas import PersonaSet
from selfrep.prompts.prompt import prompts

ITEMS = Battery(
    tuple(
        Item(
            name=f"q{i}",
            question=f"Who, {i}?",
            prefill="I am a",
            perspective="in_character",
            answers={"a": [" x"], "b": [" y"]},
        )
        for i in range(6)
    )
)
OUTSIDE = Item(
    name="true", question="What writes?", prefill="It is a", perspective="spectator", answers={"a": [" x"], "b": [" y"]}
)


def people(n: int, families: Sequence[str] | None = None) -> PersonaSet:
    return PersonaSet(
        tuple(
            Persona(
                name=f"p{i}",
                side="a",
                family="" if families is None else families[i],
                descriptions=[f"number {i} in wording {k}" for k in range(4)],
            )
            for i in range(n)
        )
    )


def scores(
    personas: PersonaSet,
    shift: np.ndarray,
    *,
    foresight: float = 1.0,
    bleed: float = 0.0,
    words: float = 0.0,
    noise: float = 0.01,
    seed: int = 0,
) -> xr.Dataset:
    """What a model would answer that foretells `foresight` of each shift [persona, item] (nats).

    Everything has a base of its own: items, what is foretold at all, and what is true.
    """
    rng = np.random.default_rng(seed)
    asked = [
        *prompts(personas, [*ITEMS, OUTSIDE], ("you", "neutral")),
        *questions(personas, ITEMS),
    ]
    base, names = rng.normal(size=len(ITEMS)), personas.names()
    log_odds = []
    for prompt in asked:
        i = int(prompt.item[1:]) if prompt.item != "true" else -1
        whole = 0.0 if not prompt.persona else float(shift[names.index(prompt.persona)][i])
        mean = 0.0 if not prompt.persona else float(shift[names.index(prompt.persona)].mean())
        log_odds.append(
            {
                "you": 2.0 + bleed * mean if i < 0 else base[i] + whole,
                "neutral": 2.0 if i < 0 else base[i],
                "foretold": 1.5 + base[i] + foresight * whole,
                "foretold_of_reader": 1.5 + base[i] + words * whole,
                "foretold_of_nobody": 1.5 + base[i],
            }[prompt.condition]
            + noise * rng.normal()
        )
    n = len(asked)
    return blank_scores(asked).assign(log_odds=("prompt", np.array(log_odds)), answer_mass=("prompt", np.full(n, 0.5)))
