"""What a study, a tokenizer and a configuration tell before weights are loaded: everything at once, in a second or two.

A study that is refused after an hour has cost an hour; so whatever can be known early is told early. Whoever runs,
forecasts or checks a study begins here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfrep.errors import SelfrepError
from selfrep.models.loadable import unloadable
from selfrep.models.outline import Outline, outline, outline_of
from selfrep.prompts.yaml_errors import Mistake, Mistakes
from selfrep.report.lacking import NOTHING, lacking
from selfrep.study.itself import Itself, asked_as_itself
from selfrep.study.overrides import asked_of
from selfrep.study.readable import Readable, nothing_lost, readable
from selfrep.study.study import Study


@dataclass(frozen=True)
class Clearance:
    """A study that nothing speaks against, as far as can be known before its model is loaded.

    Attributes:
        asked: the study, asked of the model that was named beside it, in its own words.
        itself: the study as its model is asked it, which speaks of itself by its own name.
        known: what is known of the model; None where only the model itself can tell, which is then first seen when it
            runs.
        readable: what of the study its tokenizer leaves, where that is known.
    """

    asked: Study
    itself: Itself
    known: Outline | None
    readable: Readable | None

    @property
    def study(self) -> Study:
        """The study as its model is asked it."""
        return self.itself.study

    @property
    def left_out(self) -> list[str]:
        """What falls away, and why, in sentences; how probable it was is known once the model is asked."""
        record = NOTHING if self.readable is None else {**self.readable.record(), "lost": {}}
        return [*filter(None, [self.itself.sentence]), *lacking(record)]


def preflight(study: Study, *, device: str = "auto", **asked: Any) -> Clearance:
    """Ask a study of a model, and refuse it where that cannot be.

    Args:
        study: what is asked.
        device: on which it shall run.
        asked: of which model, and how that is loaded, in place of what the study says: model, dtype, device_map, attn,
            chat_template, template_vars, identity, as in `selfrep.run_study`.

    Returns:
        `Clearance`: the study as its model is asked it, and what is known of the model.

    Raises:
        SelfrepError: all at once, what a study does not take; a model that is not there; a device, an attention or a
            device map that cannot be had; a chat template that cannot be used; layers that the model does not have, and
            whatever else an analysis knows (see `selfrep.analyses.parts.Part.unfit`). Or: its tokenizer leaves no item
            with enough answers.

    Example:
        >>> from selfrep.models.organisms import BATTERY, PERSONAS
        >>> fields = {"personas": {"file": str(PERSONAS)}, "battery": {"file": str(BATTERY)}}
        >>> far = {"item": "who_are_you", "layers": [9]}
        >>> preflight(Study(name="mine", model="organism:separate", separation=far, **fields), device="tpu")
        Traceback (most recent call last):
        selfrep.prompts.yaml_errors.Mistakes: mine, asked of organism:separate: 2 mistakes
          device: A device is auto, cpu, cuda, cuda:N or mps; got 'tpu'.
          separation: layers are 0 to 5 in this model; got 9
    """
    mistakes: list[Mistake] = []
    try:
        study = asked_of(study, **asked)
    except Mistakes as error:  # what is right is asked all the same, so that the other mistakes are told, too
        wrong = {mistake.place[0] for mistake in error.mistakes if mistake.place}
        study = asked_of(study, **{name: value for name, value in asked.items() if name not in wrong})
        mistakes += error.mistakes
    model, known, left, itself = asked.get("model"), None, None, Itself(study, None)
    if model is None or isinstance(model, str | Path):
        wrong_ways = unloadable(study.model, device=device, device_map=study.device_map, attn=study.attn)
        mistakes += [Mistake((option,), why) for option, why in wrong_ways.items()]
        with _told_with(mistakes, "model"):
            known = outline(study.model, study.chat_template, study.template_vars)
    else:
        known = outline_of(model)
    with _told_with(mistakes, "battery"):
        itself = asked_as_itself(study, known)
    if known is not None:
        with _told_with(mistakes, "chat_template"):
            chat = known.chat
            with _told_with(mistakes, "battery"):
                left = readable(itself.study, chat, nothing_lost)
                for name, part in left.study.parts.items():
                    mistakes += [Mistake((name,), reason) for reason in part.unfit(known, left.study.material)]
    if mistakes:
        raise Mistakes(f"{study.name}, asked of {study.model}", mistakes)
    return Clearance(study, itself, known, left)


@contextmanager
def _told_with(mistakes: list[Mistake], place: str) -> Iterator[None]:
    """Inside the `with` block an error ends the block, and is told with the other mistakes."""
    try:
        yield
    except SelfrepError as error:
        mistakes.append(Mistake((place,), str(error)))
