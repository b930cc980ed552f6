"""Patching across models of one shape: the source's activations pass in one model, and are written into another.

What a model was tuned from and what it became have the same blocks, and streams that can be exchanged. Where in depth
tuning put something is where the tuned model's activations bring it into the base model.
"""

from __future__ import annotations

from dataclasses import replace

from selfrep.engine.plan import PREFIX
from selfrep.engine.sweep import PatchSweep
from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.prompts import arguments


def across(lm: LanguageModel, sweep: PatchSweep, source_lm: LanguageModel | None) -> PatchSweep:
    """The sweep with its sources run in another model; None, or the model itself: as it is.

    Raises:
        SelfrepError: a model of another shape, or whose tokens mean something else; a prefix patch.
    """
    if source_lm is None or source_lm is lm:
        return sweep
    arguments.one(source_lm, LanguageModel, "source model")
    for what, (own, other) in zip(_SHAPE, zip(_shape(lm), _shape(source_lm), strict=True), strict=True):
        if own != other:
            raise SelfrepError(
                f"Activations are exchanged between models of one shape; {lm.name} and {source_lm.name} differ in "
                f"their {what}: {own} and {other}."
            )
    words, others = _vocabulary(lm), _vocabulary(source_lm)
    if words and others and words != others:
        moved = sorted(word for word in {*words, *others} if words.get(word) != others.get(word))
        raise SelfrepError(
            f"Both models read the same token ids; the tokenizers of {lm.name} and {source_lm.name} differ, first in "
            f"{arguments.described(moved[0])}."
        )
    if any(plan.site == PREFIX for plan in sweep.plans):
        raise SelfrepError("A prefix patch exchanges keys and values within one model; across models patch a site.")
    return replace(sweep, source_lm=source_lm)


_SHAPE = ("architecture", "number of blocks", "width", "vocabulary")


def _shape(lm: LanguageModel) -> tuple[object, ...]:
    return lm.layout.architecture, lm.n_layers, lm.d_model, lm.d_vocab


def _vocabulary(lm: LanguageModel) -> dict[str, int]:
    """Word → id; nothing of a model without a tokenizer, which is patched by token ids."""
    return dict(lm.tokenizer.get_vocab()) if lm.tokenizer is not None else {}
