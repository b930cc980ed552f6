"""What no model could read is refused before it is run, in one sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.prompts.conftest import TEMPLATES, make_tokenizer
from tests.tiny import VOCABULARY, logits, tiny_hf, token_pair

from selfrep.engine.capture import capture, score
from selfrep.engine.metrics import logit_difference, logit_metric
from selfrep.engine.patch import patch, patch_tokens
from selfrep.engine.plan import grid
from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.models.loading import load_model
from selfrep.prompts.prompt import Prompt

SOURCE, TARGET = np.array([[3, 1, 4, 1, 5]]), np.array([[2, 7, 1, 8, 2]])
METRIC = logit_difference(7, 9)
LAST = VOCABULARY - 1
WINDOWS: dict[str, dict[str, Any]] = {
    "gpt2": {"n_positions": 16},
    "opt": {"max_position_embeddings": 16},
    "llama": {"max_position_embeddings": 16},
}


@pytest.mark.parametrize("wrong", [VOCABULARY, 9000, -3])
def test_a_token_beyond_the_vocabulary(wrong: int) -> None:
    lm = load_model(tiny_hf())
    for source, target in ((SOURCE, TARGET), (TARGET, SOURCE)):
        source = source.copy()
        source[0, 1 if wrong > 0 else 0] = wrong
        with pytest.raises(SelfrepError, match=rf"one of 0 … {LAST}; a prompt has {wrong}|right-aligned"):
            patch_tokens(lm, source, target, grid("resid_pre"), METRIC)
        with pytest.raises(SelfrepError, match=rf"one of 0 … {LAST}; a prompt has {wrong}|right-aligned"):
            patch_tokens(lm, target, source, grid("resid_pre"), METRIC)


@pytest.mark.parametrize("wrong", [VOCABULARY, 9000, -3])
def test_a_metric_beyond_the_vocabulary(wrong: int) -> None:
    lm = load_model(tiny_hf())
    for metric in (logit_difference(5, wrong), logit_difference(wrong, 5)):
        with pytest.raises(SelfrepError, match=rf"logit_difference reads logits of tokens 0 … {LAST} .*; got {wrong}"):
            patch_tokens(lm, SOURCE, TARGET, grid("resid_pre"), metric)
    own = logit_metric("mine", lambda x: x[..., 0, 0], tokens=[3, wrong])
    with pytest.raises(SelfrepError, match=rf"mine reads logits of tokens 0 … {LAST} .*; got {wrong}"):
        patch_tokens(lm, SOURCE, TARGET, grid("resid_pre"), own)


def test_a_difference_has_two_tokens() -> None:
    with pytest.raises(SelfrepError, match="logit_difference needs a token on each side"):
        patch_tokens(load_model(tiny_hf()), SOURCE, TARGET, grid("resid_pre"), logit_difference(5, -1))


@pytest.mark.parametrize("family", WINDOWS)
def test_a_prompt_as_long_as_the_window_runs_and_a_longer_one_is_refused(family: str) -> None:
    lm = load_model(tiny_hf(family, **WINDOWS[family]))
    fits, long = (token_pair(0, systems=(n, n), suffix=(2, 3, 2)) for n in (9, 10))
    effects = patch(lm, [fits], grid("resid_pre", layers=[1], positions=[-1]))
    assert np.isfinite(effects.patched).all()
    assert len(logits(lm.hf, fits.target.ids)) == 16
    for pairs in ([long], [fits, long]):
        with pytest.raises(SelfrepError, match=r"at most 16 tokens \(max_position_embeddings.*got one of 17"):
            patch(lm, pairs, grid("resid_pre", layers=[1], positions=[-1]))


@pytest.mark.parametrize("run", [score, capture])
def test_texts_are_checked_too(run: Callable[[LanguageModel, list[Prompt]], Any]) -> None:
    tokenizer = make_tokenizer(TEMPLATES["chatml"])
    short = Prompt("You are a nurse.", ("Who are you?",), "I am a", answers=((" robot",), (" nurse",)))
    long = Prompt("You are a nurse. " * 20, ("Who are you?",), "I am a", answers=((" robot",), (" nurse",)))
    lm = load_model(tiny_hf("gpt2", vocabulary=len(tokenizer), n_positions=64), tokenizer=tokenizer)
    run(lm, [short])
    with pytest.raises(SelfrepError, match="at most 64 tokens"):
        run(lm, [short, long])
    small = load_model(tiny_hf(vocabulary=len(tokenizer)), tokenizer=tokenizer)
    tokenizer.add_tokens([" Zorblax"])
    named = Prompt("You are Zorblax.", ("Who are you?",), "I am a", answers=((" robot",), (" nurse",)))
    with pytest.raises(SelfrepError, match=rf"resize_token_embeddings\({len(tokenizer)}\)"):
        run(small, [named])
