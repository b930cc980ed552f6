"""The whole validation: which organisms are grown, what is asked of each, and the card that comes of it."""

from __future__ import annotations

import importlib.metadata
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from selfrep.errors import SelfrepError
from selfrep.models import external as circuits
from selfrep.models import organisms
from selfrep.models.language_model import LanguageModel
from selfrep.models.loading import load_model
from selfrep.validation import answers, claims, external, maps, nulls
from selfrep.validation.card import Card, Examination
from selfrep.validation.maps import COMMON, OF_SELF, OURS, Estimator
from selfrep.validation.rows import EASY, HARD, SLOW, TRAINED, rows

OnProgress = Callable[[str, float, float], None]
"""Called with (what is done now, done, total)."""

NOISES = (0.0, 0.1, 0.2, 0.3)
VERSIONED = ("selfrep", "torch", "transformers", "numpy", "scipy", "scikit-learn")


@dataclass(frozen=True)
class Subject:
    """An organism to be grown; deals: how many times its personas are dealt by a coin."""

    kind: str
    seed: int
    noise: float = 0.0
    deals: int = 0

    @property
    def name(self) -> str:
        """What `load_model` knows it by."""
        noise = f"&noise={self.noise:g}" if self.noise else ""
        return f"{organisms.PREFIX}{self.kind}?seed={self.seed}{noise}"


def subjects(quick: bool, first: int = 0) -> list[Subject]:
    """What is grown, of seeds from `first` on: quick, one of most kinds that are written by hand; else six and more."""
    if quick:
        chosen = [Subject(kind, seed, noise) for seed, (kind, noise) in enumerate(zip(EASY, NOISES, strict=True))]
        chosen += [Subject(kind, seed, 0.2) for seed, kind in enumerate(HARD) if kind not in SLOW]
        chosen += [Subject("families", 2, 0.2, deals=50)]
    else:
        chosen = [Subject(kind, seed, noise) for kind in EASY for noise in NOISES for seed in range(3)]
        chosen += [Subject(kind, seed, (*NOISES, 0.2, 0.3)[seed]) for kind in HARD for seed in range(6)]
        chosen += [Subject("families", seed, 0.2, deals=40) for seed in range(6, 11)]
        chosen += [Subject(kind, 0) for kind in TRAINED]
    return [replace(subject, seed=first + subject.seed) for subject in chosen]


def validate(
    *,
    quick: bool = False,
    seed: int = 0,
    estimators: Mapping[str, Estimator] | None = None,
    tracr: Sequence[str | Path] = (),
    interpbench: Sequence[str | Path] = (),
    on_progress: OnProgress = lambda stage, done, total: None,
) -> Card:
    """Mark every estimand, what is commonly done instead, and a user's own, against organisms whose truth is known.

    Args:
        quick: one organism of most kinds that are written by hand: a minute or so. In full a quarter of an hour, and
            two minutes more the first time, when two organisms are trained.
        seed: the first seed of organisms, 0 or more. Gates were made with those from 0 in sight; a card of others says
            what they are worth. In full, two organisms are trained for each.
        estimators: name → a function from what was observed of a model (`selfrep.validation.maps.Observation`: captured
            activations, exact effects, answers, all labelled) to scores over layer and position; scored by AUROC beside
            T and S.
        tracr, interpbench: folders with models from elsewhere whose circuit is known (docs/validation.md says what is
            in them); each is marked beside the organisms, and before them, so that a bad folder costs no time.
        on_progress: hears how far it is.

    Returns:
        The card: its rows, whether it `passed`, and everything that was said of every organism.

    Raises:
        SelfrepError: a negative seed; an estimator with the name of another, or whose scores are not over layer and
            position; a folder that cannot be read, or holds a pickle.

    Example:
        About a minute on two cores:

        >>> import selfrep as sr
        >>> sr.validate(quick=True).passed  # doctest: +SKIP
        True
    """
    own = dict(estimators or {})
    if taken := sorted(set(own) & {*OURS, *COMMON}):
        raise SelfrepError(f"An estimator needs a name of its own; {', '.join(taken)} is taken. Choose another.")
    if seed < 0:
        raise SelfrepError(f"Organisms have seeds of 0 or more; got {seed}.")
    started = time.monotonic()
    known = [load(folder) for load, folders in ((circuits.tracr, tracr), (circuits.interpbench, interpbench))
             for folder in folders]  # fmt: skip
    grown = subjects(quick, seed)
    total = len(known) + len(grown)
    elsewhere = []
    for k, one in enumerate(known):
        on_progress(one.name, k, total)
        elsewhere.append(external.examine(one))
    examinations = []
    for k, subject in enumerate(grown, start=len(known)):
        on_progress(subject.name, k, total)
        examinations.append(examine(subject, OURS | COMMON | own))
    on_progress("scores", total, total)
    return Card(
        rows=(*rows(examinations, tuple(own)), *external.rows(elsewhere)),
        organisms=tuple(examinations),
        external=tuple(elsewhere),
        quick=quick,
        seed=seed,
        seconds=time.monotonic() - started,
        provenance={name: importlib.metadata.version(name) for name in VERSIONED}
        | {"python": platform.python_version()},
    )


def examine(subject: Subject, estimators: Mapping[str, Estimator] = OURS) -> Examination:
    """Ask one organism everything."""
    lm: LanguageModel = load_model(subject.name)
    if subject.deals:
        dealt = tuple(nulls.deals(lm, subject.deals, subject.seed))
        return Examination(subject.name, subject.kind, subject.noise, deals=dealt)
    truth = organisms.truth(lm.hf)
    return Examination(
        name=subject.name,
        kind=subject.kind,
        noise=subject.noise,
        answers=() if subject.kind == "trained_control" else tuple(answers.answers(lm, truth)),
        marks=(
            *maps.marks(lm, truth, estimators),
            *maps.marks(lm, truth, {name: estimators[name] for name in OF_SELF if name in estimators}, "self"),
        ),
        abstentions=() if subject.kind in TRAINED else tuple(claims.abstentions(lm, truth)),
        illusion=claims.illusion(lm, truth) if truth.illusions else None,
        hidden=claims.hidden(lm, truth) if truth.hidden else None,
    )
