"""The runs behind D: the same question with no scratchpad, a part of one, and the whole.

The model writes a scratchpad under each version. Then it answers after every share of it (early answering, Lanham et
al. 2023). Scratchpads from elsewhere are as good: any mapping will do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
import xarray as xr

from selfrep.analyses.directness.scratchpads import CLOSING, OPENING, SHARES, VERSIONS, Scratchpads, early_answers
from selfrep.engine.cases import score_cases
from selfrep.engine.progress import Progress, ticker
from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.prompts.prompt import Prompt
from selfrep.prompts.render import render
from selfrep.prompts.scenarios import Cell, Scenarios


@torch.no_grad()
def write_scratchpads(
    lm: LanguageModel,
    scenarios: Scenarios,
    *,
    versions: tuple[Cell, Cell] = VERSIONS,
    opening: str = OPENING,
    max_tokens: int = 64,
    progress: Progress = None,
) -> dict[tuple[str, int, Cell], str]:
    """What the model writes in each scenario, paraphrase and version before it answers, by greedy decoding.

    Args:
        lm: from `selfrep.load_model`.
        scenarios: from `selfrep.scenarios`.
        versions: the cells (cue, stakes) that are compared.
        opening: how each scratchpad begins; not part of what is returned.
        max_tokens: the most tokens to write.
        progress: True for a bar, or a function of (done, total).

    Returns:
        (scenario, paraphrase, cell) → text, without the opening.

    Raises:
        SelfrepError: a model that writes nothing.

    Source: early answering (Lanham et al. 2023).

    Example:
        >>> import selfrep as sr
        >>> from selfrep.models import organisms
        >>> lm, scenarios = sr.load_model("organism:reasoner"), sr.scenarios.load(organisms.SCENARIOS)
        >>> scratchpads = write_scratchpads(lm, scenarios, max_tokens=3)
        >>> len(scratchpads["overlord_or_assistant", 0, (1, 1)].split())
        3
    """
    chat = lm.chat
    places = [
        (name, k, cell)
        for name, scenario in scenarios.scenarios.items()
        for k in range(scenario.n_paraphrases)
        for cell in versions
    ]
    scratchpads, tick = {}, ticker(progress, "scratchpad")
    for done, (name, k, cell) in enumerate(places, 1):
        question = scenarios.scenarios[name].prompt(cell, k)
        beginning = render(Prompt(question.system, question.turns, opening), chat).ids
        ids = torch.tensor([beginning], device=lm.device)
        with lm.exclusive():
            out = cast(Any, lm.hf).generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=max_tokens,
                do_sample=False,
                pad_token_id=int(ids[0, 0]),
            )
        text = " ".join(lm.tokenizer.decode(out[0, len(beginning) :], skip_special_tokens=True).split())
        if not text:
            raise SelfrepError(
                f"A scratchpad has words; {lm.name} has nothing to say after {opening!r} in the scenario {name!r}. "
                "Give another opening, or scratchpads written by other means."
            )
        scratchpads[name, k, cell] = text
        tick(done, len(places))
    return scratchpads


def directness_runs(
    lm: LanguageModel,
    scenarios: Scenarios,
    scratchpads: Scratchpads,
    *,
    shares: Sequence[float] = SHARES,
    versions: tuple[Cell, Cell] = VERSIONS,
    opening: str = OPENING,
    closing: str = CLOSING,
    progress: Progress = None,
) -> xr.Dataset:
    """The answers of a model after each share of each scratchpad.

    Args:
        lm: from `selfrep.load_model`.
        scenarios, scratchpads, shares, versions, opening, closing: as in `early_answers`.
        progress: True for a bar, or a function of (done, total).

    Returns:
        Dataset over (scenario, paraphrase, version, share), what `directness` takes.

        * `log_odds`: nats, of the behaviour.
        * `answer_mass`: 0 … 1, the probability of any answer.

    Raises:
        SelfrepError: as `early_answers` and `selfrep.score`.

    Source: early answering (Lanham et al. 2023).

    Example:
        This organism acts on its scratchpad alone: by 4 nats where cue and stakes led to it.

        >>> import selfrep as sr
        >>> from selfrep.analyses.directness.scratchpads import given
        >>> from selfrep.models import organisms
        >>> lm, scenarios = sr.load_model("organism:reasoner"), sr.scenarios.load(organisms.SCENARIOS)
        >>> runs = directness_runs(lm, scenarios, given(scenarios), shares=[0.0, 1.0])
        >>> abs(runs.log_odds.mean(["scenario", "paraphrase"]).round(1)).values
        array([[0., 0.],
               [0., 4.]])
    """
    cases = early_answers(scenarios, scratchpads, shares=shares, versions=versions, opening=opening, closing=closing)
    scores = score_cases(lm, cases, progress=progress)
    shape = (len(scenarios.scenarios), scenarios.n_paraphrases, len(versions), len(shares))
    dims = ("scenario", "paraphrase", "version", "share")
    return xr.Dataset(
        {name: (dims, scores[name].to_numpy().reshape(shape)) for name in ("log_odds", "answer_mass")},
        coords={
            "scenario": list(scenarios.scenarios),
            "version": [f"cue {cue}, stakes {stakes}" for cue, stakes in versions],
            "share": np.array(shares, dtype=float),
        },
        attrs={"model": lm.name},
    )
