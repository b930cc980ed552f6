"""What of an analysis can be explored: maps over layers and places, one for each choice of persona, item, direction, …

A page lets its reader pick a map and a cell of it. So an analysis gives its maps as data: the numbers, what stands
beside them, the words the model read, and the Python that makes the number again. How they are drawn is for others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import xarray as xr
from pydantic import ValidationError

from selfrep.errors import SelfrepError
from selfrep.prompts import yaml_errors
from selfrep.prompts.choices import ItemChoice, PersonaChoice
from selfrep.prompts.persona import NEUTRAL, UNPROMPTED
from selfrep.prompts.prompt import Prompt
from selfrep.prompts.speaker import Speaker
from selfrep.stats.cells import place_axis
from selfrep.store.run_directory import RunDirectory

LAYER, PLACE = "\x01", "\x02"
"""Stand in `Sheet.code` for the layer and the place of a cell. No `repr` of a name holds them."""

AGAIN = """\
import selfrep as sr

run = sr.open_run({path!r})
again = sr.recompute(run, "again")  # a new folder: every estimate once more, without the model
"""
"""How the code of an estimate begins; `path` is filled in by whoever shows it."""


@dataclass(frozen=True)
class Line:
    """One number for each cell.

    Attributes:
        label: what it is called; kind: the number itself, what it is averaged with, or a control.
        values, low, high, p: [layer, place]; the ends of a 95 % interval, and p, where there are any.
    """

    label: str
    values: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    p: np.ndarray | None = None
    kind: Literal["own", "mean", "control"] = "own"

    @staticmethod
    def of(data: xr.Dataset, name: str, label: str, kind: Literal["own", "mean", "control"] = "own") -> Line:
        """A variable (layer, place) of a Dataset, with its interval and p where it has them.

        Example:
            >>> cells = xr.DataArray([[0.5]], dims=("layer", "position"))
            >>> Line.of(xr.Dataset({"estimate": cells, "ci_low": cells - 1, "ci_high": cells + 1}), "estimate", "T").low
            array([[-0.5]], dtype=float32)
        """
        stem = name.removesuffix("estimate").removesuffix("_")
        names = [f"{stem}_{end}".lstrip("_") for end in ("ci_low", "ci_high", "p")]
        if name not in data:
            raise SelfrepError(f"There is no {name!r} to explore; there are: {', '.join(map(str, data.data_vars))}.")
        of_cells = {each for each in names if each in data and set(data[each].dims) == set(data[name].dims)}
        low, high, p = (cells(data[each]) if each in of_cells else None for each in names)
        return Line(label, cells(data[name]), low, high, p, kind)


def cells(array: xr.DataArray) -> np.ndarray:
    """[layer, place] in the precision that a page keeps."""
    values = array.to_numpy() if array.dims[0] == "layer" else array.to_numpy().T
    return values.astype(np.float32)


@dataclass(frozen=True)
class Spoken:
    """What the model read, word for word: who it was told to be, and each text with its role."""

    who: str
    texts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Sheet:
    """One map.

    Attributes:
        at: for each pick of its atlas, which option.
        lines: its numbers first, then what stands beside them.
        code: Python that prints the number of a cell, where `LAYER` and `PLACE` stand for the cell.
        tokens: the token of each place in this prompt; empty over segments.
        prompts: the texts it comes from.
        notes: what concerns the whole map, as sentences.
        reason: why cells without a number have none.
    """

    at: tuple[int, ...]
    lines: tuple[Line, ...]
    code: str
    tokens: tuple[str, ...] = ()
    prompts: tuple[Spoken, ...] = ()
    notes: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Pick:
    """A choice among maps, and what its options are called."""

    label: str
    options: tuple[str, ...]


@dataclass(frozen=True)
class Atlas:
    """Maps of one quantity, over the same layers and places.

    Attributes:
        name: a short name, of its own; symbol: what the quantity is called; title: what is mapped.
        asks: how to read a number, in a sentence or two.
        layers: of the rows, from the bottom up.
        axis: "position" or "segment"; places: the labels of the columns; segments: of which segment each token is.
        picks, sheets: the choices, and a map for those combinations that there are.
        limits: the least and the most that colours reach to, on either side of zero.
    """

    name: str
    symbol: str
    title: str
    asks: str
    layers: tuple[int, ...]
    axis: str
    places: tuple[str, ...]
    picks: tuple[Pick, ...]
    sheets: tuple[Sheet, ...]
    segments: tuple[str, ...] = ()
    limits: tuple[float, float] = (0.0, float("inf"))


def frame(data: xr.Dataset) -> dict[str, Any]:
    """Layers, axis, places and segments of a Dataset, as fields of an `Atlas`.

    Example:
        >>> data = xr.Dataset(coords={"layer": [0, 4], "segment": ["system", "question"]})
        >>> frame(data)["places"], frame(data)["layers"]
        (('system', 'question'), (0, 4))
    """
    axis = place_axis(data)
    segments = data["segment"].to_numpy() if axis == "position" and "segment" in data.coords else ()
    return {
        "layers": tuple(int(layer) for layer in data.layer.to_numpy()),
        "axis": axis,
        "places": tuple(map(str, data[axis].to_numpy().tolist())),
        "segments": tuple("" if name == "mixed" else str(name) for name in segments),
    }


def tokens_of(data: xr.Dataset) -> tuple[str, ...]:
    """The token of each position; nothing over segments, or where tokens were not kept."""
    return tuple(map(str, data["token"].to_numpy())) if "position" in data.dims and "token" in data.coords else ()


def at_cell(data: xr.Dataset, **where: Any) -> str:
    """Code that picks a cell of a Dataset, by names in some dimensions and by what is looked at in the others.

    Example:
        >>> data = xr.Dataset(coords={"layer": [0], "position": [-1]})
        >>> at_cell(data, persona="jfk").replace(LAYER, "3").replace(PLACE, "-1")
        ".sel(persona='jfk', layer=3, position=-1)"
    """
    named = [f"{name}={value!r}" for name, value in where.items()]
    return f".sel({', '.join([*named, f'layer={LAYER}', f'{place_axis(data)}={PLACE}'])})"


@dataclass(frozen=True)
class Voices:
    """Who speaks in a run, and what each is told; names stand for themselves where the study says nothing of them."""

    study: Mapping[str, Any]
    people: Any
    items: Any

    @staticmethod
    def of(run: RunDirectory) -> Voices:
        """Those of the study in a run directory. A study that some other version wrote tells only names."""
        return _voices(run.study_yaml)

    def label(self, name: str) -> str:
        """What figures call a speaker, by its name in the results."""
        speaker = self._speaker(name)
        return name if speaker is None else speaker.label

    def question(self, name: str) -> str:
        """What an item asks, by its name."""
        return str(self.items[name].question) if name in self.items else name

    def spoken(
        self, role: str, name: str, item: str, paraphrases: Sequence[int], beside: str = ""
    ) -> tuple[Spoken, ...]:
        """What a speaker was told and asked; nothing where the study does not say. `beside`: the other end of a pair,
        whose neutral texts the unprompted model is told."""
        speaker = self._speaker(name, beside)
        if speaker is None or item not in self.items:
            return ()
        prompts = [speaker.prompt(self.items[item], k) for k in paraphrases if k < (speaker.n_paraphrases or 1)]
        return (Spoken(f"{role}: {speaker.label}" if role else speaker.label, _texts(prompts)),) if prompts else ()

    def _speaker(self, name: str, beside: str = "") -> Speaker | None:
        if name == UNPROMPTED:
            other = self.people.get(beside) or next(iter(self.people.values()), None)
            return Speaker.of(None, neutral=NEUTRAL if other is None else other.neutral)
        persona, _, condition = name.removesuffix(")").rpartition(" (")
        if name in self.people:
            return Speaker(self.people[name])
        if condition in ("user", "book") and persona in self.people:
            return Speaker(self.people[persona], condition)  # type: ignore[arg-type]
        return None


@lru_cache(maxsize=1)
def _voices(text: str) -> Voices:
    """Kept for the next atlas of the same run: reading a study takes as long as all its numbers."""
    plain = yaml_errors.plain(text, "study.yaml")
    study = plain if isinstance(plain, dict) else {}
    try:
        people = PersonaChoice.model_validate(study.get("personas") or {"define": {}})
        items = ItemChoice.model_validate(study.get("battery") or {"define": {}})
    except ValidationError:
        return Voices(study, {}, {})
    return Voices(study, people.define or {}, items.define or {})


def _texts(prompts: Sequence[Prompt]) -> tuple[tuple[str, str], ...]:
    """Each system text, then what they have in common."""
    systems = list(dict.fromkeys(prompt.system for prompt in prompts))
    told = [(f"system {k}" if len(systems) > 1 else "system", text or "(empty)") for k, text in enumerate(systems, 1)]
    return (*told, ("user", prompts[0].question), ("answer begins", prompts[0].prefill or "(nothing)"))
