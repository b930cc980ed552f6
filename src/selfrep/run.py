"""Study → run directory: the composition, and nothing else.

A run is a list of stages. Each knows its cost, so that one bar can tell what is left, and whether it is done, so that a run
that was stopped goes on where it was. The model is loaded by the first stage that needs it.
"""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from selfrep.engine.capture import capture, observe, unobserved
from selfrep.engine.pairs import controls, pair
from selfrep.engine.patch import patch, template
from selfrep.estimands.items import items
from selfrep.estimands.separation import separation
from selfrep.estimands.summary import activations_summary
from selfrep.estimands.transfer import transfer
from selfrep.models.language_model import LanguageModel, load_model
from selfrep.prompts.alignment import PromptPair
from selfrep.prompts.render import Prompt, chat_format, prompts
from selfrep.results.figures import write_figures
from selfrep.results.headlines import IN_CHARACTER, SPECTATOR, headlines
from selfrep.results.report import write_report
from selfrep.results.store import RunDirectory
from selfrep.study import Study, Sweep

OnProgress = Callable[[str, float, float], None]
"""Called with (stage, done, total); the unit is about one token through all layers."""
Tick = Callable[[float], None]

VERSIONED = ("torch", "transformers", "transformer-lens", "xarray", "zarr", "numpy", "plotly")
PROMPTS_AT_ONCE = 256
PAIRS_AT_ONCE = 8


def run(
    study: Study,
    out: str | Path,
    *,
    device: str = "auto",
    on_progress: OnProgress = lambda stage, done, total: None,
    warn: Callable[[str], None] = print,
) -> RunDirectory:
    """Run a study into a directory, or go on with it where it stopped.

    Args:
        study: from `selfrep.study.load`, `preset`, or made in Python.
        out: the run directory; refused when it holds another study.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        on_progress: hears how far the run is.
        warn: hears what could not be done and how to mend it, such as figures without a browser.

    Returns:
        The run directory, with results, figures and report.

    Raises:
        SelfrepError: bad input, a full disk, a replay that disagrees with the model. What is written stays readable.
    """
    directory = RunDirectory(Path(out))
    directory.create_or_resume(study.to_yaml(), study.hash)
    job = _Job(study, directory, device)
    started = time.monotonic()
    todo = [stage for stage in job.stages() if not stage.done()]
    total, before = sum(stage.cost for stage in todo), 0.0
    for stage in todo:
        on_progress(stage.name, before, total)
        stage.work(lambda share, s=stage, b=before: on_progress(s.name, b + share * s.cost, total))
        before += stage.cost
    if todo:
        spent = float(directory.provenance().get("seconds", 0.0)) + time.monotonic() - started
        directory.provenance(seconds=round(spent, 1))
    on_progress("figures and report", before, total)
    directory.write_findings(headlines(directory))
    write_figures(directory, warn)
    write_report(directory)
    on_progress("done", total, total)
    return directory


@dataclass(frozen=True)
class _Stage:
    name: str
    cost: float
    done: Callable[[], bool]
    work: Callable[[Tick], None]


@dataclass(frozen=True)
class _Job:
    study: Study
    directory: RunDirectory
    device: str

    @cached_property
    def lm(self) -> LanguageModel:
        lm = load_model(
            self.study.model, device=self.device, dtype=self.study.dtype, chat_template=self.study.chat_template
        )
        chat = chat_format(lm.tokenizer, lm.chat_template)
        self.directory.provenance(
            model=lm.name,
            weights_hash=lm.weights_hash,
            architecture=lm.layout.architecture,
            n_layers=lm.n_layers,
            d_model=lm.d_model,
            device=str(lm.device),
            dtype=str(lm.dtype).removeprefix("torch."),
            chat_template={"name": chat.name, "text": chat.text, "system_role": chat.system_role},
            study_hash=self.study.hash,
            seed=self.study.seed,
            versions={name: importlib.metadata.version(name) for name in VERSIONED},
            python=platform.python_version(),
            git_commit=_commit(),
        )
        return lm

    def stages(self) -> Iterator[_Stage]:
        asked = prompts(self.study.people, self.study.items, self.study.voices)
        yield _Stage("answers to every item", 20.0 * len(asked), lambda: self.full("behaviour"), self.observe(asked))
        yield _Stage("what each item shows", 1.0, lambda: self.directory.has("items"), self.items)
        if part := self.study.separation:
            seen = prompts(self.study.people, [self.study.items[part.item]], ("you", "user"))
            yield _Stage("activations", 45.0 * len(seen), lambda: self.directory.has("separation"), self.separate(seen))
        if self.study.transfer:
            for sweep in self.study.transfer.sweeps:
                for kind in ("real", "control") if sweep.controls else ("real",):
                    group = sweep.group if kind == "real" else f"controls/{sweep.group}"
                    n = len(self.study.transfer.pairs) * len(self.study.transfer.items)
                    cost = n * len(sweep.directions) * (len(sweep.controls) if kind == "control" else 1)
                    cells = 100.0 if sweep.by == "segment" else 2600.0
                    name = f"patching {sweep.site} by {sweep.by}" + (", controls" if kind == "control" else "")
                    yield _Stage(name, cost * cells, lambda g=group: self.full(g), self.sweep(sweep, group, kind == "control"))
                yield _Stage(
                    "transfer", 1.0, lambda s=sweep: self.directory.has(f"transfer/{s.group}"), lambda _, s=sweep: self.transfer(s)
                )

    def full(self, group: str) -> bool:
        """Whether a group that grows is there and complete."""
        return self.directory.has(group) and len(self.directory.pending(group)) == 0

    def observe(self, asked: list[Prompt]) -> Callable[[Tick], None]:
        def work(tick: Tick) -> None:
            blank = unobserved(asked)
            self.directory.prepare("behaviour", blank, along="prompt")
            left = self.directory.pending("behaviour")
            for at in range(0, len(left), PROMPTS_AT_ONCE):
                rows = left[at : at + PROMPTS_AT_ONCE]
                self.directory.write_rows("behaviour", rows, observe(self.lm, [asked[i] for i in rows]))
                tick((at + len(rows)) / len(left))

        return work

    def items(self, tick: Tick) -> None:
        spectator = self.study.items.spectator()
        groups = {
            IN_CHARACTER: self.study.items.in_character().names(),
            SPECTATOR: tuple(item.name for item in spectator if item.framing == "third_person"),
        }
        self.directory.write("items", items(self.directory.read("behaviour"), groups, seed=self.study.seed))

    def separate(self, seen: list[Prompt]) -> Callable[[Tick], None]:
        part = self.study.separation
        assert part is not None

        def work(tick: Tick) -> None:
            acts = capture(
                self.lm,
                seen,
                [part.site],
                layers=part.layers,
                tokens=part.tokens,
                progress=lambda done, total: tick(0.8 * done / total),
            )
            self.directory.write("activations_summary", activations_summary(acts))
            self.directory.write("separation", separation(acts, seed=self.study.seed))

        return work

    def pairs(self, sweep: Sweep) -> list[PromptPair]:
        """The real pairs of a sweep, each with both its directions, in the order of the study."""
        part, people, battery = self.study.transfer, self.study.people, self.study.items
        assert part is not None
        return [
            made
            for source, target in part.pairs
            for made in pair(
                self.lm,
                people[source],
                people[target],
                battery.select(part.items),
                paraphrases=part.paraphrases,
                directions=sweep.directions,
            )
        ]

    def sweep(self, sweep: Sweep, group: str, control: bool) -> Callable[[Tick], None]:
        def work(tick: Tick) -> None:
            pairs = self.pairs(sweep)
            if control:
                people, battery = self.study.people, self.study.items
                pairs = controls(self.lm, pairs, people, battery, self.others(), sweep.controls)
            blank = template(self.lm, pairs, sweep.plan, seed=self.study.seed)
            blank.attrs["study_hash"] = self.study.hash
            self.directory.prepare(group, blank)
            plan = replace(sweep.plan, layers=tuple(blank.layer.values.tolist()), where=tuple(blank[sweep.by].values.tolist()))
            left = self.directory.pending(group)
            for at in range(0, len(left), PAIRS_AT_ONCE):
                rows = left[at : at + PAIRS_AT_ONCE]
                effects = patch(
                    self.lm,
                    [pairs[i] for i in rows],
                    plan,
                    batch_size=PAIRS_AT_ONCE,
                    seed=self.study.seed,
                    progress=lambda done, total, a=at, k=len(rows): tick((a + k * done / total) / len(left)),
                )
                self.directory.write_rows(group, rows, effects)

        return work

    def others(self) -> dict[str, str]:
        """For each persona, the next of its own side: the source of the "persona" controls."""
        out = {}
        for side in ("ai", "human"):
            names = [p.name for p in self.study.people if p.side == side]
            out |= dict(zip(names, names[1:] + names[:1], strict=True))
        return out

    def transfer(self, sweep: Sweep) -> None:
        read, controlled = self.directory.read, f"controls/{sweep.group}"
        moved = transfer(
            read(sweep.group),
            read(controlled) if sweep.controls else None,
            read("behaviour"),
            seed=self.study.seed,
        )
        self.directory.write(f"transfer/{sweep.group}", moved)


def _commit() -> str | None:
    """The git commit of the source tree that runs, with a mark when it was changed since; None for an installed package."""
    here = Path(__file__).parent
    try:
        asked = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=40"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return asked.stdout.strip() or None
