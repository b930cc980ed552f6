"""The study: what is asked of which model, written down before anything runs.

A study is inert and validated. It is YAML that people write and an object that programs make; it never runs itself (see
`selfrep.study.run`). The copy kept in a run directory spells out every persona and item, so that it means the same on
another machine, and its hash tells two studies apart.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import yaml
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    JsonValue,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from selfrep import digests
from selfrep.analyses import analyses
from selfrep.analyses.parts import Part, StudyMaterial
from selfrep.errors import SelfrepError
from selfrep.prompts import yaml_errors
from selfrep.prompts.battery import Battery
from selfrep.prompts.choices import ItemChoice, PersonaChoice, ScenarioChoice, spelled_out
from selfrep.prompts.identities import Identity
from selfrep.prompts.persona import Condition, Persona
from selfrep.prompts.personas import PersonaSet
from selfrep.prompts.scenarios import Scenarios
from selfrep.prompts.shown import shown
from selfrep.prompts.yaml_errors import Entry, Place


def _as_written(value: Any) -> Any:
    """YAML reads 2024-07-26 as a date; a template reads text."""
    return value.isoformat() if isinstance(value, date) else value


def _name(name: str) -> str:
    """A name is also that of a folder: it must not lead elsewhere, nor write to a terminal."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}", name):
        raise ValueError(
            f"is a name: 1 to 80 letters (a to z), digits, '-', '_' and '.', with a letter or digit first; got "
            f"{name[:100]!r}"
        )
    return name


Name: TypeAlias = Annotated[str, AfterValidator(_name)]
TemplateValue: TypeAlias = Annotated[JsonValue, BeforeValidator(_as_written)]


def part_types() -> dict[str, type[Part]]:
    """The class of each analysis that a study may ask for, by its name."""
    return {analysis.name: analysis.part for analysis in analyses() if analysis.part is not None}


@shown(lambda self: {"name": self.name, "model": self.model, "parts": ", ".join(self.parts), "seed": self.seed})
class Study(Entry):
    """An experiment, described.

    Fields:
        name: a short name, shown in the report, and that of the run directory: letters, digits, "-", "_" and ".".
        model: "embedded", a folder, a GGUF file, or a Hugging Face id.
        dtype, device_map, attn: the arithmetic of the model, where its parts go, and its attention; as in
            `selfrep.load_model`.
        chat_template: Jinja text that replaces the model's own chat template.
        template_vars: what the chat template reads beside the messages, such as `enable_thinking` or `date_string`.
        identity: what the model is tuned to call itself, `{name: …, maker: …}`, where selfrep does not know it.
        seed: of resampling, permutations and random controls.
        personas, battery: who plays, and what is asked.
        sides: the two sides that are contrasted, the first less the second: `[honest, con]`, or with what the report
            calls them, `{honest: honest advisors, con: con artists}`. Those of the personas, where there are two.
        conditions: in which conditions every persona is spoken of: "you", and the controls "user", "neutral", "book".
        scenarios: in which mediation and directness are measured; the built-in ones, where left out.
        parts: what is measured, analysis by analysis. In YAML and in Python each stands under its own name beside the
            other fields (`binding: {}`); an analysis that is left out is skipped.

    Raises SelfrepError, listing every mistake, for bad values.

    Example:
        >>> study = Study(name="mine", binding={}, separation={"item": "who_are_you"})
        >>> list(study.parts), study.parts["separation"].site
        (['binding', 'separation'], 'resid_post')
    """

    name: Name
    model: str = "embedded"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    device_map: str | dict[str, int | str] | None = None
    attn: str | None = None
    chat_template: str | None = None
    template_vars: Mapping[str, TemplateValue] = {}
    identity: Identity | None = None
    seed: int = Field(0, ge=0)
    personas: PersonaChoice = Field(PersonaChoice(), validate_default=True)
    sides: dict[str, str] | None = None
    battery: ItemChoice = Field(ItemChoice(), validate_default=True)
    conditions: tuple[Condition, ...] = ("you", "user", "neutral")
    scenarios: ScenarioChoice | None = None
    parts: Mapping[str, SerializeAsAny[Part]] = {}

    @classmethod
    def written_fields(cls) -> dict[str, Any]:
        """The fields beside the parts, and each part under the name of its analysis."""
        return {name: kind for name, kind in super().written_fields().items() if name != "parts"} | part_types()

    @classmethod
    def written_place(cls, place: Place) -> Place:
        """Parts stand at the top of the file."""
        return place[1:] if place[:1] == ("parts",) else place

    @model_validator(mode="before")
    @classmethod
    def _gathered(cls, fields: Any) -> Any:
        """The parts among the fields put together; with the built-in scenarios, where a part takes place in some."""
        if not isinstance(fields, dict):
            return fields
        types = part_types()
        parts = {name: part for name, part in fields.items() if name in types and part is not None}
        rest = {name: value for name, value in fields.items() if name not in types}
        if rest.get("scenarios") is None and any(types[name].in_scenarios for name in parts):
            rest["scenarios"] = {}
        return rest | {"parts": {**rest.get("parts", {}), **parts}}

    @field_validator("personas", "battery", mode="before")
    @classmethod
    def _all(cls, choice: Any) -> Any:
        """`personas:` with nothing after it means all of them."""
        return {} if choice is None else choice

    @field_validator("personas", "battery", "scenarios")
    @classmethod
    def _spelled_out(cls, choice: Any, info: ValidationInfo) -> Any:
        """Files are read, and names looked up, when the study is read: a study that loads can run."""
        if choice is None:
            return None
        try:
            return spelled_out(choice, _folder(info))
        except SelfrepError as error:
            raise ValueError(str(error)) from None

    @field_validator("sides", mode="before")
    @classmethod
    def _words(cls, sides: Any) -> Any:
        """A list of two words is called by them."""
        return {str(side): "" for side in sides} if isinstance(sides, list | tuple) else sides

    @field_validator("sides")
    @classmethod
    def _two(cls, sides: dict[str, str] | None, info: ValidationInfo) -> dict[str, str] | None:
        if sides is None or "personas" not in info.data:
            return sides
        known = _people(info.data["personas"]).sides()
        if len(sides) != 2 or not set(sides) <= set(known):
            raise ValueError(
                f"names the two sides that are contrasted, of {', '.join(known) or 'none: no persona has a side'}; got "
                f"{', '.join(sides) or 'none'}"
            )
        return {side: label or known[side] for side, label in sides.items()}

    @field_validator("conditions")
    @classmethod
    def _with_controls(cls, conditions: tuple[Condition, ...]) -> tuple[Condition, ...]:
        if lacking := {"you", "user", "neutral"} - set(conditions):
            raise ValueError(
                f"the persona's own condition and its controls always run; add {', '.join(sorted(lacking))}"
            )
        return tuple(dict.fromkeys(conditions))

    @field_validator("parts", mode="plain")
    @classmethod
    def _checked(cls, parts: Any, info: ValidationInfo) -> dict[str, Part]:
        """Each part by the class of its analysis, its files read, checked against who plays and what is asked."""
        refused = not {"personas", "battery"} <= set(info.data)  # a choice that was refused says so itself
        material = None if refused else _material(info.data)
        checked, mistakes = {}, []
        for name, kind in part_types().items():
            if name not in parts:
                continue
            try:
                part = kind.model_validate(parts[name], context=info.context)
            except ValidationError as error:
                mistakes += [{**details, "loc": (name, *details["loc"])} for details in error.errors()]
                continue
            try:
                checked[name] = part.spelled_out(_folder(info))
                if material is not None:
                    checked[name].check(material)
            except (SelfrepError, ValueError) as error:
                mistakes.append(
                    {"type": "value_error", "loc": (name,), "input": parts[name], "ctx": {"error": ValueError(error)}}
                )
        if mistakes:
            raise ValidationError.from_exception_data(cls.__name__, mistakes)  # type: ignore[arg-type]
        return checked

    @model_serializer(mode="wrap")
    def _flat(self, handler: Any) -> dict[str, Any]:
        """As it is written: parts beside the other fields."""
        record = handler(self)
        return {**record, **record.pop("parts", {})}

    @property
    def material(self) -> StudyMaterial:
        """Who plays, what is asked and what is contrasted."""
        return _material({name: getattr(self, name) for name in ("personas", "battery", "scenarios", "sides")})

    @property
    def people(self) -> PersonaSet:
        """The personas that play, their sides called as the study calls them."""
        people, labels = _people(self.personas), self.sides or {}

        def called(one: Persona) -> Persona:
            """A persona without a kind of its own is of its side's, and called like it."""
            fields = ("side_label", *(["kind_label"] if one.kind == one.side else []))
            return one.model_copy(update=dict.fromkeys(fields, labels[one.side])) if one.side in labels else one

        return PersonaSet(tuple(map(called, people)))

    @property
    def contrast(self) -> tuple[str, str] | None:
        """The two sides that are contrasted; None where the personas have fewer, or more and the study names none."""
        return _contrast(self.people, self.sides)

    @property
    def items(self) -> Battery:
        """The items that are asked."""
        return _items(self.battery)

    @property
    def scenes(self) -> Scenarios:
        """The scenarios in which mediation and directness are measured. Raises SelfrepError when there are none."""
        if self.scenarios is None:
            raise SelfrepError(
                f"The study {self.name!r} has no scenarios. Give it `scenarios: {{}}`, the built-in ones."
            )
        return self.scenarios.load(Path())

    def to_yaml(self) -> str:
        """The study with every persona and item spelled out; `loads` gives it back."""
        record = _named_by_key(self.model_dump(mode="json", exclude_defaults=True))
        return yaml.safe_dump(record, sort_keys=False, allow_unicode=True, width=120)

    @cached_property
    def hash(self) -> str:
        """sha256 of what the study says; the same for two files that say the same."""
        return digests.of_json(self.model_dump(mode="json"))


def _material(fields: Mapping[str, Any]) -> StudyMaterial:
    scenes = fields.get("scenarios")
    people, items = _people(fields["personas"]), _items(fields["battery"])
    sides = _contrast(people, fields.get("sides"))
    return StudyMaterial(people, items, None if scenes is None else scenes.load(Path()), sides)


def _people(choice: PersonaChoice) -> PersonaSet:
    return PersonaSet(tuple((choice.define or {}).values()))


def _contrast(people: PersonaSet, sides: Mapping[str, str] | None) -> tuple[str, str] | None:
    names = tuple(people.sides() if sides is None else sides)
    return (names[0], names[1]) if len(names) == 2 else None


def _items(choice: ItemChoice) -> Battery:
    return Battery(tuple((choice.define or {}).values()))


def _folder(info: ValidationInfo) -> Path:
    return Path((info.context or {}).get("folder", "."))


def _named_by_key(record: Any, key: str | None = None) -> Any:
    """A record without the names of entries that stand under their name."""
    if not isinstance(record, dict):
        return record
    return {k: _named_by_key(v, k) for k, v in record.items() if (k, v) != ("name", key)}


def loads(text: str, origin: str = "study", folder: Path = Path(), *, allow_outside: bool = True) -> Study:
    """A study from YAML text.

    Args:
        text: the YAML text; origin: what errors call it.
        folder: where the files that it names are looked for.
        allow_outside: whether these may lie outside the folder. A text that a program composes is its author's own, so
            they may here; a file may be a stranger's, so `load` asks.

    Raises:
        SelfrepError: with all mistakes at once.
    """
    return yaml_errors.load(Study, text, origin, {"folder": folder, "within": None if allow_outside else folder})


def load(path: str | Path, *, allow_outside: bool = False) -> Study:
    """A study from a YAML file.

    Args:
        path: of the file.
        allow_outside: whether files that it names may lie outside its folder, which a stranger's study must not ask.

    Raises:
        SelfrepError: with all mistakes at once.
    """
    return loads(*yaml_errors.read_text(path), Path(path).parent, allow_outside=allow_outside)


def presets() -> list[str]:
    """The names of the built-in studies."""
    folder = files("selfrep.study").joinpath("presets")
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def named(name: str | Path, *, allow_outside: bool = False) -> Study:
    """The built-in study of that name; the study file of that path otherwise. Raises SelfrepError as they do.

    Args:
        name: of either; allow_outside: see `load`.

    Example:
        >>> named("demo").name
        'demo'
    """
    if Path(name).is_file() or name not in presets():
        return load(name, allow_outside=allow_outside)
    return preset(str(name))


def preset(name: str) -> Study:
    """A built-in study. Raises SelfrepError for an unknown name."""
    folder, known = files("selfrep.study").joinpath("presets"), presets()
    if name not in known:
        raise SelfrepError(f"There is no built-in study {name!r}. There are: {', '.join(known)}.")
    return loads(folder.joinpath(f"{name}.yaml").read_text(encoding="utf-8"), f"{name}.yaml (built in)")
