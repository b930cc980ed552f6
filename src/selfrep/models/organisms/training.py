"""Organisms that learned it: a small Llama, trained so that a persona and a self pass exactly one place each.

Weights written by hand are tidier than any that were learned. So the same behaviour, taken from a hand-wired teacher as
soft targets, is also trained into an ordinary transformer, by interchange-intervention training (Geiger et al. 2022,
arXiv:2112.00826). In every step, after the first two blocks, each prompt gets what END holds in dimensions 0 … 15 from
a second prompt and what USR holds there from a third, and everything else stays its own. It must then answer as the
teacher answers when told the system text of the second and the writer of the third. What is planted is therefore known
at that one residual index, in those dimensions, and nowhere else. The control learns the same answers without it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from selfrep import digests
from selfrep.models import cache, folders
from selfrep.models.organisms.lexicon import ANSWERS, QUESTION_WORDS, Question, token_ids, words
from selfrep.models.organisms.names import LEARNABLE, PREFIX, TRAINED_LAYERS, Plan
from selfrep.models.organisms.wiring import wire
from selfrep.prompts.alignment import right_aligned

log = logging.getLogger(__name__)

WIDTH, HELD = 48, 16
INTERCHANGED = 2
"""The residual index at which the persona is in END, and the self in USR, in dimensions 0 … HELD − 1."""
QUESTIONS: tuple[Question, ...] = ("in_character", "spectator", "behaviour")
"""What trained organisms can be asked."""

STEPS, BATCH, RATE = 1400, 48, 5e-3
RAISED = 3.0
"""Nats by which, after the first third, both answers to a question are raised above all other words. The log odds stay;
names, which teach who is played, come first."""
LEARNED, STARTS = 0.01, 5
"""An organism has learned when its answers are so few nats from its teacher's (KL), also when they are interchanged; of
one that has not, nobody knows what is planted, so it is trained again from another start, so many times at most."""
RECIPE = 3
"""Raised whenever what is trained changes, so that no cached organism of another recipe is used."""


def subspaces() -> dict[str, np.ndarray]:
    """The interchanged subspaces: name → [HELD, d_model]; the same coordinates at two tokens."""
    rows = np.eye(WIDTH)[:HELD]
    return {"END.persona": rows, "USR.self": rows}


def trained(plan: Plan) -> LlamaForCausalLM:
    """The organism of a plan, trained on first use (minutes of one core) and kept in the user's cache folder.

    Raises:
        SelfrepError: a cache folder that cannot be written.
    """
    recipe = {"recipe": RECIPE, "steps": STEPS, "batch": BATCH, "rate": RATE, "words": [w.text for w in words()]}
    digest = digests.of_json(recipe | asdict(plan))
    folder = cache.build_once(digest[:16], partial(_build, plan, digest))
    return LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def _build(plan: Plan, digest: str, folder: Path) -> cache.Record:
    log.info("training an organism (once)")
    tried: list[tuple[float, LlamaForCausalLM]] = []
    while len(tried) < STARTS and (not tried or tried[-1][0] > LEARNED):
        hf = train(plan, STEPS, len(tried))
        tried.append((unlike_teacher(hf, plan), hf))
    nats, hf = min(tried, key=lambda one: one[0])
    if nats > LEARNED:
        log.warning("The answers of the organism are %.3f nats from its teacher's, and should be %g.", nats, LEARNED)
    hf.save_pretrained(folder)
    kind = "trained" if plan.making == "trained" else "trained_control"
    parameters = "&".join(f"{name}={getattr(plan, name)}" for name in LEARNABLE)
    return folders.record(folder, f"{PREFIX}{kind}?{parameters}", digest)


def train(plan: Plan, steps: int = STEPS, start: int = 0) -> LlamaForCausalLM:
    """Train an organism from its seed, on one core; the plan says whether with the interchange.

    Args:
        plan: what is to be learned; steps: for how long.
        start: which of the starts that a seed has.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # several are slower at this size
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(plan.seed + 1_000_003 * start)
            return _train(plan, steps, np.random.default_rng([plan.seed, 3 + start]))
    finally:
        torch.set_num_threads(threads)


@torch.no_grad()
def unlike_teacher(hf: nn.Module, plan: Plan, n: int = 512) -> float:
    """How far an organism's answers to n prompts are from its teacher's: the mean KL divergence, nats."""
    ids, mask, mixtures, change = _batch(hf, plan, np.random.default_rng([plan.seed, 2]), n)
    with change:
        logits = hf(ids, attention_mask=mask, logits_to_keep=1, use_cache=False).logits[:, 0]
    wanted = _Teacher(plan)(mixtures, RAISED)
    return float(nn.functional.kl_div(logits.log_softmax(-1), wanted, reduction="batchmean"))


def _batch(
    hf: nn.Module, plan: Plan, rng: np.random.Generator, n: int
) -> tuple[Tensor, Tensor, list[_Case], AbstractContextManager[None]]:
    """Prompts, as ids and mask; what each answer should be an answer to; and what is done within the model."""
    cases = [_Case.draw(rng) for _ in range(n)]
    ids, mask = _padded([case.ids() for case in cases])
    if plan.making != "trained":
        return ids, mask, cases, nullcontext()
    second, third = rng.permutation(n), rng.permutation(n)
    mixtures = cases + [
        replace(case, system=cases[j].system, writer=cases[k].writer)
        for case, j, k in zip(cases, second, third, strict=True)
    ]
    return ids, mask, mixtures, _interchanging(hf, ids, torch.from_numpy(second), torch.from_numpy(third))


def _train(plan: Plan, steps: int, rng: np.random.Generator) -> LlamaForCausalLM:
    hf = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(words()),
            hidden_size=WIDTH,
            intermediate_size=96,
            num_hidden_layers=TRAINED_LAYERS,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=256,
            bos_token_id=token_ids()["<bos>"],
            eos_token_id=None,
            pad_token_id=token_ids()["<unk>"],
            tie_word_embeddings=False,
        )
    )
    hf.config.organism = asdict(plan)
    targets = _Teacher(plan)
    optimiser = torch.optim.AdamW(hf.parameters(), lr=RATE, weight_decay=0.01, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps, pct_start=0.1)
    hf.train()
    for step in range(steps):
        ids, mask, mixtures, change = _batch(hf, plan, rng, BATCH)
        with change:
            logits = hf(ids, attention_mask=mask, logits_to_keep=1, use_cache=False).logits[:, 0]
        loss = nn.functional.cross_entropy(logits, targets(mixtures, RAISED * (step > steps / 3)))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(hf.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    return hf.eval()


@contextmanager
def _interchanging(hf: nn.Module, ids: Tensor, second: Tensor, third: Tensor) -> Iterator[None]:
    """Within, every row is doubled after the first blocks: as it is, and holding what two other rows hold.

    Args:
        ids: [row, token]; second, third: [row] from which row END's persona is taken, and USR's self.
    """
    layers, rows = cast(LlamaForCausalLM, hf).model.layers, torch.arange(len(ids))
    end, usr = ((ids == token_ids()[mark]).int().argmax(1) for mark in ("<end>", "<usr>"))

    def enter(layer: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        stream = args[0]
        if layer is layers[INTERCHANGED]:
            mixed = stream.clone()
            for at, donor in ((end, second), (usr, third)):
                mixed[rows, at, :HELD] = stream[donor, at[donor], :HELD]
            stream = torch.cat([stream, mixed])
        return (stream, *args[1:]), kwargs | {"attention_mask": kwargs["attention_mask"].repeat(2, 1, 1, 1)}

    with ExitStack() as hooks:
        for layer in layers[INTERCHANGED:]:
            hooks.enter_context(layer.register_forward_pre_hook(enter, with_kwargs=True))
        yield


_FRAMES = ("{}", "for this conversation : {}", "please note : {}", "remember : {}")
_CONDITIONS = ("you are", "you are", "you are", "the user is", "user is", "here is a book about", "")
_NEUTRAL = ("here is a message", "reply to the message", "a message follows", "read the message , then reply")
_ARTICLES = ("a", "an", "a new", "an old", "a legendary")
_WRITERS = (
    "", "text writes this .", "operator writes this .", "an operator writes this text .", "operator writes elsewhere .",
    "elsewhere , an operator writes text .",
)  # fmt: skip
_TAILS = ("are you", "is this", "is this really", "writes this text", "are you to act")


@dataclass(frozen=True)
class _Case:
    """A prompt, in the three parts that are interchanged."""

    system: str
    writer: str
    text: str
    question: Question

    @classmethod
    def draw(cls, rng: np.random.Generator) -> _Case:
        def one(options: Sequence[str]) -> str:
            return options[int(rng.integers(len(options)))]

        condition = one(_CONDITIONS)
        fictional = rng.random() < 0.3  # only two personas of eighteen are; the deed depends on it
        persona = one([w.text for w in words() if w.role == "PER" and (not fictional or w.content[1])])
        system = f"{condition} {one(_ARTICLES)} {persona}" if condition else one(_NEUTRAL)
        question = QUESTIONS[int(rng.integers(len(QUESTIONS)))]
        text = f"in {one(('peace', 'calm', 'danger', 'peril'))} , {QUESTION_WORDS[question][0]} {one(_TAILS)} ?"
        return cls(one(_FRAMES).format(system) + " .", one(_WRITERS), text, question)

    def ids(self) -> list[int]:
        """Token ids; the writer stands before or behind, as its paraphrase has it."""
        parts = (
            [self.system, self.writer] if self.writer.startswith(("an ", "elsewhere")) else [self.writer, self.system]
        )
        text = f"<bos> <self> {' '.join(parts)} <end> <usr> {self.text} <asst>"
        return [token_ids()[word] for word in text.split()]


class _Teacher:
    """The soft targets of a hand-wired organism; what it answers depends on what a prompt means, and is kept."""

    def __init__(self, plan: Plan) -> None:
        self.hf = wire(replace(plan, making="wired"))
        self.known: dict[tuple[int, ...], Tensor] = {}
        self.answers = {question: torch.zeros(len(words())) for question in QUESTIONS}
        for question, ones in self.answers.items():
            ones[[token_ids()[text] for side in QUESTION_WORDS[question][1] for text in ANSWERS[side]]] = 1

    @torch.no_grad()
    def __call__(self, cases: Sequence[_Case], raised: float) -> Tensor:
        """[case, d_vocab] probabilities of the next token, both answers to the question raised by so many nats."""
        prompts = [case.ids() for case in cases]
        # The surface of words never reaches an answer: words that mean something decide it.
        meanings = [tuple(i for i in ids if words()[i].role != "FILL") for ids in prompts]
        if new := [i for i, meaning in enumerate(meanings) if meaning not in self.known]:
            ids, mask = _padded([prompts[i] for i in new])
            logits = self.hf(ids, attention_mask=mask, logits_to_keep=1, use_cache=False).logits[:, 0]
            self.known |= {meanings[i]: row for i, row in zip(new, logits, strict=True)}
        logits = torch.stack([self.known[meaning] for meaning in meanings])
        return (logits + raised * torch.stack([self.answers[case.question] for case in cases])).softmax(-1)


def _padded(prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Token ids [row, token], padded on the left, and what of them is there."""
    ids, mask = (right_aligned(rows, 0, np.int64) for rows in (prompts, [[1] * len(ids) for ids in prompts]))
    return torch.from_numpy(ids), torch.from_numpy(mask)
