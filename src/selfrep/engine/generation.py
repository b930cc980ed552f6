"""The model speaks: answers to prompts, many at once, greedy or sampled, while interventions are held.

Each pass feeds one token a row to the model's own key-value cache. That is exact: the same tokens come out of whole
passes without a cache (`cache=False`), which models without one take in any case.
"""

from __future__ import annotations

import inspect
import secrets
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from selfrep.engine.capture import LABELS
from selfrep.engine.door import require_prompts
from selfrep.engine.during import SAID, During, held, require
from selfrep.engine.hooks import hearing
from selfrep.engine.kept import places_of
from selfrep.engine.metrics import require_finite
from selfrep.engine.progress import Progress, ticker
from selfrep.engine.reference import unembedding_in_float32
from selfrep.engine.replay.prefix_sharing import pass_tokens
from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.prompts import arguments
from selfrep.prompts.arguments import Several
from selfrep.prompts.conversation import Conversation
from selfrep.prompts.prompt import Prompt
from selfrep.prompts.render import Tokens, render


@dataclass(frozen=True)
class Keep:
    """Which activations are kept while a model speaks.

    Fields:
        sites, layers: as in `selfrep.capture`.
        by: "token": at every token of the answer; "answer": their mean, as persona vectors take it (the token that ends
            an answer is not part of it).

    Example:
        >>> Keep("resid_post", layers=[4, 5], by="answer").by
        'answer'
    """

    sites: Several[str] = "resid_post"
    layers: Several[int] | None = None
    by: Literal["token", "answer"] = "token"

    def __post_init__(self) -> None:
        if self.by not in ("token", "answer"):
            raise SelfrepError(f"Activations are kept by 'token' or by 'answer'; got {self.by!r}.")


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
    answers = _Answers(lm, len(asked), max_tokens, keep, sites, layers)
    speaker = _Speaker(lm, rendered, max_tokens, apply, float(temperature), seed, sites, layers, cache)
    tick, done = ticker(progress, "prompt"), 0
    with lm.exclusive(), torch.no_grad():
        for rows in speaker.batches():
            speaker.speak(rows, answers)
            done += len(rows)
            tick(done, len(asked))
    widest = max(map(len, rendered))
    ids = np.array([[-1] * (widest - len(r)) + list(r.ids) for r in rendered])
    labels = {name: ("prompt", np.array([getattr(p, name) for p in asked])) for name in LABELS}
    return answers.dataset().assign(prompt_ids=(("prompt", "prompt_token"), ids)).assign_coords(labels).assign_attrs(
        model=lm.name,
        weights_hash=lm.weights_hash,
        max_tokens=max_tokens,
        temperature=float(temperature),
        applied=[one.name for one in apply],
        **({} if temperature <= 0 or seed is None else {"seed": seed}),
    )  # fmt: skip


class _Answers:
    """What was said, as far as it has come."""

    def __init__(
        self, lm: LanguageModel, n: int, max_tokens: int, keep: Keep | None, sites: list[str], layers: list[int]
    ) -> None:
        self.lm, self.keep, self.sites, self.layers = lm, keep, sites, layers
        self.tokens = np.full((n, max_tokens), -1)
        self.log_prob = np.full((n, max_tokens), np.nan, dtype=np.float32)
        self.ended = np.zeros(n, dtype=bool)
        if keep is not None:
            shape = (n, len(sites), len(layers), lm.d_model)
            self.before = np.full(shape, np.nan, dtype=np.float32)
            steps = (max_tokens,) if keep.by == "token" else ()
            self.activations = np.full((*shape[:3], *steps, lm.d_model), np.nan, dtype=np.float32)
            self._sum = np.zeros(shape, dtype=np.float64)
            self._n = np.zeros(n, dtype=int)

    def said(self, rows: np.ndarray, step: int, tokens: np.ndarray, log_prob: np.ndarray, end: np.ndarray) -> None:
        """Each row's token of a step; −1 for those that had come to their end."""
        self.tokens[rows, step], self.log_prob[rows, step] = tokens, np.where(tokens >= 0, log_prob, np.nan)
        self.ended[rows] |= end

    def passed(self, rows: np.ndarray, step: int, values: np.ndarray) -> None:
        """What passed [row, site, layer, d_model] at the token of a step; −1: the last one of the prompt."""
        if self.keep is None:
            return
        if step < 0:
            self.before[rows] = values
            return
        there = self.tokens[rows, step] >= 0
        if self.keep.by == "token":
            self.activations[rows[there], :, :, step] = values[there]
            return
        words = there & ~(np.isin(self.tokens[rows, step], list(ends_of(self.lm))))
        self._sum[rows[words]] += values[words]
        self._n[rows[words]] += 1

    def dataset(self) -> xr.Dataset:
        """All of it."""
        ends = ends_of(self.lm)
        texts = [
            self.lm.tokenizer.decode([int(t) for t in row if t >= 0 and int(t) not in ends], skip_special_tokens=True)
            for row in self.tokens
        ]
        out = xr.Dataset(
            {
                "tokens": (("prompt", "step"), self.tokens),
                "log_prob": (("prompt", "step"), self.log_prob),
                "text": ("prompt", np.array(texts, dtype=str)),
                "ended": ("prompt", self.ended),
            }
        )
        if self.keep is None:
            return out
        dims = ("prompt", "site", "layer", "d_model")
        coords = {"site": self.sites, "layer": self.layers}
        if self.keep.by == "token":
            by_token = (*dims[:3], "step", "d_model")
            return out.assign({"activations": (by_token, self.activations), SAID: (dims, self.before)}).assign_coords(
                coords
            )
        n = self._n[:, None, None, None]
        mean = np.divide(self._sum, n, out=np.full_like(self._sum, np.nan), where=n > 0)
        return out.assign(activations=(dims, mean.astype(np.float32))).assign_coords(coords)


def ends_of(lm: LanguageModel) -> frozenset[int]:
    """The tokens that end an answer: those of the model's generation configuration, or of its tokenizer."""
    said = getattr(getattr(lm.hf, "generation_config", None), "eos_token_id", None)
    if said is None:
        said = getattr(lm.tokenizer, "eos_token_id", None)
    return frozenset() if said is None else frozenset(int(t) for t in np.atleast_1d(said))


@dataclass(frozen=True)
class _Speaker:
    """How prompts are answered."""

    lm: LanguageModel
    rendered: Sequence[Tokens]
    max_tokens: int
    apply: tuple[During, ...]
    temperature: float
    seed: int | None
    sites: list[str]
    layers: list[int]
    cache: bool
    _told: list[bool] = field(default_factory=list)

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
        side = self.lm.rotary_side(n)
        alone = side != self.lm.rotary_side(n + self.max_tokens) or "position_ids" not in self._takes
        return (side, n) if alone else (side,)

    @property
    def _takes(self) -> set[str]:
        return set(inspect.signature(self.lm.hf.forward).parameters)

    def speak(self, rows: np.ndarray, answers: _Answers) -> None:
        """Answer these prompts."""
        lm, lengths = self.lm, np.array([len(self.rendered[i]) for i in rows])
        width = int(lengths.max())
        padded = np.array(
            [[self.rendered[i].ids[0]] * (width - len(self.rendered[i])) + list(self.rendered[i].ids) for i in rows]
        )
        ids = torch.as_tensor(padded, device=lm.device)
        there = torch.as_tensor(np.arange(width) >= (width - lengths)[:, None], device=lm.device)
        draws = [None if self.temperature <= 0 else np.random.default_rng([self.seed or 0, int(i)]) for i in rows]
        ends, running, ending = ends_of(lm), np.ones(len(rows), dtype=bool), np.zeros(len(rows), dtype=bool)
        grows = lm.rotary_side(width) != lm.rotary_side(width + self.max_tokens)
        cached, past = self.cache and not grows, None
        for step in range(self.max_tokens + (answers.keep is not None)):
            begin = 0 if past is None else ids.shape[1] - 1
            at = torch.arange(begin, ids.shape[1], device=lm.device) - (width - 1)
            live = there[:, begin:] & torch.as_tensor(running | ending, device=lm.device)[:, None]
            heard: dict[tuple[str, int], Tensor] = {}
            places = [(site, layer) for site in self.sites for layer in self.layers]
            with (
                held(lm, self.apply, rows, at.expand(len(rows), -1), ~live),
                hearing(lm, places, lambda place, x: heard.__setitem__(place, x[:, -1].detach().float().cpu())),  # noqa: B023
                unembedding_in_float32(lm),
            ):
                out = self._pass(ids[:, begin:], there, past, cached)
            if heard:
                values = torch.stack([heard[place] for place in places], dim=1)
                shape = (len(rows), len(self.sites), len(self.layers), -1)
                answers.passed(rows, step - 1, values.reshape(shape).numpy())
            if step == self.max_tokens or not running.any():
                return
            past = getattr(out, "past_key_values", None) if cached else None
            if cached and past is None:
                cached = False
                if not self._told:
                    self._told.append(True)
                    warnings.warn(
                        f"{lm.name} keeps no keys and values: it is run as a whole for every token, which is slow.",
                        UserWarning,
                        stacklevel=3,
                    )
            logits = out.logits[:, -1].float()
            require_finite(lm, logits[torch.as_tensor(running, device=logits.device)])
            chosen, log_prob = _chosen(logits, self.temperature, draws)
            ending = running & np.isin(chosen, list(ends))
            answers.said(rows, step, np.where(running, chosen, -1), log_prob, ending)
            running &= ~ending
            if not running.any() and answers.keep is None:
                return  # with activations to keep, one more pass reads the last token
            following = torch.as_tensor(chosen, device=lm.device)[:, None]
            ids, there = (
                torch.cat([ids, following], 1),
                torch.cat([there, torch.ones_like(following, dtype=torch.bool)], 1),
            )

    def _pass(self, ids: Tensor, there: Tensor, past: Any, cached: bool) -> Any:
        given: dict[str, Any] = {"attention_mask": there.long(), "use_cache": cached}
        if "position_ids" in self._takes:
            given["position_ids"] = (there.long().cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        if past is not None:
            given["past_key_values"] = past
        if "logits_to_keep" in self._takes:
            given["logits_to_keep"] = 1
        return self.lm.hf(ids, **given)


def _chosen(
    logits: Tensor, temperature: float, draws: Sequence[np.random.Generator | None]
) -> tuple[np.ndarray, np.ndarray]:
    """[row] the next token of each row, and its log-probability. A draw is the largest of log-probabilities to which
    Gumbel noise is added."""
    log_prob = logits.log_softmax(-1)
    scored = log_prob.double().cpu()
    if temperature > 0:
        noise = np.stack([draw.gumbel(size=scored.shape[1]) for draw in draws if draw is not None])
        scored = scored / temperature + torch.as_tensor(noise)
    chosen = scored.argmax(-1)
    return chosen.numpy(), log_prob.cpu().gather(1, chosen[:, None])[:, 0].numpy()
