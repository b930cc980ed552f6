"""Log odds and answer mass against probabilities written out in full."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tiny import VOCABULARY, tiny, tiny_hf

from selfrep.engine.metrics import answer_mass, log_odds, logit_difference, read
from selfrep.errors import SelfrepError
from selfrep.models.language_model import load_model

sides = st.lists(st.integers(0, VOCABULARY - 1), min_size=2, max_size=7, unique=True)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6), pairs=st.lists(st.tuples(sides, st.integers(1, 6)), min_size=1, max_size=4),
    family=st.sampled_from(["llama", "phi", "gemma2", "cohere", "granite"]),
)  # fmt: skip
def test_it_reads_what_the_full_softmax_says(seed: int, pairs: list[tuple[list[int], int]], family: str) -> None:
    lm = tiny(family)
    answers = np.full((len(pairs), 2, 7), -1)
    for i, (ids, cut) in enumerate(pairs):
        cut = min(cut, len(ids) - 1)
        answers[i, 0, :cut], answers[i, 1, : len(ids) - cut] = ids[:cut], ids[cut:]
    stream = torch.randn(2, len(pairs), lm.d_model, generator=torch.Generator().manual_seed(seed))
    got, mass = read(lm, log_odds(answers, lm.device), stream[:, :, None]), answer_mass(lm, stream[1], answers)
    head, norm = lm.hf.get_submodule(lm.layout.unembed), lm.hf.get_submodule(lm.layout.ln_final)
    logits = head(norm(stream)).double()
    logits = {"cohere": lambda x: x / 2, "granite": lambda x: x / 2, "gemma2": lambda x: 30 * (x / 30).tanh()}.get(
        family, lambda x: x
    )(logits)
    p = logits.softmax(-1)
    for i in range(len(pairs)):
        first, second = (side[side >= 0] for side in answers[i])
        for cell in range(2):
            odds = math.log(p[cell, i, first].sum() / p[cell, i, second].sum())
            assert got[cell, i].item() == pytest.approx(odds, abs=1e-4)
        assert mass[i].item() == pytest.approx(p[1, i, [*first, *second]].sum().item(), abs=1e-5)


def test_only_the_rows_that_are_asked_for_are_multiplied() -> None:
    lm = tiny("phi")  # with a bias
    stream = torch.randn(5, lm.d_model)
    rows = torch.tensor([3, 60])
    torch.testing.assert_close(lm.logits(stream, rows), lm.logits(stream)[:, rows])


def test_logits_that_are_not_finite_are_refused() -> None:
    hf = tiny_hf()
    with torch.no_grad():
        hf.lm_head.weight[40] = torch.inf  # no answer of ours, yet it would make every probability NaN
    with pytest.raises(SelfrepError, match=r"NaN or infinite.*float32"):
        answer_mass(load_model(hf), torch.randn(1, 32), np.array([[[1], [2]]]))


def test_metrics_are_values_with_a_name() -> None:
    assert logit_difference(1, 2).name == "logit_difference"
