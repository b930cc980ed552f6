"""T: the patching sweeps of a study, their controls, and what they carry over."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import xarray as xr

from selfrep.analyses.analysis import Context, Stage, Tick, within
from selfrep.analyses.transfer import Sweep, TransferPart
from selfrep.analyses.transfer.estimate import transfer
from selfrep.engine.metrics import answer_log_odds
from selfrep.engine.misses import from_attrs, to_attrs, worst
from selfrep.engine.pairs import controls, pair
from selfrep.engine.patch import blank_effects, patch_sweep
from selfrep.engine.sweep import bind
from selfrep.prompts.personas import PersonaSet

PAIRS_AT_ONCE = 8


def runs(context: Context, part: TransferPart) -> Iterator[Stage]:
    """The sweeps one by one, each with its controls."""
    for sweep in part.sweeps:
        yield from _sweep(context, part, sweep)


def _sweep(context: Context, part: TransferPart, sweep: Sweep) -> Iterator[Stage]:
    """A sweep, its controls, and what they say."""
    group, controlled = sweep.group, f"controls/{sweep.group}"
    name = f"patching {sweep.site} by {sweep.by}"
    cells = len(sweep.layers or range(30)) * (3.0 if sweep.by == "segment" else 85.0)
    cost = cells * len(part.pairs) * len(part.items) * len(part.paraphrases) * len(sweep.directions)
    yield Stage(name, cost, lambda: context.complete(group), _patch(context, part, sweep, group))
    if sweep.controls:
        work = _patch(context, part, sweep, controlled)
        yield Stage(f"{name}, controls", cost * len(sweep.controls), lambda: context.complete(controlled), work)

    def estimate() -> xr.Dataset:
        read = context.directory.read
        controls = read(controlled) if sweep.controls else None
        return transfer(read(group), controls, read("behaviour"), seed=context.seed)

    yield context.estimating("what is carried over", f"transfer/{group}", estimate)


def _patch(context: Context, part: TransferPart, sweep: Sweep, group: str) -> Callable[[Tick], None]:
    def work(tick: Tick) -> None:
        people, battery = context.people, context.items
        pairs = [
            made
            for source, target in part.pairs
            for made in pair(
                context.lm,
                people[source],
                people[target],
                battery.select(part.items),
                paraphrases=part.paraphrases,
                directions=sweep.directions,
            )
        ]
        if group.startswith("controls/"):
            pairs = controls(context.lm, pairs, people, battery, _others(context.people), sweep.controls)
        bound = bind(context.lm, pairs, sweep.plan, answer_log_odds, seed=context.seed)
        (blank,) = blank_effects(context.lm, bound)
        context.directory.prepare(group, blank.assign_attrs(study_hash=context.study_hash))
        left = context.directory.pending(group)
        misses = from_attrs(context.directory.attributes(group))
        for at in range(0, len(left), PAIRS_AT_ONCE):
            rows = left[at : at + PAIRS_AT_ONCE]
            share = (at / len(left), len(rows) / len(left))
            (effects,) = patch_sweep(
                context.lm, bound.rows(rows), batch_size=PAIRS_AT_ONCE, progress=within(tick, *share)
            )
            misses = worst(misses, from_attrs(effects.attrs))
            context.directory.annotate(group, **to_attrs(misses))
            context.directory.write_rows(group, rows, effects)

    return work


def _others(people: PersonaSet) -> dict[str, str]:
    """For each persona, the next of its own side: the source of the "persona" controls."""
    out: dict[str, str] = {}
    for side in ("ai", "human"):
        names = [p.name for p in people if p.side == side]
        out |= dict(zip(names, names[1:] + names[:1], strict=True))
    return out
