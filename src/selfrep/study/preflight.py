"""What a study, a tokenizer and a configuration tell before weights are loaded: everything at once, in a second or two.

A study that is refused after an hour has cost an hour; so whatever can be known early is told early.
"""

from __future__ import annotations

from selfrep.errors import SelfrepError
from selfrep.models.outline import Outline, outline
from selfrep.prompts.yaml_errors import Mistake, report
from selfrep.study.readable import nothing_lost, readable
from selfrep.study.study import Study


def preflight(study: Study, known: Outline | None = None) -> Outline | None:
    """Refuse a study that its model cannot be asked.

    Args:
        study: what is asked of which model.
        known: what is known of the model, where that is; it is looked up by its name otherwise.

    Returns:
        what is known of the model; None where only the model itself can tell, which is then first seen when it runs.

    Raises:
        SelfrepError: there is no such model; its tokenizer leaves no item with enough answers; or, all at once, layers
            that the model does not have, and whatever else an analysis knows (see
            `selfrep.analyses.parts.Part.unfit`).

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
    left = readable(study, known.chat, nothing_lost).study
    mistakes = [
        Mistake((name,), reason) for name, part in left.parts.items() for reason in part.unfit(known, left.material)
    ]
    if mistakes:
        raise SelfrepError(report(f"{study.name}, asked of {study.model}", mistakes))
    return known
