"""Pairs in batches: each pair keeps what is its own, in whatever order and company it is run."""

from __future__ import annotations

import ast
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from tests.tiny import log_odds, logits, patched_differences, ragged, tiny, tiny_hf, token_pair
from torch import Tensor
from torch.nn.utils import parametrizations, prune

from selfrep.engine import selfcheck
from selfrep.engine.attribution import attribute, attribute_tokens
from selfrep.engine.interventions import Ablate
from selfrep.engine.metrics import logit_difference
from selfrep.engine.patch import patch, patch_tokens
from selfrep.engine.plan import grid, prefix_patch
from selfrep.engine.replay import memory, runner
from selfrep.engine.replay.runner import Options
from selfrep.engine.screen import screen
from selfrep.engine.sweep import bind_tokens
from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.models.loading import load_model
from selfrep.prompts.alignment import PromptPair


def of_lengths(suffixes: tuple[int, ...]) -> list[PromptPair]:
    """Pairs of ten tokens each, so many of which are the suffix."""
    return [token_pair(k, systems=(10 - n, 10 - n), suffix=(n - 1, 1, 0)) for k, n in enumerate(suffixes)]


@pytest.mark.parametrize(("suffixes", "batch_size"), [((2, 1, 1), None), ((3, 1, 2, 1), 1)])
def test_what_is_said_of_a_pair_is_of_that_pair(suffixes: tuple[int, ...], batch_size: int | None) -> None:
    """In a prefix patch pairs are run by the length of their suffix, and not in the order they were given in."""
    lm, pairs = tiny(), of_lengths(suffixes)
    effects = patch(lm, pairs, prefix_patch(layers=[0]), batch_size=batch_size)
    for i, pair in enumerate(pairs):
        last = {"source": logits(lm.hf, pair.source.ids)[-1], "target": logits(lm.hf, pair.target.ids)[-1]}
        odds = {end: log_odds(x, pair.answers) for end, x in last.items()}
        answers = [token for side in pair.answers for token in side]
        for end in ("source", "target"):
            assert float(effects[f"{end}_metric"][i]) == pytest.approx(odds[end], abs=1e-4)
            mass = float(last[end].softmax(-1)[answers].sum())
            assert float(effects[f"answer_mass_{end}"][i]) == pytest.approx(mass, abs=1e-5)
        assert float(effects.total_effect[i]) == pytest.approx(odds["source"] - odds["target"], abs=1e-4)
        share = (effects.patched[i] - odds["target"]) / (odds["source"] - odds["target"])
        np.testing.assert_allclose(effects.transfer[i], share, atol=1e-3)
    assert len(np.unique(effects.target_metric.to_numpy().round(3))) == len(pairs), "the control: pairs differ"


def test_a_batch_that_does_not_fit_is_halved_and_every_pair_keeps_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, pairs = tiny(), of_lengths((2, 2, 1, 1, 2))
    whole = patch(lm, pairs, prefix_patch(layers=[0]))
    sound, sizes = runner._numbers, list[int]()

    def small(parts: object, batch: list[int], *rest: object) -> object:
        sizes.append(len(batch))
        if len(batch) > 1:
            raise torch.OutOfMemoryError("no room")
        return sound(parts, batch, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(runner, "_numbers", small)
    monkeypatch.setattr(memory, "remember_room", lambda *_: None)
    halved = patch(lm, pairs, prefix_patch(layers=[0]))
    assert max(sizes) > 1
    for name in ("patched", "source_metric", "target_metric", "total_effect", "answer_mass_target"):
        np.testing.assert_allclose(halved[name], whole[name], atol=1e-4, err_msg=name)


def test_progress_never_goes_back_where_some_plans_resample() -> None:
    """Plans that take from their own source and plans that resample are run one after the other."""
    ticks: list[tuple[int, int]] = []
    plan = grid("resid_pre", layers=[0]) | grid("resid_pre", layers=[1], intervention=Ablate("resample"))
    patch(tiny(), [token_pair(k) for k in range(4)], plan, batch_size=2, progress=lambda *at: ticks.append(at))
    counts = [done for done, _ in ticks]
    assert counts == sorted(counts)
    assert ticks[-1][0] == ticks[-1][1]
    assert len({total for _, total in ticks}) == 1


def test_a_batch_holds_at_least_one_pair() -> None:
    with pytest.raises(SelfrepError, match="at least one pair; got batch_size=0"):
        Options(batch_size=0)


@pytest.mark.parametrize("verb", [patch, patch_tokens, attribute, attribute_tokens, screen])
def test_one_plan_is_a_dataset_and_several_are_a_tree_to_the_type_checker_too(verb: Callable[..., object]) -> None:
    functions = [node for node in ast.parse(Path(str(sys.modules[verb.__module__].__file__)).read_text("utf-8")).body
                 if isinstance(node, ast.FunctionDef) and node.name == verb.__name__]  # fmt: skip
    *overloads, _ = functions
    assert [ast.unparse(one.decorator_list[0]) for one in overloads] == ["overload"] * 2
    plans = [next(ast.unparse(a.annotation) for a in one.args.args if a.arg == "plan" and a.annotation)
             for one in functions]  # fmt: skip
    returns = [ast.unparse(one.returns) for one in functions if one.returns]
    assert plans == ["OnePlan", "PlanUnion", "AnyPlan"]
    assert returns == ["xr.Dataset", "xr.DataTree", "xr.Dataset | xr.DataTree"]


# The model belongs to the user, who does other things with it.

SOURCE, TARGET, METRIC = ragged([12, 9], seed=1), ragged([12, 10], seed=2), logit_difference(7, 9)


def _last_token(module: Any, args: Any, out: Tensor) -> Tensor:
    out = out.clone()
    out[:, -1] += 3.0 * torch.arange(out.shape[-1]) / out.shape[-1]
    return out


def _fifth_token(module: Any, args: Any, out: Tensor) -> Tensor:
    out = out.clone()
    out[:, 4] = out[:, 4].flip(-1)
    return out


def _mean_of_the_batch(module: Any, args: Any, out: Tensor) -> Tensor:
    return out + out.mean(0, keepdim=True)


@pytest.mark.parametrize("when", ["before", "after a sweep"])
@pytest.mark.parametrize("hook", [_last_token, _fifth_token, _mean_of_the_batch])
def test_hooks_of_others_act_as_they_do_in_a_plain_pass(hook: Any, when: str) -> None:
    hf = tiny_hf()
    lm, plan = load_model(hf), grid("attn_out", positions=(-6, -1))
    plain = patch_tokens(lm, SOURCE, TARGET, plan, METRIC) if when != "before" else None
    hf.model.layers[1].register_forward_hook(hook)
    wanted = patched_differences(hf, "llama", "attn_out", SOURCE, TARGET, (-6, -1))
    with pytest.warns(UserWarning, match=r"has a forward hook on model\.layers\.1.*this is slow"):
        effects = patch_tokens(lm, SOURCE, TARGET, plan, METRIC)
    np.testing.assert_allclose(effects.patched, wanted, rtol=1e-4, atol=1e-4)
    if plain is not None:
        assert np.abs(plain.patched - wanted).max() > 1e-2, "the control: the hook matters"
    with pytest.warns(match="slow"), pytest.raises(SelfrepError, match=r"has a forward hook on model\.layers\.1"):
        patch_tokens(lm, SOURCE[:, -8:], TARGET[:, -8:], prefix_patch(), METRIC, suffix=3)


def _before_a_block(hf: Any) -> None:
    def shift(_: Any, args: tuple[Tensor, ...], how: dict[str, Any]) -> Any:
        stream = (args[0] if args else how["hidden_states"]).clone()
        stream[:, -1] += torch.arange(stream.shape[-1]) / stream.shape[-1]
        return ((stream, *args[1:]), how) if args else (args, how | {"hidden_states": stream})

    hf.model.layers[1].register_forward_pre_hook(shift, with_kwargs=True)


def _in_place_of_a_forward(hf: Any) -> None:
    mlp = hf.model.layers[1].mlp
    own = mlp.forward
    mlp.forward = lambda x: own(x) + x.mean(1, keepdim=True)


def _on_the_embedding(hf: Any) -> None:
    hf.model.embed_tokens.register_forward_hook(lambda module, args, out: 1.3 * out)


def _pruned(hf: Any) -> None:
    prune.l1_unstructured(hf.model.layers[1].mlp.down_proj, "weight", 0.5)  # torch sets a hook that computes the weight


OTHERS = [_before_a_block, _in_place_of_a_forward, _on_the_embedding, _pruned]


@pytest.mark.parametrize("change", OTHERS)
def test_whatever_others_put_between_modules_acts_as_in_a_plain_pass(change: Callable[[Any], None]) -> None:
    hf = tiny_hf()
    change(hf)
    wanted = patched_differences(hf, "llama", "attn_out", SOURCE, TARGET, (-6, -1))
    with pytest.warns(UserWarning, match=r"has a forward (pre )?(hook|of its own) .*this is slow"):
        effects = patch_tokens(load_model(hf), SOURCE, TARGET, grid("attn_out", positions=(-6, -1)), METRIC)
    np.testing.assert_allclose(effects.patched, wanted, rtol=1e-4, atol=1e-4)
    before = patched_differences(tiny_hf(), "llama", "attn_out", SOURCE, TARGET, (-6, -1))
    assert np.abs(wanted - before).max() > 1e-2, "the control: it matters"


def _compiled(hf: Any) -> None:
    for block in hf.model.layers:
        block.compile(backend="eager")
    logits(hf, TARGET[0])


def _checkpointing(hf: Any) -> None:
    hf.requires_grad_(True).train().gradient_checkpointing_enable()


def _parametrized(hf: Any) -> None:
    parametrizations.weight_norm(hf.model.layers[1].mlp.down_proj)
    parametrizations.weight_norm(hf.lm_head)


@pytest.mark.parametrize("change", [_compiled, _checkpointing, _parametrized])
@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing_enable:FutureWarning")
def test_what_computes_the_same_gives_the_same_numbers(change: Callable[[Any], None]) -> None:
    hf, plan = tiny_hf(), grid("attn_out", positions=(-6, -1))
    change(hf)
    lm, plain = load_model(hf), load_model(tiny_hf())
    hf.train(change is _checkpointing)
    for verb in (patch_tokens, attribute_tokens):
        effects, wanted = (verb(model, SOURCE, TARGET, plan, METRIC) for model in (lm, plain))
        assert effects.attrs["engine"] == wanted.attrs["engine"] in ("replay", "attribution")
        np.testing.assert_allclose(effects.patched, wanted.patched, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_model_in_training_is_patched_as_it_is_evaluated(family: str) -> None:
    hf = tiny_hf(family)
    lm, plan = load_model(hf), grid("resid_mid", positions=(-6, -1))
    before = patch_tokens(lm, SOURCE, TARGET, plan, METRIC)
    hf.train().requires_grad_(True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        effects = patch_tokens(lm, SOURCE, TARGET, plan, METRIC)
        gradients = attribute_tokens(lm, SOURCE, TARGET, plan, METRIC)
    xr.testing.assert_identical(effects, before)
    xr.testing.assert_identical(gradients, attribute_tokens(load_model(tiny_hf(family)), SOURCE, TARGET, plan, METRIC))
    assert hf.training


def test_after_other_weights_numbers_and_hash_are_theirs() -> None:
    hf = tiny_hf()
    lm, plan = load_model(hf), grid("attn_out", positions=(-6, -1))
    before = patch_tokens(lm, SOURCE, TARGET, plan, METRIC)
    hf.model.layers[0].mlp.up_proj.weight.data *= 1.5
    effects = patch_tokens(lm, SOURCE, TARGET, plan, METRIC)
    wanted = patched_differences(hf, "llama", "attn_out", SOURCE, TARGET, (-6, -1))
    np.testing.assert_allclose(effects.patched, wanted, rtol=1e-4, atol=1e-4)
    assert effects.attrs["weights_hash"] != before.attrs["weights_hash"]


def test_the_self_check_is_made_again_in_another_state(monkeypatch: pytest.MonkeyPatch) -> None:
    hf, made = tiny_hf(), []
    lm, sound = load_model(hf), selfcheck._check_exact
    monkeypatch.setattr(selfcheck, "_check_exact", lambda *args: made.append(1) or sound(*args))

    def checks() -> int:
        made.clear()
        patch_tokens(lm, SOURCE, TARGET, grid("attn_out", positions=[-1]), METRIC)
        return len(made)

    assert [checks(), checks()] == [1, 0]
    hf.model.norm.weight.data *= 2
    assert [checks(), checks()] == [1, 0]
    hf.model.norm.variance_epsilon = 1e-2
    assert [checks(), checks()] == [1, 0]


def test_threads_that_patch_and_threads_that_run_the_model_do_not_meet() -> None:
    """Two threads patch, one generates; all get the numbers that they get alone."""
    hf = tiny_hf("gemma2")
    lm, plan, prompt = load_model(hf), grid("attn_out", positions=(-6, -1)), TARGET[:1]
    effects = patch_tokens(lm, SOURCE, TARGET, plan, METRIC)
    hf.generation_config.eos_token_id = None

    def written() -> Tensor:
        return hf.generate(prompt, max_new_tokens=6, do_sample=False, output_scores=True, return_dict_in_generate=True)

    alone, stop = written(), threading.Event()

    def keep_writing() -> int:
        n = 0
        while not stop.is_set():
            out = written()
            torch.testing.assert_close(out.scores, alone.scores, rtol=1e-5, atol=1e-5)
            n += 1
        return n

    with ThreadPoolExecutor(3) as pool:
        writing = pool.submit(keep_writing)
        try:
            patching = [pool.submit(patch_tokens, lm, SOURCE, TARGET, plan, METRIC) for _ in range(8)]
            for each in patching:
                np.testing.assert_allclose(each.result().patched, effects.patched, rtol=1e-6, atol=1e-6)
        finally:
            stop.set()
        assert writing.result() > 1, "the control: it did run beside"
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in hf.modules())
    assert hf.config._attn_implementation == tiny_hf("gemma2").config._attn_implementation


def test_nothing_of_ours_is_left_when_the_user_interrupts() -> None:
    hf = tiny_hf().train()
    lm = load_model(hf)
    hf.train()
    kind, own, calls = type(hf.config), hf.config._attn_implementation, []

    def interrupted(done: int, total: int) -> None:
        calls.append(done)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        patch_tokens(lm, SOURCE, TARGET, grid("attn_out"), METRIC, progress=interrupted)
    assert calls
    assert (type(hf.config), hf.config._attn_implementation, hf.training) == (kind, own, True)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in hf.modules())
    with ThreadPoolExecutor(1) as other:
        other.submit(patch_tokens, lm, SOURCE, TARGET, grid("attn_out", positions=[-1]), METRIC).result(60)


def test_pairs_are_handed_over_as_many_at_once_as_fit_an_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = load_model(tiny_hf())
    sweep = bind_tokens(lm, ragged([9], seed=1), ragged([9], seed=2), grid("resid_pre"), logit_difference(7, 9))
    assert runner.pairs_at_once(lm, sweep, 8) == 8
    each = memory.row_bytes(lm, sweep.plans, 9, sweep.width)
    monkeypatch.setattr(LanguageModel, "device", torch.device("mps"))
    for free, wanted in ((21 * each, 16), (3 * each, 8), (1e15, memory.MOST_ROWS_ELSEWHERE)):
        monkeypatch.setattr(memory, "budget_bytes", lambda lm, gb, free=free: 2 * free)
        assert runner.pairs_at_once(lm, sweep, 8) == wanted
