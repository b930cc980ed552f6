"""From prompts to activations with named axes, and to what the model would answer.

Prompts that share a system text share its keys and values: the prefix is run once, and the questions put to it follow
as continuations. Prefixes are padded on the left and continuations on the right, so that a token and what it sees lie
at their true distance, and each row counts positions from its own first token.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from selfrep.engine import metrics, plain
from selfrep.engine.attention import Tape, playing, shared_prefix_attention
from selfrep.engine.hooks import listen
from selfrep.engine.replay import Recording, record
from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.models.sites import RESIDUAL_SITES, component
from selfrep.prompts.render import SEGMENTS, Prompt, Tokens, answer_sides, chat_format, render

PASS_TOKENS = {"cpu": 4096}
PASS_TOKENS_ELSEWHERE = 65536
LABELS = ("persona", "kind", "side", "voice", "paraphrase", "item")

Progress = Callable[[int, int], None]
"""Called with (done, total) as work goes on."""


def capture(
    lm: LanguageModel,
    prompts: Sequence[Prompt],
    sites: Sequence[str] = ("resid_post",),
    *,
    layers: Sequence[int] | None = None,
    tokens: Literal["segment", "position"] = "segment",
    positions: Sequence[int] | None = None,
    storage: Literal["float32", "float16"] = "float32",
    budget_gb: float = 4.0,
    progress: Progress | None = None,
) -> xr.Dataset:
    """Run prompts and keep activations.

    Args:
        prompts: what to say; `selfrep.make_prompts` makes them from personas and items.
        sites: residual-stream sites (resid_pre, resid_mid, resid_post, attn_out, mlp_out).
        layers: 0-indexed blocks; all when None.
        tokens: "segment" keeps the mean over each segment (system, template, question, prefill), "position" single
        tokens.
        positions: for single tokens, which, counted from the end; by default all those after the system text.
        storage: the type that activations are kept in.
        budget_gb: the most memory the result may take.

    Returns:
        Dataset with `activations` (prompt, site, layer, segment | position, d_model), NaN where a prompt has no such
        token; on `prompt` the coordinates persona, kind, side, voice, paraphrase, item; and, where prompts carry
        answers, `log_odds` (nats, first answer set against the second) and `answer_mass` (probability of any answer),
        both (prompt).

    Raises:
        SelfrepError: unknown site, layers out of range, a result larger than the budget, NaN logits, unfit answers.
    """
    layers = list(range(lm.n_layers)) if layers is None else list(layers)
    if bad := [layer for layer in layers if not 0 <= layer < lm.n_layers]:
        raise SelfrepError(f"A layer of this model is one of 0 … {lm.n_layers - 1}; got {bad}.")
    for site in sites:
        if component(site):
            raise SelfrepError(
                f"capture keeps the sites {', '.join(RESIDUAL_SITES)}, of d_model features; got {site!r}."
            )
        lm.layout.tap(site)
    work = _Work.of(lm, prompts)
    if tokens == "segment":
        columns: list[int] | list[str] = list(SEGMENTS)
    else:
        longest = max(len(r) for r in work.rendered)
        suffix = max(len(r) - cut for r, cut in zip(work.rendered, work.cut, strict=True))
        columns = list(range(-suffix, 0) if positions is None else positions)
        if bad := [p for p in columns if not -longest <= p < 0]:
            raise SelfrepError(
                f"A position counts from the end of the prompt, −1 being the last token; the longest prompt has "
                f"{longest} tokens; got {bad}."
            )
    shape = (len(prompts), len(sites), len(layers), len(columns), lm.d_model)
    gigabytes = np.prod(shape, dtype=float) * np.dtype(storage).itemsize / 1e9
    if gigabytes > budget_gb:
        raise SelfrepError(
            f"The activations would take {gigabytes:.1f} GB, over the budget of {budget_gb:g} GB: prompts × sites "
            f"× layers × {tokens}s × d_model = {' × '.join(map(str, shape))}. Keep fewer, use storage='float16', "
            "or raise budget_gb."
        )
    out = np.full(shape, np.nan, dtype=storage)

    def keep(i: int, activations: Tensor) -> None:
        """One prompt's activations [site, layer, token, d_model]; tokens from its first."""
        n = activations.shape[2]
        for c, column in enumerate(columns):
            if isinstance(column, int):
                if -n <= column:
                    out[i, :, :, c] = activations[:, :, column].cpu().numpy()
            elif inside := [t for t, segment in enumerate(work.rendered[i].segments) if segment == column]:
                out[i, :, :, c] = activations[:, :, inside].mean(2).cpu().numpy()

    read = _run(lm, work, list(sites), layers, keep, progress)
    coords: dict[str, object] = {"site": list(sites), "layer": layers, tokens: columns}
    if tokens == "position":
        at = [[(p + len(r)) if -p <= len(r) else None for p in columns if isinstance(p, int)] for r in work.rendered]
        for name, field in (("token", "texts"), ("segment_of", "segments")):
            cells = [
                ["" if t is None else getattr(r, field)[t] for t in row]
                for r, row in zip(work.rendered, at, strict=True)
            ]
            coords[name] = (("prompt", "position"), np.array(cells, dtype=str))
    data = xr.DataArray(out, dims=("prompt", "site", "layer", tokens, "d_model"), name="activations")
    return read.assign(activations=data).assign_coords(coords)


def observe(lm: LanguageModel, prompts: Sequence[Prompt], *, progress: Progress | None = None) -> xr.Dataset:
    """What the model would answer: `log_odds` and `answer_mass` per prompt, without activations. See `capture`.

    Raises:
        SelfrepError: a prompt without answers, unfit answers, NaN logits.
    """
    if bare := [p.item or p.question for p in prompts if p.answers is None]:
        raise SelfrepError(f"To observe answers, prompts must carry answer sets; these do not: {bare[:3]}.")
    return _run(lm, _Work.of(lm, prompts), [], [], None, progress)


def unobserved(prompts: Sequence[Prompt]) -> xr.Dataset:
    """The Dataset that `observe` will return, its numbers still NaN: to make room for results before they are there."""
    blank = np.full(len(prompts), np.nan)
    return _labelled(prompts, blank, blank)


@dataclass(frozen=True)
class _Work:
    """Prompts as tokens, grouped by the prefix they share."""

    prompts: Sequence[Prompt]
    rendered: list[Tokens]
    cut: list[int]  # where each prompt's own continuation begins: after its system text
    answers: np.ndarray  # [prompt, side, k], −1 padded; all −1 for a prompt without
    groups: list[list[int]]  # prompts with the same prefix

    @classmethod
    def of(cls, lm: LanguageModel, prompts: Sequence[Prompt]) -> _Work:
        if not prompts:
            raise SelfrepError("There is nothing to run: the list of prompts is empty.")
        if lm.tokenizer is None:
            raise SelfrepError("Prompts are text: pass the model's tokenizer to load_model(model, tokenizer=...).")
        chat = chat_format(lm.tokenizer, lm.chat_template)
        rendered = [render(prompt, chat) for prompt in prompts]
        asked = {(p.prefill, p.answers) for p in prompts}
        ids = {(prefill, sets): answer_sides(chat, prefill, sets) for prefill, sets in asked if sets is not None}
        widest = max((len(side) for sides in ids.values() for side in sides), default=1)
        answers = np.full((len(prompts), 2, widest), -1)
        groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
        cut = []
        for i, (prompt, tokens) in enumerate(zip(prompts, rendered, strict=True)):
            known_sides = () if prompt.answers is None else ids[prompt.prefill, prompt.answers]
            for side, known in enumerate(known_sides):
                answers[i, side, : len(known)] = known
            after = max((t + 1 for t, segment in enumerate(tokens.segments) if segment == "system"), default=0)
            cut.append(min(after, len(tokens) - 1))
            groups[tokens.ids[: cut[-1]]].append(i)
        return cls(prompts, rendered, cut, answers, list(groups.values()))

    def batches(self, tokens: int) -> Iterator[list[list[int]]]:
        """Batches of equally many continuations of several prefixes, within a number of tokens a pass."""
        longest = max(len(r) - c for r, c in zip(self.rendered, self.cut, strict=True))
        room = max(1, tokens // longest)
        pieces = [g[i : i + room] for g in self.groups for i in range(0, len(g), room)]
        pieces.sort(key=lambda g: (-len(g), -self.cut[g[0]]))  # alike beside alike: little padding
        while pieces:
            n = max(1, room // len(pieces[0]))
            yield pieces[:n]
            pieces = pieces[n:]


@torch.no_grad()
def _run(
    lm: LanguageModel,
    work: _Work,
    sites: list[str],
    layers: list[int],
    keep: Callable[[int, Tensor], None] | None,
    progress: Progress | None,
) -> xr.Dataset:
    """Run all prompts; `keep` is handed each prompt's activations [site, layer, token, d_model]."""
    n = len(work.prompts)
    log_odds, mass = np.full(n, np.nan), np.full(n, np.nan)
    done = 0
    for batch in work.batches(PASS_TOKENS.get(lm.device.type, PASS_TOKENS_ELSEWHERE)):
        prefix = _prefixes(lm, [work.rendered[g[0]].ids[: work.cut[g[0]]] for g in batch], sites if keep else [])
        most = max(map(len, batch))
        rows = [g[min(c, len(g) - 1)] for c in range(most) for g in batch]  # short groups repeat their last prompt
        final, kept = _continue(
            lm, prefix, [work.rendered[i].ids[work.cut[i] :] for i in rows], sites if keep else [], layers
        )
        fresh = [r for r, i in enumerate(rows) if i not in rows[:r]]
        index = [rows[r] for r in fresh]
        chosen = work.answers[index]
        sums = metrics.answer_mass(lm, final[fresh], chosen).cpu().numpy()
        if done == 0:
            _prove(lm, [work.rendered[i] for i in index], final[fresh])
        asked = (chosen >= 0).any(axis=(1, 2))
        odds = metrics.read(lm, metrics.log_odds(chosen, lm.device), final[fresh][:, None])
        log_odds[index] = np.where(asked, odds.cpu().numpy(), np.nan)
        mass[index] = np.where(asked, sums, np.nan)
        if keep is not None:
            for r, i in zip(fresh, index, strict=True):
                own = kept[:, :, r, : len(work.rendered[i]) - work.cut[i]]
                before = _before(prefix, r % len(batch), sites, layers, work.cut[i])
                keep(i, own if before is None else torch.cat([before, own], dim=2))
        done += len(fresh)
        if progress is not None:
            progress(done, n)
    answered = _labelled(work.prompts, log_odds, mass).assign_attrs(model=lm.name)
    return answered.drop_vars(list(answered.data_vars)) if np.isnan(mass).all() else answered


def _labelled(prompts: Sequence[Prompt], log_odds: np.ndarray, mass: np.ndarray) -> xr.Dataset:
    coords = {name: ("prompt", np.array([getattr(p, name) for p in prompts])) for name in LABELS}
    return xr.Dataset({"log_odds": ("prompt", log_odds), "answer_mass": ("prompt", mass)}, coords=coords)


def _prove(lm: LanguageModel, rendered: list[Tokens], final: Tensor) -> None:
    """The longest of these prompts, run alone by the untouched model, must end as it ended here [prompt, d_model]."""
    r = max(range(len(rendered)), key=lambda i: len(rendered[i]))
    slow, fast = plain.logits(lm, np.array(rendered[r].ids)), lm.logits(final[r])
    off, scale = float((slow - fast).abs().max()), max(1.0, float(slow.abs().max()))
    if not off <= plain.TOLERANCE[lm.dtype] * scale:
        raise SelfrepError(
            f"Prompts that share a prefix must end as they do in a plain forward pass. On {lm.name} the logits of a "
            f"prompt are off by up to {off:.3g}, where they reach {scale:.3g}."
        )


def _prefixes(lm: LanguageModel, ids: list[tuple[int, ...]], sites: list[str]) -> Recording | None:
    width = max(map(len, ids))
    if width == 0:
        return None
    padded = torch.tensor([[0] * (width - len(row)) + list(row) for row in ids], device=lm.device)
    real = torch.tensor([[False] * (width - len(row)) + [True] * len(row) for row in ids], device=lm.device)
    return record(lm, padded, real, start=0 if sites else width, sites=sites)


def _continue(
    lm: LanguageModel, prefix: Recording | None, ids: list[tuple[int, ...]], sites: list[str], layers: list[int]
) -> tuple[Tensor, Tensor]:
    """Run continuations [row] of the prefixes.

    Returns:
        The last token's residual stream [row, d_model], and the sites [site, layer, row, token, d_model].
    """
    width = max(map(len, ids))
    padded = torch.tensor([list(row) + [0] * (width - len(row)) for row in ids], device=lm.device)
    offset, tape = torch.zeros(len(ids), dtype=torch.long, device=lm.device), Tape()
    if prefix is not None:
        tape = Tape(prefix=prefix.keys_values, prefix_visible=prefix.visible)
        lengths = (
            torch.full((prefix.rows,), prefix.width, device=lm.device)
            if prefix.visible is None
            else prefix.visible.sum(1)
        )
        offset = lengths.repeat(len(ids) // prefix.rows)
    heard: dict[tuple[str, int], Tensor] = {}
    final: list[Tensor] = []
    with ExitStack() as stack:
        for site in sites:
            for layer in layers:
                module, tap = lm.tap(site, layer)
                stack.callback(listen(module, tap.end, partial(heard.__setitem__, (site, layer))))
        stack.callback(listen(lm.blocks[-1], "out", final.append))
        stack.enter_context(lm.attention(shared_prefix_attention))
        stack.enter_context(playing(tape))
        positions = offset[:, None] + torch.arange(width, device=lm.device)
        lm.hf.base_model(input_ids=padded, position_ids=positions, use_cache=False)
    last = torch.tensor([len(row) - 1 for row in ids], device=lm.device)
    stacked = (
        torch.stack([torch.stack([heard[site, layer] for layer in layers]) for site in sites])
        if sites
        else final[0][:0]
    )
    return final[0][torch.arange(len(ids), device=lm.device), last], stacked


def _before(prefix: Recording | None, row: int, sites: list[str], layers: list[int], length: int) -> Tensor | None:
    if prefix is None or length == 0:
        return None
    return torch.stack([torch.stack([prefix.sites[s][layer][row, -length:] for layer in layers]) for s in sites])
