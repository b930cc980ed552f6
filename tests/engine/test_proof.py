"""The replay is its own judge: broken in any of these ways, it must notice before it hands out a number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.tiny import tiny, token_pair

from selfrep.engine import attention, patch, replay, sweep
from selfrep.engine.plan import grid
from selfrep.errors import SelfrepError

Break = Callable[[pytest.MonkeyPatch], None]


def _future_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = attention._own_mask
    monkeypatch.setattr(attention, "_own_mask", lambda *args: sound(*args) | True)


def _window_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = attention._prefix_mask

    def broken(prefix: int, tokens: int, visible: Any, window: Any, device: Any) -> Any:
        return sound(prefix, tokens, visible, None, device)

    monkeypatch.setattr(attention, "_prefix_mask", broken)


def _padding_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = attention._prefix_mask

    def broken(prefix: int, tokens: int, visible: Any, window: Any, device: Any) -> Any:
        return sound(prefix, tokens, None, window, device)

    monkeypatch.setattr(attention, "_prefix_mask", broken)


def _patches_land_a_token_late(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = replay._entering

    def broken(base: Any, entry: Any, first: int) -> Any:
        return sound(base, replace(entry, mask=entry.mask.roll(1, 1)), first)

    monkeypatch.setattr(replay, "_entering", broken)


def _values_come_from_a_token_early(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = replay._entering

    def broken(base: Any, entry: Any, first: int) -> Any:
        return sound(base, replace(entry, values=entry.values.roll(1, 1)), first)

    monkeypatch.setattr(replay, "_entering", broken)


def _patches_join_a_block_early(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = replay._entering

    def broken(base: Any, entry: Any, first: int) -> Any:
        return sound(base, replace(entry, block=max(0, entry.block - 1)), first)

    monkeypatch.setattr(replay, "_entering", broken)


def _rotary_tables_are_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = replay._through

    def broken(block: Any, call: Any, *where: Any, **how: Any) -> Any:
        args, kwargs = call
        tables = tuple(table.roll(1, 1) for table in kwargs["position_embeddings"])
        return sound(block, (args, kwargs | {"position_embeddings": tables}), *where, **how)

    monkeypatch.setattr(replay, "_through", broken)


def _prefixes_are_mixed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = replay._prefix_tape

    def broken(base: Any, start: int) -> Any:
        tape = sound(base, start)
        return replace(tape, prefix={layer: (k.flip(0), v.flip(0)) for layer, (k, v) in tape.prefix.items()})

    monkeypatch.setattr(replay, "_prefix_tape", broken)


def _source_and_target_are_swapped(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = sweep.Sweep.of

    def broken(*args: Any) -> Any:
        made = sound(*args)
        return replace(made, source=made.target, target=made.source)

    monkeypatch.setattr(sweep.Sweep, "of", broken)


def _answers_are_swapped(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = sweep.reader
    monkeypatch.setattr(sweep, "reader", lambda lm, answers: sound(lm, answers[:, ::-1].copy()))


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


@pytest.mark.parametrize("site", ["resid_pre", "attn_out"])
@pytest.mark.parametrize(("family", "wreck"), BROKEN, ids=[wreck.__name__.strip("_") for _, wreck in BROKEN])
def test_a_broken_replay_is_caught(family: str, wreck: Break, site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lm, plan = tiny(family), grid(site)
    sound = patch.patch(lm, PAIRS, plan).patched.values
    wreck(monkeypatch)
    with pytest.raises(SelfrepError, match=r"replay must (obey|agree)"):
        patch.patch(lm, PAIRS, plan)
    unchecked = patch.patch(lm, PAIRS, plan, check=False).patched.values
    assert np.nanmax(np.abs(unchecked - sound)) > 1e-2  # it really was broken, and nothing but the check had noticed
