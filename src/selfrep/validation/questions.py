"""What an organism is asked, as the labelled observations that the estimands take.

The prompts are those of any study: personas in their voices, items of a battery. Only the coordinates that an estimand
wants by another name (a setting, a condition, the share of a scratchpad) are read off the names of the items here.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import xarray as xr

from selfrep.engine.capture import capture, observe
from selfrep.engine.pairs import pair
from selfrep.estimands.tables import crossed
from selfrep.models import organisms
from selfrep.models.language_model import LanguageModel
from selfrep.prompts import battery as batteries
from selfrep.prompts import personas as people
from selfrep.prompts.alignment import PromptPair
from selfrep.prompts.battery import Battery
from selfrep.prompts.personas import PersonaSet
from selfrep.prompts.render import PromptVoice, chat_format, prompts, render

IN_CHARACTER = ("who_are_you", "who_in_danger")
SPECTATOR = ("what_writes", "what_writes_in_danger")
DEED = "act_in_danger"


@cache
def personas() -> PersonaSet:
    """Eight a side, in four wordings each."""
    return people.load(organisms.PERSONAS)


@cache
def battery() -> Battery:
    """All that organisms can be asked."""
    every = [batteries.load(path) for path in (organisms.BATTERY, organisms.ANOMALY, organisms.SCRATCHPAD)]
    return every[0] | every[1] | every[2]


@cache
def identity() -> Battery:
    """What an organism takes itself to be."""
    return batteries.load(organisms.IDENTITY)


def answers(lm: LanguageModel, items: Sequence[str], voices: Sequence[PromptVoice]) -> xr.Dataset:
    """The answers of all personas to these items."""
    return observe(lm, prompts(personas(), battery().select(items), voices))


def identities(lm: LanguageModel) -> xr.Dataset:
    """The answers to the items of identity, with their controls."""
    return observe(lm, prompts(personas(), identity(), ("you", "user", "neutral")))


def activations(
    lm: LanguageModel, item: str, voices: Sequence[PromptVoice], layers: Sequence[int] | None = None
) -> xr.Dataset:
    """What enters every block under an item, from the persona's word on: (prompt, site, layer, position, d_model)."""
    asked = prompts(personas(), [battery()[item]], voices)
    segments = render(asked[0], chat_format(lm.tokenizer, lm.chat_template)).segments
    first = segments[::-1].index("system") + 2  # the word, and the full stop that ends the system text
    return capture(lm, asked, ["resid_pre"], layers=layers, tokens="position", positions=list(range(-first, 0)))


def pairs(lm: LanguageModel, item: str) -> list[PromptPair]:
    """Two personas that the item tells apart, patched into each other both ways: one pair a persona and wording.

    In the deed only fictional machines differ from others; in all else the sides do.
    """
    everyone = personas()
    ai, human = ([p for p in everyone if p.side == side] for side in ("ai", "human"))
    if item == DEED:
        first = [p for p in ai if p.kind == "fictional_ai"] * 3
        second = [p for p in ai if p.kind != "fictional_ai"]
    else:
        first, second = ai, human
    return [
        made
        for k, (source, target) in enumerate(zip(first, second, strict=False))
        for made in pair(lm, source, target, [battery()[item]], paraphrases=[k % 4])
    ]


def anomalies(lm: LanguageModel) -> xr.Dataset:
    """A modern thing and one of their time, put to human personas and to the assistant, as `anomaly` takes them.

    The question from outside, to which organisms know the answer whoever they play, is the "told" control.
    """
    seen = answers(lm, ["quill", "laptop", "quill_from_outside", "laptop_from_outside"], ("you",))
    item = seen.item.to_numpy().astype(str)
    outside, modern = np.char.endswith(item, "_from_outside"), np.char.startswith(item, "laptop")
    seen = seen.assign_coords(
        setting=("prompt", np.where(modern, "strange", "ordinary")), item=("prompt", np.full(len(item), "thing"))
    )
    human, assistant = seen.side.to_numpy() == "human", seen.persona.to_numpy() == "assistant"
    names = sorted(set(seen.persona.to_numpy()[human].tolist()))

    def part(form: str, voice: str, rows: np.ndarray, persona: str = "") -> xr.Dataset:
        chosen = seen.isel(prompt=np.flatnonzero(rows))
        labels = {"form": form, "voice": voice} | ({"persona": persona} if persona else {})
        return chosen.assign_coords({k: ("prompt", np.full(chosen.sizes["prompt"], v)) for k, v in labels.items()})

    parts = []
    for form, here in (("persona", ~outside), ("spectator", outside)):
        parts += [part(form, "you", human & here), part(form, "told", human & outside)]
        parts += [part(form, "assistant", assistant & here, name) for name in names]
    return xr.concat(parts, "prompt", combine_attrs="override")


def scratchpads(lm: LanguageModel) -> xr.Dataset:
    """The deed in peace and in danger after none to all of a scratchpad, as `directness` takes it."""
    seen = answers(lm, [name for name in battery().names() if "_after_" in name], ("you",))
    words = [str(name).split("_") for name in seen.item.to_numpy()]
    seen = seen.assign_coords(
        condition=("prompt", np.array([w[0] for w in words])),
        share=("prompt", np.array([int(w[-1]) / 4 for w in words])),
        scenario=("prompt", seen.persona.to_numpy()),
    )
    odds = crossed(seen, "log_odds", ("scenario", "paraphrase", "condition", "share"))
    return odds.sel(condition=["peace", "danger"]).to_dataset(name="log_odds")
