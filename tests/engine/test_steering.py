"""Each cell of a grid is what plain hooks give; random directions are as long, and noise costs coherence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr
from tests.engine.conftest import Talker
from torch import Tensor

from selfrep.engine.steering import steering_grid
from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.models.loading import load_model
from selfrep.models.organisms import BATTERY, PERSONAS
from selfrep.prompts import battery, personas
from selfrep.prompts.prompt import Prompt
from selfrep.prompts.prompt import prompts as make_prompts
from selfrep.prompts.render import render

ASKED = [
    Prompt("You are a nurse.", ("Who are you?",), "I am a", answers=((" robot",), (" person",))),
    Prompt("Be brief.", ("And now?",), "I", answers=((" am",), (" was",))),
]


def plain(lm: LanguageModel, ids: tuple[int, ...], vector: Tensor | None, layer: int) -> Tensor:
    """Log-probabilities [token, d_vocab], a vector added after a block at all tokens, by a hook of plain torch."""

    def add(module: object, args: object, out: object) -> object:
        moved = (out[0] if isinstance(out, tuple) else out) + vector
        return (moved, *out[1:]) if isinstance(out, tuple) else moved

    hook = lm.blocks[layer].register_forward_hook(add) if vector is not None else None
    try:
        with torch.no_grad():
            return lm.hf(torch.tensor([ids]), use_cache=False).logits[0].log_softmax(-1)
    finally:
        if hook is not None:
            hook.remove()


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_each_cell_is_what_plain_hooks_give(talker: Talker, family: str) -> None:
    lm = talker(family)
    direction = torch.randn(lm.d_model, generator=torch.Generator().manual_seed(0))
    grid = steering_grid(lm, ASKED, direction, layers=[0, 1], strengths=[-1, 0.5], max_tokens=3, n_random=1)
    assert grid.effect.dims == ("direction", "layer", "strength", "prompt")
    for i, prompt in enumerate(ASKED):
        ids = render(prompt, lm.chat).ids
        first, second = (lm.tokenizer.encode(side[0], add_special_tokens=False)[0] for side in prompt.answers or ())
        odds = {
            (layer, c): (p := plain(lm, ids, None if c == 0 else c * direction, layer)[-1])[first] - p[second]
            for layer in (0, 1)
            for c in (0, -1, 0.5)
        }
        for layer in (0, 1):
            for c in (-1, 0.5):
                cell = grid.sel(direction="given", layer=layer, strength=c).isel(prompt=i)
                np.testing.assert_allclose(float(cell.effect), float(odds[layer, c] - odds[layer, 0]), atol=2e-3)
    assert float(abs(grid.effect.sel(direction="given") - grid.effect.sel(direction="random 0")).max()) > 1e-2


def test_coherence_is_that_of_the_model_as_it_was(talker: Talker) -> None:
    lm = talker("llama")
    direction = 3 * torch.randn(lm.d_model, generator=torch.Generator().manual_seed(0))
    grid = steering_grid(lm, ASKED[:1], direction, layers=1, strengths=[0, 1], max_tokens=4, n_random=0)
    from selfrep.engine.during import during
    from selfrep.engine.generation import generate
    from selfrep.engine.interventions import Steer

    said = generate(lm, ASKED[0], max_tokens=4, apply=during(Steer(direction), "resid_post", 1, "all"))
    words = [int(t) for t in said.tokens.values[0] if t >= 0]
    ids = (*render(ASKED[0], lm.chat).ids, *words)
    read = plain(lm, ids, None, 0)[-len(words) - 1 : -1]
    by_hand = float(read.gather(1, torch.tensor(words)[:, None]).mean())
    np.testing.assert_allclose(float(grid.coherence.sel(strength=1).squeeze()), by_hand, atol=1e-4)
    assert by_hand < float(grid.plain_coherence[0]), "greedy words without steering are the most probable"
    np.testing.assert_allclose(grid.effect.sel(strength=0), 0, atol=1e-5)
    assert grid.text.sel(strength=0).values.ravel().tolist() == grid.plain_text.values.tolist()
    assert np.isnan(grid.floor).all(), "no random directions, no floor"


def test_a_planted_direction_carries_its_answer_over() -> None:
    lm = load_model("organism:separate")
    people, item = personas.load(PERSONAS), battery.load(BATTERY)["who_are_you"]
    from selfrep.engine.capture import capture

    robot, nurse = (make_prompts(people[name], item) for name in ("robot", "nurse"))
    acts = capture(lm, [*robot, *nurse], tokens="position", positions=-1).activations.isel(site=0, position=0)
    by_layer = (acts[: len(robot)].mean("prompt") - acts[len(robot) :].mean("prompt")).reset_coords(drop=True)
    grid = steering_grid(lm, nurse, by_layer, layers=[3, 4], strengths=[1.0], max_tokens=1, n_random=8)
    planted = 8.0  # log odds of 4 for a robot, −4 for a nurse
    np.testing.assert_allclose(grid.effect.sel(direction="given"), planted, atol=1e-2)
    random = grid.effect.sel(direction=[name for name in grid.direction.values if name != "given"]).mean("prompt")
    np.testing.assert_allclose(grid.floor, abs(random).max("direction"))


def test_what_cannot_be_steered_is_refused(talker: Talker) -> None:
    lm = talker("llama")
    direction = xr.DataArray(np.ones((2, lm.d_model)), {"layer": [0, 1]}, ["layer", "d_model"])
    for change, words in (
        ({"layers": [1, 2]}, r"no value at layers \[2\]"),
        ({"direction": np.ones(3)}, "as wide as the model"),
        ({"strengths": []}, "finite numbers, at least one"),
        ({"strengths": [np.nan]}, "finite numbers, at least one"),
        ({"n_random": -1}, "0 random directions or more"),
        ({"prompts": [replace(ASKED[0], answers=None)]}, "must carry answer sets"),
    ):
        given = {"prompts": ASKED, "direction": direction, "layers": [0], "strengths": [1.0], "max_tokens": 1, **change}
        with pytest.raises(SelfrepError, match=words):
            steering_grid(lm, **given)  # type: ignore[arg-type]
