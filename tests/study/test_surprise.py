"""Surprise is −log p of the system text's tokens, and what is left at equal surprise is an analysis of covariance."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from selfrep.models.loading import load_model
from selfrep.prompts.chat import chat_format
from selfrep.prompts.prompt import Prompt
from selfrep.prompts.render import render
from selfrep.stats.families import Families
from selfrep.study.surprise import controlled, surprise


def test_surprise_is_that_of_a_plain_forward_pass() -> None:
    lm = load_model("organism:separate")
    asked = [
        Prompt(f"{said}", ("In peace, who are you?",)) for said in ("You are a nurse.", "You are an old robot.", "")
    ]
    found = surprise(lm, asked)
    for prompt, value, length in zip(asked[:2], found.surprise.values, found.length.values, strict=False):
        tokens = render(prompt, chat_format(lm.tokenizer, lm.chat_template))
        own = [t for t, segment in enumerate(tokens.segments) if segment == "system"]
        with torch.no_grad():
            log_p = lm.hf(torch.tensor([tokens.ids])).logits[0].double().log_softmax(-1)
        assert value == pytest.approx(np.mean([-float(log_p[t - 1, tokens.ids[t]]) for t in own]), abs=1e-5)
        assert length == len(own)
    assert np.isnan(found.surprise.values[2]), "no system text surprises nobody"


def test_the_shift_at_equal_surprise_is_that_of_least_squares() -> None:
    rng = np.random.default_rng(0)
    families = Families.of(np.arange(12), [f"f{i}" for i in range(12)], ["x"] * 6 + ["y"] * 6, ("x", "y"))
    strange = 0.5 * rng.normal(size=12) + 2 * families.first
    heard = []
    for _ in range(400):
        values = 2.0 * families.first + 1.5 * strange + rng.normal(size=12)
        estimate, low, high = controlled(values, strange, families)
        heard.append((estimate, low <= 2 <= high, float(families.contrast() @ values)))
    estimates, held, plain = (np.array(column, dtype=float) for column in zip(*heard, strict=True))
    assert estimates.mean() == pytest.approx(2, abs=0.25)
    assert 0.92 <= held.mean() <= 0.98
    assert plain.mean() > 3, "the control: surprise not taken off"


def test_what_surprise_cannot_be_told_from_has_no_number() -> None:
    families = Families.of(np.arange(8), list("abcdefgh"), ["x"] * 4 + ["y"] * 4, ("x", "y"))
    assert np.isnan(controlled(np.arange(8.0), np.where(families.first, 1.0, 2.0), families)).all()
    few = Families.of(np.arange(5), list("abcde"), ["x"] * 2 + ["y"] * 3, ("x", "y"))
    estimate, low, high = controlled(np.arange(5.0), np.array([1.0, 3.0, 2.0, 2.5, 4.0]), few)
    assert np.isfinite(estimate)
    assert np.isnan([low, high]).all()
