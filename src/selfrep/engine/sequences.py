"""Whole answers of several tokens, teacher-forced: how probable each is, and the log odds of two sets of them.

Answers are usually read by one token, at no cost. A word that a tokenizer cuts has none of its own; its probability is
the product over its tokens, each given all before it. That takes a pass for every word and prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import xarray as xr
from scipy.special import logsumexp

from selfrep.engine.capture import answered, blank_scores, capture
from selfrep.engine.progress import Progress, ticker
from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.prompts import arguments
from selfrep.prompts.arguments import Several
from selfrep.prompts.prompt import Prompt
from selfrep.prompts.render import Tokens, render

NUMBERS_AT_ONCE = 5e7
"""How many numbers of the residual stream are kept at a time."""


def sequence_log_odds(lm: LanguageModel, prompts: Several[Prompt], *, progress: Progress = None) -> xr.Dataset:
    """What the model would answer, by whole words: as `selfrep.score`, for answers of any number of tokens.

    The probability of a word is that of its tokens in a row, teacher-forced. A word that another one begins with
    (" Alex", " Alexa") holds the other's probability, too: leave one of the two out.

    Args:
        prompts: with answer sets, as `selfrep.make_prompts` makes them; all answers are read, also those that `score`
            leaves out. progress: True for a bar, or a function of (done, total) answers.

    Returns:
        Dataset over prompt, with the coordinates of `score`.

        * `log_odds`: nats, log Σ p(word) over the first answer set less that over the second.
        * `answer_mass`: 0 … 1, the probability of any of the words.

    Raises:
        SelfrepError: a prompt without answers; an answer without a token of its own after the prefill.

    Example:
        >>> import selfrep as sr
        >>> from selfrep.models.organisms import BATTERY, PERSONAS
        >>> lm = sr.load_model("organism:separate")
        >>> people, battery = sr.personas.load(PERSONAS), sr.battery.load(BATTERY)
        >>> prompts = sr.make_prompts(people.select(["robot", "nurse"]), battery["who_are_you"], paraphrases=0)
        >>> sr.sequence_log_odds(lm, prompts).log_odds.values.round(2).tolist()  # single tokens: as `sr.score`
        [4.0, -4.0]
    """
    arguments.one(lm, LanguageModel, "model")
    asked = answered(prompts)
    rows = [(i, side, text) for i, p in enumerate(asked) for side in (0, 1) for text in (p.answers or ((), ()))[side]]
    values, _ = answer_log_probs(lm, [asked[i] for i, _, _ in rows], [text for _, _, text in rows], progress=progress)
    whole = np.nansum(values, axis=1)
    sides = np.full((2, len(asked)), -np.inf)
    for (i, side, _), nats in zip(rows, whole, strict=True):
        sides[side, i] = np.logaddexp(sides[side, i], nats)
    read = {"log_odds": ("prompt", sides[0] - sides[1]), "answer_mass": ("prompt", np.exp(logsumexp(sides, axis=0)))}
    blank = blank_scores(asked)
    return blank.drop_vars(list(blank.data_vars)).assign(read).assign_attrs(model=lm.name)


def answer_log_probs(
    lm: LanguageModel, prompts: Sequence[Prompt], answers: Sequence[str], *, progress: Progress = None
) -> tuple[np.ndarray, list[tuple[str, ...]]]:
    """Log probability of each token of an answer that follows a prompt and its prefill, teacher-forced.

    Args:
        lm: from `selfrep.load_model`.
        prompts: what comes before.
        answers: one a prompt, with the space that it begins with.
        progress: True for a bar, or a function of (done, total).

    Returns:
        [prompt, token] float64, nats, NaN past the end of an answer; and each answer's tokens as texts.

    Raises:
        SelfrepError: nothing to run; an answer without a token of its own.

    Example:
        >>> import selfrep as sr
        >>> lm = sr.load_model("organism:separate")
        >>> prompt = Prompt("You are a nurse.", ("In peace, who are you?",), "I am a")
        >>> values, pieces = answer_log_probs(lm, [prompt], [" nurse"])
        >>> values.shape, pieces
        ((1, 1), [('nurse',)])
    """
    if not prompts or len(prompts) != len(answers):
        raise SelfrepError(f"Each prompt has an answer; got {len(prompts)} prompts and {len(answers)} answers.")
    chat = lm.chat
    whole = [replace(p, prefill=p.prefill + a, answers=None) for p, a in zip(prompts, answers, strict=True)]
    rendered = [render(prompt, chat) for prompt in whole]
    before = {p.prefill: _said(render(p, chat)) for p in dict.fromkeys(prompts)}
    lengths = [_said(tokens) - before[p.prefill] for tokens, p in zip(rendered, prompts, strict=True)]
    if min(lengths) < 1:
        short = answers[lengths.index(min(lengths))]
        raise SelfrepError(f"An answer begins with a token of its own; {short!r} adds none to what stands before it.")
    width, tick = max(lengths), ticker(progress, "answer")
    out = np.full((len(prompts), width), np.nan)
    room = max(1, int(NUMBERS_AT_ONCE / (width * lm.d_model)))
    for at in range(0, len(prompts), room):
        part = range(at, min(at + room, len(prompts)))
        acts = capture(
            lm,
            [whole[i] for i in part],
            ["resid_post"],
            layers=[lm.n_layers - 1],
            tokens="position",
            positions=list(range(-width - 1, -1)),
        )
        for i, residual in zip(part, acts.activations.to_numpy()[:, 0, 0], strict=True):
            out[i, : lengths[i]] = _read(lm, residual[-lengths[i] :], rendered[i].ids[-lengths[i] :])
            tick(i + 1, len(prompts))
    pieces = [tokens.texts[-n:] for tokens, n in zip(rendered, lengths, strict=True)]
    return out, pieces


@torch.no_grad()
def _read(lm: LanguageModel, residual: np.ndarray, ids: Sequence[int]) -> np.ndarray:
    """[token] log probability of each id, from the residual stream [token, d_model] of the token before it."""
    stream = torch.from_numpy(residual).to(device=lm.device, dtype=lm.dtype)
    chosen = torch.tensor(ids, device=lm.device)[:, None]
    return lm.logits(stream).log_softmax(-1).gather(1, chosen)[:, 0].cpu().double().numpy()


def _said(tokens: Tokens) -> int:
    return tokens.segments.count("prefill")
