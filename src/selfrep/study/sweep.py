"""Studies × models on all devices of a machine or a cluster, by Ray: the only home of it.

An actor a GPU keeps one model in memory for all the studies that ask it. What several can do of a run is cut into
shards (see `selfrep.store.shard`), which lie in a queue; an actor takes a shard of the model that it holds, where there
is one. When all shards of a run are done, an actor does the rest and writes its report. An actor that dies is replaced,
and its shard is given to another, three times at most: nothing done is lost, since a shard goes on where it was.
"""

from __future__ import annotations

import builtins
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.report.index import write_index
from selfrep.store.run import Run
from selfrep.store.run_directory import RunDirectory
from selfrep.store.shard import Shard
from selfrep.study.job import model_of
from selfrep.study.overrides import asked_of
from selfrep.study.preflight import preflight
from selfrep.study.run import run
from selfrep.study.study import Study

TRIES = 3
"""How often a part of a run is begun at most."""


@dataclass(frozen=True)
class Unit:
    """A part of the work: one shard of a run, or the rest of it (None)."""

    study: Study
    out: Path
    shard: Shard | None

    @property
    def name(self) -> str:
        """What it is called."""
        return self.out.name if self.shard is None else f"{self.out.name}, shard {self.shard}"


class Worker:
    """What does units, one after the other, and keeps the model between them."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._held: tuple[tuple[Any, ...], LanguageModel] | None = None

    def work(self, unit: Unit) -> list[str]:
        """Do a unit; what a user should be told of it.

        Raises:
            SelfrepError: as `selfrep.run_study`.
        """
        told: list[str] = []
        run(
            unit.study,
            unit.out,
            device=self._device,
            loaded=self._model(unit.study),
            shard=unit.shard,
            warn=told.append,
        )
        return told

    def _model(self, study: Study) -> LanguageModel:
        key = loaded_by(study)
        if self._held is None or self._held[0] != key:
            self._held = None  # two need not fit the memory
            self._held = key, model_of(study, self._device)
        return self._held[1]


def loaded_by(study: Study) -> tuple[Any, ...]:
    """All by which a model is loaded: what studies of one model share."""
    return study.model, study.dtype, study.attn, str(study.device_map), study.chat_template, str(study.template_vars)


@dataclass
class Queue:
    """What is left to do, and what has become of the rest.

    Attributes:
        units: left, in order; rests: of each run, what is left of its shards, and its rest.
        failed: run → why.
    """

    units: list[Unit]
    rests: dict[Path, tuple[set[Shard], Unit]]
    failed: dict[str, str] = field(default_factory=dict)
    tries: Counter[str] = field(default_factory=Counter)
    done: list[Path] = field(default_factory=list)

    @staticmethod
    def of(runs: Sequence[tuple[Study, Path]], workers: int) -> Queue:
        """Each run cut into as many shards as there are workers, where that is more than one."""
        shards = [Shard(i, workers) for i in range(workers)] if workers > 1 else []
        rests = {out: (set(shards), Unit(study, out, None)) for study, out in runs}
        parts = [Unit(study, out, shard) for study, out in runs for shard in shards]
        return Queue(parts or [unit for _, unit in rests.values()], rests)

    def take(self, held: tuple[Any, ...] | None) -> Unit | None:
        """The next unit for a worker: one of the model that it holds, where there is one."""
        alike = (unit for unit in self.units if loaded_by(unit.study) == held)
        unit = next(alike, self.units[0] if self.units else None)
        if unit is not None:
            self.units.remove(unit)
        return unit

    def did(self, unit: Unit) -> None:
        """A unit is done; with the last shard of a run, its rest is to do."""
        if unit.shard is None:
            self.done.append(unit.out)
            return
        left, rest = self.rests[unit.out]
        left.discard(unit.shard)
        if not left:
            self.units.insert(0, rest)

    def lost(self, unit: Unit, why: str, again: bool) -> None:
        """A unit has failed: it is given to another worker, or its run is given up."""
        self.tries[unit.name] += 1
        if again and self.tries[unit.name] < TRIES:
            self.units.insert(0, unit)
            return
        self.failed.setdefault(unit.out.name, why)
        self.units = [other for other in self.units if other.out != unit.out]


def sweep(
    studies: Sequence[Study],
    models: Sequence[str] = (),
    out: str | Path = "out/sweep",
    *,
    address: str | None = None,
    workers: int | None = None,
    device: str = "auto",
    tell: Callable[[str], None] = print,
    **asked: Any,
) -> list[Run]:
    """Ask each study of each model, on all devices at once, and compare what they found on one page.

    Args:
        studies: from `selfrep.load_study`; models: as `selfrep.load_model` takes them by name, or none: each study of
            its own.
        out: a folder; each run lies in STUDY-MODEL inside it, and index.html beside them. What is there goes on.
        address: of a Ray cluster that runs ("auto": the one that this machine is part of); None: this machine alone.
        workers: processes that hold a model at once; by default one a GPU, or one without any.
        device: of each worker.
        tell: hears of each part that is done or lost.
        asked: dtype, device_map, attn, chat_template, template_vars, identity, as in `selfrep.run_study`.

    Returns:
        The runs that were done.

    Raises:
        SelfrepError: no Ray; a study that a model cannot be asked, before anything is begun; runs that failed, after
            all others are done and the page is written.

    Example:
        Ray starts processes of its own, which takes longer than an example should:

        >>> import selfrep as sr
        >>> study = sr.load_study("mine.yaml")  # doctest: +SKIP
        >>> runs = sr.sweep([study], ["organism:separate", "organism:bleed?beta=0.4"])  # doctest: +SKIP
        >>> [run.directory.path.name for run in runs]  # doctest: +SKIP
        ['mine-organism-separate', 'mine-organism-bleed-beta-0.4']
    """
    ray = _ray()
    folder = Path(out).absolute()
    named: Sequence[str | None] = list(models) or [None]
    runs = [(asked_of(study, model=m, **asked), folder / name_of(study, m)) for study in studies for m in named]
    if len({place for _, place in runs}) < len(runs):
        names = sorted({place.name for _, place in runs})
        raise SelfrepError(f"Each run has a folder of its own; of {len(runs)} runs there are {len(names)}: {names}.")
    for study, _ in runs:
        preflight(study, device=device)
    mine, own = not ray.is_initialized(), builtins.print
    if mine:
        ray.init(address=address, include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        there = int(ray.cluster_resources().get("GPU", 0))
        n = workers or max(there, 1)
        queue = Queue.of(runs, n)
        _carry_out(ray, queue, n, {"num_gpus": 1} if there else {"num_cpus": 1}, device, tell)
    finally:
        if mine:
            ray.shutdown()
            builtins.print = own  # Ray puts one in its place that writes around its bars
    done = [RunDirectory.open(place) for _, place in runs if place in queue.done]
    write_index(folder, done, queue.failed)
    if queue.failed:
        raise SelfrepError(
            f"Of {len(runs)} runs {len(queue.failed)} failed, and the others are done (see {folder / 'index.html'}): "
            + "; ".join(f"{name}: {why}" for name, why in queue.failed.items())
        )
    return [Run(directory) for directory in done]


def name_of(study: Study, model: str | None) -> str:
    """The folder of a study that is asked of a model.

    Example:
        >>> name_of(Study(name="mine"), "Qwen/Qwen2.5-7B-Instruct")
        'mine-Qwen2.5-7B-Instruct'
    """
    return study.name if model is None else f"{study.name}-" + re.sub(r"[^\w.-]+", "-", Path(model).name)


def _carry_out(ray: Any, queue: Queue, n: int, needs: dict[str, int], device: str, tell: Callable[[str], None]) -> None:
    """All units, on n actors."""
    actor = ray.remote(**needs)(Worker)
    idle: list[tuple[Any, tuple[Any, ...] | None]] = [(actor.remote(device), None) for _ in range(n)]
    busy: dict[Any, tuple[Any, Unit]] = {}
    while queue.units or busy:
        waiting = []
        for worker, held in idle:
            if (unit := queue.take(held)) is None:
                waiting.append((worker, held))
            else:
                busy[worker.work.remote(unit)] = worker, unit
        idle = waiting
        (future,), _ = ray.wait(list(busy), num_returns=1)
        worker, unit = busy.pop(future)
        try:
            for line in ray.get(future):
                tell(f"{unit.name}: {line}")
            tell(f"{unit.name}: done")
            queue.did(unit)
            idle.append((worker, loaded_by(unit.study)))
        except ray.exceptions.RayActorError:
            tell(f"{unit.name}: its process was lost")
            queue.lost(unit, "its process was lost, again and again", again=True)
            idle.append((actor.remote(device), None))
        except ray.exceptions.RayTaskError as error:
            why = str(error.cause) if isinstance(error.cause, SelfrepError) else str(error).strip().splitlines()[-1]
            tell(f"{unit.name}: {why}")
            queue.lost(unit, why, again=not isinstance(error.cause, SelfrepError))
            idle.append((worker, None))


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise SelfrepError("Sweeps run on Ray, which is not installed: pip install 'selfrep[ray]'.") from error
    return ray
