"""What runs when: nothing is lost, nothing runs twice, and the cheaper way is taken."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tiny import tiny_hf

from selfrep.engine.replay import schedule
from selfrep.engine.replay.schedule import CostModel, side_by_side, walks
from selfrep.models.language_model import LanguageModel
from selfrep.models.loading import load_model

LINEAR = CostModel((1, 100), (0.01, 1.0))  # only tokens cost
DEAR_CALLS = CostModel((1, 1000), (1.0, 1.001))  # only calls do

cells = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 4)), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None)
@given(
    cells=cells, rows=st.integers(1, 4), at_once=st.integers(1, 4), most=st.none() | st.integers(1, 200),
    model=st.sampled_from([LINEAR, DEAR_CALLS, CostModel((1, 8, 64), (0.1, 0.2, 1.0))]),
)  # fmt: skip
def test_every_cell_runs_once_from_where_it_starts_or_before(
    cells: list[tuple[int, int]], rows: int, at_once: int, most: int | None, model: CostModel
) -> None:
    starts, blocks = zip(*cells, strict=True)
    plan = walks(starts, blocks, rows=rows, width=10, n_layers=4, model=model, at_once=at_once, most_tokens=most)
    assert sorted(i for walk in plan for i in walk.members) == list(range(len(cells)))
    assert all(walk.start <= starts[i] for walk in plan for i in walk.members)
    assert [walk.seconds for walk in plan] == sorted((walk.seconds for walk in plan), reverse=True)
    if most is not None:
        for walk in plan:
            assert len(walk.members) == 1 or len(walk.members) * rows * (10 - walk.start) <= most


def test_walks_are_shared_where_calls_are_dear_and_not_where_tokens_are() -> None:
    starts, blocks = [0, 3, 6, 9], [0, 0, 0, 0]
    asked = {"rows": 2, "width": 10, "n_layers": 4}
    assert len(walks(starts, blocks, model=LINEAR, **asked)) == 4
    (one,) = walks(starts, blocks, model=DEAR_CALLS, **asked)
    assert one.start == 0
    split = walks(starts, blocks, model=DEAR_CALLS, at_once=2, **asked)
    assert [len(walk.members) for walk in split] == [2, 2]


def test_the_cost_of_tokens_is_read_between_and_beyond_what_was_measured() -> None:
    model = CostModel((10, 20, 40), (1.0, 1.5, 4.0))
    np.testing.assert_allclose(model.of(np.array([0, 10, 15, 20, 80])), [0, 1.0, 1.25, 1.5, 8.0])
    assert model.chunk == 20  # .075 a token; .1 before and after
    assert CostModel((1, 2, 4), (1.0, 1.98, 4.02)).chunk == 4  # no dearer by more than 3 %: the larger one


def test_what_a_block_costs_is_measured_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFREP_CACHE", str(tmp_path))
    pushed: list[int] = []
    first, again = load_model(tiny_hf()), load_model(tiny_hf(seed=1))
    model = schedule.cost_model(first, pushed.append)
    assert set(pushed) == set(schedule.SIZES["cpu"])
    assert list(model.seconds) == sorted(model.seconds)
    n = len(pushed)
    assert schedule.cost_model(first, pushed.append) is model
    assert schedule.cost_model(again, pushed.append) == model  # another model of this size, from the file
    assert len(pushed) == n


def test_what_a_block_costs_on_a_device_that_is_not_waited_for_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that only queues its work: a second a token, counted when somebody waits for it."""
    clock, queued, room = 0.0, 5000.0, 9000  # what came before is not charged to the first

    def wait(_: object) -> None:
        nonlocal clock, queued
        clock, queued = clock + queued, 0.0

    def through(tokens: int) -> None:
        nonlocal queued
        if tokens > room:
            raise RuntimeError("Invalid buffer size: 19.45 GB")
        queued += tokens

    monkeypatch.setattr(schedule, "synchronize", wait)
    monkeypatch.setattr(schedule.time, "perf_counter", lambda: clock)
    monkeypatch.setattr(LanguageModel, "device", torch.device("mps"))
    lm = load_model(tiny_hf())
    model = schedule._measured(lm, through)
    assert model.tokens == tuple(size for size in schedule.SIZES_ELSEWHERE if size <= room)
    assert model.seconds == model.tokens
    room = 1
    with pytest.raises(torch.OutOfMemoryError):
        schedule._measured(lm, through)


def test_workers_share_the_threads_and_give_them_back() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with side_by_side(2) as each:
            meet = threading.Barrier(2, timeout=30)  # passes only if two are at work at once

            def work(i: int) -> tuple[int, int]:
                meet.wait()
                return i, torch.get_num_threads()

            assert list(each(work, [5, 6])) == [(5, 1), (6, 1)]
        assert torch.get_num_threads() == 2
        with side_by_side(1) as each:
            assert each is map
        with pytest.raises(ZeroDivisionError), side_by_side(2) as each:
            list(each(lambda i: 1 / i, [1, 0]))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
