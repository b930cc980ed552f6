"""The study: what is asked of which model, written down before anything runs.

A study is inert and validated. It is YAML that people write and an object that programs make; it never runs itself (see
`selfrep.run`). The copy kept in a run directory spells out every persona and item, so that it means the same on another
machine, and its hash tells two studies apart.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationInfo, field_validator, model_validator

from selfrep.engine.plan import SEGMENT_CELLS, PatchPlan, grid
from selfrep.errors import SelfrepError
from selfrep.models.sites import ResidualSite
from selfrep.prompts import battery, personas, yaml_errors
from selfrep.prompts.battery import Battery, Item
from selfrep.prompts.catalogue import Catalogue, completed
from selfrep.prompts.personas import Persona, PersonaSet, Voice
from selfrep.prompts.yaml_errors import Entry

Control = Literal["paraphrase", "persona", "random"]
Direction = Literal["denoise", "noise"]


class PersonaChoice(Entry):
    """Which personas: the built-in ones, those of a file, or the ones defined here; of these, all or the named ones."""

    file: str | None = None
    define: dict[str, Persona] | None = None
    names: tuple[str, ...] | None = None

    @field_validator("define", mode="before")
    @classmethod
    def _named(cls, define: Any) -> Any:
        return completed(define)

    def load(self, folder: Path) -> PersonaSet:
        """The personas. Raises SelfrepError for an unreadable file or an unknown name."""
        chosen = personas.load(folder / self.file) if self.file else personas.builtin()
        if self.define is not None:
            own = PersonaSet(tuple(self.define.values()))
            chosen = chosen | own if self.file else own
        return chosen if self.names is None else chosen.select(self.names)


BUILT_IN: dict[str, Callable[[], Battery]] = {"battery": battery.builtin, "identity": battery.identity}


class ItemChoice(Entry):
    """Which items: the built-in battery, that of a file, or the ones defined here; of these, all or the named ones.

    `builtin` names built-in sets, "battery" and "identity", to take, or to add to those of a file or defined here.
    """

    builtin: tuple[Literal["battery", "identity"], ...] | None = None
    file: str | None = None
    define: dict[str, Item] | None = None
    names: tuple[str, ...] | None = None

    @field_validator("define", mode="before")
    @classmethod
    def _named(cls, define: Any) -> Any:
        return completed(define)

    def load(self, folder: Path) -> Battery:
        """The items. Raises SelfrepError for an unreadable file or an unknown name."""
        own = self.file is not None or self.define is not None
        sets = self.builtin if self.builtin is not None else () if own else ("battery",)
        chosen = Battery(())
        for name in sets:
            chosen |= BUILT_IN[name]()
        if self.file is not None:
            chosen |= battery.load(folder / self.file)
        chosen |= Battery(tuple((self.define or {}).values()))
        return chosen if self.names is None else chosen.select(self.names)


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
        paraphrases: which wordings of the personas.
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


Part = BindingPart | BleedPart | IdentificationPart
Captured = SeparationPart | DefaultAxisPart

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
        voices: in which voices every persona is spoken of: "you", and the controls "user", "neutral", "book".
        binding, bleed, identification, separation, default_axis, transfer: what is measured; a part that is left out is
            skipped.

    Raises SelfrepError, listing every mistake, for bad values.
    """

    name: str
    model: str = "embedded"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    chat_template: str | None = None
    seed: int = Field(0, ge=0)
    personas: PersonaChoice = Field(PersonaChoice(), validate_default=True)
    battery: ItemChoice = Field(ItemChoice(), validate_default=True)
    voices: tuple[Voice, ...] = ("you", "user", "neutral")
    binding: BindingPart | None = None
    bleed: BleedPart | None = None
    identification: IdentificationPart | None = None
    separation: SeparationPart | None = None
    default_axis: DefaultAxisPart | None = None
    transfer: TransferPart | None = None

    @field_validator("personas", "battery", mode="before")
    @classmethod
    def _all(cls, choice: Any) -> Any:
        """`personas:` with nothing after it means all of them."""
        return {} if choice is None else choice

    @field_validator("personas", "battery")
    @classmethod
    def _spelled_out(cls, choice: Any, info: ValidationInfo) -> Any:
        """Files are read, and names looked up, when the study is read: a study that loads can run."""
        folder = Path((info.context or {}).get("folder", "."))
        try:
            chosen = choice.load(folder)
        except SelfrepError as error:
            raise ValueError(str(error)) from None
        spelled_out = {"define": {entry.name: entry for entry in chosen}}
        return choice.model_copy(update=dict.fromkeys(type(choice).model_fields) | spelled_out)

    @field_validator("voices")
    @classmethod
    def _with_controls(cls, voices: tuple[Voice, ...]) -> tuple[Voice, ...]:
        if lacking := {"you", "user", "neutral"} - set(voices):
            raise ValueError(f"the persona's own voice and its controls always run; add {', '.join(sorted(lacking))}")
        return tuple(dict.fromkeys(voices))

    @field_validator("binding", "bleed", "identification")
    @classmethod
    def _has_items(cls, part: Part | None, info: ValidationInfo) -> Part | None:
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

    @property
    def people(self) -> PersonaSet:
        """The personas that play."""
        return PersonaSet(tuple((self.personas.define or {}).values()))

    @property
    def items(self) -> Battery:
        """The items that are asked."""
        return Battery(tuple((self.battery.define or {}).values()))

    def read_by(self, part: Part) -> Battery:
        """The items on which a part is read: those it names, or all that fit."""
        fit, _ = FIT[type(part)]
        return fit(self.items) if part.items is None else self.items.select(part.items)

    def to_yaml(self) -> str:
        """The study with every persona and item spelled out; `loads` gives it back."""
        record = self.model_dump(mode="json", exclude_defaults=True)
        for part in ("personas", "battery"):
            record[part]["define"] = {
                name: {k: v for k, v in entry.items() if k != "name"} for name, entry in record[part]["define"].items()
            }
        return yaml.safe_dump(record, sort_keys=False, allow_unicode=True, width=120)

    @cached_property
    def hash(self) -> str:
        """sha256 of what the study says; the same for two files that say the same."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


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
    folder = files("selfrep").joinpath("data/studies")
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def named(name: str) -> Study:
    """The built-in study of that name; the study file of that path otherwise. Raises SelfrepError as they do."""
    if Path(name).is_file() or name not in presets():
        return load(name)
    return preset(name)


def preset(name: str) -> Study:
    """A built-in study. Raises SelfrepError for an unknown name."""
    folder, known = files("selfrep").joinpath("data/studies"), presets()
    if name not in known:
        raise SelfrepError(f"There is no built-in study {name!r}. There are: {', '.join(known)}.")
    return loads(folder.joinpath(f"{name}.yaml").read_text(encoding="utf-8"), f"{name}.yaml (built in)")
