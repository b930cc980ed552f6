"""Which activations are kept: labels of every axis, and room for a part of the prompts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.engine.conftest import Talker

from selfrep.engine.kept import Kept, columns_of, places_of
from selfrep.engine.replay.prefix_sharing import PromptSet
from selfrep.errors import SelfrepError
from selfrep.prompts.prompt import Prompt
from selfrep.prompts.render import SEGMENTS

PROMPTS = [Prompt("You are a nurse.", ("Who are you?",), "I am a"), Prompt("", ("Hello!",))]


def test_columns_are_segments_or_what_follows_the_system_text(talker: Talker) -> None:
    found = PromptSet.of(talker("llama"), PROMPTS)
    assert columns_of(found, "segment", None) == list(SEGMENTS)
    longest = max(len(r) - cut for r, cut in zip(found.renderings, found.cut, strict=True))
    assert columns_of(found, "position", None) == list(range(-longest, 0))
    assert columns_of(found, "position", -1) == [-1]
    with pytest.raises(SelfrepError, match="counts from the end"):
        columns_of(found, "position", [0])


def test_prompts_go_to_their_rows_of_a_part_and_short_ones_leave_nan(talker: Talker) -> None:
    lm = talker("llama")
    found = PromptSet.of(lm, PROMPTS)
    long, short = (len(r) for r in found.renderings)
    kept = Kept(found, ["resid_post"], [0, 1], "position", [-long, -1], lm.d_model, "float32")
    assert kept.shape == (2, 1, 2, 2, lm.d_model)
    assert kept.gigabytes == pytest.approx(8 * lm.d_model * 4 / 1e9)
    values = kept.blank(range(1, 2))
    own = torch.randn(1, 2, short, lm.d_model)
    kept.into(values, first=1)([1], [own])
    np.testing.assert_array_equal(values[0, :, :, 1], own[:, :, -1].numpy())
    assert np.isnan(values[0, :, :, 0]).all(), "the second prompt has no such token"
    assert kept.coords()["token"][1].tolist()[1][0] == ""  # type: ignore[index]


def test_hook_names_hold_their_layer(talker: Talker) -> None:
    lm = talker("llama")
    assert places_of(lm, "blocks.1.hook_resid_pre", None) == (["resid_pre"], [1])
    assert places_of(lm, ["resid_post", "attn_out"], [0]) == (["resid_post", "attn_out"], [0])
    with pytest.raises(SelfrepError, match="same layers"):
        places_of(lm, ["blocks.1.hook_resid_pre", "attn_out"], [0])
