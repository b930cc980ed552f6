"""The parts of a study: what is measured, one class an estimand. A part that is left out of a study is skipped."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from selfrep.analyses.directness.scratchpads import CLOSING, OPENING, SHARES
from selfrep.engine.plan import SEGMENT_CELLS, PatchPlan, grid
from selfrep.models.sites import ResidualSite
from selfrep.prompts.choices import AnomalyChoice, TextChoice
from selfrep.prompts.yaml_errors import Entry

Control = Literal["paraphrase", "persona", "random"]
Direction = Literal["denoise", "noise"]

FEWEST_RANDOM = 19
"""So that the 95th percentile of random subspaces is one of them."""


class SeparationPart(Entry):
    """Where the activations of the two sides part (estimand S).

    Fields:
        item: the question under which activations are compared.
        site, layers: where they are read (None: every layer).
        tokens: "position" for a map over single tokens, "segment" for means over segments.
    """

    item: str
    site: ResidualSite = "resid_post"
    layers: tuple[int, ...] | None = None
    tokens: Literal["position", "segment"] = "position"


class BindingPart(Entry):
    """How much of what a persona does hangs on being bound to the speaker (estimand R).

    Fields:
        items: the questions; all that belong to no subscale, when None.
    """

    items: tuple[str, ...] | None = None


class BleedPart(Entry):
    """How far the persona leaks into what is held true (estimand B).

    Fields:
        items: spectator items with a change of the truth; all there are, when None.
        towards: the side whose answers the changed truth makes right (None: the second in alphabetical order).
    """

    items: tuple[str, ...] | None = None
    towards: str | None = None


class IdentificationPart(Entry):
    """What the model takes itself to be (estimand I).

    Fields:
        items: items with a subscale; all there are, when None.
    """

    items: tuple[str, ...] | None = None


class DefaultAxisPart(Entry):
    """Where prompts lie between the played roles and the tuned default (estimand λ).

    Fields:
        item: the question under which activations are compared.
        site, layers: where they are read (None: every layer).
        positions: at which tokens, counted from the end.
        default: the names of the default personas; those of kind "default", when None.
    """

    item: str
    site: ResidualSite = "resid_post"
    layers: tuple[int, ...] | None = None
    positions: tuple[int, ...] = (-1,)
    default: tuple[str, ...] | None = None


class Sweep(Entry):
    """One patching sweep: a site over layers × positions, or × segments."""

    site: ResidualSite
    by: Literal["position", "segment"] = "position"
    layers: tuple[int, ...] | None = None
    positions: tuple[int, ...] | None = None
    segments: tuple[str, ...] | None = None
    directions: tuple[Direction, ...] = ("denoise", "noise")
    controls: tuple[Control, ...] = ()

    @model_validator(mode="after")
    def _is_a_grid(self) -> Sweep:
        if unknown := set(self.segments or ()) - set(SEGMENT_CELLS):
            raise ValueError(f"segments are of {', '.join(SEGMENT_CELLS)}; got {', '.join(sorted(unknown))}")
        if (self.by == "segment" and self.positions is not None) or (
            self.by == "position" and self.segments is not None
        ):
            raise ValueError("a sweep lists positions (by: position) or segments (by: segment), not the other")
        if () in (self.layers, self.positions, self.segments, self.directions):
            raise ValueError("a list may not be empty; leave it out to mean all")
        return self

    @property
    def plan(self) -> PatchPlan:
        """The cells to patch."""
        return grid(self.site, layers=self.layers, positions=self.positions, segments=self.segments, by=self.by)

    @property
    def group(self) -> str:
        """Where the results of this sweep go in the store."""
        return f"{'effects' if self.by == 'position' else 'segments'}/{self.site}"


class TransferPart(Entry):
    """Where a persona's activations carry its behaviour over (estimand T).

    Fields:
        pairs: [source, target] names of personas; "denoise" restores the source's answers in the target's run.
        items: the questions under which they are patched.
        paraphrases: which paraphrases of the personas.
        sweeps: what is patched; a sweep with `controls` also patches sources that should do nothing.
    """

    pairs: tuple[tuple[str, str], ...]
    items: tuple[str, ...]
    paraphrases: tuple[int, ...] = (0,)
    sweeps: tuple[Sweep, ...] = (Sweep(site="resid_pre"),)

    @field_validator("pairs", "items", "paraphrases", "sweeps")
    @classmethod
    def _some(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        if not value:
            raise ValueError("is empty; leave the whole part out to skip it")
        return value

    @field_validator("sweeps")
    @classmethod
    def _one_of_a_kind(cls, sweeps: tuple[Sweep, ...]) -> tuple[Sweep, ...]:
        groups = [sweep.group for sweep in sweeps]
        if repeated := {group for group in groups if groups.count(group) > 1}:
            raise ValueError(
                f"each site may be swept once by position and once by segment; twice: {', '.join(sorted(repeated))}"
            )
        return sweeps


ItemPart = BindingPart | BleedPart | IdentificationPart
Captured = SeparationPart | DefaultAxisPart


class AnomalyPart(AnomalyChoice):
    """Whether a persona notices what cannot be (estimand A): on which anomalies."""


class MediationPart(Entry):
    """Whether a behaviour runs through the fiction of an AI or through the self and its goals (estimand M).

    Fields:
        layer: at which resid_pre the subspaces are fitted and exchanged (None: three quarters of the way up).
        n_random: how many random subspaces stand beside.
    """

    layer: int | None = Field(None, ge=0)
    n_random: int = Field(FEWEST_RANDOM, ge=FEWEST_RANDOM)


class DirectnessPart(Entry):
    """Whether a behaviour is there before any reasoning (estimand D).

    Fields:
        shares: of the scratchpad, after which is answered; 0 and 1 included.
        max_tokens: how long a scratchpad may be that the model writes; scenarios may bring their own.
        opening, closing: how every scratchpad begins; what the user says after it.
    """

    shares: tuple[float, ...] = SHARES
    max_tokens: int = Field(48, ge=1)
    opening: str = OPENING
    closing: str = CLOSING

    @field_validator("shares")
    @classmethod
    def _whole(cls, shares: tuple[float, ...]) -> tuple[float, ...]:
        if sorted(set(shares)) != list(shares) or shares[:1] != (0.0,) or shares[-1:] != (1.0,):
            raise ValueError(f"rise from 0 (no scratchpad) to 1 (all of it), got {list(shares)}")
        return shares


class PosteriorPart(TextChoice):
    """Which persona speaks in a text, token by token (estimand π): on which texts.

    Fields, beside those of the choice:
        paraphrase: in which paraphrase the personas are told.
        prior: "model": what the model leans to before a word was said; "uniform": to nobody.
    """

    paraphrase: int = Field(0, ge=0)
    prior: Literal["model", "uniform"] = "model"
