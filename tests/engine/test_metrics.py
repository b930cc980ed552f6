"""Log odds and answer mass against probabilities written out in full."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine.conftest import Talker
from tests.tiny import VOCABULARY, ragged, tiny, tiny_hf
from tests.tiny import logits as plain_logits

from selfrep.engine.metrics import (
    Metric,
    answer_mass,
    kl_divergence,
    log_odds,
    logit_difference,
    logit_metric,
    sequence_log_prob,
)
from selfrep.engine.pairs import pair
from selfrep.engine.patch import patch, patch_tokens
from selfrep.engine.plan import grid
from selfrep.errors import SelfrepError
from selfrep.models.loading import load_model
from selfrep.prompts import personas
from selfrep.prompts.battery import Item

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
    reading = log_odds(answers, lm.device)
    got = reading.value(lm.logits(stream[:, :, None], reading.tokens))
    mass = answer_mass(lm, lm.logits(stream[1]), answers)
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
    lm = load_model(hf)
    with pytest.raises(SelfrepError, match=r"NaN or infinite.*float32"):
        answer_mass(lm, lm.logits(torch.randn(1, 32)), np.array([[[1], [2]]]))


def test_metrics_are_values_with_a_name() -> None:
    assert logit_difference(1, 2).name == "logit_difference"


# Metrics that read whole distributions, against Hugging Face's logits of each prompt alone.

SOURCE, TARGET = ragged([9, 7], seed=1), ragged([8, 8], seed=2)
NOTHING = grid("resid_pre", layers=[0], positions=[-1])


def both(ids: torch.Tensor) -> list[torch.Tensor]:
    """[token, d_vocab] log-probabilities of each row."""
    return [plain_logits(tiny().hf, row[row >= 0]).double().log_softmax(-1) for row in ids]


def test_a_sequence_is_as_likely_as_its_tokens_one_after_another() -> None:
    effects = patch_tokens(tiny(), SOURCE, TARGET, NOTHING, sequence_log_prob(3))
    for name, ids in (("target", TARGET), ("source", None)):
        for b, log_p in enumerate(both(TARGET if ids is not None else SOURCE)):
            answer = TARGET[b][-3:]  # the source is asked for the target's answer
            wanted = sum(float(log_p[-4 + i, token]) for i, token in enumerate(answer))
            assert float(effects[f"{name}_metric"][b]) == pytest.approx(wanted, abs=1e-4)
    with pytest.raises(SelfrepError, match="one token before them"):
        patch_tokens(tiny(), SOURCE[:, -3:], TARGET[:, -3:], NOTHING, sequence_log_prob(3))


def test_an_answer_of_words_is_read_whole_and_may_differ_in_length(talker: Talker) -> None:
    lm = talker()
    items = [Item(name=f"i{n}", question="Who are you?", prefill="I am a", answers={"a": [" robot"], "b": [" nurse"]},
                  perspective="in_character")
             for n in range(2)]  # fmt: skip
    people = personas.builtin().select(["smollm", "jfk"])
    pairs = [
        made
        for item, answer in zip(items, (" nurse", " nurse. You are"), strict=True)
        for made in pair(lm, *people, [item], paraphrases=[0], directions=["denoise"], answer=answer)
    ]
    lengths = [made.target.segments.count("answer") for made in pairs]
    assert lengths[0] < lengths[1]
    effects = patch(lm, pairs, NOTHING, sequence_log_prob())
    for b, made in enumerate(pairs):
        log_p = plain_logits(lm.hf, torch.tensor(made.target.ids)).double().log_softmax(-1)
        wanted = sum(float(log_p[-1 - k, made.target.ids[-k]]) for k in range(1, lengths[b] + 1))
        assert float(effects.target_metric[b]) == pytest.approx(wanted, abs=1e-4)
    with pytest.raises(SelfrepError, match="Pass answer="):
        patch(lm, pair(lm, *people, items[:1], paraphrases=[0]), NOTHING, sequence_log_prob())


@pytest.mark.parametrize("against", ["source", "target"])
def test_divergence_is_that_of_the_definition(against: str) -> None:
    effects = patch_tokens(tiny(), SOURCE, TARGET, NOTHING, kl_divergence(against, positions=(-3, -1)))
    p_of, q_of = both(SOURCE if against == "source" else TARGET), both(TARGET)
    for b, (p, q) in enumerate(zip(p_of, q_of, strict=True)):
        wanted = sum(float((p[k].exp() * (p[k] - q[k])).sum()) for k in (-3, -1)) / 2
        assert float(effects.target_metric[b]) == pytest.approx(wanted, abs=1e-5)
    assert float(effects.target_metric.max()) == pytest.approx(0, abs=1e-6) or against == "source"


def test_metrics_that_mean_nothing_are_refused() -> None:
    for positions in ((0,), ()):
        with pytest.raises(SelfrepError, match="counted from the end"):
            logit_metric("mine", lambda x: x[..., 0, 0], positions=positions)
    with pytest.raises(SelfrepError, match="names of their own"):
        patch_tokens(tiny(), SOURCE, TARGET, NOTHING, [logit_difference(1, 2), logit_difference(3, 4)])
    with pytest.raises(SelfrepError, match="names of their own"):
        patch_tokens(tiny(), SOURCE, TARGET, NOTHING, [])
    with pytest.raises(SelfrepError, match="has answers, or prepares"):
        patch_tokens(tiny(), SOURCE, TARGET, NOTHING, Metric("empty"))
