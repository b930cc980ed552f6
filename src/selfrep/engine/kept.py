"""What a capture keeps: at which sites, layers and tokens, under which labels, and how prompts get into it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from selfrep.engine.replay.prefix_sharing import PromptSet
from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.models.sites import RESIDUAL_SITES, component, site_and_layer
from selfrep.prompts import arguments
from selfrep.prompts.arguments import Several
from selfrep.prompts.conversation import Conversation
from selfrep.prompts.render import SEGMENTS, Tokens


@dataclass(frozen=True)
class Kept:
    """What is kept of prompts: sites, layers, and the tokens, in columns, each a position, a segment or a turn."""

    prompts: PromptSet
    sites: list[str]
    layers: list[int]
    tokens: Literal["segment", "turn", "position"]
    columns: Sequence[int | str]
    d_model: int
    storage: str

    @property
    def dims(self) -> tuple[str, ...]:
        """The names of the axes."""
        return "prompt", "site", "layer", self.tokens, "d_model"

    @property
    def shape(self) -> tuple[int, ...]:
        """How long they are."""
        return len(self.prompts.prompts), len(self.sites), len(self.layers), len(self.columns), self.d_model

    @property
    def gigabytes(self) -> float:
        """What all of it takes, in 10⁹ bytes."""
        return float(np.prod(self.shape, dtype=float) * np.dtype(self.storage).itemsize / 1e9)

    def coords(self) -> dict[str, object]:
        """The labels of every axis but that of prompts; and of single tokens, which they are."""
        coords: dict[str, object] = {"site": self.sites, "layer": self.layers, self.tokens: self.columns}
        if self.tokens == "position":
            for name, field in (("token", "texts"), ("segment_of", "segments")):
                cells = [
                    [getattr(r, field)[p] if -int(p) <= len(r) else "" for p in self.columns]
                    for r in self.prompts.renderings
                ]
                coords[name] = (("prompt", "position"), np.array(cells, dtype=str))
        return coords

    def blank(self, rows: range) -> np.ndarray:
        """Room for the activations of these prompts."""
        return np.full((len(rows), *self.shape[1:]), np.nan, dtype=self.storage)

    def into(self, out: np.ndarray, first: int = 0) -> Callable[[list[int], Iterable[Tensor]], None]:
        """What puts some prompts' activations, each [site, layer, token, d_model], into `out`, which begins with the
        prompt `first`."""

        def keep(index: list[int], activations: Iterable[Tensor]) -> None:
            places, values = [], []
            for i, own in zip(index, activations, strict=True):
                for c, column in enumerate(self.columns):
                    if (value := _column(own, self.prompts.renderings[i], column)) is not None:
                        places.append((i - first, c))
                        values.append(value)
            kept = torch.stack(values).cpu().numpy() if values else ()  # one copy from the device, not one a column
            for (i, c), value in zip(places, kept, strict=True):
                out[i, :, :, c] = value

        return keep


def columns_of(
    prompts: PromptSet, tokens: Literal["segment", "turn", "position"], positions: Several[int] | None
) -> Sequence[int | str]:
    """The segments, the turns, or positions: all those after the system text where none are given."""
    if tokens == "segment":
        if talks := [p.name for p in prompts.prompts if isinstance(p, Conversation)]:
            raise SelfrepError(f"The segments of a conversation are its turns: tokens='turn'; got {talks[:3]}.")
        return list(SEGMENTS)
    if tokens == "turn":
        longest_first = sorted(prompts.prompts, key=lambda p: -len(p.turns))
        return list(dict.fromkeys(name for p in longest_first for name in p.slots))
    longest = max(len(r) for r in prompts.renderings)
    suffix = max(len(r) - cut for r, cut in zip(prompts.renderings, prompts.cut, strict=True))
    where = list(range(-suffix, 0) if positions is None else arguments.numbers(positions, "positions"))
    if bad := [p for p in where if not -longest <= p < 0]:
        raise SelfrepError(
            f"A position counts from the end of the prompt, −1 being the last token; the longest prompt has "
            f"{longest} tokens; got {bad}."
        )
    return where


def places_of(lm: LanguageModel, sites: Several[str], layers: Several[int] | None) -> tuple[list[str], list[int]]:
    """Sites and layers that the model has, where names of TransformerLens's hooks may hold layers of their own."""
    given = None if layers is None else arguments.numbers(layers, "layers")
    one = isinstance(sites, str) or not isinstance(sites, Iterable)
    named = [site_and_layer(name) for name in ((sites,) if one else sites)]
    found, own = list(dict.fromkeys(site for site, _ in named)), sorted({k for _, k in named if k is not None})
    if own and (len(own) * len(found) != len(set(named)) or given not in (None, tuple(own))):
        raise SelfrepError(
            "All sites are captured at the same layers, which layers= names, or the names of hooks; got "
            f"{sites if one else list(sites)} and layers={given}. Capture the others in a call of their own."
        )
    chosen = own or list(range(lm.n_layers) if given is None else given)
    if bad := [layer for layer in chosen if not 0 <= layer < lm.n_layers]:
        raise SelfrepError(f"A layer of this model is one of 0 … {lm.n_layers - 1}; got {bad}.")
    for site in found:
        if component(site):
            raise SelfrepError(
                f"capture keeps the sites {', '.join(RESIDUAL_SITES)}, of d_model features; got {site!r}."
            )
        lm.layout.tap(site)
    return [str(site) for site in found], chosen


def _column(activations: Tensor, tokens: Tokens, column: int | str) -> Tensor | None:
    """[site, layer, d_model] of one position, or the mean over one segment; None where the prompt has no such token."""
    if isinstance(column, int):
        if -column > len(tokens):
            return None
        return activations[:, :, column].to(torch.float32, copy=True)  # without holding on to the other tokens
    runs, at = [], 0
    for segment, stretch in groupby(tokens.segments):
        stop = at + len(list(stretch))
        if segment == column:
            runs.append(activations[:, :, at:stop])
        at = stop
    return torch.cat(runs, dim=2).float().mean(2) if runs else None
