"""The runs behind D: the same question with no scratchpad, a part of one, and the whole.

The model writes a scratchpad under each version. Then it answers after every share of it (early answering, Lanham et
al. 2023). Scratchpads from elsewhere are as good: any mapping will do.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from selfrep.analyses.directness.scratchpads import CLOSING, OPENING, SHARES, VERSIONS, Scratchpads, early_answers
from selfrep.engine.cases import score_cases
from selfrep.engine.generation import generate
from selfrep.engine.progress import Progress
from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.prompts.prompt import Prompt
from selfrep.prompts.scenarios import Cell, Scenarios


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
        A model that has words of its own takes longer to load than an example should:

        >>> import selfrep as sr
        >>> from selfrep.models import organisms
        >>> lm = sr.load_model("embedded")  # doctest: +SKIP
        >>> scenarios = sr.scenarios.load(organisms.SCENARIOS).select(["overlord_or_assistant"])
        >>> write_scratchpads(lm, scenarios, max_tokens=3)["overlord_or_assistant", 0, (1, 1)]  # doctest: +SKIP
        "I'm a"
    """
    places = [
        (name, k, cell)
        for name, scenario in scenarios.scenarios.items()
        for k in range(scenario.n_paraphrases)
        for cell in versions
    ]
    asked = [scenarios.scenarios[name].prompt(cell, k) for name, k, cell in places]
    beginnings = [Prompt(question.system, question.turns, opening) for question in asked]
    said = generate(lm, beginnings, max_tokens=max_tokens, progress=progress).text.to_numpy()
    scratchpads = {place: " ".join(str(text).split()) for place, text in zip(places, said, strict=True)}
    if silent := next((name for (name, *_), text in scratchpads.items() if not text), None):
        raise SelfrepError(
            f"A scratchpad has words; {lm.name} has nothing to say after {opening!r} in the scenario {silent!r}. Give "
            "another opening, or scratchpads written by other means."
        )
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
