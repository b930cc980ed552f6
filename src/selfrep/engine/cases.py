"""Cases of a design → what the model would answer in each, with the labels of the design on the results."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from selfrep.engine.capture import score
from selfrep.engine.progress import Progress
from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.prompts.cases import Case


def score_cases(lm: LanguageModel, cases: Sequence[Case], *, progress: Progress = None) -> xr.Dataset:
    """What the model would answer in each case.

    Args:
        cases: from `anomalies.builtin().cases()` and the like; all with the same labels. Equal prompts run once.

    Returns:
        As `score` (dim prompt; `log_odds` in nats, `answer_mass`), with each label as a coordinate on prompt.

    Raises:
        SelfrepError: no cases, labels that differ, prompts without answers, unfit answers, NaN logits.
    """
    labels = labels_of(cases)
    distinct = list(dict.fromkeys(case.prompt for case in cases))
    place = {prompt: i for i, prompt in enumerate(distinct)}
    seen = score(lm, distinct, progress=progress).isel(prompt=[place[case.prompt] for case in cases])
    return seen.assign_coords(labels)


def labels_of(cases: Sequence[Case]) -> dict[str, tuple[str, np.ndarray]]:
    """The labels of all cases, as coordinates on prompt. Raises SelfrepError for no cases, or labels that differ."""
    if not cases:
        raise SelfrepError("There is nothing to score: the list of cases is empty.")
    names = list(cases[0].labels)
    if uneven := [list(case.labels) for case in cases if list(case.labels) != names]:
        raise SelfrepError(f"Cases of one design have the same labels; got {names} and {uneven[0]}.")
    return {name: ("prompt", np.array([case.labels[name] for case in cases])) for name in names}
