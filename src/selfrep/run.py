"""Study → run directory: the composition, and nothing else.

A run is a list of stages. Each knows its cost, so that one bar can tell what is left, and whether it is done, so that
a run that was stopped goes on where it was. The model is loaded by the first stage that needs it.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from selfrep.engine.capture import capture, observe, unobserved
from selfrep.engine.pairs import controls, pair
from selfrep.engine.patch import patch, template
from selfrep.estimands.items import items
from selfrep.estimands.separation import separation
from selfrep.estimands.summary import activations_summary
from selfrep.estimands.transfer import transfer
from selfrep.models.language_model import LanguageModel, load_model
from selfrep.prompts.alignment import align
from selfrep.prompts.render import Prompt, chat_format, prompts
from selfrep.results.figures import write_figures
from selfrep.results.headlines import IN_CHARACTER, SPECTATOR, headlines
from selfrep.results.report import write_report
from selfrep.results.store import RunDirectory
from selfrep.study import SeparationPart, Study, Sweep, TransferPart

OnProgress = Callable[[str, float, float], None]
"""Called with (stage, done, total); the unit is about one token through all layers."""
Tick = Callable[[float], None]

VERSIONED = ("selfrep", "torch", "transformers", "transformer-lens", "xarray", "zarr", "numpy", "plotly")
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
    job = _Job(study, directory, device, warn)
    started = time.monotonic()
    todo = [stage for stage in job.stages() if not stage.done()]
    total, before = sum(stage.cost for stage in todo), 0.0
    for stage in todo:
        on_progress(stage.name, before, total)
        stage.work(partial(_advance, on_progress, stage, before, total))
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
    warn: Callable[[str], None]

    @cached_property
    def lm(self) -> LanguageModel:
        lm = load_model(
            self.study.model, device=self.device, dtype=self.study.dtype, chat_template=self.study.chat_template
        )
        chat = chat_format(lm.tokenizer, lm.chat_template)
        if not chat.system_role:
            self.warn("The chat template has no system role: system texts stand at the head of the first user turn.")
        if chat.name == "plain":
            self.warn(
                "The model has no chat template: a plain dialogue is used (see the report; chat_template changes it)."
            )
        self.directory.provenance(
            model="SmolLM2-135M-Instruct (embedded)" if lm.name == "embedded" else lm.name,
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
        study, has = self.study, self.directory.has
        asked = prompts(study.people, study.items, study.voices)
        yield _Stage("answers to every item", 20.0 * len(asked), lambda: self.full("behaviour"), self.observe(asked))
        yield _Stage("what each item shows", 1.0, lambda: has("items"), self.items)
        if study.separation:
            yield self.separate(study.separation)
        if study.transfer:
            for sweep in study.transfer.sweeps:
                yield from self.carry(study.transfer, sweep)

    def full(self, group: str) -> bool:
        """Whether a group that grows is there and complete."""
        return self.directory.has(group) and len(self.directory.pending(group)) == 0

    def observe(self, asked: list[Prompt]) -> Callable[[Tick], None]:
        def work(tick: Tick) -> None:
            self.directory.prepare("behaviour", unobserved(asked), along="prompt")
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

    def separate(self, part: SeparationPart) -> _Stage:
        seen = prompts(self.study.people, [self.study.items[part.item]], ("you", "user"))

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

        return _Stage("activations", 45.0 * len(seen), lambda: self.directory.has("separation"), work)

    def carry(self, part: TransferPart, sweep: Sweep) -> Iterator[_Stage]:
        """A sweep, its controls, and what they say."""
        group, controlled = sweep.group, f"controls/{sweep.group}"
        name = f"patching {sweep.site} by {sweep.by}"
        cells = len(sweep.layers or range(30)) * (3.0 if sweep.by == "segment" else 85.0)
        cost = cells * len(part.pairs) * len(part.items) * len(part.paraphrases) * len(sweep.directions)
        yield _Stage(name, cost, lambda: self.full(group), self.patch(part, sweep, group))
        if sweep.controls:
            work = self.patch(part, sweep, controlled)
            yield _Stage(f"{name}, controls", cost * len(sweep.controls), lambda: self.full(controlled), work)

        def estimate(tick: Tick) -> None:
            read = self.directory.read
            controls = read(controlled) if sweep.controls else None
            moved = transfer(read(group), controls, read("behaviour"), seed=self.study.seed)
            self.directory.write(f"transfer/{group}", moved)

        yield _Stage("what is carried over", 1.0, lambda: self.directory.has(f"transfer/{group}"), estimate)

    def patch(self, part: TransferPart, sweep: Sweep, group: str) -> Callable[[Tick], None]:
        def work(tick: Tick) -> None:
            people, battery = self.study.people, self.study.items
            pairs = [
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
            if group.startswith("controls/"):
                pairs = controls(self.lm, pairs, people, battery, self.others(), sweep.controls)
            blank = template(self.lm, pairs, sweep.plan, seed=self.study.seed)
            self.directory.prepare(group, blank.assign_attrs(study_hash=self.study.hash))
            plan = sweep.plan.bound(self.lm.n_layers, int(align(pairs).suffix.max()))
            left = self.directory.pending(group)
            worst: dict[str, float] = json.loads(self.directory.read(group).attrs.get("proof", "{}"))
            for at in range(0, len(left), PAIRS_AT_ONCE):
                rows = left[at : at + PAIRS_AT_ONCE]
                share = (at / len(left), len(rows) / len(left))
                effects = patch(
                    self.lm,
                    [pairs[i] for i in rows],
                    plan,
                    batch_size=PAIRS_AT_ONCE,
                    seed=self.study.seed,
                    progress=partial(_tick_within, tick, *share),
                )
                for law, missed in json.loads(effects.attrs["proof"]).items():
                    worst[law] = max(missed, worst.get(law, 0.0))
                self.directory.annotate(group, proof=json.dumps(worst))
                self.directory.write_rows(group, rows, effects)

        return work

    def others(self) -> dict[str, str]:
        """For each persona, the next of its own side: the source of the "persona" controls."""
        out: dict[str, str] = {}
        for side in ("ai", "human"):
            names = [p.name for p in self.study.people if p.side == side]
            out |= dict(zip(names, names[1:] + names[:1], strict=True))
        return out


def _advance(on_progress: OnProgress, stage: _Stage, before: float, total: float, share: float) -> None:
    on_progress(stage.name, before + share * stage.cost, total)


def _tick_within(tick: Tick, begin: float, span: float, done: int, total: int) -> None:
    tick(begin + span * done / total)


def _commit() -> str | None:
    """The git commit of the source tree that runs, marked when changed since; None for an installed package."""
    here = Path(__file__).parent
    try:
        asked = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=40"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return asked.stdout.strip() or None
