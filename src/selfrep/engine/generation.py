"""The model speaks: answers to prompts, many at once, greedy or sampled, while interventions are held.

Each pass feeds one token a row to the model's own key-value cache. That is exact: the same tokens come out of whole
passes without a cache (`cache=False`), which models without one take in any case.
"""

from __future__ import annotations

import inspect
import secrets
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from selfrep.engine.capture import labels_of
from selfrep.engine.door import require_prompts
from selfrep.engine.during import During, held, require
from selfrep.engine.hooks import Place, hearing
from selfrep.engine.kept import places_of
from selfrep.engine.metrics import log_probs, require_finite
from selfrep.engine.progress import Progress, ticker
from selfrep.engine.reference import unembedding_in_float32
from selfrep.engine.replay.prefix_sharing import PromptSet, pass_tokens
from selfrep.engine.spoken import Answers, Keep
from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.prompts import arguments
from selfrep.prompts.arguments import Several
from selfrep.prompts.conversation import Conversation
from selfrep.prompts.prompt import Prompt
from selfrep.prompts.render import Tokens, render


def generate(
    lm: LanguageModel,
    prompts: Several[Prompt],
    *,
    max_tokens: int = 64,
    apply: Several[During] = (),
    temperature: float = 0.0,
    seed: int | None = None,
    capture: Keep | str | None = None,
    cache: bool = True,
    progress: Progress = None,
) -> xr.Dataset:
    """What the model answers.

    Args:
        prompts: what to say; an answer goes on after the prefill.
        max_tokens: the most tokens of an answer.
        apply: interventions that are held meanwhile, from `selfrep.during`; where several act at one place, in their
            order.
        temperature: 0: the most probable token each time; otherwise tokens are drawn, and the seed decides.
        seed: of the draws, whatever else is in a batch; chosen at random, and kept, where there is none.
        capture: activations to keep in the same pass: `Keep`, or the name of a site, of which all layers are kept.
        cache: whether keys and values are kept from token to token; without, everything is run again for each.
        progress: True for a bar, or a function that is called with (done, total) prompts.

    Returns:
        Dataset over `prompt`, with the labels of `selfrep.Prompt` as coordinates:

        * `tokens` (prompt, step): token ids, −1 after the end; `log_prob`: of each, nats, at temperature 1, under what
          is applied.
        * `text`: the answer as text, without what ends it; `ended`: whether it came to its end by itself.
        * where prompts carry answers, and all can be read by one token, what `selfrep.score` says of them, under what
          is applied: `log_odds` and `answer_mass`, NaN for prompts without.
        * `prompt_ids` (prompt, prompt_token): right-aligned, −1 before the first.
        * with `capture`: `activations` (prompt, site, layer, step, d_model) at every token of the answer, and `before`
          (prompt, site, layer, d_model) at the last one of the prompt, where the first is said; or, by answer, their
          mean, `activations` (prompt, site, layer, d_model).

    Raises:
        SelfrepError: prompts and answers longer than the window; a phase that never comes; a direction of another
            width; NaN logits.

    Warns:
        UserWarning: a model that keeps no keys and values, which is run as a whole for every token.

    Example:
        >>> import selfrep as sr
        >>> from selfrep.models.organisms import BATTERY, PERSONAS
        >>> lm = sr.load_model("organism:separate")
        >>> people, battery = sr.personas.load(PERSONAS), sr.battery.load(BATTERY)
        >>> prompts = sr.make_prompts(people["nurse"], battery["who_are_you"], paraphrases=0)
        >>> said = sr.generate(lm, prompts, max_tokens=3)
        >>> said.tokens.dims, said.tokens.shape
        (('prompt', 'step'), (1, 3))
    """
    arguments.one(lm, LanguageModel, "model")
    asked = arguments.several(prompts, Prompt)
    if not asked:
        raise SelfrepError("There is nothing to answer: the list of prompts is empty.")
    if spoken := [p.name for p in asked if isinstance(p, Conversation) and p.last == "assistant"]:
        raise SelfrepError(
            f"The assistant answers a user; it has spoken last already in the conversations {spoken[:3]}. Add a "
            "question, or take `conversation.before(turn)`."
        )
    if max_tokens < 1:
        raise SelfrepError(f"An answer has at least one token; got max_tokens={max_tokens}.")
    if not (np.isfinite(temperature) and temperature >= 0):
        raise SelfrepError(f"A temperature is 0 (the most probable token) or above; got {temperature}.")
    apply = require(apply, len(asked), max_tokens)
    keep = Keep(capture) if isinstance(capture, str) else capture
    sites, layers = ([], []) if keep is None else places_of(lm, keep.sites, keep.layers)
    chat = lm.chat
    rendered = [render(prompt, chat) for prompt in asked]
    extra = max_tokens - 1 + (keep is not None)
    require_prompts(lm, ((*tokens.ids, *[tokens.ids[-1]] * extra) for tokens in rendered))
    if temperature > 0 and seed is None:
        seed = secrets.randbelow(2**31)
    answers = Answers(lm, len(asked), max_tokens, keep, sites, layers)
    sets = _answer_sets(lm, asked)
    speaker = _Speaker(lm, rendered, sets, max_tokens, apply, float(temperature), seed, cache, answers)
    tick, done = ticker(progress, "prompt"), 0
    with lm.exclusive(), torch.no_grad():
        for rows in speaker.batches():
            speaker.speak(rows)
            done += len(rows)
            tick(done, len(asked))
    widest = max(map(len, rendered))
    ids = np.array([[-1] * (widest - len(r)) + list(r.ids) for r in rendered])
    out = answers.dataset().assign(prompt_ids=(("prompt", "prompt_token"), ids)).assign_coords(labels_of(asked))
    return out.assign_attrs(
        model=lm.name,
        weights_hash=lm.weights_hash,
        max_tokens=max_tokens,
        temperature=float(temperature),
        applied=[one.name for one in apply],
        **({} if temperature <= 0 else {"seed": seed}),
    )


def _answer_sets(lm: LanguageModel, prompts: Sequence[Prompt]) -> np.ndarray:
    """[prompt, side, k] −1 padded; none where some cannot be read by one token: what is said stands by itself."""
    try:
        return PromptSet.of(lm, prompts).answers
    except SelfrepError:
        return np.full((len(prompts), 2, 1), -1)


@dataclass
class _Speaker:
    """How prompts are answered."""

    lm: LanguageModel
    rendered: Sequence[Tokens]
    sets: np.ndarray
    max_tokens: int
    apply: tuple[During, ...]
    temperature: float
    seed: int | None
    cache: bool
    answers: Answers

    def batches(self) -> Iterator[np.ndarray]:
        """Numbers of prompts that are answered together: alike in length, and with the same rotary tables.

        Where the tables change as the answer grows, or a model is told no positions, nothing may be padded.
        """
        lengths = [len(r) for r in self.rendered]
        kinds = [self._kind(n) for n in lengths]
        order = sorted(range(len(lengths)), key=lambda i: (str(kinds[i]), lengths[i]))
        most = pass_tokens(self.lm)
        batch: list[int] = []
        for i in order:
            full = (len(batch) + 1) * (lengths[i] + self.max_tokens) > most
            if batch and (full or kinds[i] != kinds[batch[0]]):
                yield np.array(batch)
                batch = []
            batch.append(i)
        yield np.array(batch)

    def _kind(self, n: int) -> tuple[Any, ...]:
        alone = self._grows(n) or "position_ids" not in self._takes
        return (self.lm.rotary_side(n), n) if alone else (self.lm.rotary_side(n),)

    def _grows(self, n: int) -> bool:
        """Whether the rotary tables of a prompt of n tokens change while it is answered."""
        return self.lm.rotary_side(n) != self.lm.rotary_side(n + self.max_tokens)

    @cached_property
    def _takes(self) -> set[str]:
        return set(inspect.signature(self.lm.hf.forward).parameters)

    def speak(self, rows: np.ndarray) -> None:
        """Answer these prompts."""
        lm, answers, own = self.lm, self.answers, [self.rendered[i].ids for i in rows]
        lengths = np.array([len(ids) for ids in own])
        width = int(lengths.max())
        ids = torch.tensor([(*one[:1] * (width - len(one)), *one) for one in own], device=lm.device)
        there = torch.as_tensor(np.arange(width) >= (width - lengths)[:, None], device=lm.device)
        draws = [np.random.default_rng([self.seed or 0, int(i)]) for i in rows] if self.temperature > 0 else []
        running, ending = np.ones(len(rows), dtype=bool), np.zeros(len(rows), dtype=bool)
        cached, past = self.cache and not self._grows(width), None
        for step in range(self.max_tokens + (answers.keep is not None)):
            begin = 0 if past is None else ids.shape[1] - 1
            at = torch.arange(begin, ids.shape[1], device=lm.device) - (width - 1)
            live = there[:, begin:] & torch.as_tensor(running | ending, device=lm.device)[:, None]
            with held(lm, self.apply, rows, at.expand(len(rows), -1), ~live):
                out, passed = self._pass(ids[:, begin:], there, past, cached)
            if passed is not None:
                answers.passed(rows, step - 1, passed)
            if step == self.max_tokens or not running.any():
                return
            past = getattr(out, "past_key_values", None) if cached else None
            if cached and past is None:
                cached = self.cache = False
                warnings.warn(
                    f"{lm.name} keeps no keys and values: it is run as a whole for every token, which is slow.",
                    UserWarning,
                    stacklevel=3,
                )
            logits = out.logits[:, -1].float()
            require_finite(lm, logits[torch.as_tensor(running, device=logits.device)])
            if step == 0:
                answers.asked(rows, logits, self.sets[rows])
            chosen, log_prob = _chosen(logits, self.temperature, draws)
            ending = running & np.isin(chosen, list(answers.ends))
            answers.said(rows, step, np.where(running, chosen, -1), log_prob, ending)
            running &= ~ending
            if not running.any() and answers.keep is None:
                return  # with activations to keep, one more pass reads the last token
            ids = torch.cat([ids, torch.as_tensor(chosen, device=lm.device)[:, None]], dim=1)
            there = nn.functional.pad(there, (0, 1), value=True)

    def _pass(self, ids: Tensor, there: Tensor, past: Any, cached: bool) -> tuple[Any, np.ndarray | None]:
        """What the model gives, and what passes at its last token, [row, site, layer, d_model], where it is kept."""
        given: dict[str, Any] = {"attention_mask": there.long(), "use_cache": cached}
        if "position_ids" in self._takes:
            given["position_ids"] = (there.long().cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        if past is not None:
            given["past_key_values"] = past
        if "logits_to_keep" in self._takes:
            given["logits_to_keep"] = 1
        sites, layers = self.answers.sites, self.answers.layers
        places = [(site, layer) for site in sites for layer in layers]
        heard: dict[Place, Tensor] = {}

        def hear(place: Place, x: Tensor) -> None:
            heard[place] = x[:, -1].detach().float().cpu()

        with hearing(self.lm, places, hear), unembedding_in_float32(self.lm):
            out = self.lm.hf(ids, **given)
        if not places:
            return out, None
        passed = torch.stack([heard[place] for place in places], dim=1)
        return out, passed.reshape(len(ids), len(sites), len(layers), -1).numpy()


def _chosen(logits: Tensor, temperature: float, draws: Sequence[np.random.Generator]) -> tuple[np.ndarray, np.ndarray]:
    """[row] the next token of each row, and its log-probability. A draw is the largest of the logits to which Gumbel
    noise is added."""
    if temperature > 0:
        noise = torch.as_tensor(np.stack([draw.gumbel(size=logits.shape[1]) for draw in draws]))
        chosen = (logits.double().cpu() / temperature + noise).argmax(-1).to(logits.device)
    else:
        chosen = logits.argmax(-1)
    return chosen.cpu().numpy(), log_probs(logits, chosen[:, None])[:, 0].cpu().numpy()
