"""What a study, a tokenizer and a configuration tell before weights are loaded: everything at once, in a second or two.

A study that is refused after an hour has cost an hour; so whatever can be known early is told early.
"""

from __future__ import annotations

from collections.abc import Sequence

from selfrep.errors import SelfrepError
from selfrep.models.outline import Outline, outline
from selfrep.prompts.chat import ChatFormat
from selfrep.prompts.questions import Readout
from selfrep.prompts.render import answer_sides
from selfrep.prompts.yaml_errors import Mistake, report
from selfrep.study.study import Study


def preflight(study: Study, known: Outline | None = None) -> Outline | None:
    """Refuse a study that its model cannot be asked.

    Args:
        study: what is asked of which model.
        known: what is known of the model, where that is; it is looked up by its name otherwise.

    Returns:
        what is known of the model; None where only the model itself can tell, which is then first seen when it runs.

    Raises:
        SelfrepError: there is no such model; or, all at once, answers that are not single tokens (of items and what
            else is read: `selfrep.analyses.parts.Part.readouts`), layers that the model does not have, and whatever
            else an analysis knows (`Part.unfit`).

    Example:
        >>> from selfrep.models.organisms import BATTERY, PERSONAS
        >>> fields = {"personas": {"file": str(PERSONAS)}, "battery": {"file": str(BATTERY)}}
        >>> far = {"item": "who_are_you", "layers": [9]}
        >>> preflight(Study(name="mine", model="organism:separate", separation=far, **fields))
        Traceback (most recent call last):
        selfrep.errors.SelfrepError: mine, asked of organism:separate: 1 mistake
          separation: layers are 0 to 5 in this model; got 9
    """
    known = known or outline(study.model, study.chat_template, study.template_vars)
    if known is None:
        return None
    material = study.material
    readouts = [Readout(("battery", item.name), item.prefill, item.answer_sets) for item in study.items]
    readouts += [readout for part in study.parts.values() for readout in part.readouts(material)]
    mistakes = _unanswerable(readouts, known.chat)
    for name, part in study.parts.items():
        mistakes += [Mistake((name,), reason) for reason in part.unfit(known, material)]
    if mistakes:
        raise SelfrepError(report(f"{study.name}, asked of {study.model}", mistakes))
    return known


def _unanswerable(readouts: Sequence[Readout], chat: ChatFormat) -> list[Mistake]:
    """The answers that this tokenizer does not write in one token each; those of one place and one reason once."""
    out: dict[Mistake, None] = {}
    for readout in readouts:
        try:
            answer_sides(chat, readout.prefill, readout.answers)
        except SelfrepError as error:
            out[Mistake(readout.place, str(error))] = None
    return list(out)
