"""A source that runs in another model: against plain hooks on both, and refused where they do not fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.tiny import tiny_hf

from selfrep.engine.metrics import kl_divergence, logit_difference
from selfrep.engine.pairs import pair
from selfrep.engine.patch import patch, patch_tokens
from selfrep.engine.plan import grid, prefix_patch
from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.models.loading import load_model
from selfrep.models.organisms import BATTERY, PERSONAS
from selfrep.prompts import battery, personas

SOURCE, TARGET = [[3, 5, 7, 9, 11], [-1, 2, 4, 6, 8]], [[4, 6, 8, 10], [12, 14, 16, 18]]
METRIC = logit_difference(5, 6)


def both(family: str) -> tuple[LanguageModel, LanguageModel]:
    return tuple(load_model(tiny_hf(family, seed=seed)) for seed in (0, 1))  # type: ignore[return-value]


def by_hand(target: Any, source: Any, ids: list[list[int]], layer: int, position: int) -> tuple[float, float, float]:
    """The metric of the target patched after a block, of the target, and of the source, by hooks of plain torch."""
    rows = [torch.tensor([[i for i in row if i >= 0]]) for row in ids]
    kept: list[torch.Tensor] = []

    def keep(module: Any, args: Any, out: Any) -> None:
        kept.append((out[0] if isinstance(out, tuple) else out)[:, position].clone())

    def write(module: Any, args: Any, out: Any) -> Any:
        h = (out[0] if isinstance(out, tuple) else out).clone()
        h[:, position] = kept[0]
        return (h, *out[1:]) if isinstance(out, tuple) else h

    def read(model: LanguageModel, row: torch.Tensor) -> float:
        last = model.hf(row, use_cache=False).logits[0, -1]
        return float(last[5] - last[6])

    with torch.no_grad():
        hook = source.blocks[layer].register_forward_hook(keep)
        end = read(source, rows[0])
        hook.remove()
        before = read(target, rows[1])
        hook = target.blocks[layer].register_forward_hook(write)
        patched = read(target, rows[1])
        hook.remove()
    return patched, before, end


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "gpt_neox", "qwen3", "gpt_oss"])
def test_what_passes_in_one_model_is_written_into_another(family: str) -> None:
    lm, other = both(family)
    plan = grid("resid_post", layers=[0, 1], positions=[-2, -1])
    effects = patch_tokens(lm, SOURCE, TARGET, plan, METRIC, source_lm=other)
    assert effects.engine == "replay"
    assert effects.source_model == other.name
    for row in range(2):
        for layer in (0, 1):
            for position in (-2, -1):
                patched, before, end = by_hand(lm, other, [SOURCE[row], TARGET[row]], layer, position)
                cell = effects.sel(layer=layer, position=position).isel(pair=row)
                np.testing.assert_allclose(float(cell.patched), patched, atol=2e-4)
                np.testing.assert_allclose(
                    float(cell.transfer), (patched - before) / (end - before), rtol=2e-2, atol=1e-3
                )
    own = patch_tokens(lm, SOURCE, TARGET, plan, METRIC)
    assert float(abs(own.patched - effects.patched).max()) > 1e-3, "the control: its own sources move it otherwise"


def test_a_model_is_its_own_other() -> None:
    lm, _ = both("llama")
    plan = grid("attn_out", layers=[1])
    np.testing.assert_array_equal(
        patch_tokens(lm, SOURCE, TARGET, plan, METRIC, source_lm=lm).patched,
        patch_tokens(lm, SOURCE, TARGET, plan, METRIC).patched,
    )


def test_whole_passes_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, other = both("llama")
    plan = grid("mlp_out", positions=[-1]) | grid("z", layers=[1], heads=[0], positions=[-1])
    metrics = [METRIC, kl_divergence("source")]
    fast = patch_tokens(lm, SOURCE, TARGET, plan, metrics, source_lm=other)

    def none(*_: object) -> None:
        from selfrep.errors import CannotReplay

        raise CannotReplay("no replay.")

    monkeypatch.setattr("selfrep.engine.patch.record_sweep", none)
    with pytest.warns(UserWarning, match="whole forward pass"):
        slow = patch_tokens(lm, SOURCE, TARGET, plan, metrics, source_lm=other)
    for name in fast.children:
        for variable in ("patched", "source_metric", "target_metric"):
            np.testing.assert_allclose(slow[name][variable], fast[name][variable], atol=2e-4)


def test_the_self_check_is_made_for_each_pair_of_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """A donor that is recorded in the wrong model is found out, though the model alone was checked before."""
    lm, other = both("llama")
    plan = grid("resid_post", layers=[0, 1], positions=[-1])
    patch_tokens(lm, SOURCE, TARGET, plan, METRIC)
    from selfrep.engine.replay import baselines

    sound = baselines.record_ids
    monkeypatch.setattr(baselines, "record_ids", lambda model, *args, **how: sound(lm, *args, **how))
    with pytest.raises(SelfrepError, match=r"plain|reference|forward"):
        patch_tokens(lm, SOURCE, TARGET, plan, METRIC, source_lm=other)


def test_personas_of_one_model_in_another() -> None:
    lm, other = (load_model(f"organism:separate?noise={noise}") for noise in (0.0, 0.2))
    people, item = personas.load(PERSONAS), battery.load(BATTERY)["who_are_you"]
    pairs = pair(lm, people["robot"], people["nurse"], item, paraphrases=0)
    effects = patch(lm, pairs, grid("resid_pre", layers=[2, 3], positions=[-10, -1]), source_lm=other)
    assert effects.transfer.sel(pair=0).shape == (2, 2)


def test_models_that_do_not_fit_are_refused_with_what_differs() -> None:
    lm, _ = both("llama")
    plan = grid("resid_post", layers=[0])
    for other, words in (
        (load_model(tiny_hf("gpt2")), "architecture"),
        (load_model(tiny_hf("llama", vocabulary=131)), "vocabulary"),
    ):
        with pytest.raises(SelfrepError, match=f"of one shape; .*differ in their {words}"):
            patch_tokens(lm, SOURCE, TARGET, plan, METRIC, source_lm=other)
    with pytest.raises(SelfrepError, match="within one model"):
        patch_tokens(lm, TARGET, TARGET, prefix_patch(), METRIC, suffix=2, source_lm=both("llama")[1])
