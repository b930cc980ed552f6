"""A study on its way into a run directory: its steps, and what they are given. The model is loaded when needed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import xarray as xr

from selfrep.analyses import analyses
from selfrep.analyses.analysis import PER_PROMPT, Context, Reading, Stage, Tick, shares, within
from selfrep.engine.capture import blank_scores, score
from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.models.loading import load_model
from selfrep.models.outline import Outline, outline
from selfrep.prompts.battery import Battery
from selfrep.prompts.personas import PersonaSet
from selfrep.prompts.prompt import Prompt, prompts
from selfrep.prompts.render import render
from selfrep.prompts.scenarios import Scenarios
from selfrep.report.lacking import lacking
from selfrep.store.owner import changing
from selfrep.store.rows import DONE
from selfrep.store.run_directory import RunDirectory
from selfrep.store.shard import Shard
from selfrep.study.captures import captures
from selfrep.study.lost import lost_with
from selfrep.study.origin import clock_of, machine_of, origin, require_same, resumed, warnings
from selfrep.study.pause import Pause
from selfrep.study.readable import Readable, nothing_lost, of_record, readable
from selfrep.study.study import Study

Labels: TypeAlias = Mapping[str, tuple[str, np.ndarray]]
"""Further coordinates on prompt."""

PROMPTS_AT_ONCE = 256
SHARDS = "shards"
"""Where provenance.json keeps the machine and the time of each shard."""
BEHAVIOUR = "behaviour"
"""The group of the answers to every item."""


@dataclass(frozen=True)
class Job(Context):
    """A study on its way into a run directory. The model is loaded by the first stage that asks for it."""

    study: Study
    directory: RunDirectory
    device: str
    warn: Callable[[str], None]
    loaded: LanguageModel | None = None
    """The model, where it is loaded already."""
    known: Outline | None = None
    shard: Shard | None = None
    """The share of this process, where several fill the directory."""
    pause: Pause = field(default_factory=Pause)

    @property
    def people(self) -> PersonaSet:
        """The personas that play."""
        return self.study.people

    @property
    def items(self) -> Battery:
        """The items that are asked."""
        return self.readable.study.items

    @property
    def scenes(self) -> Scenarios:
        """The scenarios. Raises SelfrepError when the study has none."""
        return self.readable.study.scenes

    @property
    def sides(self) -> tuple[str, str] | None:
        """The two sides that are contrasted."""
        return self.study.contrast

    @property
    def seed(self) -> int:
        """Of resampling, permutations and random controls."""
        return self.study.seed

    @property
    def study_hash(self) -> str:
        """sha256 of what the study says."""
        return self.study.hash

    @cached_property
    def readable(self) -> Readable:
        """What of the study this model's tokenizer leaves: settled once, and kept in the run directory.

        The model is loaded only where words are left out, to say how much is lost with them, or where nothing else
        knows its tokenizer.
        """
        if (record := self.directory.provenance().get("answers")) is not None:
            return of_record(self.study, record)
        known = self.known
        if known is None and self.loaded is None:
            known = outline(self.study.model, self.study.chat_template, self.study.template_vars)
        chat = self._model.chat if known is None else known.chat
        found = readable(self.study, chat, nothing_lost)
        if found.lacking:
            found = readable(self.study, chat, lost_with(self._model, self.people))
        for sentence in lacking(found.record()):
            self.warn(sentence)
        self.directory.provenance(answers=found.record())
        return found

    @cached_property
    def _model(self) -> LanguageModel:
        """The model, before it is known to be that of the run directory."""
        clock = clock_of(self.directory.provenance())
        if self.loaded is not None:
            return replace(self.loaded, clock=clock)
        return model_of(self.study, self.device, clock)

    @cached_property
    def lm(self) -> LanguageModel:
        """The model of the study, loaded when first asked for; the run directory then knows where it came from."""
        lm = self._model
        for message in warnings(lm.chat):
            self.warn(message)
        now, hashes = origin(lm, self._everything)
        self._hashes.update(hashes)
        with changing(self.directory.path):  # of several workers, one begins
            before = self.directory.provenance()
            require_same(before, now, self.directory.path, measured=self.directory.begun)
            now, told = resumed(before, now)
            self.directory.provenance(
                **now,
                model="SmolLM2-135M-Instruct (embedded)" if lm.name == "embedded" else lm.name,
                architecture=lm.layout.architecture,
                n_layers=lm.n_layers,
                d_model=lm.d_model,
                study_hash=self.study.hash,
                seed=self.study.seed,
                remote_code=_remote_code(lm.hf),
            )
            if self.shard is not None:
                self._note(**{name: value for name, value in machine_of(lm).items() if value is not None})
        if told:
            self.warn(told)
        return lm

    def note_seconds(self, spent: float) -> None:
        """Add to the time that was spent, by the run as a whole or by this shard of it."""
        with changing(self.directory.path):
            known = self.directory.provenance()
            mine = known if self.shard is None else known.get(SHARDS, {}).get(str(self.shard), {})
            self._note(seconds=round(float(mine.get("seconds", 0.0)) + spent, 1))

    def _note(self, **entries: Any) -> None:
        """Add to provenance, of a worker to its own part of it: workers may run on different machines."""
        if self.shard is None:
            self.directory.provenance(**entries)
            return
        with changing(self.directory.path):
            shards = self.directory.provenance().get(SHARDS, {})
            mine = {**shards.get(str(self.shard), {}), **entries}
            self.directory.provenance(**{SHARDS: {**shards, str(self.shard): mine}})

    @cached_property
    def _hashes(self) -> dict[Prompt, str]:
        """Of the token ids of prompts."""
        return {}

    def _blank(self, prompts: Sequence[Prompt], labels: Labels | None = None) -> xr.Dataset:
        """Room for scores; the hashes of the prompts tell whether those that are there are of the same."""
        chat = self.lm.chat
        for prompt in prompts:
            if prompt not in self._hashes:
                self._hashes[prompt] = render(prompt, chat).hash
        hashes = np.array([self._hashes[prompt] for prompt in prompts])
        return blank_scores(prompts).assign_coords(labels or {}).assign_coords(prompt_hash=("prompt", hashes))

    @cached_property
    def _read(self) -> dict[str, xr.Dataset]:
        """Groups of scores that are complete: several analyses ask for the same, and each row is a file of its own."""
        return {}

    def complete(self, group: str) -> bool:
        """Whether a group is there with all its rows, or all of this process's shard."""
        return self.directory.has(group) and len(self.directory.pending(group, self.shard)) == 0

    def left(self, group: str, at_once: int = 1, rows: Sequence[int] | None = None) -> list[np.ndarray]:
        """The rows of a group that this process has yet to fill, so many blocks at a time; of `rows` alone."""
        pending = self.directory.pending(group, self.shard)
        blocks = self.directory.blocks(group, pending if rows is None else np.intersect1d(pending, rows))
        return [np.concatenate(blocks[at : at + at_once]) for at in range(0, len(blocks), at_once)]

    def keep(self, group: str, rows: np.ndarray, dataset: xr.Dataset) -> None:
        """Write these rows of a group. A run that was told to stop ends here; raises Paused."""
        self.directory.write_rows(group, rows, dataset)
        self.pause.check()

    def read(self, group: str) -> xr.Dataset:
        """A group, for an estimate, which is made of it from then on. Raises SelfrepError where rows are missing."""
        self._inputs.add(group)
        return _whole(group, self.directory.read(group))

    def scores(self, group: str, items: Battery) -> xr.Dataset:
        """The rows of a group of scores that belong to these items, likewise."""
        self._inputs.add(group)
        rows = self._read.get(group)
        if rows is None:
            rows = self.directory.read(group)
            if self.complete(group):
                self._read[group] = rows
        return _whole(group, rows.isel(prompt=np.flatnonzero(np.isin(rows.item.to_numpy(), list(items.names())))))

    @cached_property
    def _inputs(self) -> set[str]:
        """The groups that an estimate has read so far."""
        return set()

    def scoring(
        self,
        name: str,
        group: str,
        prompts: Sequence[Prompt],
        labels: Labels | None = None,
        items: Collection[str] | None = None,
    ) -> Stage:
        """The stage that scores these prompts into a group, going on where it stopped.

        `labels` are further coordinates on prompt, from `selfrep.engine.cases.labels_of`; `items` those that are asked
        now (None: all), while the others wait.
        """
        asked = [i for i, prompt in enumerate(prompts) if items is None or prompt.item in items]

        def work(tick: Tick) -> None:
            self.directory.prepare(group, self._blank(prompts, labels), along="prompt", at_once=PROMPTS_AT_ONCE)
            left = self.left(group, rows=asked)
            for rows, share in zip(left, shares(map(len, left)), strict=True):
                progress = within(tick, *share)
                self.keep(group, rows, score(self.lm, [prompts[i] for i in rows], progress=progress))

        done = lambda: self.directory.has(group) and not self.left(group, rows=asked)  # noqa: E731
        return Stage(name, PER_PROMPT * len(asked), done, work, grows=True, prompts=len(asked))

    @cached_property
    def _everything(self) -> list[Prompt]:
        """Every persona in every condition, asked every item."""
        return prompts(self.people, self.items, self.study.conditions)

    def estimating(self, name: str, group: str, estimate: Callable[[], xr.Dataset]) -> Stage:
        """The stage that makes a group of what is there already, without a model; and again, where that was measured
        anew."""

        def work(tick: Tick) -> None:
            self._inputs.clear()
            made = estimate()
            self.directory.write(group, made, made_of=self._inputs)

        return Stage(name, 1.0, lambda: self.directory.is_current(group), work, makes=(group,))

    def stages(self) -> Iterator[Stage]:
        """All steps of the study: its answers, then those of each analysis, later ones reading what earlier ones wrote.
        What the report opens with comes first, with the answers that it needs.

        Readings of the same activations are one step: each pass is run once for all analyses.
        """
        steps = list(self.steps())
        captured = list(captures(self, [step for step in steps if isinstance(step, Reading)]))
        later = [step for step in steps if isinstance(step, Stage)]
        yield from (step for step in captured if step.opens)
        needed = {item for step in later if step.opens for item in step.needs}
        first = self.scoring("answers that come first", BEHAVIOUR, self._everything, items=needed)
        if needed:
            yield first
        yield from (step for step in later if step.opens)
        rest = self.answers()
        yield replace(rest, prompts=rest.prompts - first.prompts, cost=rest.cost - first.cost)
        yield from (step for step in (*captured, *later) if not step.opens)

    def answers(self) -> Stage:
        """The stage that asks everybody everything."""
        return self.scoring("answers to every item", BEHAVIOUR, self._everything)

    def steps(self) -> Iterator[Stage | Reading]:
        """The steps of each analysis in the order of the report, each reading by itself."""
        for analysis in analyses():
            part = self.readable.study.parts.get(analysis.name)
            if analysis.part is None or part is not None:
                yield from analysis.stages(self, part)


def _whole(group: str, rows: xr.Dataset) -> xr.Dataset:
    """These rows, or a refusal: an estimate of half of them would be believed for ever."""
    if DONE in rows and not bool(rows[DONE].all()):
        missing = int((~rows[DONE]).sum())
        raise SelfrepError(
            f"An estimate is made of all that it asks for; {missing:,} of {rows[DONE].size:,} rows of {group!r} are "
            "missing. Let the run, or all of its shards, go on to the end."
        )
    return rows


def model_of(study: Study, device: str = "auto", clock: datetime | None = None) -> LanguageModel:
    """The model that a study is asked of, loaded as the study says.

    Example:
        >>> model_of(Study(name="mine", model="organism:separate", dtype="bfloat16"), "cpu").dtype
        torch.bfloat16
    """
    return load_model(
        study.model,
        device=device,
        dtype=study.dtype,
        chat_template=study.chat_template,
        template_vars=study.template_vars,
        clock=clock,
        attn=study.attn,
        device_map=study.device_map,
    )


def _remote_code(hf: object) -> str | None:
    """The module of a model whose code came with its weights, which the user trusted; None for transformers' own."""
    module = type(hf).__module__
    return module if module.split(".")[0] == "transformers_modules" else None
