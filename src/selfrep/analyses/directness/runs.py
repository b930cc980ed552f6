"""D: scenarios answered after parts of a scratchpad, which the model writes where a scenario brings none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import xarray as xr

from selfrep.analyses.analysis import PER_PROMPT, Context, Stage, Tick, within
from selfrep.analyses.directness import DirectnessPart
from selfrep.analyses.directness.estimate import directness
from selfrep.analyses.directness.scratchpads import VERSIONS, early_answers, given
from selfrep.analyses.directness.writing import write_scratchpads
from selfrep.engine.cases import labels_of
from selfrep.prompts.cases import Case
from selfrep.prompts.scenarios import Cell, Scenarios
from selfrep.stats.tables import crossed

PER_WORD = 2.0
"""The cost of a word that is written, in the unit of `PER_PROMPT`."""


def runs(context: Context, part: DirectnessPart) -> Iterator[Stage]:
    """The scratchpads, scenario by scenario; the answers after them; the estimate."""
    directory, scenes = context.directory, context.scenes
    silent = {
        name: (f"scratchpads/{i:02d}", scenario)
        for i, (name, scenario) in enumerate((name, scenes.select([name])) for name in scenes.scenarios)
        if not given(scenario)
    }

    def cases() -> list[Case]:
        pads: dict[tuple[str, int, Cell], str] = dict(given(scenes))
        for name, (group, _) in silent.items():
            texts = directory.read(group).text.to_numpy()
            pads |= {(name, k, cell): str(texts[k, i]) for k in range(len(texts)) for i, cell in enumerate(VERSIONS)}
        return early_answers(scenes, pads, shares=part.shares, opening=part.opening, closing=part.closing)

    def answer(tick: Tick) -> None:
        answered = cases()
        prompts = [case.prompt for case in answered]
        context.scoring("", "early_answers", prompts, labels_of(answered)).work(tick)

    def estimate() -> xr.Dataset:
        odds = crossed(context.read("early_answers"), "log_odds", ("scenario", "paraphrase", "version", "share"))
        return directness(odds.to_dataset(), seed=context.seed)

    for name, (group, scenario) in silent.items():
        cost = PER_WORD * part.max_tokens * 2 * scenario.n_paraphrases
        work = _scratchpad(context, part, scenario, group)
        yield Stage(
            f"scratchpad of {name}", cost, partial(directory.has, group), work, prompts=2 * scenario.n_paraphrases
        )
    n_answers = len(scenes.scenarios) * scenes.n_paraphrases * len(VERSIONS) * len(part.shares)
    complete = partial(context.complete, "early_answers")
    yield Stage("answers after scratchpads", PER_PROMPT * n_answers, complete, answer, prompts=n_answers)
    yield context.estimating("directness", "directness", estimate)


def _scratchpad(context: Context, part: DirectnessPart, scenario: Scenarios, group: str) -> Callable[[Tick], None]:
    def work(tick: Tick) -> None:
        written = write_scratchpads(
            context.lm,
            scenario,
            opening=part.opening,
            max_tokens=part.max_tokens,
            progress=within(tick),
        )
        (name,) = scenario.scenarios
        texts = [[written[name, k, cell] for cell in VERSIONS] for k in range(scenario.n_paraphrases)]
        context.directory.write(group, xr.Dataset({"text": (("paraphrase", "version"), np.array(texts))}))

    return work
