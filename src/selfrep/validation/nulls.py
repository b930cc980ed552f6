"""False alarms: personas dealt to two sides by a coin, so that no difference between the sides is anything but luck.

Families are dealt whole, as tests count them, and only those that stand on a side: readings of the self stay out. The
personas stay as different from each other as they are, which is what the paraphrases of a persona share and what a test
that counts prompts takes for a difference between the sides.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy.stats import ttest_ind

from selfrep.analyses.bleed.estimate import bleed
from selfrep.analyses.organisms import activations, personas, scores
from selfrep.analyses.separation.estimate import separation
from selfrep.models.language_model import LanguageModel
from selfrep.stats.resampling import ALPHA
from selfrep.validation import maps

SIDES = ("heads", "tails")


@dataclass(frozen=True)
class Deal:
    """What one deal of the personas made the tests say; all of it is false.

    Attributes:
        anywhere: whether the map of S has a cell with a family-wise p under .05.
        cells, prompt_cells: shares of its cells with p under .05, personas permuted and prompts permuted.
        bleeds, prompt_bleeds: whether B has p under .05, and whether a t-test over prompts has.
    """

    anywhere: bool
    cells: float
    prompt_cells: float
    bleeds: bool
    prompt_bleeds: bool


def deals(lm: LanguageModel, n: int, seed: int = 0) -> Iterator[Deal]:
    """Deal the personas of a model n times."""
    acts = activations(lm, "who_are_you", ("you", "user"), layers=[1, 3, 5])
    answers = scores(lm, ["what_writes"], ("you", "user", "truth", "echo"))
    families = sorted({persona.family for persona in personas() if persona.side})
    rng = np.random.default_rng(seed)
    for k in range(n):
        heads = rng.permutation(families)[: len(families) // 2].tolist()
        streams, odds = (_dealt(data, heads) for data in (acts, answers))
        s = separation(streams, n_permutations=1000, n_bootstrap=2, seed=k)
        b = bleed(odds, n_permutations=1000, n_bootstrap=100, seed=k)
        told = (odds.log_odds.to_numpy()[(odds.condition == "you") & (odds.side == side)] for side in SIDES)
        yield Deal(
            anywhere=bool((s.p_max < ALPHA).any()),
            cells=float((s.p < ALPHA).mean()),
            prompt_cells=float((maps.prompt_level_p(streams, seed=k) < ALPHA).mean()),
            bleeds=bool((b.p < ALPHA).any()),
            prompt_bleeds=bool(ttest_ind(*told).pvalue < ALPHA),
        )


def _dealt(data: xr.Dataset, heads: list[str]) -> xr.Dataset:
    """The same data on other sides; what stood on none still does."""
    side = np.where(np.isin(data.family.to_numpy(), heads), *SIDES)
    return data.assign_coords(side=("prompt", np.where(data.side.to_numpy() == "", "", side)))
