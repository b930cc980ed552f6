"""Runs many prompts at once where they share prefixes.

Prompts that share a system text share its keys and values: the prefix is run once, and the questions follow it as
continuations. Prefixes are padded on the left and continuations on the right, so that a token and what it sees lie
at their true distance, and each row counts positions from its own first token.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from selfrep.engine import metrics, reference
from selfrep.engine.agreement import agree, root_mean_square, rounding_draws
from selfrep.engine.door import require_logits, require_prompts
from selfrep.engine.hooks import Place, hearing, listening
from selfrep.engine.replay import memory
from selfrep.engine.replay.attention import Tape, playing, shared_prefix_attention
from selfrep.engine.replay.baselines import record_ids
from selfrep.engine.replay.masks import Masks
from selfrep.engine.replay.matmul import quick_products
from selfrep.engine.replay.recording import Recording
from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.models.products import is_half
from selfrep.models.rotary import Side
from selfrep.models.twins import NoTwin, in_float32
from selfrep.prompts.alignment import right_aligned
from selfrep.prompts.answers import readable_answers
from selfrep.prompts.prompt import Prompt
from selfrep.prompts.render import Tokens, render

PASS_TOKENS = {"cpu": 4096}
PASS_TOKENS_ELSEWHERE = 65536
ALIKE = 1.1
"""How many times as long as another one a prompt in the same pass may be: the less, the smaller are the passes; the
more, the more of them is padding."""


@dataclass(frozen=True)
class PromptSet:
    """Prompts as tokens, grouped by the prefix they share.

    Attributes:
        cut: where each prompt's own continuation begins: after its system text.
        answers: [prompt, side, k], −1 padded; all −1 for a prompt without.
        unsaid: the same without the answers that some persona's description says (see `Prompt.said`).
        groups: numbers of the prompts with the same prefix, and the same rotary tables (see `selfrep.models.rotary`);
            where these are not those of the prefix alone, nothing is cut off.
        rotary: those of each prompt.
    """

    prompts: Sequence[Prompt]
    renderings: list[Tokens]
    cut: list[int]
    answers: np.ndarray
    unsaid: np.ndarray
    groups: list[list[int]]
    rotary: list[Side]

    @classmethod
    def of(cls, lm: LanguageModel, prompts: Sequence[Prompt]) -> PromptSet:
        """Read the prompts with the model's tokenizer.

        Raises:
            SelfrepError: no prompts, no tokenizer, questions of which too few answers can be read.
        """
        if not prompts:
            raise SelfrepError("There is nothing to run: the list of prompts is empty.")
        chat = lm.chat
        renderings = [render(prompt, chat) for prompt in prompts]
        require_prompts(lm, (tokens.ids for tokens in renderings))
        questions = {(p.prefill, p.answers, p.names) for p in prompts}
        read = {
            (prefill, sets, names): readable_answers(chat, prefill, sets, names=names)
            for prefill, sets, names in questions
            if sets is not None
        }
        widest = max((len(side) for each in read.values() for side in each.ids), default=1)
        answers = np.full((len(prompts), 2, widest), -1)
        unsaid = answers.copy()
        groups: dict[tuple[Side, tuple[int, ...]], list[int]] = defaultdict(list)
        short, rotary, cut = lm.rotary_side(0), [], []
        for i, (prompt, tokens) in enumerate(zip(prompts, renderings, strict=True)):
            if prompt.answers is not None:
                own = read[prompt.prefill, prompt.answers, prompt.names]
                for side, (ids, words) in enumerate(zip(own.ids, own.words, strict=True)):
                    answers[i, side, : len(ids)] = ids
                    said = [not set(prompt.said).isdisjoint(those) for those in words]
                    unsaid[i, side, : len(ids)] = np.where(said, -1, ids)
            rotary.append(lm.rotary_side(len(tokens)))
            after = max((t + 1 for t, segment in enumerate(tokens.segments) if segment == "system"), default=0)
            cut.append(min(after, len(tokens) - 1) if rotary[-1] == short else 0)
            groups[rotary[-1], tokens.ids[: cut[-1]]].append(i)
        require_logits(lm, answers[answers >= 0], "An answer")
        return cls(prompts, renderings, cut, answers, unsaid, list(groups.values()), rotary)

    def only(self, members: Iterable[int]) -> PromptSet:
        """The same, of which only these are run."""
        those = set(members)
        groups = [[i for i in group if i in those] for group in self.groups]
        return replace(self, groups=[group for group in groups if group])

    def batches(self, tokens: int) -> Iterator[tuple[list[list[int]], list[range]]]:
        """Batches of prefixes, and the passes over what follows them: alike beside alike, so that little is padding.

        Args:
            tokens: the most that a pass may hold; one prompt is a pass in any case.

        Yields:
            Groups of equally many prompts, whose prefixes are of about one length; the longest prompts of a group come
            first. And the passes: of each group those prompts, which are of about one length, too.
        """
        groups = [sorted(group, key=self._own, reverse=True) for group in self.groups]
        groups.sort(key=lambda g: (-len(g), self.rotary[g[0]], -self.cut[g[0]], -self._own(g[0])))
        while groups:
            first, n, longest = groups[0], 0, 1
            for group in groups:
                longest = max(longest, self.cut[group[0]], self._own(group[0]))
                alike = len(group) == len(first) and ALIKE * self.cut[group[0]] >= self.cut[first[0]]
                alike = alike and self.rotary[group[0]] == self.rotary[first[0]]
                if n and not (alike and (n + 1) * longest <= tokens):
                    break
                n += 1
            yield groups[:n], list(self._passes(groups[:n], tokens))
            groups = groups[n:]

    def _passes(self, batch: list[list[int]], tokens: int) -> Iterator[range]:
        """Which prompts of each group are run at once."""
        widths = [max(self._own(group[c]) for group in batch) for c in range(len(batch[0]))]
        start = 0
        for stop in range(1, len(widths) + 1):
            full = (stop + 1 - start) * len(batch) * widths[start] > tokens
            if stop == len(widths) or full or ALIKE * widths[stop] < widths[start]:
                yield range(start, stop)
                start = stop

    def _own(self, i: int) -> int:
        """How many tokens follow the prefix of a prompt."""
        return len(self.renderings[i]) - self.cut[i]


def pass_tokens(lm: LanguageModel) -> int:
    """The most tokens of a pass: fewer where memory ran out on this model before."""
    return memory.pass_tokens(lm, PASS_TOKENS.get(lm.device.type, PASS_TOKENS_ELSEWHERE))


@torch.no_grad()
def run_prompts(
    lm: LanguageModel, prompts: PromptSet, sites: list[str], layers: list[int]
) -> Iterator[tuple[list[int], Tensor, Iterable[Tensor]]]:
    """Run prompts by batches that share prefixes.

    Yields:
        Numbers of prompts, their last logits [prompt, d_vocab], and the activations of each [site, layer, token,
        d_model], tokens from its first.

    Raises:
        CannotReplay: an architecture whose attention cannot be replaced; hooks of others.
        SelfrepError: logits that are not finite, or not those of plain forward passes.
    """
    lm.require_replay()
    checked = set()
    for batch, passes in prompts.batches(pass_tokens(lm)):
        prefix = _prefixes(lm, [prompts.renderings[g[0]].ids[: prompts.cut[g[0]]] for g in batch], sites)
        for columns in passes:
            rows = [group[c] for c in columns for group in batch]
            final, kept = _continue(lm, prefix, prompts, rows, sites, layers)
            logits = lm.logits(final)
            metrics.require_finite(lm, logits)
            is_short = prompts.rotary[rows[0]] == lm.rotary_side(0)
            if is_short not in checked:
                _selfcheck(lm, prompts, batch, rows, logits)
                checked.add(is_short)
            yield rows, logits, () if kept is None else _each(prefix, kept, prompts, rows, sites, layers)


@torch.no_grad()
def run_alone(lm: LanguageModel, tokens: Tokens, sites: list[str], layers: list[int]) -> tuple[Tensor, list[Tensor]]:
    """One prompt by a plain forward pass: its last logits [1, d_vocab], and its activations as above."""
    places = [(site, layer) for site in sites for layer in layers]
    logits, passing = reference.logits_and_activations(lm, np.array(tokens.ids), places)
    return logits[None], [_stacked(passing, sites, layers)] if sites else []


def _selfcheck(lm: LanguageModel, prompts: PromptSet, batch: list[list[int]], rows: list[int], logits: Tensor) -> None:
    """The longest of these prompts, run alone by the untouched model, must end as it ended here [prompt, d_vocab].

    What half precision leaves in doubt, float32 decides: see `selfrep.engine.agreement`.
    """
    r = max(range(len(rows)), key=lambda i: len(prompts.renderings[rows[i]]))
    ids = np.array(prompts.renderings[rows[r]].ids)

    def compute() -> np.ndarray:
        return reference.logits(lm, ids)[0].cpu().numpy()

    slow, own, noise = compute(), logits[r].cpu().numpy(), None
    scale = max(1.0, float(np.abs(slow).max()))
    if is_half(lm.dtype):
        noise = root_mean_square(rounding_draws(lm, compute, slow).reshape(-1, 1))
    if agree(own[:, None] / scale, slow[:, None] / scale, noise if noise is None else noise / scale):
        return
    fault = (
        f"Prompts that share a prefix must end as they do in a plain forward pass. On {lm.name} the logits of a prompt "
        f"are off by up to {np.abs(own - slow).max():.3g}, where they reach {scale:.3g}."
    )
    if noise is None:
        raise reference.Mismatch(fault)
    try:
        twin = in_float32(lm)
    except NoTwin as reason:
        raise reference.Mismatch(f"{fault} {reason}") from reason
    prefix = _prefixes(twin, [prompts.renderings[g[0]].ids[: prompts.cut[g[0]]] for g in batch], [])
    final, _ = _continue(twin, prefix, prompts, rows, [], [])
    _selfcheck(twin, prompts, batch, rows, twin.logits(final))


def _prefixes(lm: LanguageModel, ids: list[tuple[int, ...]], sites: list[str]) -> Recording | None:
    width = max(map(len, ids))
    if width == 0:
        return None
    return record_ids(lm, right_aligned(ids, -1, np.int64), width if sites else 0, sites)


def _continue(
    lm: LanguageModel,
    prefix: Recording | None,
    prompts: PromptSet,
    rows: list[int],
    sites: list[str],
    layers: list[int],
) -> tuple[Tensor, Tensor | None]:
    """Run what follows the prefixes in these prompts [row].

    Returns:
        The last token's residual stream [row, d_model], and the sites [site, layer, row, token, d_model], if any.
    """
    ids = [prompts.renderings[i].ids[prompts.cut[i] :] for i in rows]
    offset = torch.tensor([prompts.cut[i] for i in rows], device=lm.device)
    width = max(map(len, ids))
    padded = torch.tensor([list(row) + [0] * (width - len(row)) for row in ids], device=lm.device)
    tape = Tape() if prefix is None else Tape(prefix.keys_values, Masks(prefix.visible))
    passing: dict[Place, Tensor] = {}
    final: list[Tensor] = []

    def hear(place: Place, x: Tensor) -> None:
        passing[place] = x.to(lm.device)

    with hearing(lm, [(site, layer) for site in sites for layer in layers], hear), ExitStack() as stack:
        stack.enter_context(listening(lm.blocks[-1], "out", final.append))
        stack.enter_context(lm.attention(shared_prefix_attention))
        stack.enter_context(playing(tape))
        stack.enter_context(quick_products(padded.device, padded.numel()))
        ends_at = torch.tensor([len(prompts.renderings[i]) - 1 for i in rows], device=lm.device)[:, None]
        positions = torch.minimum(offset[:, None] + torch.arange(width, device=lm.device), ends_at)  # also of padding
        lm.hf.base_model(input_ids=padded, position_ids=positions, use_cache=False)
    last = torch.tensor([len(row) - 1 for row in ids], device=lm.device)
    ends = final[0].to(lm.device)[torch.arange(len(ids), device=lm.device), last]
    return ends, _stacked(passing, sites, layers) if sites else None


def _stacked(passing: Mapping[Place, Tensor], sites: list[str], layers: list[int]) -> Tensor:
    """What passes at each place, as one tensor [site, layer, ...]."""
    return torch.stack([torch.stack([passing[site, layer] for layer in layers]) for site in sites])


def _each(
    prefix: Recording | None,
    kept: Tensor,
    prompts: PromptSet,
    rows: list[int],
    sites: list[str],
    layers: list[int],
) -> Iterator[Tensor]:
    """The activations of each prompt [site, layer, token, d_model], those of its prefix before those of its row."""
    for row, i in enumerate(rows):
        cut = prompts.cut[i]
        own = kept[:, :, row, : len(prompts.renderings[i]) - cut]
        if prefix is None or cut == 0:
            yield own
            continue
        b = row % prefix.rows
        before = [torch.stack([prefix.sites[site][layer][b, -cut:] for layer in layers]) for site in sites]
        yield torch.cat([torch.stack(before), own], dim=2)
