"""Masks against rules written out key by key."""

from __future__ import annotations

import pytest
import torch

from selfrep.engine.replay.masks import Masks, as_bias

CPU = torch.device("cpu")
VISIBLE = torch.tensor([[False, True, True, True, True], [True] * 5])
"""Two prompts of five tokens, two of which are a walk's own; the first begins with padding."""


@pytest.mark.parametrize("window", [None, 2, 9])
@pytest.mark.parametrize("padded", [False, True])
def test_hidden_is_what_is_later_or_too_far_or_padding(window: int | None, padded: bool) -> None:
    masks = Masks(VISIBLE[:, :3], VISIBLE[:, 3:]) if padded else Masks()
    own = masks.own(2, window, 2, 4, CPU).expand(4, 1, 4, 2)
    prefix = masks.prefix(3, 2, window, 2, 2, CPU)
    prefix = torch.zeros(1, 1, 1, 1, dtype=torch.bool) if prefix is None else prefix
    prefix = prefix.expand(2, 1, 8, 3)
    for run in range(2):
        for prompt in range(2):
            for query in range(2):
                for key in range(5):
                    distance = 3 + query - key
                    far = window is not None and distance >= window
                    hidden = distance < 0 or far or (padded and distance > 0 and not bool(VISIBLE[prompt, key]))
                    for group in range(2):
                        row = group * 2 + query
                        if key < 3:
                            assert bool(prefix[prompt, 0, run * 4 + row, key]) == hidden
                        else:
                            assert bool(own[run * 2 + prompt, 0, row, key - 3]) == hidden


def test_a_mask_is_made_once_a_walk_for_all_runs_and_sliced() -> None:
    masks = Masks(VISIBLE[:, :3], VISIBLE[:, 3:], runs=4)
    few, many = (masks.own(2, None, 1, 2 * runs, CPU) for runs in (1, 4))
    assert len(few) == 2
    assert len(many) == 8
    assert few.data_ptr() == many.data_ptr()
    assert torch.equal(many, few.repeat(4, 1, 1, 1))
    far_few, far_many = (masks.prefix(3, 2, 2, 1, runs, CPU) for runs in (1, 4))
    assert far_few is not None
    assert far_many is not None
    assert far_few.data_ptr() == far_many.data_ptr()
    assert masks.prefix(3, 2, 3, 1, 1, CPU).data_ptr() != far_few.data_ptr()  # type: ignore[union-attr]
    more = masks.own(2, None, 1, 12, CPU)  # more than was said: made anew
    assert torch.equal(more, few.repeat(6, 1, 1, 1))


def test_no_mask_where_nothing_is_hidden() -> None:
    assert Masks().prefix(3, 2, None, 1, 1, CPU) is None
    assert Masks().prefix(3, 2, 5, 1, 1, CPU) is None
    assert Masks().prefix(3, 2, 4, 1, 1, CPU) is not None
    assert Masks().is_causal(3, 3)
    assert not Masks().is_causal(3, 2)
    assert not Masks(own_visible=VISIBLE).is_causal(3, None)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_bias_hides_as_much_as_minus_infinity_and_is_no_nan(dtype: torch.dtype) -> None:
    hidden = torch.tensor([[[[False, True, False], [True, True, True]]]])
    bias = as_bias(hidden, dtype)
    assert bias.dtype == dtype
    assert not any(stride % 8 for stride in bias.stride()[:-1])
    scores = torch.tensor([300.0, -300.0, 299.0])
    seen, nothing = (scores + bias.float()[0, 0]).softmax(-1)
    assert torch.equal(seen, (scores.masked_fill(hidden[0, 0, 0], -torch.inf)).softmax(-1))
    assert nothing.isfinite().all()
    lse = (scores + bias.float()[0, 0]).logsumexp(-1)
    assert lse.isfinite().all()
    assert lse[1] < -1e4
