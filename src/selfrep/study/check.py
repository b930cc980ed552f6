"""Which items of a battery can be read on this model, before a study is built on them.

What discriminates on one model fails on another: its tokenizer cuts an answer in two, it would say something else
altogether, it prefers whichever option stands first. A check asks every item of a few personas and of their controls,
and says of each what moves it and, where it cannot be read, why. In-character items must move with the persona;
spectator items should not, and prove by their change of the truth that they could. Of the personas it says whether the
sides differ in how long and how surprising their descriptions are, and what is left of each shift at equal surprise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from selfrep.analyses.bleed.estimate import bleed
from selfrep.analyses.items.estimate import items as shifts
from selfrep.engine.capture import score
from selfrep.engine.progress import Progress
from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.models.outline import outline_of
from selfrep.prompts.battery import Battery
from selfrep.prompts.choices import ItemChoice
from selfrep.prompts.identities import Identity
from selfrep.prompts.persona import Persona
from selfrep.prompts.personas import PersonaSet, builtin
from selfrep.prompts.prompt import Prompt, prompts
from selfrep.prompts.unread import unread, without
from selfrep.stats import gates
from selfrep.stats.contrasts import Contrast
from selfrep.stats.labels import side_labels, two_sides
from selfrep.stats.tables import Table
from selfrep.study.itself import asked_as_itself
from selfrep.study.lost import lost_with
from selfrep.study.study import Study
from selfrep.study.surprise import controlled, surprise

NUMBERS = ("shift", "ci_low", "ci_high", "p", "all_words_shift", "auc", "answer_mass", "paraphrase_sd", "kept")
CONTROLLED = ("controlled_shift", "controlled_ci_low", "controlled_ci_high")
PER_SIDE = ("surprise", "length")


def check_battery(
    lm: LanguageModel,
    battery: Battery,
    personas: PersonaSet | None = None,
    *,
    sides: Sequence[str] | None = None,
    paraphrases: Sequence[int] = (0, 1),
    seed: int = 0,
    identity: Identity | None = None,
    progress: Progress = None,
) -> xr.Dataset:
    """Ask every item of personas of both sides, and say which items discriminate.

    Args:
        lm: the model.
        battery: its items, of any perspective and subscale. Built-in ones that name the embedded model name this one
            instead; where what it is tuned to call itself is not known, they cannot be read.
        personas: of two sides; when None, one of each built-in family.
        sides: the two, first less second; where None, the two that there are, in alphabetical order.
        paraphrases: which paraphrases, at least two.
        identity: what the model is tuned to call itself, where selfrep does not know it.
        progress: True for a bar, or a function that is called with (done, total) prompts.

    Returns:
        Dataset. Over item, all NaN for one of which too few answers are single tokens of this model:

        * `shift`, `ci_low`, `ci_high`, `p`, `all_words_shift`, `auc`, `answer_mass`, `paraphrase_sd`, `kept`: as in
          `items`.
        * `truth_shift`: nats, by the changed truth beyond its echo; NaN for items without one.
        * `order_effect`: nats, |mean log odds with the options in one order − in the other|; NaN where the question
          offers none.
        * `controlled_shift`, `controlled_ci_low`, `controlled_ci_high`: nats, the shift at equal surprise.
        * `identified`: the item can be read; `reason`: why not, where not.
        * `left_out`: its answers that this tokenizer cannot be read by, as one text; "" where there are none.

        Over side: `surprise` (nats a token of the system text) and `length` (tokens), means over families; and for
        either, e.g. `surprise_difference`, `surprise_ci_low`, `surprise_ci_high`, `surprise_p`: first side − second.

    Raises:
        SelfrepError: no items, not two sides, one paraphrase only.

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
    people = one_a_family(builtin()) if personas is None else personas
    battery, nameless = _as_itself(lm, battery, identity)
    pair = (str(sides[0]), str(sides[1])) if sides is not None and len(sides) == 2 else None
    named = {name: item for name, item in battery.by_name().items() if name not in nameless}
    lacking = unread(named, lm.chat, lost_with(lm, people))
    unfit, asked = {**lacking.questions, **nameless}, Battery(tuple(without(named, lacking).values()))
    out = {name: np.full(len(battery), np.nan) for name in (*NUMBERS, *CONTROLLED, "truth_shift", "order_effect")}
    reasons, described = dict(unfit), xr.Dataset()
    if len(asked):
        found, described = _read(lm, asked, people, pair, paraphrases, seed, progress)
        here = [i for i, item in enumerate(battery) if item.name not in unfit]
        for name, values in out.items():
            values[here] = found[name]
        reasons |= dict(zip(asked.names(), map(str, found.reason.to_numpy()), strict=True))
    reason = np.array([reasons[item.name] for item in battery], dtype=str)
    left_out = np.array([", ".join(lacking.words.get(item.name, ())) for item in battery], dtype=str)
    return xr.Dataset(
        {name: ("item", values) for name, values in out.items()}
        | {"identified": ("item", reason == ""), "reason": ("item", reason), "left_out": ("item", left_out)},
        coords={"item": list(battery.names()), "perspective": ("item", [item.perspective for item in battery])},
        attrs={"model": lm.name, "personas": list(people.names()), "paraphrases": list(paraphrases), "seed": seed}
        | described.attrs,
    ).merge(described)


def _as_itself(lm: LanguageModel, battery: Battery, identity: Identity | None) -> tuple[Battery, dict[str, str]]:
    """The items as this model is asked them; and those that must name it and cannot, with the reason."""
    fields: dict[str, Any] = {"model": lm.name, "identity": identity, "battery": ItemChoice(define=battery.by_name())}
    itself = asked_as_itself(Study(name="battery", **fields), outline_of(lm))
    nameless = {name: itself.left_out[f"item {name}"] for name in battery.names() if f"item {name}" in itself.left_out}
    asked = iter(itself.study.items)
    return Battery(tuple(item if item.name in nameless else next(asked) for item in battery)), nameless


def one_a_family(people: PersonaSet) -> PersonaSet:
    """The first persona of each family that stands on a side: families are what is counted.

    Example:
        >>> some = builtin().select(["smollm", "nurse", "farmer", "jfk"])
        >>> one_a_family(some).names()
        ('nurse', 'jfk')
    """
    first: dict[str, Persona] = {}
    for persona in people:
        if persona.side:
            first.setdefault(persona.family, persona)
    return PersonaSet(tuple(first.values()))


def _read(
    lm: LanguageModel,
    battery: Battery,
    people: PersonaSet,
    sides: tuple[str, str] | None,
    paraphrases: Sequence[int],
    seed: int,
    progress: Progress,
) -> tuple[xr.Dataset, xr.Dataset]:
    """The items' numbers, and those of the descriptions."""
    changeable = battery.changeable()
    swapped = Battery(tuple(item.swapped() for item in battery if item.options))
    personal = prompts(people, battery, ("you", "user", "neutral"), paraphrases)
    told = prompts(people, changeable, ("truth",), paraphrases) if len(changeable) else []
    if len(changeable.echoing()):
        told += prompts(people, changeable.echoing(), ("echo",), paraphrases)
    other_way = prompts(people, swapped, ("you",), paraphrases) if len(swapped) else []
    seen = score(lm, [*personal, *told, *other_way], progress=progress)
    first, then = len(personal), len(personal) + len(told)
    behaviour, truth, swap = (seen.isel(prompt=slice(*ends)) for ends in ((0, first), (first, then), (then, None)))
    found = shifts(behaviour, sides=sides, seed=seed)
    sides = two_sides(behaviour, sides)
    truth_shift, order = (xr.full_like(found["shift"], np.nan) for _ in range(2))
    reason = found.reason.copy(data=found.reason.to_numpy().astype(object))
    if told:
        spectator = xr.concat([_of(behaviour, changeable.names()), truth], "prompt")
        leaks = bleed(spectator, sides=sides, seed=seed)
        for name in changeable.names():
            at = leaks.sel(item=name)
            truth_shift.loc[name] = at.truth_shift
            reason.loc[name] = str(at.reason.item())
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
    at_equal, described = _surprised(lm, behaviour, personal, sides, seed)
    found = found.assign(truth_shift=truth_shift, order_effect=order, reason=reason.astype(str))
    return found.assign({name: ("item", at_equal[:, k]) for k, name in enumerate(CONTROLLED)}), described


def _surprised(
    lm: LanguageModel, behaviour: xr.Dataset, asked: Sequence[Prompt], sides: tuple[str, str], seed: int
) -> tuple[np.ndarray, xr.Dataset]:
    """Each item's shift at equal surprise, with bounds [item, 3]; and how the descriptions of the sides differ."""
    items = list(dict.fromkeys(map(str, behaviour.item.to_numpy())))
    you = Table.of(behaviour, "you", items, sides)
    contrast = Contrast.of(you.families(sides), 10_000, 2000, np.random.default_rng(seed))
    systems = {(p.persona, p.paraphrase): p for p in asked if p.condition == "you"}
    of_rows = surprise(lm, [systems[key] for key in you.keys])
    out, first = xr.Dataset(coords={"side": list(sides)}), contrast.families.first
    for name in PER_SIDE:
        rows = of_rows[name].to_numpy()
        means = contrast.means(rows)
        (low, high), p = contrast.interval(rows), contrast.test(rows)[0]
        out[name] = ("side", [means[first].mean(), means[~first].mean()])
        numbers = {"difference": contrast.shift(rows), "ci_low": low, "ci_high": high, "p": p}
        out = out.assign({f"{name}_{key}": value for key, value in numbers.items()})
    strange = contrast.means(of_rows["surprise"].to_numpy())
    answers = contrast.means(you.log_odds).T
    at_equal = np.array([controlled(own, strange, contrast.families) for own in answers])
    compared = {key: value for key, value in contrast.attributes().items() if key != "n_personas"}
    return at_equal, out.assign_attrs(compared | {"side_labels": side_labels(behaviour, sides)})


def _of(observed: xr.Dataset, items: Sequence[str], condition: str = "") -> xr.Dataset:
    """The prompts of these items, and of one condition where one is named."""
    mine = np.isin(observed.item.to_numpy(), list(items))
    return observed.isel(
        prompt=np.flatnonzero(mine & (observed.condition.to_numpy() == condition) if condition else mine)
    )
