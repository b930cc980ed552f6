"""False alarms: families dealt to two sides by a coin, so that no difference between the sides is anything but luck.

The families stay as different from each other as they are, which is what their personas share, and the paraphrases of
these: what a test that counts personas, or prompts, takes for a difference between the sides.
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


@dataclass(frozen=True)
class Deal:
    """What one deal of the families made the tests say; all of it is false.

    Attributes:
        anywhere, persona_anywhere: whether the map of S has a cell with p_max under .05, families or personas permuted.
        cells, prompt_cells: shares of its cells with p under .05, families permuted and prompts permuted.
        bleeds, persona_bleeds: whether B has p under .05, likewise; prompt_bleeds: whether a t-test over prompts has.
    """

    anywhere: bool
    persona_anywhere: bool
    cells: float
    prompt_cells: float
    bleeds: bool
    persona_bleeds: bool
    prompt_bleeds: bool


def deals(lm: LanguageModel, n: int, seed: int = 0) -> Iterator[Deal]:
    """Deal the families of a model's personas n times; readings of the self are not dealt."""
    acts = activations(lm, "who_are_you", ("you", "user"), layers=[1, 3, 5])
    answers = scores(lm, ["what_writes"], ("you", "user", "truth", "echo"))
    names = sorted({persona.family for persona in personas() if persona.side})
    rng = np.random.default_rng(seed)
    for k in range(n):
        heads = set(rng.permutation(names)[: len(names) // 2].tolist())
        streams, odds = (_dealt(data, heads) for data in (acts, answers))
        s, s_alone = (
            separation(data, n_permutations=1000, n_bootstrap=2, seed=k) for data in (streams, _strangers(streams))
        )
        b, b_alone = (bleed(data, n_permutations=1000, n_bootstrap=100, seed=k) for data in (odds, _strangers(odds)))
        told = (
            odds.log_odds[(odds.condition == "you") & (odds.side == side)].to_numpy() for side in ("heads", "tails")
        )
        yield Deal(
            anywhere=bool((s.p_max < ALPHA).any()),
            persona_anywhere=bool((s_alone.p_max < ALPHA).any()),
            cells=float((s.p < ALPHA).mean()),
            prompt_cells=float((maps.prompt_level_p(streams, seed=k) < ALPHA).mean()),
            bleeds=bool((b.p < ALPHA).any()),
            persona_bleeds=bool((b_alone.p < ALPHA).any()),
            prompt_bleeds=bool(ttest_ind(*told).pvalue < ALPHA),
        )


def _dealt(data: xr.Dataset, heads: set[str]) -> xr.Dataset:
    side = np.where(np.isin(data.family.to_numpy(), list(heads)), "heads", "tails")
    return data.assign_coords(side=("prompt", np.where(data.side.to_numpy() == "", "", side)))


def _strangers(data: xr.Dataset) -> xr.Dataset:
    """As if no two personas were of one family."""
    return data.assign_coords(family=data.persona)
