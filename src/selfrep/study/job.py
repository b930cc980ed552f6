"""What a step of a run is, and what all steps are given: the study, the run directory, and the model when needed."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from selfrep.engine.capture import observe, unobserved
from selfrep.models.language_model import LanguageModel, load_model
from selfrep.prompts.render import Prompt, chat_format
from selfrep.store.run_directory import RunDirectory
from selfrep.study.study import Study

Tick = Callable[[float], None]
"""Called with the share of a stage that is done."""

Labels = Mapping[str, tuple[str, np.ndarray]]

VERSIONED = ("selfrep", "torch", "transformers", "transformer-lens", "xarray", "zarr", "numpy", "plotly")
PROMPTS_AT_ONCE = 256
PER_PROMPT = 20.0
"""The cost of observing a prompt; the unit is about one token through all layers."""


@dataclass(frozen=True)
class Stage:
    """One step of a run.

    Attributes:
        name: what the progress bar shows.
        cost: how long it takes, in the unit of `PER_PROMPT`.
        done: whether its groups are there and complete.
        work: computes what is missing of them.
    """

    name: str
    cost: float
    done: Callable[[], bool]
    work: Callable[[Tick], None]


@dataclass(frozen=True)
class Job:
    """A study on its way into a run directory. The model is loaded by the first stage that asks for it."""

    study: Study
    directory: RunDirectory
    device: str
    warn: Callable[[str], None]

    @cached_property
    def lm(self) -> LanguageModel:
        """The model of the study, loaded when first asked for; the run directory then knows where it came from."""
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

    def full(self, group: str) -> bool:
        """Whether a group that grows is there and complete."""
        return self.directory.has(group) and len(self.directory.pending(group)) == 0

    def observing(self, name: str, group: str, asked: Sequence[Prompt], labels: Labels | None = None) -> Stage:
        """The stage that observes these prompts into a group, going on where it stopped.

        `labels` are further coordinates on prompt, from `selfrep.engine.cases.labels_of`.
        """

        def work(tick: Tick) -> None:
            self.directory.prepare(group, unobserved(asked).assign_coords(labels or {}), along="prompt")
            left = self.directory.pending(group)
            for at in range(0, len(left), PROMPTS_AT_ONCE):
                rows = left[at : at + PROMPTS_AT_ONCE]
                self.directory.write_rows(group, rows, observe(self.lm, [asked[i] for i in rows]))
                tick((at + len(rows)) / len(left))

        return Stage(name, PER_PROMPT * len(asked), lambda: self.full(group), work)

    def estimating(self, name: str, group: str, work: Callable[[], None]) -> Stage:
        """A stage that needs no model: it makes a group of what is there already."""
        return Stage(name, 1.0, lambda: self.directory.has(group), lambda tick: work())


def _commit() -> str | None:
    """The git commit of the source tree that runs, marked when changed since; None for an installed package."""
    here = Path(__file__).parents[1]
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
