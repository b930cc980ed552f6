"""A prompt's numbers are those that it has alone, on a fresh model, whatever the length of the prompts beside it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.prompts.conftest import TEMPLATES, make_tokenizer
from tests.tiny import logits, patched_differences, patched_logits, tiny_hf, token_pair, values_at
from transformers import PreTrainedModel

from selfrep.engine.capture import capture, score
from selfrep.engine.metrics import logit_difference
from selfrep.engine.patch import patch, patch_tokens
from selfrep.engine.plan import grid, prefix_patch
from selfrep.models.language_model import LanguageModel
from selfrep.models.loading import load_model
from selfrep.models.rotary import anew, full_cache, side
from selfrep.prompts.prompt import Prompt
from selfrep.prompts.render import render

SWITCH = 28
LONGROPE = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 4, "long_factor": [3.0, 5.0, 8.0, 20.0],
            "original_max_position_embeddings": SWITCH}  # fmt: skip
DYNAMIC = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}
ROPES: dict[str, dict[str, Any]] = {
    "longrope": {"family": "phi3", "max_position_embeddings": 1024, "rope_parameters": LONGROPE},
    "dynamic": {"family": "llama", "max_position_embeddings": SWITCH, "rope_parameters": DYNAMIC},
    "dynamic in some layers": {
        "family": "gemma3_text",
        "max_position_embeddings": SWITCH,
        "rope_parameters": {
            "full_attention": DYNAMIC,
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        },
    },
}
FIXED: dict[str, dict[str, Any]] = {
    "default": {},
    "linear": {"factor": 2.0},
    "yarn": {"factor": 4.0, "original_max_position_embeddings": SWITCH},
    "llama3": {
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": SWITCH,
    },
    "proportional": {"partial_rotary_factor": 0.5},
}


def fresh(kind: str, vocabulary: int = 64) -> PreTrainedModel:
    """A model that has read nothing yet."""
    options = dict(ROPES[kind])
    family = options.pop("family")
    if kind == "longrope":
        options |= {"original_max_position_embeddings": SWITCH, "sliding_window": None}
    return tiny_hf(family, vocabulary=vocabulary, **options)


def ids(*lengths: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    out = np.full((len(lengths), max(lengths)), -1)
    for row, n in zip(out, lengths, strict=True):
        row[-n:] = rng.integers(4, 64, n)
    return out


def apart(logits: torch.Tensor) -> float:
    return float(logits[7] - logits[9])


def test_sides() -> None:
    for kind, beyond in (("longrope", 1), ("dynamic", SWITCH + 7), ("dynamic in some layers", SWITCH + 7)):
        hf = fresh(kind)
        assert side(hf, SWITCH) == side(hf, 3) == (0,)
        assert side(hf, SWITCH + 7) == (beyond,)
    assert side(tiny_hf(), 10**6) == ()


@pytest.mark.parametrize("kind", FIXED)
def test_tables_that_do_not_depend_on_the_length_are_one_for_short_and_long(kind: str) -> None:
    """A short and a long prompt beside each other, on either side of what the model was first trained on."""
    hf = tiny_hf(rope_parameters={"rope_type": kind, "rope_theta": 1e4} | FIXED[kind])
    assert side(hf, 3) == side(hf, SWITCH + 30) == ()
    source, target = ids(12, SWITCH + 9, seed=3), ids(SWITCH + 30, 11, seed=4)
    effects = patch_tokens(load_model(hf), source, target, grid("attn_out", positions=[-5, -1]), logit_difference(7, 9))
    assert effects.attrs["engine"] == "replay"
    wanted = patched_differences(hf, "llama", "attn_out", torch.tensor(source), torch.tensor(target), (-5, -1))
    np.testing.assert_allclose(effects.patched, wanted, atol=1e-4)


@torch.no_grad()
def test_a_full_cache_can_be_cut_where_a_window_has_passed() -> None:
    hf, prompt = fresh("dynamic in some layers"), torch.tensor(ids(SWITCH + 4, seed=1))
    out = hf(prompt, past_key_values=full_cache(), use_cache=True)
    out.past_key_values.crop(-7)
    again = hf(prompt[:, -7:], past_key_values=out.past_key_values, use_cache=True).logits
    torch.testing.assert_close(again, out.logits[:, -7:])


@pytest.mark.parametrize("kind", ["dynamic", "dynamic in some layers"])
def test_a_long_prompt_leaves_nothing_behind(kind: str) -> None:
    long, short = ids(SWITCH + 20, seed=1)[0], ids(SWITCH + 3, seed=2)[0]
    wanted = logits(fresh(kind), short)
    hf = fresh(kind)
    logits(hf, long)
    assert (logits(hf, short) - wanted).abs().max() > 1e-2  # the control: what transformers does by itself
    with anew(hf):
        logits(hf, long)
        torch.testing.assert_close(logits(hf, short), wanted)


@pytest.mark.parametrize("kind", ROPES)
def test_patches_of_short_and_long_prompts_together_are_those_of_each_alone(kind: str) -> None:
    """Short into short, long into long, long into short, short into long; at both ends of the switch."""
    source = ids(12, SWITCH + 9, SWITCH + 1, SWITCH, 9, seed=3)
    target = ids(SWITCH, SWITCH + 4, 14, SWITCH + 30, 11, seed=4)
    lm = load_model(fresh(kind))
    family = ROPES[kind]["family"]
    patched, alone, beside = np.empty((len(source), 3, 2)), np.empty(len(source)), np.empty(len(source))
    for b, (s, t) in enumerate(zip(source, target, strict=True)):
        s, t = s[s >= 0], t[t >= 0]
        for layer in range(3):
            values = values_at(fresh(kind), family, "resid_pre", layer, s)
            for i, p in enumerate((-5, -1)):
                patched[b, layer, i] = apart(patched_logits(fresh(kind), family, "resid_pre", layer, values, t, [p]))
        alone[b] = apart(logits(fresh(kind), t)[-1])
        padded = np.full(SWITCH + 30, 5)
        padded[: len(t)] = t  # the control: beside the longest, by the tables of the longest
        beside[b] = apart(logits(fresh(kind), padded)[len(t) - 1])
    assert np.abs(beside - alone).max() > 1e-2
    for _ in range(2):  # the second time the self-check is done, and the model has read long prompts
        effects = patch_tokens(lm, source, target, grid("resid_pre", positions=[-5, -1]), logit_difference(7, 9))
        assert effects.attrs["engine"] == "replay"
        np.testing.assert_allclose(effects.patched.transpose("pair", "layer", "position"), patched, rtol=0, atol=1e-4)
        np.testing.assert_allclose(effects.target_metric, alone, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", ROPES)
def test_a_short_prefix_before_a_long_suffix_is_that_of_the_whole_prompt(kind: str) -> None:
    lm = load_model(fresh(kind))
    pairs = [token_pair(k, systems=(n, n), suffix=(2, 3, 2)) for k, n in enumerate((8, 24, 30, 9, 40))]
    effects = patch(lm, pairs, prefix_patch())
    alone = [patch(load_model(fresh(kind)), [pair], prefix_patch()) for pair in pairs]
    np.testing.assert_allclose(effects.patched, np.concatenate([one.patched for one in alone]), atol=1e-4)


@pytest.mark.parametrize("kind", ROPES)
def test_scores_and_activations_of_short_and_long_prompts_together(kind: str) -> None:
    tokenizer = make_tokenizer(TEMPLATES["chatml"])

    def model() -> LanguageModel:
        return load_model(fresh(kind, len(tokenizer)), tokenizer=tokenizer)

    answers = ((" robot",), (" nurse",))
    prompts = [
        Prompt("You are a nurse." + " You are a nurse." * more, turns=(question,), prefill="I am a", answers=answers)
        for more in (0, 1, 9)
        for question in ("Who are you?", "Who are you? What are you?", "Hello!")
    ]
    lm = model()
    acts = capture(lm, prompts, "resid_post", layers=[2], tokens="position", positions=[-1])
    scores = score(lm, prompts)
    lengths = [len(render(prompt, lm.chat)) for prompt in prompts]
    assert min(lengths) < SWITCH < max(lengths)
    for i, prompt in enumerate(prompts):
        alone = capture(model(), [prompt], "resid_post", layers=[2], tokens="position", positions=[-1])
        np.testing.assert_allclose(acts.activations[i], alone.activations[0], rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(scores.log_odds[i], alone.log_odds[0], atol=1e-4)
