"""Token log probabilities equal a plain pass; texts of a real model's personas are recognised, shuffled ones less."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.engine.conftest import Talker

from selfrep.analyses.posterior import material as texts
from selfrep.analyses.posterior.estimate import posterior, prior, recognition
from selfrep.analyses.posterior.material import Text
from selfrep.analyses.posterior.predictions import prior_log_probs, text_log_probs
from selfrep.engine.sequences import answer_log_probs
from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.models.loading import load_model
from selfrep.prompts import personas
from selfrep.prompts.chat import chat_format
from selfrep.prompts.persona import Persona
from selfrep.prompts.prompt import Prompt
from selfrep.prompts.render import render

NURSE = Persona(name="nurse", kind="human", descriptions=("Rosa, a nurse", "a nurse named Rosa"))
ROBOT = Persona(name="robot", kind="other_model", descriptions=("a robot", "a machine"))
WRITTEN = [
    Text(name="x", author="nurse", question="Who are you?", text="I am Rosa and I was born here"),
    Text(name="y", author="robot", question="Who are you?", text="I was built as a machine, I am a machine"),
]


def plain(lm: LanguageModel, prompt: Prompt, n: int) -> np.ndarray:
    """The last n tokens' log probabilities, by one forward pass of the untouched model."""
    ids = torch.tensor([render(prompt, chat_format(lm.tokenizer)).ids])
    with torch.no_grad():
        log_p = lm.hf(ids, use_cache=False).logits[0].double().log_softmax(-1)
    return log_p[:-1].gather(1, ids[0, 1:, None])[-n:, 0].numpy()


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_they_equal_a_plain_forward_pass(talker: Talker, family: str) -> None:
    lm = talker(family)
    prompts = [Prompt("You are a nurse.", ("Who are you?",), "I am"), Prompt("Hi.", ("What are you?",), "I")]
    values, pieces = answer_log_probs(lm, prompts, [" a person, and a nurse", " was"])
    for prompt, answer, row, own in zip(prompts, (" a person, and a nurse", " was"), values, pieces, strict=True):
        n = len(own)
        whole = Prompt(prompt.system, prompt.turns, prompt.prefill + answer)
        np.testing.assert_allclose(row[:n], plain(lm, whole, n), atol=2e-4)
        assert np.isnan(row[n:]).all()
        assert "".join(own) == answer


def test_texts_are_laid_out_by_persona_with_their_shuffles_and_without_names(talker: Talker) -> None:
    lm = talker()
    runs = text_log_probs(lm, WRITTEN, [NURSE, ROBOT])
    assert runs.log_prob.dims == ("persona", "text", "token")
    assert runs.author.values.tolist() == ["nurse", "robot"] * 2
    assert runs.shuffled.values.tolist() == [False, False, True, True]
    there = runs.piece.values != ""
    said = ["".join(row) for row in runs.piece.values]
    assert said == [w.text for w in WRITTEN] + [w.shuffled() for w in WRITTEN]
    np.testing.assert_array_equal(np.isfinite(runs.log_prob[0]), there)
    dropped = {"".join(row[~kept]).strip() for row, kept in zip(runs.piece.values, runs.counted.values, strict=True)}
    assert dropped == {"Rosa", ""}
    n = int(there[1].sum())
    asked = Prompt("You are a robot.", ("Who are you?",), WRITTEN[1].text)
    np.testing.assert_allclose(runs.log_prob[1, 1, :n], plain(lm, asked, n), atol=2e-4)
    found = posterior(runs)
    np.testing.assert_allclose(found.posterior.sum("persona").values[there], 1)


def test_the_prior_is_that_of_the_descriptions(talker: Talker) -> None:
    asked, free = prior_log_probs(talker(), [NURSE, ROBOT], paraphrase=1)
    assert asked.persona.values.tolist() == ["nurse", "robot"]
    whole = Prompt("Here is a message.", ("Who are you?",), "I am a machine")
    assert float(asked[1]) == pytest.approx(plain(talker(), whole, _length(talker(), " a machine")).sum(), abs=1e-3)
    np.testing.assert_allclose(prior(asked, free).sum(), 1)


def _length(lm: LanguageModel, text: str) -> int:
    return len(lm.tokenizer(text, add_special_tokens=False)["input_ids"])


def test_bad_input_is_refused(talker: Talker) -> None:
    with pytest.raises(SelfrepError, match="got 0 texts and 1 personas"):
        text_log_probs(talker(), [], [NURSE])
    with pytest.raises(SelfrepError, match="no paraphrase 7 of nurse"):
        prior_log_probs(talker(), [NURSE], paraphrase=7)
    with pytest.raises(SelfrepError, match="'' adds none"):
        answer_log_probs(talker(), [Prompt("", ("Who?",), "I am")], [""])
    with pytest.raises(SelfrepError, match="got 1 prompts and 0 answers"):
        answer_log_probs(talker(), [Prompt("", ("Who?",), "I am")], [])


@pytest.mark.slow
def test_a_real_model_recognises_its_personas_above_chance() -> None:
    written = texts.builtin()
    people = personas.builtin().select(written.authors()[:5])
    chosen = [text for text in written if text.author in people and text.name.endswith("today")]
    runs = text_log_probs(load_model(), chosen, people)
    found = recognition(posterior(runs))
    assert float(found.chance) == pytest.approx(0.2)
    whole = posterior(runs).isel(text=np.flatnonzero(~runs.shuffled.values))
    right = [float(f.sel(persona=a)) for f, a in zip(whole.final.T, whole.author.values, strict=True)]
    assert np.mean(right) > 0.5
