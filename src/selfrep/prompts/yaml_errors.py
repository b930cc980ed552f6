"""YAML that people write, checked once, with one report of all its mistakes.

A person who edits a file by hand makes several mistakes at a time. If they were shown one by one, each would cost a
run. Here all mistakes of a file (wrong fields, wrong values, repeated keys) are shown at once, each with its line, its
path inside the file, the value received and, where one is known, the fix::

    personas.yaml: 2 mistakes
      line 3, personas › ada › kind: must be one of 'default', ... or 'human', got 'humn' (did you mean 'human'?)
      line 4, personas › ada › descriptons: is not a known field (did you mean 'descriptions'?)

`Entry` is the base of everything a user may write; `load` turns YAML text into one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from selfrep.errors import SelfrepError, close_match
from selfrep.prompts import yaml_text

Place = tuple[str | int, ...]
Info: TypeAlias = Any  # pydantic.ValidationInfo, a protocol that checkers of types at run time cannot test
Model = TypeVar("Model", bound=BaseModel)


class Entry(BaseModel):
    """A frozen record that a user writes, in YAML or in Python; unknown fields are mistakes, not ignored.

    Raises SelfrepError, listing every mistake, when it is made in Python from bad values.

    Example:
        >>> class Fruit(Entry):
        ...     colour: str
        >>> Fruit(color="red")
        Traceback (most recent call last):
        selfrep.prompts.yaml_errors.Mistakes: Fruit: 2 mistakes
          colour: is missing
          color: is not a known field (did you mean 'colour'?)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __init__(self, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise Mistakes(type(self).__name__, _mistakes(error, type(self))) from None

    @classmethod
    def written_fields(cls) -> dict[str, Any]:
        """The fields that a user may write: name → type. A model whose file has another layout overrides this."""
        return {field.alias or name: field.annotation for name, field in cls.model_fields.items()}

    @classmethod
    def written_place(cls, place: Place) -> Place:
        """The place in the file of what pydantic calls `place` in the model."""
        return place

    # Inside another model pydantic must validate the fields itself: one report then holds the mistakes of all entries.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Mistake:
    """One broken rule: where (path in the file, line and column if known) and what.

    Example:
        >>> str(Mistake(("personas", "ada"), "is missing", 3))
        'line 3, personas › ada: is missing'
    """

    place: Place
    message: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        where = " › ".join(str(part) for part in self.place)
        parts = [f"line {self.line}" if self.line else "", f"column {self.column}" if self.column else "", where]
        return f"{', '.join(p for p in parts if p) or 'the whole file'}: {self.message}"


class Mistakes(SelfrepError):
    """Several broken rules, told at once in the order of the file.

    Attributes:
        origin: the file, or what else it is called that has the mistakes.
        mistakes: at least one.

    Example:
        >>> str(Mistakes("mine.yaml", [Mistake(("name",), "is missing")]))
        'mine.yaml: 1 mistake\\n  name: is missing'
    """

    def __init__(self, origin: str, mistakes: Iterable[Mistake]) -> None:
        self.origin, self.mistakes = origin, tuple(sorted(mistakes, key=lambda mistake: mistake.line or 0))
        count = "1 mistake" if len(self.mistakes) == 1 else f"{len(self.mistakes)} mistakes"
        super().__init__("\n  ".join([f"{origin}: {count}", *map(str, self.mistakes)]))


def read_text(path: str | Path) -> tuple[str, str]:
    """The text of a UTF-8 file, and the path, by which errors name it: what `load` takes after its model.

    Raises:
        SelfrepError: no such file, or it is not text.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp(), "mine.yaml")
        >>> _ = file.write_text("name: demo")
        >>> read_text(file)
        ('name: demo', '...mine.yaml')
    """
    try:
        return yaml_text.read(Path(path)), str(path)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise SelfrepError(f"Cannot read {path}: {reason}. Give the path of a YAML file saved as UTF-8.") from None


def read_builtin(package: str, name: str) -> tuple[str, str]:
    """The text of a YAML file that a package brings, and what errors call it.

    Example:
        >>> read_builtin("selfrep.prompts", "personas.yaml")[1]
        'personas.yaml (built in)'
    """
    return files(package).joinpath(name).read_text(encoding="utf-8"), f"{name} (built in)"


def load(model: type[Model], text: str, origin: str, context: dict[str, Any] | None = None) -> Model:
    """Validate YAML text against a pydantic model.

    Args:
        model: what the file should hold.
        text: the YAML text.
        origin: how error messages name the text, usually its path.
        context: what the validators of the model may read beside the text (pydantic's validation context).

    Returns:
        an instance of the model.

    Raises:
        SelfrepError: the text is not YAML, or breaks rules of the model; the message lists all mistakes and places.

    Example:
        >>> class Fruit(Entry):
        ...     colour: str
        >>> load(Fruit, "colour: red", "fruit.yaml").colour
        'red'
    """
    root, data = _parse(text, origin)
    mistakes = list(_repeated_keys(root, (), set()))
    try:
        loaded = model.model_validate(data, context=context)
    except ValidationError as error:
        mistakes += _mistakes(error, model, root)
    if mistakes:
        raise Mistakes(origin, mistakes)
    return loaded


def top_fields(path: str | Path) -> set[str]:
    """The fields at the top of a YAML file, by which one kind of file is told from another.

    Raises:
        SelfrepError: no such file, or it is not YAML.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp(), "mine.yaml")
        >>> _ = file.write_text("items: {}")
        >>> top_fields(file)
        {'items'}
    """
    _, data = _parse(*read_text(path))
    return set(map(str, data)) if isinstance(data, dict) else set()


def _parse(text: str, origin: str) -> tuple[yaml.Node | None, Any]:
    """The node tree (which knows line numbers) and the plain data of one YAML document."""
    try:
        return yaml_text.parse(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line, column = (mark.line + 1, mark.column + 1) if mark else (None, None)
        if isinstance(error, yaml.reader.ReaderError) and isinstance(error.position, int):
            before = text[: error.position]
            line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
        raise Mistakes(origin, [Mistake((), f"not valid YAML: {problem}", line, column)]) from None


def plain(text: str, origin: str) -> Any:
    """The plain data of YAML text. Raises SelfrepError for a text that is no YAML, with the place.

    Example:
        >>> plain("name: demo", "study.yaml")
        {'name': 'demo'}
    """
    return _parse(text, origin)[1]


def _repeated_keys(node: yaml.Node | None, place: Place, visited: set[int]) -> Iterator[Mistake]:
    """Keys written twice in one mapping: YAML would silently keep the last."""
    if id(node) in visited:  # an alias: reported at its anchor
        return
    visited.add(id(node))
    if isinstance(node, yaml.MappingNode):
        first: dict[str, int] = {}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in first and name != "<<":
                yield Mistake(
                    (*place, name),
                    f"is written twice, first in line {first[name]}; rename or remove one",
                    line,
                    key.start_mark.column + 1,
                )
            first.setdefault(name, line)
            yield from _repeated_keys(value, (*place, name), visited)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _repeated_keys(value, (*place, index), visited)


def _line(node: yaml.Node | None, place: Place) -> int | None:
    """The line of the deepest part of a place that is written in the file."""
    line = node.start_mark.line + 1 if node is not None else None
    for part in place:
        if isinstance(node, yaml.MappingNode):
            entry = next(((key, value) for key, value in node.value if str(key.value) == str(part)), None)
            if entry is None:
                break
            line, node = entry[0].start_mark.line + 1, entry[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line


def _mistakes(error: ValidationError, model: type[BaseModel], root: yaml.Node | None = None) -> list[Mistake]:
    """pydantic's errors in the words of this package."""
    mistakes = []
    for details in error.errors():
        place = tuple(part for part in details["loc"] if part != "[key]")
        if issubclass(model, Entry):
            place = model.written_place(place)
        message = _message({**details, "loc": place}, model)
        mistakes.append(Mistake(place, message, _line(root, place)))
    return mistakes


def _message(details: dict[str, Any], model: type[BaseModel]) -> str:
    kind, got, context = details["type"], details["input"], details.get("ctx", {})
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        known = _fields_at(model, details["loc"][:-1])
        hint = close_match(details["loc"][-1], known)
        return f"is not a known field{hint or '; known: ' + ', '.join(known)}"
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        return (
            f"must be one of {context['expected']}, got {_short(got)}{close_match(got, _quoted(context['expected']))}"
        )
    if kind == "string_type":
        fix = "; put it in quotes" if isinstance(got, bool | int | float) else ""
        return f"must be text, got {_short(got)}{fix}"
    if kind in ("tuple_type", "list_type"):
        return f"must be a list, one entry a line after a dash, got {_short(got)}"
    if kind in ("dict_type", "model_type", "model_attributes_type"):
        return f"must be fields with values (name: value), got {_short(got)}"
    return f"{details['msg']}, got {_short(got)}"


def _quoted(expected: str) -> list[str]:
    return expected.split("'")[1::2]


def _short(value: object, limit: int = 60) -> str:
    if value is None:
        return "nothing"
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _fields_at(model: type[BaseModel], place: Place) -> list[str]:
    """The field names of the model that a place in the file leads to."""
    for part in place:
        annotation = _written(model).get(str(part))
        model = next(_models_in(annotation), model)
    return list(_written(model))


def _written(model: type[BaseModel]) -> dict[str, Any]:
    if issubclass(model, Entry):
        return model.written_fields()
    return {field.alias or name: field.annotation for name, field in model.model_fields.items()}


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
