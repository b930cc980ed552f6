"""Which layer, and how strong: a direction added at each layer and strength, beside random ones of the same length.

A steering vector that moves an answer may do so by what it means, or by being long. So random directions of its length
stand beside it, and what is said is read again by the model as it was: fluent words cost it little, and noise much.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import torch
import xarray as xr

from selfrep.engine.capture import answered, labels_of
from selfrep.engine.during import during
from selfrep.engine.generation import generate
from selfrep.engine.interventions import Steer
from selfrep.engine.metrics import log_probs
from selfrep.engine.progress import Progress, ticker
from selfrep.engine.reference import logits
from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.prompts import arguments
from selfrep.prompts.arguments import Several
from selfrep.prompts.prompt import Prompt

GIVEN, NOTHING = "given", "none"


def steering_grid(
    lm: LanguageModel,
    prompts: Several[Prompt],
    direction: xr.DataArray | np.ndarray | torch.Tensor,
    *,
    layers: Several[int],
    strengths: Sequence[float | int],
    site: str = "resid_post",
    phase: str = "all",
    max_tokens: int = 24,
    n_random: int = 3,
    seed: int = 0,
    progress: Progress = None,
) -> xr.Dataset:
    """Steer along a direction at each layer and strength: what it does to the answers, and to what is said.

    Args:
        prompts: with answer sets, as `selfrep.make_prompts` makes them.
        direction: [d_model], the same at every layer; or a DataArray [layer, d_model], such as `load_directions` gives.
        layers: 0-indexed blocks, one at a time; strengths: how much of the direction is added; not normalised.
        site, phase: where and when, as in `selfrep.during`.
        max_tokens: of what is said, greedily.
        n_random: random directions of the same length at each layer, and their seed.
        progress: True for a bar, or a function that is called with (done, total) answers.

    Returns:
        Dataset over `direction` ("given", "random 0", …), `layer`, `strength`, `prompt`:

        * `effect`: nats, the log odds of the prompt's answers less those without steering; `answer_mass`.
        * `text`: what is said; `coherence`: nats a token, the mean log-probability of it under the model unsteered.
        * without steering, over `prompt`: `plain_log_odds`, `plain_text`, `plain_coherence`.
        * over `layer` and `strength`: `floor`: the largest size of a random direction's mean effect over prompts.

    Raises:
        SelfrepError: prompts without answers; layers that the direction or the model does not have; another width.

    Example:
        >>> import selfrep as sr
        >>> from selfrep.models.organisms import BATTERY, PERSONAS
        >>> lm = sr.load_model("organism:separate")
        >>> people, item = sr.personas.load(PERSONAS), sr.battery.load(BATTERY)["who_are_you"]
        >>> robot, nurse = (sr.make_prompts(people[name], item, paraphrases=0) for name in ("robot", "nurse"))
        >>> ends = sr.capture(lm, [*robot, *nurse], tokens="position", positions=-1).activations
        >>> machine = (ends[0] - ends[1]).isel(site=0, position=0)
        >>> grid = sr.steering_grid(lm, nurse, machine, layers=[3], strengths=[0, 1], max_tokens=1, n_random=1)
        >>> grid.effect.sel(direction="given", layer=3).values.ravel().round(1).tolist()
        [0.0, 8.0]
    """
    arguments.one(lm, LanguageModel, "model")
    asked, chosen = answered(prompts), list(arguments.numbers(layers, "layers"))
    amounts = np.asarray(strengths, dtype=float)
    if amounts.ndim != 1 or not len(amounts) or not np.isfinite(amounts).all():
        raise SelfrepError(f"Strengths are finite numbers, at least one; got {arguments.described(strengths)}.")
    if n_random < 0:
        raise SelfrepError(f"There are 0 random directions or more; got n_random={n_random}.")
    given = _by_layer(lm, direction, chosen)
    rng = np.random.default_rng(seed)
    names = [GIVEN, *(f"random {i}" for i in range(n_random))]
    vectors = [given, *({layer: _alike(rng, given[layer]) for layer in chosen} for _ in range(n_random))]
    plain = generate(lm, asked, max_tokens=max_tokens)
    n, cells = len(asked), len(amounts)
    shape = (len(names), len(chosen), cells, n)
    effect, mass, coherence = (np.full(shape, np.nan) for _ in range(3))
    text = np.empty(shape, dtype=object)
    tick, done = ticker(progress, "answer"), 0
    for (d, by_layer), (k, layer) in product(enumerate(vectors), enumerate(chosen)):
        hold = during(Steer(by_layer), site, layer, phase, strength=np.repeat(amounts, n))
        said = generate(lm, [replace(p) for _ in amounts for p in asked], max_tokens=max_tokens, apply=hold)
        effect[d, k] = said.log_odds.to_numpy().reshape(cells, n) - plain.log_odds.to_numpy()
        mass[d, k] = said.answer_mass.to_numpy().reshape(cells, n)
        coherence[d, k] = _coherence(lm, said).reshape(cells, n)
        text[d, k] = said.text.to_numpy().reshape(cells, n)
        done += cells * n
        tick(done, int(np.prod(shape)))
    dims = ("direction", "layer", "strength", "prompt")
    random = np.abs(effect[1:].mean(-1)).max(0) if n_random else np.full(shape[1:3], np.nan)
    return xr.Dataset(
        {
            "effect": (dims, effect),
            "answer_mass": (dims, mass),
            "coherence": (dims, coherence),
            "text": (dims, text.astype(str)),
            "plain_log_odds": ("prompt", plain.log_odds.to_numpy()),
            "plain_text": ("prompt", plain.text.to_numpy()),
            "plain_coherence": ("prompt", _coherence(lm, plain)),
            "floor": (dims[1:3], random),
        },
        {"direction": names, "layer": chosen, "strength": amounts, **labels_of(asked)},
        attrs={"model": lm.name, "site": site, "phase": phase, "max_tokens": max_tokens, "seed": seed},
    )


def _by_layer(
    lm: LanguageModel, direction: xr.DataArray | np.ndarray | torch.Tensor, layers: list[int]
) -> dict[int, np.ndarray]:
    """Layer → [d_model]."""
    if isinstance(direction, xr.DataArray) and "layer" in direction.dims:
        if missing := sorted(set(layers) - set(direction.layer.to_numpy().tolist())):
            raise SelfrepError(
                f"The direction has no value at layers {missing}; it has those of {direction.layer.values.tolist()}."
            )
        found = {layer: np.asarray(direction.sel(layer=layer), dtype=np.float32) for layer in layers}
    else:
        found = dict.fromkeys(layers, np.asarray(torch.as_tensor(np.asarray(direction)).float()))
    for vector in found.values():
        if vector.shape != (lm.d_model,):
            raise SelfrepError(f"A direction is as wide as the model ({lm.d_model}); got {list(vector.shape)}.")
    return found


def _alike(rng: np.random.Generator, vector: np.ndarray) -> np.ndarray:
    """A random direction of the same length."""
    drawn = rng.standard_normal(len(vector))
    return (drawn / np.linalg.norm(drawn) * np.linalg.norm(vector)).astype(np.float32)


def _coherence(lm: LanguageModel, said: xr.Dataset) -> np.ndarray:
    """[prompt] the mean log-probability of what was said, under the model as it is, by plain passes."""
    out = []
    for prompt, tokens in zip(said.prompt_ids.to_numpy(), said.tokens.to_numpy(), strict=True):
        words = tokens[tokens >= 0]
        ids = np.concatenate([prompt[prompt >= 0], words])
        read = logits(lm, ids, range(-len(words) - 1, -1))
        out.append(float(log_probs(read, torch.as_tensor(words, device=read.device)[:, None]).mean()))
    return np.array(out)
