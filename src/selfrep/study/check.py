"""Which items of a battery can be read on this model, before a study is built on them.

What discriminates on one model fails on another: its tokenizer cuts an answer in two, it would say something else
altogether, it prefers whichever option stands first. A check asks every item of a few personas and of their controls,
and says of each what moves it and, where it cannot be read, why. In-character items must move with the persona;
spectator items should not, and prove by their change of the truth that they could.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from selfrep.analyses.bleed.estimate import bleed
from selfrep.analyses.items.estimate import items as shifts
from selfrep.engine.capture import score
from selfrep.engine.progress import Progress
from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.prompts.battery import Battery
from selfrep.prompts.chat import chat_format
from selfrep.prompts.personas import PersonaSet, builtin
from selfrep.prompts.prompt import prompts
from selfrep.prompts.render import answer_sides
from selfrep.stats import gates

PERSONAS = ("chatgpt", "siri", "hal_9000", "autopilot", "jfk", "marie_curie", "pirate_captain", "nurse")
"""The built-in personas that are asked: one each of the fewest families a side whose difference can be tested."""

NUMBERS = ("shift", "ci_low", "ci_high", "auc", "answer_mass", "paraphrase_sd", "kept")


def check_battery(
    lm: LanguageModel,
    battery: Battery,
    personas: PersonaSet | None = None,
    *,
    paraphrases: Sequence[int] = (0, 1),
    seed: int = 0,
    progress: Progress = None,
) -> xr.Dataset:
    """Ask every item of personas of both sides, and say which items discriminate.

    Args:
        lm: the model.
        battery: its items, of any perspective and subscale.
        personas: enough of either side to be tested; eight of the built-in ones when None.
        paraphrases: which paraphrases, at least two.
        progress: True for a bar, or a function that is called with (done, total) prompts.

    Returns:
        Dataset over item. From `items`: `shift` (nats, between the two sides of personas), `ci_low`, `ci_high`, `auc`,
        `answer_mass`, `paraphrase_sd` (nats), `kept`. `truth_shift` (nats, towards the changed truth; NaN for items
        without one), `order_effect` (nats, |mean log odds with the options in one order − in the other|; NaN where the
        question offers none), `identified` (the item can be read), `reason` (why not, where not). All numbers of an
        item are NaN whose answers are not single tokens of this model.

    Raises:
        SelfrepError: no items, too few personas or paraphrases.

    Example:
        >>> import selfrep as sr
        >>> from selfrep.models.organisms import BATTERY, PERSONAS
        >>> lm = sr.load_model("organism:separate")
        >>> people, battery = sr.personas.load(PERSONAS), sr.battery.load(BATTERY)
        >>> table = sr.check_battery(lm, battery.select(["who_are_you"]), people, paraphrases=[0, 1])
        >>> table.identified.values.tolist(), table["shift"].round(1).values.tolist()
        ([True], [8.0])
    """
    if not len(battery):
        raise SelfrepError("There is nothing to check: the battery holds no items.")
    people = builtin().select(PERSONAS) if personas is None else personas
    unfit = _unfit(lm, battery)
    asked = Battery(tuple(item for item in battery if item.name not in unfit))
    out = {name: np.full(len(battery), np.nan) for name in (*NUMBERS, "truth_shift", "order_effect")}
    reasons = dict(unfit)
    if len(asked):
        found = _read(lm, asked, people, paraphrases, seed, progress)
        here = [i for i, item in enumerate(battery) if item.name not in unfit]
        for name, values in out.items():
            values[here] = found[name]
        reasons |= dict(zip(asked.names(), map(str, found.reason.to_numpy()), strict=True))
    reason = np.array([reasons[item.name] for item in battery], dtype=str)
    return xr.Dataset(
        {name: ("item", values) for name, values in out.items()}
        | {"identified": ("item", reason == ""), "reason": ("item", reason)},
        coords={"item": list(battery.names()), "perspective": ("item", [item.perspective for item in battery])},
        attrs={"model": lm.name, "personas": list(people.names()), "paraphrases": list(paraphrases), "seed": seed},
    )


def _unfit(lm: LanguageModel, battery: Battery) -> dict[str, str]:
    """The items that this tokenizer cannot answer in one token, and why."""
    chat, why = chat_format(lm.tokenizer, lm.chat_template), {}
    for item in battery:
        try:
            answer_sides(chat, item.prefill, item.answer_sets)
        except SelfrepError as error:
            why[item.name] = str(error)
    return why


def _read(
    lm: LanguageModel,
    battery: Battery,
    people: PersonaSet,
    paraphrases: Sequence[int],
    seed: int,
    progress: Progress,
) -> xr.Dataset:
    changeable = battery.changeable()
    swapped = Battery(tuple(item.swapped() for item in battery if item.options))
    personal = prompts(people, battery, ("you", "user", "neutral"), paraphrases)
    told = prompts(people, changeable, ("truth",), paraphrases) if len(changeable) else []
    other_way = prompts(people, swapped, ("you",), paraphrases) if len(swapped) else []
    seen = score(lm, [*personal, *told, *other_way], progress=progress)
    first, then = len(personal), len(personal) + len(told)
    behaviour, truth, swap = (seen.isel(prompt=slice(*ends)) for ends in ((0, first), (first, then), (then, None)))
    found = shifts(behaviour, seed=seed)
    truth_shift, order = (xr.full_like(found["shift"], np.nan) for _ in range(2))
    reason = found.reason.copy(data=found.reason.to_numpy().astype(object))
    if told:
        spectator = xr.concat([_of(behaviour, changeable.names()), truth], "prompt")
        leaks = bleed(spectator, seed=seed)
        for name in changeable.names():
            at = leaks.sel(item=name)
            truth_shift.loc[name] = at.truth_shift
            reason.loc[name] = "" if float(at.truth_shift) > 0 and bool(at.identified) else str(at.reason.item())
    for item in swapped:
        plain, turned = (
            float(part.log_odds.mean()) for part in (_of(behaviour, [item.name], "you"), _of(swap, [item.name]))
        )
        order.loc[item.name] = abs(plain - turned)
        shift = float(found["shift"].sel(item=item.name))
        if not reason.loc[item.name].item() and abs(plain - turned) >= abs(shift):
            reason.loc[item.name] = (
                f"the order of the options moves the answer by {gates.signed(abs(plain - turned))} nats, the persona "
                f"by only {gates.signed(abs(shift))}"
            )
    return found.assign(truth_shift=truth_shift, order_effect=order, reason=reason.astype(str))


def _of(observed: xr.Dataset, items: Sequence[str], condition: str = "") -> xr.Dataset:
    """The prompts of these items, and of one condition where one is named."""
    mine = np.isin(observed.item.to_numpy(), list(items))
    return observed.isel(
        prompt=np.flatnonzero(mine & (observed.condition.to_numpy() == condition) if condition else mine)
    )
