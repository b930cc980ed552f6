"""What was said is kept in its row and step, and a mean is that of an answer's words alone."""

from __future__ import annotations

import numpy as np
import pytest
from tests.engine.conftest import Talker

from selfrep.engine import spoken
from selfrep.engine.spoken import Answers, Keep, ends_of

END = 5


@pytest.fixture(autouse=True)
def one_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spoken, "ends_of", lambda lm: frozenset([END]))


def told(answers: Answers) -> None:
    """Two of three prompts answer, the last one in one token."""
    rows, values = np.array([2, 0]), np.arange(2.0)[:, None, None, None]
    shape = (2, 1, 1, answers.lm.d_model)
    answers.passed(rows, -1, np.broadcast_to(values + 100, shape))
    answers.said(rows, 0, np.array([END, 7]), np.array([-1.0, -2.0]), np.array([True, False]))
    answers.passed(rows, 0, np.broadcast_to(values + 10, shape))
    answers.said(rows, 1, np.array([-1, 8]), np.array([-9.0, -3.0]), np.array([False, False]))
    answers.passed(rows, 1, np.broadcast_to(values + 20, shape))


def test_each_token_has_its_row_and_its_step(talker: Talker) -> None:
    answers = Answers(talker("llama"), 3, 2, Keep("resid_post", 0), ["resid_post"], [0])
    told(answers)
    out = answers.dataset()
    assert out.tokens.values.tolist() == [[7, 8], [-1, -1], [END, -1]]
    np.testing.assert_array_equal(out.log_prob, [[-2, -3], [np.nan, np.nan], [-1, np.nan]])
    assert out.ended.values.tolist() == [False, False, True]
    passed = out.activations.isel(site=0, layer=0, d_model=0)
    np.testing.assert_array_equal(passed, [[11, 21], [np.nan, np.nan], [10, np.nan]])
    np.testing.assert_array_equal(out.before.isel(site=0, layer=0, d_model=0), [101, np.nan, 100])


def test_a_mean_leaves_out_what_ends_an_answer(talker: Talker) -> None:
    answers = Answers(talker("llama"), 3, 2, Keep("resid_post", 0, by="answer"), ["resid_post"], [0])
    told(answers)
    np.testing.assert_array_equal(answers.dataset().activations.isel(site=0, layer=0, d_model=0), [16, np.nan, np.nan])


def test_what_ends_an_answer_is_the_model_s_or_the_tokenizer_s(talker: Talker, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = talker("llama")
    monkeypatch.setattr(lm.hf.generation_config, "eos_token_id", [3, 4])
    assert ends_of(lm) == {3, 4}
    monkeypatch.setattr(lm.hf.generation_config, "eos_token_id", None)
    assert ends_of(lm) == ({lm.tokenizer.eos_token_id} if lm.tokenizer.eos_token_id is not None else set())
