"""Pairs in batches: each pair keeps what is its own, in whatever order and company it is run."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.tiny import log_odds, logits, tiny, token_pair

from selfrep.engine.attribution import attribute, attribute_tokens
from selfrep.engine.interventions import Ablate
from selfrep.engine.patch import patch, patch_tokens
from selfrep.engine.plan import grid, prefix_patch
from selfrep.engine.replay import memory, runner
from selfrep.engine.replay.runner import Options
from selfrep.engine.screen import screen
from selfrep.errors import SelfrepError
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
