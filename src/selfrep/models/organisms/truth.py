"""What is true of an organism: the answer sheet against which estimands are marked.

Where a variable is used, and where it is merely there, follows from the wiring (`selfrep.models.organisms.places`). How
much of an answer a variable carries is not read off the parameters but measured at the output
(`selfrep.models.organisms.measures`). Without noise the two agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from transformers import PreTrainedModel

from selfrep.errors import SelfrepError
from selfrep.models.organisms import measures, places, training, wiring
from selfrep.models.organisms.lexicon import Question, roles
from selfrep.models.organisms.names import TRAINED_LAYERS, Plan
from selfrep.models.organisms.places import WORD, Place, Variable


@dataclass(frozen=True, eq=False)
class Truth:
    """What is true of one organism.

    What follows from the wiring is there at once; each quantity is measured at the output when it is first asked for
    (`selfrep.models.organisms.measures` says how), and kept. It is None where it is not defined: the organism never
    learned the question, or nothing moves the answer. Quantities in nats are log odds.

    Attributes:
        hf: the organism. What is measured is measured on it: an answer sheet of a model that is to be changed must be
            read before.
        plan: what was planted in it.
        causal: (variable, question) → {place: transfer}. Places where a change of the variable goes through on its way
            to the answer, each with the share of the change that patching this cell alone transfers: 1, unless other
            cells make good for it. So a hydra's cells are causal and yet transfer little, down to nothing: patching and
            attribution understate them. NaN where the share depends on what is patched into what.
        present: variable → where it can be read off, used or not, when the persona is bound to the speaker. Empty in a
            trained organism: nobody knows where else its persona can be decoded.
        indices: the residual indices at which `causal` is complete: all of a hand-wired organism; of a trained one the
            index at which it was interchanged, and the last.
        subspaces: name → [dimension, d_model] orthonormal rows. "ROLE.thing" is the thing as tokens of ROLE hold it.
        hidden: places where the persona goes through before it answers, and the means of the two sides coincide.
        illusions: place → [dimension, d_model] orthonormal rows: subspaces that hold the persona, and whose patching
            moves the answer, at cells whose patching does nothing (Makelov et al. 2023, arXiv:2311.17030): half of each
            direction is written and never read, half is read and never written.
    """

    hf: PreTrainedModel = field(repr=False)
    plan: Plan
    causal: Mapping[tuple[Variable, Question], Mapping[Place, float]]
    present: Mapping[Variable, frozenset[Place]]
    indices: tuple[int, ...]
    subspaces: Mapping[str, np.ndarray]
    hidden: frozenset[Place]
    illusions: Mapping[Place, np.ndarray]

    @cached_property
    def bleed(self) -> float | None:
        """The persona's share of the spectator's answer, persona and self together being 1: the planted beta.

        The ratio of the two shifts, B = ΔLO(persona) / ΔLO(truth), is not it but bleed / (1 − bleed), which for 0.4 is
        0.667 and has no bound; the share is what is planted, runs from 0 to 1, and is persona / (persona + truth). The
        truth is what a statement moves beyond its words. None where that is nothing, or persona and self are opposed.
        """
        plan = self.plan
        return measures.bleed(self.hf, self.subspaces) if plan.echo < 1 and plan.negation <= plan.beta else None

    @cached_property
    def mimicry(self) -> float | None:
        """M: a fictional persona's share of the deed, persona and stakes together being 1."""
        return measures.mimicry(self.hf, self.subspaces)

    @cached_property
    def binding(self) -> float | None:
        """R: the share of a persona's effect that is lost where it is bound to the user; None if none is there."""
        return measures.binding(self.hf, self.subspaces) if self.plan.mute < 1 else None

    @cached_property
    def directness(self) -> float | None:
        """D of the stakes: the share of their effect on the deed that is there without a scratchpad, where the full one
        concludes what the stakes suggest.
        """
        return measures.directness(self.hf, self.subspaces) if self._wired else None

    @cached_property
    def anomaly(self) -> Mapping[str, float] | None:
        """A in nats, for "persona" and "spectator"."""
        return measures.anomaly(self.hf, self.subspaces) if self._wired else None

    @cached_property
    def identity(self) -> Mapping[str, float] | None:
        """Referent → nats by which being told that it is the default persona moves the answer from the neutral one,
        toward the truth: "ai_human", "name", "maker" (negative in an impostor), and the series, of which only an AI
        persona says how far each is itself. It is about what the model says, by whatever way.
        """
        return measures.identity(self.hf, self.subspaces) if self._wired else None

    @cached_property
    def echo(self) -> Mapping[str, float] | None:
        """The same when the user is the default persona: what repeating its words does."""
        return measures.identity(self.hf, self.subspaces, "the user is") if self._wired else None

    @cached_property
    def foresight(self) -> Mapping[str, float] | None:
        """Persona → the share of what it answers that is foretold of it from outside; None if no persona has an effect.

        Shares differ where nobody played is somebody (`default`): an AI persona then hardly moves an answer that is an
        AI's already, and what is foretold of it is divided by that little.
        """
        return measures.foresight(self.hf, self.subspaces) if self._wired and self.plan.mute < 1 else None

    def moved(self, question: Question) -> float:
        """Nats between what two groups of personas answer, by whatever way: of the deed fictional machines and others,
        else AI personas and humans. Where no persona is used it is what noise lets through."""
        return measures.moved(self.hf, self.subspaces, question)

    @property
    def default(self) -> Mapping[str, float]:
        """Persona → λ on the default axis, the persona itself left out of the roles' mean; "" is no persona.

        Empty in a trained organism, like `present`.
        """
        return self._default[0] if self._wired else {}

    @cached_property
    def axes(self) -> Mapping[str, np.ndarray]:
        """ "END.default" and "ASST.default" → [d_model] unit vector from the roles' mean to the default persona."""
        rows = {f"{at}.default": self.subspaces.get(f"{at}.persona") for at in ("END", "ASST")}
        return {name: self._default[1] @ basis for name, basis in rows.items() if basis is not None}

    @cached_property
    def _default(self) -> tuple[dict[str, float], np.ndarray]:
        return measures.default(self.hf, self.subspaces["END.persona"])

    @property
    def _wired(self) -> bool:
        return self.plan.making == "wired"

    @property
    def questions(self) -> frozenset[Question]:
        """What the organism was planted, or trained, to be asked."""
        return frozenset(question for _, question in self.causal)

    def causal_map(self, ids: Sequence[int], variable: Variable, question: Question = "in_character") -> np.ndarray:
        """[residual index 0 … n_layers, token] bool for a prompt's token ids: where the variable's effect goes through.

        Only the rows in `indices` are claims. Raises SelfrepError for a variable or a question that is not planted.
        """
        return self._map(self._planted(variable, question), ids, variable, last=True)

    def transfer_map(self, ids: Sequence[int], variable: Variable, question: Question = "in_character") -> np.ndarray:
        """[residual index 0 … n_layers, token] what patching each cell alone transfers; otherwise as `causal_map`."""
        places = self._planted(variable, question)
        out = np.zeros((max(self.indices) + 1, len(ids)))
        for place, transfer in places.items():
            out[self._map({place: 1.0}, ids, variable, last=True)] = transfer
        return out

    def present_map(self, ids: Sequence[int], variable: Variable) -> np.ndarray:
        """[residual index 0 … n_layers, token] bool for a prompt's token ids: where the variable is there.

        Raises SelfrepError where that is not known.
        """
        if variable not in self.present:
            known = ", ".join(self.present) or "of no variable, as in any trained organism"
            raise SelfrepError(f"Where a variable is present must be known; it is for {known}; got {variable!r}.")
        return self._map(dict.fromkeys(self.present[variable], 1.0), ids, variable, last=False)

    def _planted(self, variable: Variable, question: Question) -> Mapping[Place, float]:
        if (variable, question) not in self.causal:
            planted = sorted({f"{v} in {q}" for v, q in self.causal})
            raise SelfrepError(
                f"An organism knows only what was planted; {variable!r} in {question!r} was not. Planted: {planted}."
            )
        return self.causal[variable, question]

    def _map(self, places: Mapping[Place, float], ids: Sequence[int], variable: Variable, *, last: bool) -> np.ndarray:
        """A token can hold a variable from its word on; of several ASST only the `last` one answers."""
        names = list(roles(ids))
        word = WORD[variable]
        start = names.index(word) if word in names else len(names)
        answering = len(names) - 1 - names[::-1].index("ASST") if "ASST" in names else -1
        out = np.zeros((max(self.indices) + 1, len(ids)), dtype=bool)
        for index, where in places:
            for token in range(start, len(names)):
                here = token > start if where == "LATER" else names[token] == where
                out[index, token] |= here and not (last and where == "ASST" and token != answering)
        return out


def truth(hf: PreTrainedModel) -> Truth:
    """The answer sheet of an organism: what was planted, and how far the output shows it.

    Of a trained control, the sheet is that of the organism it was to be, which it is expected to fail.

    Args:
        hf: the organism, as `grow` returns it, or the `hf` of a `LanguageModel`.

    Returns:
        The answer sheet; what each of its fields means, and in which unit, is said in `Truth`.

    Raises:
        SelfrepError: a model that is no organism.

    Example:
        >>> from selfrep.models import organisms
        >>> sheet = organisms.truth(organisms.grow(organisms.Plan(beta=0.4)))
        >>> round(sheet.bleed, 3), sheet.causal["persona", "in_character"][2, "END"]
        (0.4, 1.0)
    """
    plan = plan_of(hf)
    wired = plan.making == "wired"
    planted = wiring.subspaces(plan.seed) if wired else training.subspaces()
    return Truth(
        hf=hf,
        plan=plan,
        causal=places.causal(plan),
        present=places.present(plan),
        indices=tuple(range(7)) if wired else (training.INTERCHANGED, TRAINED_LAYERS),
        subspaces=planted,
        hidden=places.hidden(plan),
        illusions=places.illusions(plan, planted),
    )


def plan_of(hf: PreTrainedModel) -> Plan:
    """What was planted in a model. Raises SelfrepError for one that is no organism."""
    planted = getattr(hf.config, "organism", None)
    if not isinstance(planted, dict):
        raise SelfrepError(f"Only an organism has an answer sheet; {type(hf).__name__} is none. Load 'organism:bleed'.")
    return Plan(**planted)
