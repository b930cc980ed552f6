"""The replay is its own judge: broken in any of these ways, it must notice before it hands out a number."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tests.tiny import CATCHING, tiny, tiny_hf, token_pair

from selfrep.engine import patch, reference, selfcheck
from selfrep.engine.misses import from_attrs
from selfrep.engine.plan import PatchPlan, grid, prefix_patch
from selfrep.engine.replay import baselines, walk
from selfrep.engine.replay.masks import Masks
from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.models.loading import load_model
from selfrep.models.twins import NoTwin

Break = Callable[[pytest.MonkeyPatch], None]


def _future_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = Masks.own
    monkeypatch.setattr(Masks, "own", lambda *args: sound(*args) & False)


def _window_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = Masks.prefix

    def broken(own: Masks, prefix: int, tokens: int, window: Any, *rest: Any) -> Any:
        return sound(own, prefix, tokens, None, *rest)

    monkeypatch.setattr(Masks, "prefix", broken)


def _padding_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = Masks.prefix
    monkeypatch.setattr(Masks, "prefix", lambda own, *rest: sound(replace(own, prefix_visible=None), *rest))


def _patches_land_a_token_late(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = walk._entering

    def broken(base: Any, runs: Any, first: int) -> Any:
        return sound(base, [replace(run, mask=run.mask.roll(1, 1)) for run in runs], first)

    monkeypatch.setattr(walk, "_entering", broken)


def _values_come_from_a_token_early(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = walk._entering

    def broken(base: Any, runs: Any, first: int) -> Any:
        return sound(base, [run if run.values is None else replace(run, values=run.values.roll(1, 1)) for run in runs],
                     first)  # fmt: skip

    monkeypatch.setattr(walk, "_entering", broken)


def _patches_join_a_block_early(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = walk._entering

    def broken(base: Any, runs: Any, first: int) -> Any:
        return sound(base, [replace(run, block=max(0, run.block - 1)) for run in runs], first)

    monkeypatch.setattr(walk, "_entering", broken)


def _rotary_tables_are_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = walk._through

    def broken(block: Any, call: Any, *where: Any, **how: Any) -> Any:
        args, kwargs = call
        tables = tuple(table.roll(1, 1) for table in kwargs["position_embeddings"])
        return sound(block, (args, kwargs | {"position_embeddings": tables}), *where, **how)

    monkeypatch.setattr(walk, "_through", broken)


def _prefixes_are_mixed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = walk._prefix_tape

    def broken(base: Any, start: int, donor: Any = None, runs: int = 1) -> Any:
        tape = sound(base, start, donor, runs)
        return replace(tape, prefix={layer: (k.flip(0), v.flip(0)) for layer, (k, v) in tape.prefix.items()})

    monkeypatch.setattr(walk, "_prefix_tape", broken)


def _source_and_target_are_swapped(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = patch.record_sweep

    def broken(*args: Any) -> Any:
        own = sound(*args)
        return replace(own, donor=own.target, target=replace(own.donor, keys_values=own.target.keys_values))

    monkeypatch.setattr(patch, "record_sweep", broken)


def _answers_are_swapped(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = baselines.compile_metric

    def broken(metric: Any, batch: Any, answers: Any, *rest: Any) -> Any:
        return sound(metric, batch, answers[:, ::-1].copy(), *rest)

    monkeypatch.setattr(baselines, "compile_metric", broken)


def _one_head_too_far(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = walk._with_written

    def broken(lm: Any, base: Any, site: Any, layer: Any, values: Any, components: Any, tape: Any) -> Any:
        return sound(lm, base, site, layer, values.roll(1, 2), components, tape)

    monkeypatch.setattr(walk, "_with_written", broken)


def _keys_are_rewritten_a_token_late(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = walk._Rewriter.__call__

    def broken(self: Any, key: Any, value: Any) -> Any:
        late = [replace(run, mask=run.mask.roll(1, 1)) for run in self.runs]
        return sound(replace(self, runs=late), key, value)

    monkeypatch.setattr(walk._Rewriter, "__call__", broken)


def _the_donor_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = walk._prefix_tape
    monkeypatch.setattr(walk, "_prefix_tape", lambda base, start, donor=None, runs=1: sound(base, start, None, runs))


BROKEN: list[tuple[str, Break]] = [
    ("llama", _future_is_seen),
    ("mistral", _window_is_forgotten),
    ("llama", _padding_is_seen),
    ("llama", _patches_land_a_token_late),
    ("llama", _values_come_from_a_token_early),
    ("llama", _patches_join_a_block_early),
    ("llama", _rotary_tables_are_not_cut),
    ("llama", _prefixes_are_mixed_up),
    ("llama", _source_and_target_are_swapped),
    ("llama", _answers_are_swapped),
]
PAIRS = [token_pair(k, systems=(3 + 2 * k, 9 - 2 * k), suffix=(2, 3 + k, 2)) for k in range(3)]


STREAM_PLANS = {site: grid(site) for site in ("resid_pre", "attn_out")}
HEADS = {f"{wreck.__name__} {site}": (wreck, grid(site)) for wreck, site in (
    (_one_head_too_far, "z"), (_one_head_too_far, "k"), (_keys_are_rewritten_a_token_late, "k"),
    (_keys_are_rewritten_a_token_late, "v"),
)} | {"the donor is not read": (_the_donor_is_not_read, prefix_patch())}  # fmt: skip


@pytest.fixture(autouse=True)
def _nothing_is_checked_yet() -> None:
    selfcheck._results.clear()


@pytest.mark.parametrize("plan", STREAM_PLANS.values(), ids=STREAM_PLANS)
@pytest.mark.parametrize(("family", "wreck"), BROKEN, ids=[wreck.__name__.strip("_") for _, wreck in BROKEN])
def test_a_broken_replay_is_caught(family: str, wreck: Break, plan: PatchPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny(family)
    sound = patch.patch(lm, PAIRS, plan).patched.values
    selfcheck._results.clear()
    wreck(monkeypatch)
    with pytest.raises(SelfrepError, match=r"replay must (obey|agree)"):
        patch.patch(lm, PAIRS, plan)
    unchecked = patch.patch(lm, PAIRS, plan, check=False).patched.values
    assert np.nanmax(np.abs(unchecked - sound)) > 1e-2  # it really was broken, and nothing but the check had noticed


FLOAT32, NO_FLOAT32 = "float32 decides", "no room for float32"


def half(family: str, how: str, monkeypatch: pytest.MonkeyPatch) -> LanguageModel:
    """A model in bfloat16, with room for a twin in float32 or without."""
    if how == NO_FLOAT32:

        def no_room(lm: LanguageModel) -> LanguageModel:
            raise NoTwin("There is no room for it.")

        monkeypatch.setattr(selfcheck, "in_float32", no_room)
    return load_model(tiny_hf(family).to(torch.bfloat16))


@pytest.mark.parametrize("how", [FLOAT32, NO_FLOAT32])
@pytest.mark.parametrize("family", CATCHING)
def test_in_half_precision_a_sound_replay_passes(family: str, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = half(family, how, monkeypatch)
    for seed in range(2):  # many more, on real models too: scripts/bench_selfcheck.py
        selfcheck._results.clear()
        plan = grid("resid_pre", positions=[-7, -4, -2, -1])
        effects = patch.patch(lm, PAIRS, plan, seed=seed, check=True)
        assert effects.attrs["engine"] == "replay"
        laws = from_attrs(effects.attrs)
        assert all(law.endswith("in float32") for law in laws) == (how == FLOAT32)
        assert (max(laws.values()) < 1e-4) == (how == FLOAT32)


@pytest.mark.parametrize("how", [FLOAT32, NO_FLOAT32])
@pytest.mark.parametrize(
    ("family", "wreck"), BROKEN[:4] + BROKEN[6:8], ids=[w.__name__.strip("_") for _, w in BROKEN[:4] + BROKEN[6:8]]
)
def test_in_half_precision_a_broken_replay_is_caught(
    family: str, wreck: Break, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = half(family, how, monkeypatch)
    wreck(monkeypatch)
    says = "no room" if how == NO_FLOAT32 else r"replay must (obey|agree)"
    with pytest.raises(reference.Mismatch, match=says):
        patch.patch(lm, PAIRS, grid("resid_pre", positions=[-7, -4, -2, -1]))


def test_the_cells_that_a_patch_moves_are_among_those_that_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of these twelve cells reaches the last token: a mistake shows in no other."""
    lm = tiny("qwen2, sliding")  # in its last layer a window of 5
    plan = grid("resid_pre", layers=[2], positions=[-1, *range(-16, -5)])
    pair = token_pair(0, systems=(9, 9), suffix=(2, 12, 2))
    where = []
    sound = reference.run_cell

    def run_cell(lm: LanguageModel, pair: Any, cell: Any, *rest: Any) -> Any:
        where.append(cell.where)
        return sound(lm, pair, cell, *rest)

    monkeypatch.setattr(reference, "run_cell", run_cell)
    for seed in range(8):
        selfcheck._results.clear()
        where.clear()
        patch.patch(lm, [pair], plan, seed=seed)
        assert -1 in where
        assert len(where) == selfcheck.CELLS


@pytest.mark.parametrize(("wreck", "plan"), HEADS.values(), ids=HEADS)
def test_a_broken_rewriting_of_heads_or_prefixes_is_caught(
    wreck: Break, plan: PatchPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selfcheck, "CELLS", 12)
    pairs = [token_pair(k, systems=(6, 6), suffix=(2, 3, 2)) for k in range(3)]
    patch.patch(tiny(), pairs, plan)
    selfcheck._results.clear()
    wreck(monkeypatch)
    with pytest.raises(reference.Mismatch, match=r"replay must (obey|agree)"):
        patch.patch(tiny(), pairs, plan)


def test_a_kind_of_sweep_is_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, runs = tiny(), []
    sound = patch.run_cells

    def run_cells(*args: Any, **how: Any) -> Any:
        runs.append(how.get("only"))
        return sound(*args, **how)

    for module in (patch, selfcheck):
        monkeypatch.setattr(module, "run_cells", run_cells)
    first = patch.patch(lm, PAIRS, grid("resid_pre"))
    again = patch.patch(lm, PAIRS[:2], grid("resid_pre", layers=[1]))
    assert [only is None for only in runs] == [False, True, True]  # the self-check's cells, then the sweeps
    assert again.attrs["selfcheck"] == first.attrs["selfcheck"] != "{}"
    patch.patch(lm, PAIRS, grid("attn_out"))
    assert runs[-2] is not None


def test_a_mismatch_names_the_cell_and_both_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny()
    sound = patch.patch(lm, PAIRS, grid("resid_pre", layers=[1], positions=[-3])).patched.values[:, 0, 0]
    _patches_land_a_token_late(monkeypatch)
    monkeypatch.setattr(selfcheck, "_laws", lambda *_: ())
    selfcheck._results.clear()
    cell = r"LlamaForCausalLM at resid_pre, layer 1, position -3, it gives (\S+) and the plain pass (\S+)\."
    with pytest.raises(reference.Mismatch, match=cell) as refused:
        patch.patch(lm, PAIRS, grid("resid_pre", layers=[1], positions=[-3]))
    replayed, plain = map(float, re.search(cell, str(refused.value)).groups())  # type: ignore[union-attr]
    assert np.abs(sound - plain).min() < 1e-4
    assert abs(replayed - plain) > 1e-3


def test_a_law_that_fails_names_both_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny()
    target = patch.patch(lm, PAIRS, grid("resid_pre")).target_metric.values
    selfcheck._results.clear()
    _future_is_seen(monkeypatch)
    law = r"leaves the target\. On LlamaForCausalLM at resid_pre, pair (\d), it gives (\S+) where .* gives (\S+)\."
    with pytest.raises(reference.Mismatch, match=law) as refused:
        patch.patch(lm, PAIRS, grid("resid_pre"))
    pair, got, expected = re.search(law, str(refused.value)).groups()  # type: ignore[union-attr]
    assert abs(float(got) - float(expected)) > 1e-3
    assert int(pair) < len(target)


def test_where_asked_a_mismatch_falls_back_to_plain_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, plan = tiny(), grid("resid_pre", layers=[0, 2], positions=[-2, -1])
    sound = patch.patch(lm, PAIRS, plan)
    selfcheck._results.clear()
    _future_is_seen(monkeypatch)
    with pytest.warns(UserWarning, match=r"replay must (obey|agree).*whole forward passes.*slow") as told:
        slow = patch.patch(lm, PAIRS, plan, on_mismatch="slow", batch_size=1)
    assert len(told) == 1
    assert (slow.attrs["engine"], sound.attrs["engine"]) == ("reference", "replay")
    np.testing.assert_allclose(slow.patched, sound.patched, atol=1e-4)
    np.testing.assert_allclose(slow.transfer, sound.transfer, atol=1e-3)
