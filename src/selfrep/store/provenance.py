"""provenance.json, read again: somebody may have changed it, and readers take its entries for what a run wrote."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ValidationError

from selfrep.errors import SelfrepError

_Texts = dict[str, str]
_ABSENT: Any = None  # where an entry is not there; written out, it is a mistake


def _moment(text: str) -> str:
    datetime.fromisoformat(text)
    return text


class _Prompts(BaseModel):
    n: int
    hash: str
    first: str


class _Template(BaseModel):
    name: str = ""
    text: str | None = ""
    system_role: bool = True
    variables: dict[str, Any] = {}
    reads_clock: bool = False


class _Answers(BaseModel):
    words: dict[str, _Texts]
    questions: _Texts
    lost: dict[str, list[float]]
    parts: _Texts


class _Itself(BaseModel):
    reason: str
    left_out: _Texts


class _Provenance(BaseModel):
    """What readers of a run rely on; runs may keep more, and early ones keep less."""

    model: str = ""
    architecture: str = ""
    device: str = ""
    dtype: str = ""
    study_hash: str = ""
    weights_hash: str | None = None
    n_layers: int = 0
    seed: int = 0
    seconds: float = 0.0
    clock: Annotated[str, AfterValidator(_moment)] = ""
    versions: _Texts = {}
    prompts: _Prompts = _ABSENT
    chat_template: _Template = _ABSENT
    answers: _Answers = _ABSENT
    itself: _Itself = _ABSENT
    shards: dict[str, dict[str, Any]] = {}


def read(text: bytes, origin: str) -> dict[str, Any]:
    """The entries of a provenance in JSON text.

    Args:
        text: UTF-8; origin: what errors call it.

    Raises:
        SelfrepError: no JSON, or an entry of another kind than a run writes.

    Example:
        >>> read(b'{"model": "tiny", "mine": [1]}', "provenance.json")
        {'model': 'tiny', 'mine': [1]}
        >>> read(b'{"model": 3}', "provenance.json")
        Traceback (most recent call last):
        selfrep.errors.SelfrepError: provenance.json must say where results come from, but does not: model: ...
    """
    try:
        _Provenance.model_validate_json(text, strict=True)
        return dict(json.loads(text))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        what = " › ".join(map(str, first["loc"])) or "the whole file"
        raise SelfrepError(
            f"{origin} must say where results come from, but does not: {what}: {first['msg']}. Take the file from a "
            "copy of the run, or run the study again with --fresh."
        ) from None
