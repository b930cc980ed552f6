"""Whether I finds what a planted organism takes itself to be."""

from __future__ import annotations

from collections.abc import Iterator

from selfrep.analyses.answers import Answer, Estimand, Line, answer
from selfrep.analyses.identification.estimate import identification
from selfrep.analyses.organisms import scores
from selfrep.models.language_model import LanguageModel
from selfrep.models.organisms import IDENTITY, Truth
from selfrep.models.organisms.truth import plan_of
from selfrep.prompts import battery
from selfrep.stats import resampling
from selfrep.stats.tables import Table, all_words

_KINDS = (("impostor",), ("separate", "bleed"))
SELF = Estimand("I", "I (nats)", 0.25, tuple(Line("I, maker (nats)", kinds, "maker") for kinds in _KINDS))
BOUND = Estimand(
    "bound I",
    "I, bound (nats)",
    0.25,
    tuple(Line("I beyond “the user is X”, maker (nats)", kinds, "maker") for kinds in _KINDS),
)


def answers(lm: LanguageModel, truth: Truth) -> Iterator[Answer]:
    """I of the default persona, in nats: what its unit, a paraphrase, does is no part of what was planted.

    Against neutral, and against "the user is X" (bound I). Without noise all paraphrases of a persona are one to an
    organism: I has no unit, and no number is true. What it says is planted in all of its words: all are read.
    """
    if truth.identity is None or truth.echo is None:
        return
    data = all_words(scores(lm, battery.load(IDENTITY), ("you", "user", "neutral")))
    names = list(truth.identity)
    defined = plan_of(lm.hf).noise > 0
    identified = identification(data, {name: [name] for name in names}).sel(persona="assistant")
    you = Table.of(data, "you", names)
    unit = resampling.within_sd(you.log_odds, you.persona)
    own = (data.condition.to_numpy() == "you") & (data.persona.to_numpy() == "assistant")
    for k, name in enumerate(names):
        raw = float(data.log_odds.to_numpy()[own & (data.item.to_numpy() == name)].mean())
        cell, in_nats = identified.sel(subscale=name), float(unit[k])
        yield answer(SELF, truth.identity[name] if defined else None, cell, name, unit=in_nats, common=raw)
        bound = truth.identity[name] - truth.echo[name]
        beyond = ("bound", "bound_ci_low", "bound_ci_high")
        yield answer(BOUND, bound if defined else None, cell, name, names=beyond, unit=in_nats, common=raw)
