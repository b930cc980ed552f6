"""Approximations against gradients taken by hand, and against the exact effects that they approximate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from tests.tiny import (
    CATCHING,
    FAMILIES,
    N_LAYERS,
    by_risk,
    component_at,
    hooked,
    log_odds,
    logits,
    module_at,
    ragged,
    sites_of,
    tiny,
    tiny_hf,
    token_pair,
)
from torch import Tensor, nn
from transformers import PreTrainedModel

from selfrep.engine.attribution import attribute, attribute_tokens
from selfrep.engine.interventions import Ablate, InSubspace, Steer
from selfrep.engine.metrics import kl_divergence, logit_difference, logit_metric, sequence_log_prob
from selfrep.engine.patch import patch, patch_tokens
from selfrep.engine.plan import PlanUnion, grid, prefix_patch
from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.models.loading import load_model
from selfrep.models.sites import HEAD_SITES

METRIC = logit_difference(7, 9)
SOURCE, TARGET = ragged([14, 11, 9], seed=1), ragged([12, 12, 8], seed=2)
SITES = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", *HEAD_SITES, "mlp_post")


def effects(dataset: Any) -> np.ndarray:
    return (dataset.patched - dataset.target_metric).transpose(*dataset.patched.dims).values


def close(got: object, wanted: object, tolerance: float = 1e-4) -> None:
    got, wanted = np.asarray(got, dtype=float), np.asarray(wanted, dtype=float)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(wanted))
    assert np.nanmax(np.abs(got - wanted) / np.maximum(1, np.abs(wanted))) <= tolerance


# Gradients by hand: plain modules of the plain model, one prompt at a time, by torch alone.


@contextmanager
def dropped(block: nn.Module) -> Iterator[None]:
    """Within, gradients go past a block: its contribution to the stream is a constant."""
    entered: list[Tensor] = []

    def enter(x: Tensor) -> Tensor:
        entered.append(x)
        return x

    with hooked(block, "in", enter), hooked(block, "out", lambda y: entered[0] + (y - entered[0]).detach()):
        yield


def by_hand(
    hf: PreTrainedModel, family: str, places: Sequence[tuple[str, int]], source: Tensor, target: Tensor,
    without: int | None = None,
) -> dict[tuple[str, int], Tensor]:  # fmt: skip
    """(source − target) · ∂(logit 7 − logit 9)/∂activation at each place: [token] or [token, component], from the end
    as far as both prompts reach."""
    n = min(len(source), len(target))

    def run(ids: Tensor) -> tuple[dict[tuple[str, int], Tensor], Tensor]:
        kept: dict[tuple[str, int], Tensor] = {}

        def keep(place: tuple[str, int]) -> Callable[[Tensor], Tensor]:
            def hear(x: Tensor) -> Tensor:
                kept[place] = x
                return x

            return hear

        with torch.enable_grad(), ExitStack() as stack:
            first, end = module_at(hf, family, "resid_pre", 0)
            stack.enter_context(hooked(first, end, lambda x: x.detach().requires_grad_()))
            if without is not None:
                stack.enter_context(dropped(module_at(hf, family, "resid_pre", without)[0]))
            for site, layer in places:
                stack.enter_context(hooked(*module_at(hf, family, site, layer), keep((site, layer))))
            last = hf(ids[None], use_cache=False).logits[0, -1]
        return kept, last[7] - last[9]

    donor, _ = run(source)
    own, metric = run(target)
    found = {}
    grads = torch.autograd.grad(metric, list(own.values()), materialize_grads=True)
    for (place, x), grad in zip(own.items(), grads, strict=True):
        site = place[0]
        each = (donor[place][0, -n:] - x[0, -n:]) * grad[0, -n:]
        split = site in HEAD_SITES or site == "mlp_post"
        found[place] = (component_at(hf, family, *place)[2](each) if split else each).sum(-1).detach()
    return found


def rows() -> Iterator[tuple[int, Tensor, Tensor]]:
    for b, (source, target) in enumerate(zip(SOURCE, TARGET, strict=True)):
        yield b, source[source >= 0], target[target >= 0]


@pytest.mark.parametrize("family", by_risk(f for f in FAMILIES if f not in ("qwen2, sliding", "gemma", "starcoder2")))
def test_it_is_the_difference_times_the_gradient(family: str) -> None:
    lm = tiny(family)
    sites = sites_of(family, SITES)
    plans = [grid(site, **({"neurons": [0, 5, 40]} if site == "mlp_post" else {})) for site in sites]
    tree = attribute_tokens(lm, SOURCE, TARGET, _union(plans), METRIC)
    wanted = [by_hand(lm.hf, family, [(s, k) for s in sites for k in range(N_LAYERS)], *row) for _, *row in rows()]
    for site in sites:
        got = effects(tree[site].to_dataset())
        expected = np.full_like(got, np.nan)
        for b, found in enumerate(wanted):
            for layer in range(N_LAYERS):
                values = found[site, layer][..., [0, 5, 40]] if site == "mlp_post" else found[site, layer]
                expected[b, layer, -len(values) :] = values
        close(got, expected)
        assert np.isnan(expected).any()
        assert np.nanmax(np.abs(expected)) > 1e-3
        shifted = np.roll(expected, 1, axis=1)  # the control: another layer's gradient
        assert np.nanmax(np.abs(got - shifted)) > 1e-3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", CATCHING)
def test_in_half_precision_rounding_is_no_larger_than_that_of_the_model_itself(family: str, dtype: torch.dtype) -> None:
    """From the gradients of the same weights in float32, torch's own of the half-precision model are as far."""
    half, exact = tiny_hf(family).to(dtype), tiny_hf(family).to(dtype).float()
    places, positions = [("attn_out", layer) for layer in range(N_LAYERS)], [-6, -1]  # others are a prefix

    def by_torch(hf: PreTrainedModel) -> np.ndarray:
        out = np.full((len(SOURCE), N_LAYERS, len(positions)), np.nan)
        for b, source, target in rows():
            for (_, layer), values in by_hand(hf, family, places, source, target).items():
                there = [j for j, p in enumerate(positions) if -p <= len(values)]
                out[b, layer, there] = values[[positions[j] for j in there]].float()
        return out

    wanted = by_torch(exact)
    found = attribute_tokens(load_model(half), SOURCE, TARGET, grid("attn_out", positions=positions), METRIC)
    off, own = (root_mean_square(one - wanted) for one in (effects(found), by_torch(half)))
    assert off < 3 * own
    assert root_mean_square(effects(found) - np.roll(wanted, 1, axis=1)) > 5 * own, "the control: another layer's"


def root_mean_square(x: np.ndarray) -> float:
    return float(np.sqrt(np.nanmean(np.square(x))))


def _union(plans: Sequence[Any]) -> Any:
    joined = plans[0] | plans[1]
    for plan in plans[2:]:
        joined = joined | plan
    return joined


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "gpt_neox"])
def test_dropped_gradients_are_those_without_each_block(family: str) -> None:
    lm = tiny(family)
    sites = ["resid_pre", "mlp_out", "z", "v"]
    tree = attribute_tokens(lm, SOURCE, TARGET, _union([grid(site) for site in sites]), METRIC, method="atp*")
    places = [(s, k) for s in sites for k in range(N_LAYERS)]
    for b, *row in rows():
        each = [by_hand(lm.hf, family, places, *row, without=drop) for drop in range(N_LAYERS)]
        for site in sites:
            dataset = tree[site].to_dataset()
            n = N_LAYERS if site == "resid_pre" else N_LAYERS - 1
            for layer in range(N_LAYERS):
                wanted = sum(found[site, layer].abs() for found in each) / n
                close(dataset.grad_drop.values[b, layer, -len(wanted) :], wanted)
                if site != "resid_pre":
                    assert each[layer][site, layer].abs().max() == 0  # without its own block a cell has no effect
    whole = attribute_tokens(lm, SOURCE, TARGET, grid("resid_pre"), METRIC)
    close(effects(tree["resid_pre"].to_dataset()), effects(whole), 1e-6)
    assert "grad_drop" not in whole
    assert np.nanmax(np.abs(tree["resid_pre"].grad_drop.values - np.abs(effects(whole)))) > 1e-3


# Against exact patching.


@pytest.mark.parametrize("site", ["resid_pre", "resid_mid", "attn_out", "mlp_out", "z", "q", "k", "v"])
def test_small_steps_are_approximated_to_second_order(site: str) -> None:
    lm = tiny("gemma2")
    size = 8 if site in HEAD_SITES else lm.d_model
    vector = torch.randn(size, generator=torch.Generator().manual_seed(0))
    off, moved = {}, {}
    for step in (0.4, 0.1):
        plan = grid(site, positions=[-5, -2, -1], intervention=Steer(vector / vector.norm(), step))
        exact, rough = (effects(f(lm, SOURCE, TARGET, plan, METRIC)) for f in (patch_tokens, attribute_tokens))
        off[step], moved[step] = np.abs(exact - rough).max(), np.abs(exact).max()
    assert off[0.1] < 0.12 * off[0.4]  # a quarter of the step: a sixteenth of the error
    assert moved[0.1] > 0.12 * moved[0.4]  # while the effect itself falls with the step
    assert off[0.1] < 0.1 * moved[0.1]


def linear_end(family: str, saturated: float = 1.0) -> LanguageModel:
    """A model whose last block and read-out are linear in what leaves its heads: no MLP in it, no final norm."""
    hf = tiny_hf(family)
    model = hf.base_model
    setattr(model, "ln_f" if family == "gpt2" else "norm", nn.Identity())
    with torch.no_grad():
        for name, parameter in module_at(hf, family, "resid_pre", N_LAYERS - 1)[0].named_parameters():
            if name.startswith(("mlp.down_proj", "mlp.c_proj")):
                parameter.zero_()
            if name.startswith("self_attn.q_proj"):
                parameter *= saturated
    return load_model(hf)


@pytest.mark.parametrize("family", by_risk(["llama", "gpt2", "mistral", "qwen3"]))
def test_what_is_linear_is_exact(family: str) -> None:
    lm, last = linear_end(family), [N_LAYERS - 1]
    plan = _union([grid(site, layers=last) for site in ("resid_post", "attn_out", "mlp_out", "z", "v", "q", "k")])
    exact = patch_tokens(lm, SOURCE, TARGET, plan, METRIC)
    rough, star = (attribute_tokens(lm, SOURCE, TARGET, plan, METRIC, method=m) for m in ("attribution", "atp*"))
    for site in exact.children:
        true, guess, better = (effects(tree[site].to_dataset()) for tree in (exact, rough, star))
        close(better, true, 2e-5)
        if site in ("q", "k"):  # the control: a softmax is not linear
            assert np.nanmax(np.abs(guess - true)) > 10 * np.nanmax(np.abs(better - true)) + 1e-4
        else:
            close(guess, true, 2e-5)


@pytest.mark.parametrize("site", ["q", "k"])
@pytest.mark.parametrize("by", ["position", "segment"])
def test_a_saturated_softmax_has_effects_but_no_gradient(site: str, by: Any) -> None:
    lm = linear_end("llama", saturated=100.0)
    pairs = [token_pair(k, systems=(5 + k, 3), suffix=(2, 3, 2)) for k in range(4)]
    plan = grid(site, by=by, layers=[N_LAYERS - 1])
    exact = effects(patch(lm, pairs, plan, METRIC))
    there = np.isfinite(exact)
    errors = {method: np.abs(effects(attribute(lm, pairs, plan, METRIC, method=method)) - exact)[there].mean()
              for method in ("attribution", "atp*")}  # fmt: skip
    assert np.abs(exact[there]).max() > 0.05
    assert errors["atp*"] < 1e-4
    assert errors["attribution"] > 0.2 * np.abs(exact[there]).mean() > 100 * errors["atp*"]


@pytest.mark.parametrize("site", by_risk(SITES[:5], ("resid_pre",)))
def test_integrated_gradients_add_up_to_patching_everything(site: str) -> None:
    lm = tiny("gemma2")
    source, target = ragged([9, 8], seed=5), ragged([9, 8], seed=6)
    together = effects(patch_tokens(lm, source, target, grid(site, segments={"both": range(-8, 0)}), METRIC))[..., 0]
    off = {}
    for steps in (1, 4, 48):
        each = effects(attribute_tokens(lm, source, target, grid(site, positions=range(-8, 0)), METRIC, ig_steps=steps))
        off[steps] = np.abs(each.sum(-1) - together).max()
    assert off[48] < 1e-3 < off[1]
    assert off[48] < off[4] < off[1]


def test_heads_and_segments_add_up_too() -> None:
    lm = tiny()
    source, target = ragged([9, 8], seed=5), ragged([9, 8], seed=6)
    where = {"first": range(-8, -3), "second": range(-3, 0)}
    # A head's output reaches the rest through attn_out, in which heads add up: all of them are all of it.
    together = effects(patch_tokens(lm, source, target, grid("attn_out", segments={"both": range(-8, 0)}), METRIC))
    each = effects(attribute_tokens(lm, source, target, grid("z", segments=where), METRIC, ig_steps=24))
    assert each.shape[2:] == (2, 4)
    assert np.abs(each.sum((2, 3)) - together[..., 0]).max() < 1e-3


# The same contract as `patch`.

BASIS = torch.eye(8)[:, :3]
TWO = [METRIC, kl_divergence("source")]


@pytest.mark.parametrize(
    "plan",
    [
        grid("resid_pre", layers=[0, 2]),
        grid("resid_mid", by="segment", layers=[1]),
        grid("z", positions=[-2, -1], heads=[3, 1]),
        grid("mlp_post", neurons=[4, 40], segments=["all", "prefill"]),
        grid("attn_out", layers=[1], intervention=Ablate("resample")),
        grid("resid_pre", layers=[0]) | grid("q", layers=[0, 2], positions=[-1], intervention=InSubspace(BASIS)),
    ],
    ids=str,
)
@pytest.mark.parametrize("options", [{}, {"ig_steps": 2}, {"method": "atp*"}], ids=str)
def test_what_comes_back_is_what_patch_gives(plan: Any, options: Any) -> None:
    lm = tiny()
    pairs = [token_pair(1), token_pair(2, systems=(2, 7)), token_pair(3, systems=(9, 9), suffix=(4, 3, 2))]
    for metric in (METRIC, TWO):
        exact, rough = patch(lm, pairs, plan, metric, check=False), attribute(lm, pairs, plan, metric, **options)
        alike = [(exact, rough)]
        if isinstance(plan, PlanUnion):
            alike = [(exact[name].to_dataset(), rough[name].to_dataset()) for name in exact.children]
        for one, other in alike:
            extra = {"grad_drop"} if "method" in options else set()
            assert set(other.data_vars) == set(one.data_vars) | extra
            assert other.patched.dims == one.patched.dims
            for name in set(one.variables) - {"patched", "transfer"}:
                if one[name].dtype.kind in "US":
                    np.testing.assert_array_equal(other[name], one[name])
                else:
                    np.testing.assert_allclose(other[name], one[name], rtol=1e-5, atol=1e-5)
            np.testing.assert_array_equal(np.isnan(other.patched), np.isnan(one.patched))
            effect = (other.patched - other.target_metric) / other.total_effect
            np.testing.assert_allclose(other.transfer, effect.transpose(*other.transfer.dims), rtol=1e-3, atol=1e-5)
            assert other.attrs["engine"] != one.attrs["engine"]


def test_a_metric_read_before_the_cells_and_one_of_many_tokens() -> None:
    lm, plan = tiny(), grid("resid_pre", positions=[-2, -1], intervention=Steer(torch.ones(32), 1e-3))
    metric = sequence_log_prob(4)
    exact, rough = (effects(f(lm, SOURCE, TARGET, plan, metric)) for f in (patch_tokens, attribute_tokens))
    assert np.abs(exact).max() > 1e-4
    assert np.abs(exact - rough).max() < 0.05 * np.abs(exact).max()


def test_the_target_has_no_slope_away_from_itself() -> None:
    lm, plan = tiny(), grid("resid_post", layers=[N_LAYERS - 1], positions=[-1])
    metric = kl_divergence("target")
    assert np.abs(effects(attribute_tokens(lm, SOURCE, TARGET, plan, metric))).max() < 1e-6
    exact = effects(patch_tokens(lm, SOURCE, TARGET, plan, metric))
    close(effects(attribute_tokens(lm, SOURCE, TARGET, plan, metric, ig_steps=12)), exact, 1e-3)
    assert np.abs(exact).max() > 0.01


def test_a_model_that_cannot_be_replayed_is_run_as_a_whole() -> None:
    lm = load_model(tiny_hf("bloom"))
    got = effects(attribute_tokens(lm, SOURCE, TARGET, grid("resid_pre"), METRIC))
    expected = np.full_like(got, np.nan)

    def run(ids: Tensor) -> tuple[list[Tensor], Tensor]:
        kept: list[Tensor] = []

        def hear(x: Tensor) -> Tensor:
            kept.append(x)
            return x

        with torch.enable_grad(), ExitStack() as stack:
            blocks = lm.hf.transformer.h
            stack.enter_context(hooked(blocks[0], "in", lambda x: x.detach().requires_grad_()))
            for block in blocks:
                stack.enter_context(hooked(block, "in", hear))
            last = lm.hf(ids[None], use_cache=False).logits[0, -1]
        return kept, last[7] - last[9]

    for b, source, target in rows():
        n = min(len(source), len(target))
        donor, (own, metric) = run(source)[0], run(target)
        for layer, grad in enumerate(torch.autograd.grad(metric, own)):
            moved = (donor[layer][:, -n:] - own[layer][:, -n:]).detach()
            expected[b, layer, -n:] = (moved * grad[:, -n:])[0].sum(-1)
    close(got, expected)
    assert np.nanmax(np.abs(got)) > 1e-3


# What is refused.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ig_steps": 0}, "ig_steps"),
        ({"ig_steps": 2, "method": "atp*"}, "goes with 'attribution' alone"),
        ({"batch_size": 0}, "at least one pair"),
        ({"plan": prefix_patch()}, "prefix patch.*use patch"),
        ({"metric": logit_metric("winner", lambda x: x[..., 0, :].argmax(-1).float())}, "differentiable.*'winner'"),
        ({"plan": grid("resid_pre", layers=[9])}, "asks for"),
    ],
)
def test_what_cannot_be_approximated_is_refused(options: dict[str, Any], message: str) -> None:
    options = {"plan": grid("resid_pre"), "metric": METRIC} | options
    with pytest.raises(SelfrepError, match=message):
        attribute(tiny(), [token_pair(1)], **options)


# The real model.


@pytest.mark.slow
def test_on_a_real_model_the_approximation_ranks_cells_as_patching_does() -> None:
    import selfrep as sr

    lm, personas = sr.load_model(), sr.personas.builtin()
    items = [sr.battery.builtin()["who_are_you"]]
    pairs = sr.pair(lm, personas["smollm"], personas["jfk"], items, paraphrases=[0], directions=["denoise"])
    plan = _union([grid(site, layers=[20, 24, 28]) for site in ("resid_pre", "attn_out", "mlp_out")])
    exact, rough = sr.patch(lm, pairs, plan), sr.attribute(lm, pairs, plan)
    for site, floor in (("resid_pre", 0.9), ("attn_out", 0.9), ("mlp_out", 0.9)):
        true, guess = (effects(tree[site].to_dataset()).ravel() for tree in (exact, rough))
        assert spearmanr(true, guess).statistic > floor
        assert spearmanr(true, guess[::-1]).statistic < 0.5  # the control: positions and layers the other way round
    own = log_odds(logits(lm.hf, list(pairs[0].target.ids))[-1], pairs[0].answers)
    assert abs(rough["resid_pre"].target_metric.item() - own) < 1e-3
