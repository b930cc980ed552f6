"""T: the patching sweeps of a study, their controls, and what they carry over."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial

from selfrep.analyses.transfer.estimate import transfer
from selfrep.engine.pairs import controls, pair
from selfrep.engine.patch import patch, template
from selfrep.parts import Sweep, TransferPart
from selfrep.prompts.alignment import align
from selfrep.study.job import Job, Stage, Tick
from selfrep.study.study import Study

PAIRS_AT_ONCE = 8


def patching(job: Job) -> Iterator[Stage]:
    """The stages of the part `transfer`, sweep by sweep."""
    if job.study.transfer:
        for sweep in job.study.transfer.sweeps:
            yield from _carry(job, job.study.transfer, sweep)


def _carry(job: Job, part: TransferPart, sweep: Sweep) -> Iterator[Stage]:
    """A sweep, its controls, and what they say."""
    group, controlled = sweep.group, f"controls/{sweep.group}"
    name = f"patching {sweep.site} by {sweep.by}"
    cells = len(sweep.layers or range(30)) * (3.0 if sweep.by == "segment" else 85.0)
    cost = cells * len(part.pairs) * len(part.items) * len(part.paraphrases) * len(sweep.directions)
    yield Stage(name, cost, lambda: job.full(group), _patch(job, part, sweep, group))
    if sweep.controls:
        work = _patch(job, part, sweep, controlled)
        yield Stage(f"{name}, controls", cost * len(sweep.controls), lambda: job.full(controlled), work)

    def estimate(tick: Tick) -> None:
        read = job.directory.read
        controls = read(controlled) if sweep.controls else None
        moved = transfer(read(group), controls, read("behaviour"), seed=job.study.seed)
        job.directory.write(f"transfer/{group}", moved)

    yield Stage("what is carried over", 1.0, lambda: job.directory.has(f"transfer/{group}"), estimate)


def _patch(job: Job, part: TransferPart, sweep: Sweep, group: str) -> Callable[[Tick], None]:
    def work(tick: Tick) -> None:
        people, battery = job.study.people, job.study.items
        pairs = [
            made
            for source, target in part.pairs
            for made in pair(
                job.lm,
                people[source],
                people[target],
                battery.select(part.items),
                paraphrases=part.paraphrases,
                directions=sweep.directions,
            )
        ]
        if group.startswith("controls/"):
            pairs = controls(job.lm, pairs, people, battery, _others(job.study), sweep.controls)
        blank = template(job.lm, pairs, sweep.plan, seed=job.study.seed)
        job.directory.prepare(group, blank.assign_attrs(study_hash=job.study.hash))
        plan = sweep.plan.bound(job.lm.n_layers, int(align(pairs).suffix.max()))
        left = job.directory.pending(group)
        worst: dict[str, float] = json.loads(job.directory.read(group).attrs.get("proof", "{}"))
        for at in range(0, len(left), PAIRS_AT_ONCE):
            rows = left[at : at + PAIRS_AT_ONCE]
            share = (at / len(left), len(rows) / len(left))
            effects = patch(
                job.lm,
                [pairs[i] for i in rows],
                plan,
                batch_size=PAIRS_AT_ONCE,
                seed=job.study.seed,
                progress=partial(_tick_within, tick, *share),
            )
            for law, missed in json.loads(effects.attrs["proof"]).items():
                worst[law] = max(missed, worst.get(law, 0.0))
            job.directory.annotate(group, proof=json.dumps(worst))
            job.directory.write_rows(group, rows, effects)

    return work


def _others(study: Study) -> dict[str, str]:
    """For each persona, the next of its own side: the source of the "persona" controls."""
    out: dict[str, str] = {}
    for side in ("ai", "human"):
        names = [p.name for p in study.people if p.side == side]
        out |= dict(zip(names, names[1:] + names[:1], strict=True))
    return out


def _tick_within(tick: Tick, begin: float, span: float, done: int, total: int) -> None:
    tick(begin + span * done / total)
