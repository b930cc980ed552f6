"""The study: what is asked of which model, written down before anything runs.

A study is inert and validated. It is YAML that people write and an object that programs make; it never runs itself (see
`selfrep.study.run`). The copy kept in a run directory spells out every persona and item, so that it means the same on
another machine, and its hash tells two studies apart.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sized
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationInfo, field_validator, model_validator

from selfrep.errors import SelfrepError
from selfrep.parts import (
    AnomalyPart,
    BindingPart,
    BleedPart,
    Captured,
    DefaultAxisPart,
    DirectnessPart,
    IdentificationPart,
    ItemPart,
    MediationPart,
    PosteriorPart,
    SeparationPart,
    TransferPart,
)
from selfrep.prompts import yaml_errors
from selfrep.prompts.battery import Battery
from selfrep.prompts.catalogue import Catalogue
from selfrep.prompts.choices import ItemChoice, PersonaChoice, ScenarioChoice, spelled_out
from selfrep.prompts.personas import Condition, PersonaSet
from selfrep.prompts.scenarios import Scenarios
from selfrep.prompts.yaml_errors import Entry

FEWEST = 6
"""Units of which signs are flipped: fewer cannot reach p = .05."""
FEWEST_AUTHORS = 4
"""Whose names are permuted: fewer cannot reach p = .05."""


FIT: dict[type[Entry], tuple[Callable[[Battery], Battery], str]] = {
    BindingPart: (Battery.plain, "binding is read on items that belong to no subscale"),
    BleedPart: (
        lambda asked: asked.plain().spectator().changeable(),
        "bleed is read on spectator items that come with a truth_change",
    ),
    IdentificationPart: (Battery.scaled, "identification is read on items with a subscale"),
}
"""Which items a part can be read on, and the rule in words."""

ADVICE = "Add some to it; `builtin: [battery, identity]` holds items for all of these."


class Study(Entry):
    """An experiment, described.

    Fields:
        name: a short name, shown in the report.
        model: "embedded", a folder, a GGUF file, or a Hugging Face id.
        dtype: the arithmetic of the model.
        chat_template: Jinja text that replaces the model's own chat template.
        seed: of resampling, permutations and random controls.
        personas, battery: who plays, and what is asked.
        conditions: in which conditions every persona is spoken of: "you", and the controls "user", "neutral", "book".
        scenarios: in which mediation and directness are measured; the built-in ones, where left out.
        binding, bleed, identification, separation, default_axis, transfer, anomaly, mediation, directness, posterior:
            what is measured; a part that is left out is skipped.

    Raises SelfrepError, listing every mistake, for bad values.
    """

    name: str
    model: str = "embedded"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    chat_template: str | None = None
    seed: int = Field(0, ge=0)
    personas: PersonaChoice = Field(PersonaChoice(), validate_default=True)
    battery: ItemChoice = Field(ItemChoice(), validate_default=True)
    conditions: tuple[Condition, ...] = ("you", "user", "neutral")
    scenarios: ScenarioChoice | None = None
    binding: BindingPart | None = None
    bleed: BleedPart | None = None
    identification: IdentificationPart | None = None
    separation: SeparationPart | None = None
    default_axis: DefaultAxisPart | None = None
    transfer: TransferPart | None = None
    anomaly: AnomalyPart | None = None
    mediation: MediationPart | None = None
    directness: DirectnessPart | None = None
    posterior: PosteriorPart | None = None

    @model_validator(mode="before")
    @classmethod
    def _with_scenarios(cls, fields: Any) -> Any:
        """Parts that take place in scenarios bring the built-in ones."""
        if not isinstance(fields, dict) or fields.get("scenarios") is not None:
            return fields
        needed = any(fields.get(part) is not None for part in ("mediation", "directness"))
        return fields | {"scenarios": {}} if needed else fields

    @field_validator("personas", "battery", mode="before")
    @classmethod
    def _all(cls, choice: Any) -> Any:
        """`personas:` with nothing after it means all of them."""
        return {} if choice is None else choice

    @field_validator("personas", "battery", "scenarios", "anomaly", "posterior")
    @classmethod
    def _spelled_out(cls, choice: Any, info: ValidationInfo) -> Any:
        """Files are read, and names looked up, when the study is read: a study that loads can run."""
        if choice is None:
            return None
        try:
            return spelled_out(choice, Path((info.context or {}).get("folder", ".")))
        except SelfrepError as error:
            raise ValueError(str(error)) from None

    @field_validator("conditions")
    @classmethod
    def _with_controls(cls, conditions: tuple[Condition, ...]) -> tuple[Condition, ...]:
        if lacking := {"you", "user", "neutral"} - set(conditions):
            raise ValueError(
                f"the persona's own condition and its controls always run; add {', '.join(sorted(lacking))}"
            )
        return tuple(dict.fromkeys(conditions))

    @field_validator("binding", "bleed", "identification")
    @classmethod
    def _has_items(cls, part: ItemPart | None, info: ValidationInfo) -> ItemPart | None:
        choice = info.data.get("battery")
        if part is None or choice is None:
            return part
        fit, rule = FIT[type(part)]
        there = fit(Battery(tuple(choice.define.values())))
        _known(part.items or (), choice, Battery, "items")
        if unfit := [name for name in part.items or () if name not in there]:
            raise ValueError(f"{rule}; not so: {', '.join(unfit)}")
        if not len(there) or part.items == ():
            raise ValueError(f"{rule}; the battery has none that is asked. {ADVICE}")
        return part

    @field_validator("separation", "default_axis")
    @classmethod
    def _asks_what_is_there(cls, part: Captured | None, info: ValidationInfo) -> Captured | None:
        if part is not None:
            _known([part.item], info.data.get("battery"), Battery, "item")
        return part

    @field_validator("transfer")
    @classmethod
    def _transfer_knows(cls, part: TransferPart | None, info: ValidationInfo) -> TransferPart | None:
        if part is not None:
            _known(part.items, info.data.get("battery"), Battery, "items")
            _known([name for pair in part.pairs for name in pair], info.data.get("personas"), PersonaSet, "pairs")
        return part

    @field_validator("anomaly")
    @classmethod
    def _enough_anomalies(cls, part: AnomalyPart | None) -> AnomalyPart | None:
        if part is not None:
            _enough(part.load(Path()).anomalies, FEWEST, "anomalies")
        return part

    @field_validator("mediation", "directness")
    @classmethod
    def _has_scenarios(cls, part: Any, info: ValidationInfo) -> Any:
        choice = info.data.get("scenarios")
        if part is not None and choice is not None:
            told = choice.load(Path())
            _enough(told.scenarios, FEWEST, "scenarios")
            if isinstance(part, DirectnessPart) and told.n_paraphrases < 2:
                raise ValueError(
                    "needs scenarios in two paraphrases or more, to measure the noise of paraphrase; got one"
                )
        return part

    @field_validator("posterior")
    @classmethod
    def _knows_the_authors(cls, part: PosteriorPart | None, info: ValidationInfo) -> PosteriorPart | None:
        choice = info.data.get("personas")
        if part is None or choice is None:
            return part
        authors = part.load(Path()).authors()
        _enough(authors, FEWEST_AUTHORS, "authors of texts")
        _known(authors, choice, PersonaSet, "authors")
        if short := [name for name in authors if choice.define[name].n_paraphrases <= part.paraphrase]:
            raise ValueError(f"there is no paraphrase {part.paraphrase} of {', '.join(short)}")
        return part

    @property
    def told(self) -> Scenarios:
        """The scenarios in which mediation and directness are measured. Raises SelfrepError when there are none."""
        if self.scenarios is None:
            raise SelfrepError(
                f"The study {self.name!r} has no scenarios. Give it `scenarios: {{}}`, the built-in ones."
            )
        return self.scenarios.load(Path())

    @property
    def people(self) -> PersonaSet:
        """The personas that play."""
        return PersonaSet(tuple((self.personas.define or {}).values()))

    @property
    def items(self) -> Battery:
        """The items that are asked."""
        return Battery(tuple((self.battery.define or {}).values()))

    def read_by(self, part: ItemPart) -> Battery:
        """The items on which a part is read: those it names, or all that fit."""
        fit, _ = FIT[type(part)]
        return fit(self.items) if part.items is None else self.items.select(part.items)

    def to_yaml(self) -> str:
        """The study with every persona and item spelled out; `loads` gives it back."""
        record = _named_by_key(self.model_dump(mode="json", exclude_defaults=True))
        return yaml.safe_dump(record, sort_keys=False, allow_unicode=True, width=120)

    @cached_property
    def hash(self) -> str:
        """sha256 of what the study says; the same for two files that say the same."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


def _enough(there: Sized, fewest: int, what: str) -> None:
    if len(there) < fewest:
        raise ValueError(f"needs at least {fewest} {what}, or no test could tell anything; got {len(there)}")


def _named_by_key(record: Any, key: str | None = None) -> Any:
    """A record without the names of entries that stand under their name."""
    if not isinstance(record, dict):
        return record
    return {k: _named_by_key(v, k) for k, v in record.items() if (k, v) != ("name", key)}


def _known(names: Iterable[str], choice: Any, kind: type[Catalogue[Any]], field: str) -> None:
    if choice is None:  # the choice itself was refused, and says why
        return
    catalogue = kind(tuple(choice.define.values()))
    problems = []
    for name in names:
        try:
            catalogue[name]
        except SelfrepError as error:
            problems.append(f"{field}: {error}")
    if problems:
        raise ValueError(" ".join(dict.fromkeys(problems)))


def loads(text: str, origin: str = "study", folder: Path = Path()) -> Study:
    """A study from YAML text, its files looked for in `folder`. Raises SelfrepError with all mistakes at once."""
    return yaml_errors.load(Study, text, origin, context={"folder": folder})


def load(path: str | Path) -> Study:
    """A study from a YAML file. Raises SelfrepError with all mistakes at once."""
    return loads(yaml_errors.read_text(path), str(path), Path(path).parent)


def presets() -> list[str]:
    """The names of the built-in studies."""
    folder = files("selfrep.study").joinpath("presets")
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def named(name: str) -> Study:
    """The built-in study of that name; the study file of that path otherwise. Raises SelfrepError as they do."""
    if Path(name).is_file() or name not in presets():
        return load(name)
    return preset(name)


def preset(name: str) -> Study:
    """A built-in study. Raises SelfrepError for an unknown name."""
    folder, known = files("selfrep.study").joinpath("presets"), presets()
    if name not in known:
        raise SelfrepError(f"There is no built-in study {name!r}. There are: {', '.join(known)}.")
    return loads(folder.joinpath(f"{name}.yaml").read_text(encoding="utf-8"), f"{name}.yaml (built in)")
