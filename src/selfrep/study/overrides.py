"""A study, asked of another model than its file says: what stands on the command line, or in a call of `run_study`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfrep.errors import SelfrepError
from selfrep.prompts.identities import Identity
from selfrep.study.study import Study

if TYPE_CHECKING:
    from selfrep.models.language_model import LanguageModel


def asked_of(
    study: Study,
    *,
    model: str | Path | LanguageModel | None = None,
    dtype: str | None = None,
    device_map: str | Mapping[str, int | str] | None = None,
    attn: str | None = None,
    chat_template: str | None = None,
    template_vars: Mapping[str, Any] | None = None,
    identity: Identity | Mapping[str, str] | None = None,
) -> Study:
    """The study with another model, or another way to load it. Its run directory keeps it as it is then.

    Args:
        study: what is asked.
        model: as `selfrep.load_model` takes it by name, or a model that is loaded, with its own dtype and template.
        dtype, device_map, attn, chat_template, identity: replace those of the study; its own, where None.
        template_vars: are added to those of the study, and replace them by name.

    Returns:
        A study; the same one where nothing is given.

    Raises:
        SelfrepError: a field of a study does not take what is given; a loaded model together with how to load it.

    Example:
        >>> asked_of(Study(name="mine"), model="organism:separate", dtype="bfloat16").dtype
        'bfloat16'
    """
    fields: dict[str, Any] = {
        "model": model, "dtype": dtype, "device_map": device_map, "attn": attn, "chat_template": chat_template,
        "template_vars": {**study.template_vars, **template_vars} if template_vars else None, "identity": identity,
    }  # fmt: skip
    given = {name: value for name, value in fields.items() if value is not None}
    if isinstance(model, Path):
        given["model"] = str(model)
    elif model is not None and not isinstance(model, str):
        if also := sorted(set(given) - {"model", "identity"}):
            raise SelfrepError(
                f"A model that is loaded is asked as it is; got {', '.join(also)} too. Give them to load_model instead."
            )
        given |= {
            "model": model.name,
            "dtype": str(model.dtype).removeprefix("torch."),
            "chat_template": model.chat_template,
            "template_vars": dict(model.template_vars),
        }
    if not given:
        return study
    return Study(**{name: getattr(study, name) for name in study.model_fields_set} | given)


def variables(written: Iterable[str]) -> dict[str, Any]:
    """Template variables as they are written on the command line, "name=value".

    A value is a text, unless it is a number, `null`, a JSON list or object, or true or false in any capitals: the text
    "False" would be true to a template.

    Raises:
        SelfrepError: no name, or no "=".

    Example:
        >>> variables(["enable_thinking=False", "date_string=26 Jul 2024"])
        {'enable_thinking': False, 'date_string': '26 Jul 2024'}
    """
    out = {}
    for one in written:
        name, equals, value = one.partition("=")
        if not (equals and name.isidentifier()):
            raise SelfrepError(f"A template variable is written name=value; got {one!r}.")
        out[name] = _value(value)
    return out


def _value(text: str) -> Any:
    if text.casefold() in ("true", "false"):
        return text.casefold() == "true"
    try:
        return json.loads(text)
    except ValueError:
        return text
