"""How surprised a model is by the texts that describe its personas, side by side.

Two sides of personas may differ in more than what they are: in how long their descriptions are, and in how unexpected.
A shift between the sides could then be one between plain and strange prompts. So both are measured before a study is
built on the personas, and every item's shift is told again with surprise controlled for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from scipy import stats as scipy_stats

from selfrep.engine.capture import capture
from selfrep.models.language_model import LanguageModel
from selfrep.prompts.prompt import Prompt
from selfrep.prompts.render import render
from selfrep.stats import resampling
from selfrep.stats.families import Families
from selfrep.stats.rounding import negligible

Array = np.ndarray


def surprise(lm: LanguageModel, prompts: Sequence[Prompt]) -> xr.Dataset:
    """How unexpected the system text of each prompt is to a model, after what its template puts before it.

    Args:
        lm: the model.
        prompts: whose system texts.

    Returns:
        Dataset over prompt: `surprise` (nats a token of the system text), `length` (tokens); NaN without a system text.

    Raises:
        SelfrepError: no prompts; NaN logits.

    Example:
        >>> import selfrep as sr
        >>> lm = sr.load_model("organism:separate")
        >>> surprise(lm, [Prompt("You are a nurse.", ("Who are you?",))]).length.values.tolist()
        [5.0]
    """
    chat = lm.chat
    systems = {prompt.system: replace(prompt, answers=None, said=()) for prompt in prompts}
    found = {}
    for system, prompt in systems.items():
        tokens = render(prompt, chat)
        own = [t for t, segment in enumerate(tokens.segments) if segment == "system" and t > 0]
        found[system] = (np.nan, float(len(own)))
        if own:
            before = [t - 1 - len(tokens) for t in own]
            acts = capture(lm, [prompt], layers=[lm.n_layers - 1], tokens="position", positions=before)
            found[system] = (_nats(lm, acts.activations.to_numpy()[0, 0, 0], [tokens.ids[t] for t in own]), len(own))
    values = np.array([found[prompt.system] for prompt in prompts])
    return xr.Dataset({"surprise": ("prompt", values[:, 0]), "length": ("prompt", values[:, 1])})


@torch.no_grad()
def _nats(lm: LanguageModel, residual: Float[Array, "token d_model"], ids: list[int]) -> float:
    """The mean of −log p of tokens, from the residual stream of the token before each."""
    stream = torch.from_numpy(residual).to(device=lm.device, dtype=lm.dtype)
    log_p = lm.logits(stream).log_softmax(-1).gather(1, torch.tensor(ids, device=lm.device)[:, None])
    return -float(log_p.cpu().double().mean())


def controlled(
    values: Float[Array, " family"], covariate: Float[Array, " family"], families: Families
) -> tuple[float, float, float]:
    """The difference between two sides of families at equal covariate: analysis of covariance, with one slope for both.

    Args:
        values: [family] e.g. log odds.
        covariate: [family] e.g. surprise.
        families: which of them stand on the first side.

    Returns:
        The difference and its 95 % bounds by Student's t. NaN where the covariate tells the sides apart by itself; the
        bounds are NaN with fewer than four families a side.

    Source: Fisher 1932.

    Example:
        >>> two = Families.of(np.arange(8), list("abcdefgh"), ["x"] * 4 + ["y"] * 4, ("x", "y"))
        >>> strange = np.array([1.0, 2.0, 3.0, 5.0, 2.0, 3.0, 4.0, 6.0])
        >>> [round(number, 6) + 0.0 for number in controlled(2 * two.first + 0.5 * strange, strange, two)]
        [2.0, 2.0, 2.0]
    """
    design = np.stack([families.first.astype(float), np.ones(len(values)), covariate - covariate.mean()], axis=1)
    if np.linalg.matrix_rank(design) < 3:
        return np.nan, np.nan, np.nan
    solution = np.linalg.lstsq(design, values, rcond=None)[0]
    if families.unbounded():
        return float(solution[0]), np.nan, np.nan
    free = len(values) - 3
    variance = ((values - design @ solution) ** 2).sum() / free
    error = np.sqrt(variance * np.linalg.inv(design.T @ design)[0, 0])
    half = 0.0 if negligible(error, np.abs(values).max()) else scipy_stats.t.ppf(1 - resampling.ALPHA / 2, free) * error
    return float(solution[0]), float(solution[0] - half), float(solution[0] + half)
