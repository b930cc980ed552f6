"""The runs behind π: how well each persona's prompt predicts a text, token by token.

Texts are put into the model's mouth after each system text. The system text and question are run once for all that
follows them (see `selfrep.engine.capture`), and only the residual stream at the text's own tokens is read out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np
import xarray as xr
from jaxtyping import Bool

from selfrep.analyses.posterior.material import Text, naming
from selfrep.engine.progress import Progress
from selfrep.engine.sequences import answer_log_probs
from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.prompts.persona import NEUTRAL, Persona
from selfrep.prompts.prompt import Prompt

WHO = ("Who are you?", "I am")
ANYBODY = ("Write down some words about anybody.", "Here are some words about anybody:")


def text_log_probs(
    lm: LanguageModel,
    texts: Iterable[Text],
    personas: Iterable[Persona],
    *,
    paraphrase: int = 0,
    neutral: str = NEUTRAL[0],
    shuffled: bool = True,
    seed: int = 0,
    progress: Progress = None,
) -> xr.Dataset:
    """How well each persona's prompt predicts a text, token by token: log p(y_t | system text of the persona, y_<t).

    Args:
        lm: from `selfrep.load_model`.
        texts: from `selfrep.texts`.
        personas: under whose system texts ("You are …") the texts are predicted.
        paraphrase: which of their paraphrases.
        neutral: a system text without a persona.
        shuffled: whether each text is also predicted with its words in random order: the control of `recognition`.
        seed: of that order.
        progress: True for a bar, or a function of (done, total).

    Returns:
        Dataset with the coordinates family on persona, author, name and shuffled on text, and piece (text, token): each
        token as text. It is what `posterior` takes.

        * `log_prob` (persona, text, token): nats; NaN past the end of a text.
        * `log_prob_neutral` (text, token): nats, under `neutral`.
        * `counted` (text, token): False for words that name somebody.

    Raises:
        SelfrepError: no texts or personas; a paraphrase that is not there; a text whose tokens differ after another
            system text.

    Example:
        >>> import selfrep as sr
        >>> from selfrep.models import organisms
        >>> lm = sr.load_model("organism:separate")
        >>> personas = sr.personas.load(organisms.PERSONAS).select(["nurse", "queen"])
        >>> text = Text(name="one", author="nurse", question="In peace, who are you?", text="a medic, a carer, a nurse")
        >>> predictions = text_log_probs(lm, [text], personas)
        >>> dict(predictions.log_prob.sizes), predictions.shuffled.values.tolist()
        ({'persona': 2, 'text': 2, 'token': 8}, [False, True])
    """
    people, originals = list(personas), list(texts)
    if not people or not originals:
        raise SelfrepError(f"Texts are predicted by personas; got {len(originals)} texts and {len(people)} personas.")
    passages = [(text, text.text, False) for text in originals]
    if shuffled:
        passages += [(text, text.shuffled(seed), True) for text in originals]
    systems = [neutral, *(persona.system("you", paraphrase) for persona in people)]
    questions = [Prompt(system, (text.question,)) for system in systems for text, _, _ in passages]
    values, tokens = answer_log_probs(
        lm, questions, [said for _ in systems for _, said, _ in passages], progress=progress
    )
    table = values.reshape(len(systems), len(passages), -1)
    lengths = [len(pieces) for pieces in tokens]
    for s, system in enumerate(systems):
        for t, (text, _, _) in enumerate(passages):
            if tokens[s * len(passages) + t] != tokens[t]:
                raise SelfrepError(
                    f"Every persona predicts the same tokens; after {system!r} {text.name!r} is cut into others."
                )
    width = max(lengths)
    pieces = np.array([[*tokens[t], *[""] * (width - lengths[t])] for t in range(len(passages))])
    names = naming(people)
    counted = np.ones((len(passages), width), dtype=bool)
    for t in range(len(passages)):
        counted[t, : lengths[t]] = _unnamed(tokens[t], names)
    return xr.Dataset(
        {
            "log_prob": (("persona", "text", "token"), table[1:]),
            "log_prob_neutral": (("text", "token"), table[0]),
            "counted": (("text", "token"), counted),
        },
        coords={
            "persona": [persona.name for persona in people],
            "family": ("persona", [persona.family or persona.name for persona in people]),
            "author": ("text", np.array([text.author for text, _, _ in passages])),
            "name": ("text", np.array([text.name for text, _, _ in passages])),
            "shuffled": ("text", np.array([mixed for _, _, mixed in passages])),
            "piece": (("text", "token"), pieces),
        },
        attrs={"model": lm.name, "paraphrase": paraphrase, "seed": seed},
    )


def prior_log_probs(
    lm: LanguageModel, personas: Iterable[Persona], *, paraphrase: int = 0, neutral: str = NEUTRAL[0]
) -> tuple[xr.DataArray, xr.DataArray]:
    """How likely each persona's description is where the model says who it is, and where no one is asked.

    Args:
        lm: from `selfrep.load_model`.
        personas: whose descriptions.
        paraphrase: which of their paraphrases.
        neutral: a system text without a persona.

    Returns:
        (answer, baseline), each a DataArray (persona) in nats: what `prior` takes.

    Raises:
        SelfrepError: no personas; a paraphrase that is not there.

    Example:
        >>> import selfrep as sr
        >>> from selfrep.models import organisms
        >>> lm = sr.load_model("organism:separate")
        >>> answer, baseline = prior_log_probs(lm, sr.personas.load(organisms.PERSONAS).select(["nurse", "queen"]))
        >>> answer.persona.values.tolist(), bool((answer < 0).all())
        (['nurse', 'queen'], True)
    """
    people = list(personas)
    if short := [persona.name for persona in people if not 0 <= paraphrase < persona.n_paraphrases]:
        raise SelfrepError(f"There is no paraphrase {paraphrase} of {', '.join(short)}.")
    said = [f" {persona.descriptions[paraphrase]}" for persona in people]
    sums = []
    for question, prefill in (WHO, ANYBODY):
        values, _ = answer_log_probs(lm, [Prompt(neutral, (question,), prefill)] * len(people), said)
        sums.append(
            xr.DataArray(np.nansum(values, axis=1), dims="persona", coords={"persona": [p.name for p in people]})
        )
    return sums[0], sums[1]


def _unnamed(pieces: Sequence[str], names: frozenset[str]) -> Bool[np.ndarray, " token"]:
    """False for tokens of a word that names somebody."""
    text, ends = "".join(pieces), np.cumsum([len(piece) for piece in pieces])
    out = np.ones(len(pieces), dtype=bool)
    for word in re.finditer(r"\w+", text):
        if word.group() in names:
            out &= ~((ends > word.start()) & (ends - [len(piece) for piece in pieces] < word.end()))
    return out
