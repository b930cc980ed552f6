"""T: the patching sweeps of a study, their controls, and what they carry over."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import xarray as xr
from jaxtyping import Bool

from selfrep.analyses.analysis import Context, Stage, Tick, shares, within
from selfrep.analyses.transfer import Sweep, TransferPart
from selfrep.analyses.transfer.estimate import transfer
from selfrep.analyses.transfer.facts import CONDITION, FactChoice, Facts
from selfrep.engine.metrics import answer_log_odds
from selfrep.engine.misses import Misses, from_attrs, to_attrs, worst
from selfrep.engine.pairs import controls, pair
from selfrep.engine.patch import blank_effects, patch_sweep
from selfrep.engine.plan import SEGMENT_CELLS
from selfrep.engine.replay.runner import pairs_at_once
from selfrep.engine.sweep import bind
from selfrep.models.language_model import LanguageModel
from selfrep.prompts.alignment import Direction, PromptPair
from selfrep.prompts.persona import UNPROMPTED
from selfrep.prompts.personas import PersonaSet
from selfrep.prompts.prompt import Prompt
from selfrep.prompts.render import own_length, render
from selfrep.prompts.speaker import Speaker, named_in

Ends: TypeAlias = tuple[str, str]
"""Two words, of the source and of the target."""

PAIRS_AT_ONCE = 8
FACTS = "facts"
"""The group of the answers to facts."""


def runs(context: Context, part: TransferPart) -> Iterator[Stage]:
    """What facts say, where they are a control; then the sweeps one by one, each with its controls. The report opens
    with the first one by segment."""
    first = next((sweep for sweep in part.sweeps if sweep.by == "segment"), None)
    if part.states_facts:
        stated = [prompt for fact in _facts(part) for prompt in fact.prompts()]
        yield replace(context.scoring("facts about no persona", FACTS, stated), opens=first is not None)
    for sweep in part.sweeps:
        for stage in _sweep(context, part, sweep):
            yield replace(stage, opens=True, needs=part.items) if sweep is first else stage


def _sweep(context: Context, part: TransferPart, sweep: Sweep) -> Iterator[Stage]:
    """A sweep, its controls, and what they say."""
    group, controlled = sweep.group, f"controls/{sweep.group}"
    name = f"patching {sweep.site} by {sweep.by}"
    n_layers, tokens = _size(context, part)
    places = len(sweep.segments or SEGMENT_CELLS) if sweep.by == "segment" else len(sweep.positions or range(tokens))
    layers = len(sweep.layers_of(n_layers) or range(n_layers))
    n_pairs = len(part.pairs) * len(part.items) * len(part.paraphrases) * len(sweep.directions)
    cells, each = n_pairs * layers * places, 3.0 if sweep.by == "segment" else float(places)
    work = _patch(context, part, sweep, group)
    yield Stage(name, n_pairs * layers * each, lambda: context.complete(group), work, cells=cells, grows=True)
    if sweep.controls:
        n = len(sweep.controls)
        work, done = _patch(context, part, sweep, controlled), partial(context.complete, controlled)
        yield Stage(f"{name}, controls", n_pairs * layers * each * n, done, work, cells=cells * n, grows=True)

    def estimate(kind: Ends, pairs: Sequence[tuple[Speaker, Speaker]]) -> xr.Dataset:
        read, names = context.read, [(source.name, target.name) for source, target in pairs]
        scores = context.scores("behaviour", context.items.select(part.items))
        if part.states_facts:
            scores = xr.concat([scores, read(FACTS)], "prompt")
        effects = read(group)
        mine = _of(effects, names)
        beside = _controlling(read(controlled), effects, mine) if sweep.controls else None
        carried = transfer(effects.isel(pair=np.flatnonzero(mine)), beside, scores, seed=context.seed)
        return carried.assign_attrs(
            pairs=[f"{source.label} → {target.label}" for source, target in pairs],
            questions=[item.question for item in context.items.select(part.items)],
            ends=kind,
        )

    for i, (kind, pairs) in enumerate(by_ends(part.speakers(context.people)).items()):
        made = f"transfer/{group}" + (f"_{'_'.join(kind)}" if i else "")
        yield context.estimating("what is carried over", made, partial(estimate, kind, pairs))


def _size(context: Context, part: TransferPart) -> tuple[int, int]:
    """How many layers the model has, and how many tokens follow the system text; a guess where nobody knows yet."""
    if context.known is None:
        return 30, 85
    speaker, _ = part.speakers(context.people)[0]
    asked = speaker.prompt(context.items[part.items[0]], part.paraphrases[0])
    return context.known.n_layers or 30, own_length(render(asked, context.known.chat))


def _patch(context: Context, part: TransferPart, sweep: Sweep, group: str) -> Callable[[Tick], None]:
    def work(tick: Tick) -> None:
        lm, people, items = context.lm, context.people, context.items.select(part.items)
        speakers = part.speakers(people)
        pairs = [
            made
            for source, target in speakers
            for made in pair(
                lm, source.like, target.like, items, paraphrases=part.paraphrases, directions=sweep.directions
            )
        ]
        if group.startswith("controls/"):
            kinds = [kind for kind in sweep.controls if kind != CONDITION]
            others = {end.name: other for ends in speakers for end in ends if (other := other_than(end, people))}
            pairs = controls(lm, pairs, people, items, others, kinds) if kinds else []
            if CONDITION in sweep.controls:
                pairs += fact_pairs(lm, _facts(part), part.paraphrases, sweep.directions)
        bound = bind(lm, pairs, sweep.plan(lm.n_layers), answer_log_odds, seed=context.seed)
        (blank,) = blank_effects(lm, bound)
        blank = blank.assign_attrs(study_hash=context.study_hash)
        context.directory.prepare(group, blank, at_once=PAIRS_AT_ONCE)
        at_once = pairs_at_once(lm, bound, PAIRS_AT_ONCE)
        left = context.left(group, at_once // PAIRS_AT_ONCE)
        for rows, share in zip(left, shares(map(len, left)), strict=True):
            (effects,) = patch_sweep(lm, bound.rows(rows), batch_size=at_once, progress=within(tick, *share))
            context.directory.annotate(group, partial(_worse, from_attrs(effects.attrs)))
            context.keep(group, rows, effects)

    return work


def _worse(misses: Misses, known: Mapping[str, Any]) -> dict[str, str]:
    """What of a self-check is kept, with that of another process or of rows before."""
    return to_attrs(worst(from_attrs(known), misses))


def fact_pairs(
    lm: LanguageModel, facts: Facts, paraphrases: Sequence[int], directions: Sequence[Direction]
) -> list[PromptPair]:
    """Both versions of each fact as a pair, in the frames of these paraphrases: the control "fact".

    Raises:
        SelfrepError: facts of which too few answers can be read.
    """

    def made(source: Prompt, target: Prompt) -> list[PromptPair]:
        k = source.paraphrase
        real = pair(lm, source, target, directions=directions)
        return [replace(one, control=CONDITION, source_paraphrase=k, target_paraphrase=k) for one in real]

    return [one for fact in facts for ends in fact.ends(paraphrases) for one in made(*ends)]


def other_than(speaker: Speaker, people: PersonaSet) -> str | None:
    """The name of another speaker who should do nothing in this one's run: the source of the "persona" control.

    For a persona the next of its own side, in the same condition; for a reading of the self another reading, for the
    unprompted self the default. None where there is no other.
    """
    readings = people.readings()
    if speaker.is_self:
        reading = speaker.persona.reading if speaker.condition == "you" else UNPROMPTED
        named = {UNPROMPTED: UNPROMPTED} | {name: persona.name for name, persona in readings.items()}
        beside = (other for other in ("default", UNPROMPTED) if other in named and other != reading)
        return next((named[other] for other in beside), None)
    own = speaker.persona
    names = [one.name for one in people if (one.side, one.reading) == (own.side, own.reading)]
    other = names[(names.index(own.name) + 1) % len(names)]
    return None if other == own.name else named_in(other, speaker.condition)


def _facts(part: TransferPart) -> Facts:
    return (part.facts or FactChoice()).load(Path())


def by_ends(speakers: Sequence[tuple[Speaker, Speaker]]) -> dict[Ends, list[tuple[Speaker, Speaker]]]:
    """Pairs by what stands at their ends, the self or a persona: what is carried between two personas is no measure of
    what is carried from the self, so they are not averaged."""
    ends = {(True, False): ("self", "persona"), (False, True): ("persona", "self")}
    out: dict[Ends, list[tuple[Speaker, Speaker]]] = {}
    for source, target in speakers:
        out.setdefault(ends.get((source.is_self, target.is_self), ("source", "target")), []).append((source, target))
    return out


def _of(effects: xr.Dataset, names: Sequence[Ends]) -> Bool[np.ndarray, " pair"]:
    """[pair] which runs are of these pairs, [source, target] in denoising."""
    rows = zip(*(effects[name].to_numpy().tolist() for name in ("source", "target", "direction")), strict=True)
    return np.array([((t, s) if direction == "noise" else (s, t)) in names for s, t, direction in rows])


def _controlling(controls: xr.Dataset, effects: xr.Dataset, mine: Bool[np.ndarray, " pair"]) -> xr.Dataset:
    """The controls of some of the runs; facts, which are of none, are kept.

    Controls of a kind stand in the order of the runs that they are made of, all of them or those whose target has one.
    """
    kinds, kept = controls.control.to_numpy(), (controls.control == CONDITION).to_numpy()
    for kind in set(kinds.tolist()) - {CONDITION}:
        rows = np.flatnonzero(kinds == kind)
        kept[rows] = mine[np.isin(effects.target.to_numpy(), controls.target.to_numpy()[rows])]
    return controls.isel(pair=np.flatnonzero(kept))
