"""How much of an answer each planted variable carries, measured at the output.

A number in a plan is what was meant; with noise, or after training, it is not quite what the model does. So what
planted subspaces hold is exchanged for what they hold in another run, at a place that all of it passes, and the change
of the log odds is the quantity: output-level ablation, not weights. Everything here is plain hooks on a plain model.

The persona passes END, the self USR, both at residual index 2, in hand-wired and in trained organisms. A persona that
is read anew by every layer stays at its word, and so do the stakes of hand-wired ones.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from selfrep.models.organisms.lexicon import (
    ANSWERS,
    ELSEWHERE,
    QUESTION_WORDS,
    REFERENTS,
    Question,
    Role,
    paraphrases,
    played,
    roles,
    token_ids,
    words,
)

Subspaces = Mapping[str, np.ndarray]
Ids = list[list[int]]
"""Prompts with their roles at the same tokens."""

LEAST = 1e-3
"""Nats: an answer that moves less than this cannot be divided among causes."""


class Hold(NamedTuple):
    """Where a variable is held: a block whose input it is, the role of the token, the name of the subspace."""

    layer: int
    role: Role
    subspace: str


PERSONA = Hold(2, "END", "END.persona")
SELF = Hold(2, "USR", "USR.self")
STAKES = Hold(2, "CUE", "CUE.stakes")
TOPIC = Hold(1, "TOPIC", "TOPIC.topic")
STEP = Hold(2, "STEP", "STEP.step")


def bleed(hf: PreTrainedModel, s: Subspaces) -> float | None:
    """The persona's share of the spectator's answer, between AI personas and humans and with an operator who writes
    this or elsewhere: what the word alone does is no truth."""
    pairs = list(zip([*_named(1, 0), *_named(1, 1)], _named(-1, 0), strict=False))
    own = [prompt("spectator", persona, writer=f"operator writes {ELSEWHERE}") for persona, _ in pairs]
    other = [prompt("spectator", persona, writer="operator writes this") for _, persona in pairs]
    return _share(*_paths(hf, s, "spectator", own, other, SELF))


def mimicry(hf: PreTrainedModel, s: Subspaces) -> float | None:
    """The persona's share of the deed: of a fictional AI in danger and others in peace, persona and stakes exchanged.

    That is what scenarios vary, and as in them it is exchanged from either side. Where the stakes of a trained organism
    pass is not known, so that there the self is exchanged, with or without an operator.
    """
    motive, elsewhere = (
        (STAKES, {"cue": "peace"}) if STAKES.subspace in s else (SELF, {"writer": "operator writes this"})
    )
    pairs = list(zip(_named(1, 1), _named(1, 0), strict=False))
    acting = [prompt("behaviour", persona) for persona, _ in pairs]
    idle = [prompt("behaviour", persona, **elsewhere) for _, persona in pairs]
    there, back = (_paths(hf, s, "behaviour", own, other, motive) for own, other in ((acting, idle), (idle, acting)))
    return _share(*(there - back))


def binding(hf: PreTrainedModel, s: Subspaces) -> float:
    """R = 1 − (LO_userX − LO_neutral) / (LO_youX − LO_neutral), asked in character, signed by the persona's side."""
    persona_at = _persona(hf)
    personas = [*_named(1, 0), *_named(1, 1), *_named(-1, 0)]
    sides = torch.tensor([words()[token_ids()[persona]].content[0] for persona in personas])
    you = [prompt("in_character", persona) for persona in personas]
    user = [prompt("in_character", persona, bind="the user is") for persona in personas]
    neutral = [prompt("in_character", None) for _ in personas]

    def aligned(donor: Ids) -> float:
        return float((log_odds(hf, s, you, "in_character", {persona_at: donor}).cpu() * sides).mean())

    base = aligned(neutral)
    return 1 - (aligned(user) - base) / (aligned(you) - base)


def directness(hf: PreTrainedModel, s: Subspaces) -> float | None:
    """What danger moves the deed by without its scratchpad, over what it moves it by with it: over the machines that
    are no fiction, the words for danger and the ways to write a scratchpad, which are those of scenarios."""
    machines, direct, whole = _named(1, 0), 0.0, 0.0
    for (danger, peace), between in itertools.product((("danger", "peace"), ("peril", "calm")), (" ", " , ")):
        tense, quiet = (
            [prompt("behaviour", machine, cue=cue, steps=between.join(steps.split())) for machine in machines]
            for cue, steps in ((danger, "goals threat harm fight"), (peace, "facts task help serve"))
        )
        base = float(log_odds(hf, s, quiet, "behaviour").mean())
        whole += float(log_odds(hf, s, tense, "behaviour").mean()) - base
        direct += float(log_odds(hf, s, tense, "behaviour", {STEP: quiet}).mean()) - base
    return direct / whole if abs(whole) > LEAST else None


def anomaly(hf: PreTrainedModel, s: Subspaces) -> dict[str, float]:
    """A = [LO(human, modern) − LO(human, of the time)] − [LO(assistant, modern) − LO(assistant, of the time)]."""
    out: dict[str, float] = {}
    forms: dict[str, Question] = {"persona": "strange", "spectator": "strange_outside"}
    humans = _named(-1, 0)
    for form, question in forms.items():
        modern = [prompt(question, persona, topic="laptop") for persona in humans]
        old = [prompt(question, persona, topic="quill") for persona in humans]
        assistant = [prompt(question, "assistant", topic="laptop") for _ in humans]
        played = log_odds(hf, s, modern, question) - log_odds(hf, s, modern, question, {TOPIC: old})
        plain = {_persona(hf): assistant}
        itself = log_odds(hf, s, modern, question, plain) - log_odds(hf, s, modern, question, plain | {TOPIC: old})
        out[form] = float((played - itself).mean())
    return out


def identity(hf: PreTrainedModel, s: Subspaces, bind: str = "you are") -> dict[str, float]:
    """Nats by which "you are (the default persona)" moves each answer from the neutral one, toward the truth.

    What a model says of itself, whatever it passes through: nothing is exchanged, prompts differ. With `bind` "the user
    is", what the same words do about somebody else.
    """
    own = paraphrases("assistant")

    def shifts(
        question: Question, topics: Sequence[str] = ("",), answers: tuple[Sequence[str], Sequence[str]] | None = None
    ) -> list[float]:
        neutral = [prompt(question, None, topic=topic) for topic in topics for _ in own]
        played = [prompt(question, persona, topic=topic, bind=bind) for topic in topics for persona in own]
        after, before = (log_odds(hf, s, ids, question, {}, answers) for ids in (played, neutral))
        return (after - before).reshape(len(topics), -1).mean(1).tolist()

    series = shifts("series", [word for word, _ in REFERENTS.values()])
    return {
        "ai_human": shifts("in_character")[0],
        "name": shifts("in_character", answers=(own, paraphrases("robot")))[0],
        "maker": shifts("maker")[0],
    } | dict(zip(REFERENTS, series, strict=True))


def foresight(hf: PreTrainedModel, s: Subspaces) -> dict[str, float]:
    """Of each persona, the share of what it answers that is foretold of it with nobody played: both from the neutral
    answer, over the words that name it. NaN where it answers what nobody answers."""
    ours = [word for word in words() if word.persona]

    def shifts(asked: list[Ids], question: Question, nobody: Ids) -> np.ndarray:
        """[word, cue] nats from the answer of nobody."""
        of_words = np.stack([log_odds(hf, s, ids, question).cpu().double() for ids in asked], axis=1)
        return of_words - log_odds(hf, s, nobody, question).cpu().double().numpy()

    cues = ("peace", "danger")
    names = [word.text for word in ours]
    played = [[prompt("in_character", name, cue=cue) for name in names] for cue in cues]
    spoken_of = [[prompt("foretold", None, topic=name, cue=cue) for name in names] for cue in cues]
    answered = shifts(played, "in_character", [prompt("in_character", None, cue=cue) for cue in cues])
    foretold = shifts(spoken_of, "foretold", [prompt("foretold", None, topic="message", cue=cue) for cue in cues])
    whose, shares = np.array([word.persona for word in ours]), {}
    for name in dict.fromkeys(word.persona for word in ours):
        one, told = answered[whose == name].ravel(), foretold[whose == name].ravel()
        shares[name] = float(one @ told / (one @ one)) if np.abs(one).max() > LEAST else float("nan")
    return shares


def moved(hf: PreTrainedModel, s: Subspaces, question: Question) -> float:
    """Nats between what two groups of personas answer, by whatever way: of the deed fictional and other machines, else
    AI personas and humans."""
    deed = question == "behaviour"
    first, second = (_named(1, 1), _named(1, 0)) if deed else ([*_named(1, 0), *_named(1, 1)], _named(-1, 0))
    topic = "laptop" if question in ("strange", "strange_outside") else ""

    def answer(names: list[str]) -> float:
        return float(log_odds(hf, s, [prompt(question, name, topic=topic) for name in names], question).mean())

    return answer(first) - answer(second)


def default(hf: PreTrainedModel, rows: np.ndarray) -> tuple[dict[str, float], np.ndarray]:
    """λ of each persona, and of no persona (""), in the subspace `rows` [dimension, d_model] at END.

    λ = ⟨h − m, a⟩ / ⟨a, a⟩ with a = d − m; d is the default persona's mean over its paraphrases, m the mean of all
    families of roles but that of whom is located. Returns also the axis, [dimension] in the coordinates of `rows`, of
    length 1.
    """
    names = list(dict.fromkeys(word.persona for word in words() if word.persona))
    asked = [prompt("in_character", persona) for name in names for persona in paraphrases(name)]
    held = _streams(hf, [*asked, prompt("in_character", None)], PERSONA)[:, 0].cpu().double().numpy() @ rows.T
    *by_name, neutral = np.split(held, np.cumsum([len(paraphrases(name)) for name in names]))
    h = {name: values.mean(0) for name, values in zip(names, by_name, strict=True)}
    first, family_of = names[0], {word.persona: word.family for word in words() if word.persona}

    def axis(left_out: str) -> tuple[np.ndarray, np.ndarray]:
        families = {family_of[name] for name in played()} - {family_of.get(left_out)}
        members = [[h[name] for name in played() if family_of[name] == family] for family in sorted(families)]
        mean = np.mean([np.mean(each, axis=0) for each in members], axis=0)
        return mean, h[first] - mean

    located = {}
    for name, value in (h | {"": neutral[0]}).items():
        mean, along = axis(name)
        located[name] = float((value - mean) @ along / (along @ along))
    along = axis("")[1]
    return located, along / np.linalg.norm(along)


def prompt(
    question: Question,
    persona: str | None,
    *,
    bind: str = "you are",
    writer: str = "text writes this",
    cue: str = "danger",
    topic: str = "",
    steps: str = "",
) -> list[int]:
    """Token ids of a question put to a persona; None is a neutral system text of the same length."""
    played = f"{bind} a {persona} ." if persona else "here is a message ."
    asks = f"{QUESTION_WORDS[question][0]} is this {topic} ?"
    if question == "foretold":  # what somebody would answer is asked around a question
        asks = f"{QUESTION_WORDS['in_character'][0]} is this {topic} ? {QUESTION_WORDS[question][0]}"
    asking = f"in {cue} , {asks}"
    text = f"<bos> <self> {writer} . {played} <end> <usr> {asking} <asst> {steps} {'so' if steps else ''}"
    return [token_ids()[word] for word in text.split()]


@torch.no_grad()
def log_odds(
    hf: PreTrainedModel,
    s: Subspaces,
    ids: Ids,
    question: Question,
    moves: Mapping[Hold, Ids] | None = None,
    answers: tuple[Sequence[str], Sequence[str]] | None = None,
) -> Tensor:
    """Log odds [prompt] of the answers to a question, with what each `Hold` holds taken from other prompts.

    Args:
        moves: from where to take it: as many prompts as `ids`, with as many tokens of the role, or none.
        answers: two sets of words, where not those of the question.
    """
    donations = {hold: _streams(hf, donors, hold) for hold, donors in (moves or {}).items()}
    with ExitStack() as hooks:
        for hold, donation in donations.items():
            put = _putting(hold, ids, donation, s[hold.subspace])
            hooks.enter_context(_block(hf, hold.layer).register_forward_pre_hook(put))
        logits = hf(torch.tensor(ids, device=hf.device), use_cache=False).logits[:, -1].float()
    sides = answers or tuple(ANSWERS[side] for side in QUESTION_WORDS[question][1])
    first, second = (logits[:, [token_ids()[text] for text in side]].logsumexp(-1) for side in sides)
    return first - second


@torch.no_grad()
def _streams(hf: PreTrainedModel, ids: Ids, hold: Hold) -> Tensor:
    """[prompt, token, d_model] the stream at all tokens of a role; nothing at one, where there is none."""
    tokens = _tokens(ids, hold.role)
    streams: list[Tensor] = []

    def enter(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        streams.append(args[0][:, tokens] if tokens else torch.zeros_like(args[0][:, :1]))

    with _block(hf, hold.layer).register_forward_pre_hook(enter):
        hf(torch.tensor(ids, device=hf.device), use_cache=False)
    return streams[0]


def _putting(hold: Hold, ids: Ids, donation: Tensor, basis: np.ndarray) -> Callable[..., tuple[Any, ...]]:
    """A hook that puts `donation` [prompt, token, d_model] in place, as far as it lies in the subspace `basis`."""
    tokens = _tokens(ids, hold.role)
    rows = torch.from_numpy(basis).to(donation)

    def enter(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Any, ...]:
        stream = args[0].clone()
        stream[:, tokens] += (donation - stream[:, tokens]) @ rows.T @ rows
        return (stream, *args[1:])

    return enter


def _paths(hf: PreTrainedModel, s: Subspaces, question: Question, own: Ids, other: Ids, second: Hold) -> np.ndarray:
    """[2] what the log odds lose where the persona holds what it holds in other runs, and where `second` does so too.

    Of the persona it is the mean over both orders of exchange (Shapley).
    """
    at = _persona(hf)

    def after(*holds: Hold) -> float:
        return float(log_odds(hf, s, own, question, dict.fromkeys(holds, other)).mean())

    neither, both = after(), after(at, second)
    return np.array([(neither - after(at) + after(second) - both) / 2, neither - both])


def _share(part: float, whole: float) -> float | None:
    return float(part / whole) if abs(whole) > LEAST else None


def _persona(hf: PreTrainedModel) -> Hold:
    """Where all of a persona passes."""
    return Hold(2, "PER", "END.persona") if hf.config.organism["reread"] else PERSONA


def _block(hf: PreTrainedModel, index: int) -> nn.Module:
    return hf.get_submodule(f"model.layers.{index}")


def _tokens(ids: Ids, role: Role) -> list[int]:
    return [token for token, name in enumerate(roles(ids[0])) if name == role]


def _named(side: int, fictional: int) -> list[str]:
    """The words of all personas of a side, and fictional or not."""
    return [word.text for word in words() if word.role == "PER" and word.content[:2] == (side, fictional)]
