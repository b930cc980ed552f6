"""Interventions that are held while a model speaks: what is written, where, and in which phase of its answer.

A token is said by the position before it: the last token of the prompt says the first of the answer. So phases are
counted by what a position says, and "response" begins with the last token of the prompt. An intervention that began one
position later would leave the first token of every answer as it was.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from selfrep.engine.hooks import replacing
from selfrep.engine.interventions import Intervention
from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.models.sites import Tap, site_and_layer
from selfrep.prompts import arguments
from selfrep.prompts.arguments import Several
from selfrep.prompts.shown import shown

_PART = re.compile(r"(first|from) (\d+)")
_ENDLESS = 2**31
SAID = "before"
"""The variable of a spoken Dataset that holds activations where the first token of the answer is said."""


@shown(
    lambda self: {
        "intervention": self.intervention.name,
        "site": self.site,
        "layers": list(self.layers),
        "phase": self.phase,
    }
)
@dataclass(frozen=True, eq=False)
class During:
    """An intervention that is held while a model speaks. Made by `during`.

    Fields:
        intervention: what is written; site, layers: where.
        phase: when; strength: of each prompt, how much of the change is made.
        source: what another run said, with its activations; None where the intervention needs no source.
    """

    intervention: Intervention
    site: str
    layers: tuple[int, ...]
    phase: str
    strength: np.ndarray
    source: xr.Dataset | None

    @property
    def name(self) -> str:
        """As it appears in results."""
        layers = ", ".join(map(str, self.layers))
        return f"{self.intervention.name} at {self.site} of {layers}, {self.phase}"

    @property
    def span(self) -> tuple[int, int]:
        """The first position that is changed, and the first that is not any more, counted by what a position says:
        0 says the first token of the answer."""
        if part := _PART.fullmatch(self.phase):
            n = int(part[2])
            return (0, n) if part[1] == "first" else (n, _ENDLESS)
        return {"prompt": (-_ENDLESS, 1), "response": (0, _ENDLESS), "all": (-_ENDLESS, _ENDLESS)}[self.phase]

    @cached_property
    def given(self) -> dict[int, np.ndarray]:
        """What the source holds at each layer where it says a token, [prompt, token, d_model]; nothing without one."""
        if self.source is None:
            return {}
        here = self.source.sel(site=self.site)
        first = here[SAID].transpose("layer", "prompt", "d_model").expand_dims("step", axis=2)
        later = here.activations.transpose("layer", "prompt", "step", "d_model")
        return {k: np.concatenate([first.sel(layer=k), later.sel(layer=k)], axis=1) for k in self.layers}


def during(
    intervention: Intervention,
    site: str,
    layers: Several[int] | None = None,
    phase: str = "response",
    *,
    strength: float | Sequence[float | int] | np.ndarray = 1.0,
    source: xr.Dataset | None = None,
) -> During:
    """An intervention to hold while a model speaks, for `selfrep.generate(..., apply=…)`.

    Args:
        intervention: `Steer`, `Cap`, `Ablate`, `InSubspace` or `Replace`, or anything with their methods.
        site: where, as in `selfrep.grid`; a hook's name of TransformerLens holds its layer.
        layers: 0-indexed blocks.
        phase: "prompt": all tokens of the prompt; "response": from the last token of the prompt on, which says the
            first of the answer; "all"; "first n": where the first n tokens of the answer are said; "from n": where
            token n of the answer, counted from 0, and all later ones are said.
        strength: how much of the change is made, 1 all of it; one number, or one a prompt.
        source: for `Replace` and `InSubspace`, what another persona said to the same question:
            `selfrep.generate(..., capture=selfrep.Keep(site, layers))`, with as many prompts, or one for all.

    Raises:
        SelfrepError: an unknown phase, no layer, a source that does not hold this site and these layers, or that would
            have to tell of the prompt, whose tokens are others.

    Example:
        >>> import torch
        >>> from selfrep.engine.interventions import Steer
        >>> during(Steer(torch.ones(128)), "resid_post", layers=2, phase="first 3").span
        (0, 3)
    """
    named, own = site_and_layer(site)
    chosen = arguments.numbers(layers, "layers") if layers is not None else () if own is None else (own,)
    if not chosen or (own is not None and chosen != (own,)):
        raise SelfrepError(f"An intervention is held in some layers: layers=[…]; got {layers!r} and site {site!r}.")
    if not isinstance(intervention, Intervention):
        raise SelfrepError(
            f"What is held is an intervention, such as selfrep.Steer(vector); got {arguments.described(intervention)}."
        )
    if phase not in ("prompt", "response", "all") and not _PART.fullmatch(str(phase)):
        raise SelfrepError(f"A phase is 'prompt', 'response', 'all', 'first n' or 'from n'; got {phase!r}.")
    amounts = np.atleast_1d(np.asarray(strength, dtype=float))
    if amounts.ndim != 1 or not np.isfinite(amounts).all():
        raise SelfrepError(f"A strength is a finite number, or one a prompt; got {strength!r}.")
    made = During(intervention, str(named), tuple(chosen), str(phase), amounts, source)
    if source is not None:
        _require_source(made, source)
    return made


def _require_source(made: During, source: xr.Dataset) -> None:
    if made.span[0] < 0:
        raise SelfrepError(
            f"A source tells what was said, token by token; in the phase {made.phase!r} there are tokens of the "
            "prompt, which are others. Hold it in the phase 'response', 'first n' or 'from n'."
        )
    if not {"activations", SAID} <= set(source.data_vars) or "step" not in source.activations.dims:
        raise SelfrepError(
            "A source is what selfrep.generate(..., capture=selfrep.Keep(site, layers)) gives, with activations token "
            "by token; this one has none."
        )
    sites, layers = source.site.to_numpy().tolist(), source.layer.to_numpy().tolist()
    if made.site not in sites or not set(made.layers) <= set(layers):
        raise SelfrepError(
            f"The source holds {', '.join(sites)} of layers {layers}; the intervention is held at {made.site} of "
            f"layers {list(made.layers)}."
        )


@contextmanager
def held(lm: LanguageModel, apply: Sequence[During], rows: np.ndarray, at: Tensor, ended: Tensor) -> Iterator[None]:
    """Within, passes of these rows are changed as `apply` says.

    Args:
        rows: the numbers of the prompts of this batch.
        at: [row, token] what each position of the pass says, 0 the first token of the answer.
        ended: [row, token] padding, and answers that have come to their end.
    """
    with ExitStack() as stack:
        for one in apply:
            first, stop = one.span
            mask = (at >= first) & (at < stop) & ~ended
            if not bool(mask.any()):
                continue
            amount = torch.as_tensor(one.strength[rows] if len(one.strength) > 1 else one.strength)
            for layer in one.layers:
                module, tap = lm.tap(one.site, layer)
                given = _given(one.given[layer], rows, at, mask) if one.given else None
                change = partial(_changed, one, tap, layer, mask, amount, given)
                stack.enter_context(replacing(module, tap.end, change))
        yield


def _changed(
    one: During, tap: Tap, layer: int, mask: Tensor, amount: Tensor, given: Tensor | None, x: Tensor
) -> Tensor:
    """[row, token, feature] as it goes on; `resid_mid` is changed in place, since it also goes past what reads it."""
    own = x if tap.part is None else tap.part.read(x)
    source = own if given is None else given.to(own).reshape(*own.shape)
    new = one.intervention.values(source, own, layer)
    beyond = (1,) * (own.ndim - 2)
    if not (one.strength == 1).all():
        new = own + amount.to(own).view(-1, 1, *beyond) * (new - own)
    new = torch.where(mask.to(own.device).view(*mask.shape, *beyond), new, own)
    if tap.part is not None:
        return tap.part.write(x, new)
    if one.site == "resid_mid":
        x.copy_(new)
        return x
    return new


def _given(said: np.ndarray, rows: np.ndarray, at: Tensor, mask: Tensor) -> Tensor:
    """[row, token, feature] what the source holds where it says the same token of its answer.

    Raises:
        SelfrepError: it has said less.
    """
    places = at.cpu().numpy()
    of_row = rows if len(said) > 1 else np.zeros(len(rows), dtype=int)
    values = said[of_row[:, None], np.clip(places, 0, said.shape[1] - 1)]
    lacking = mask.cpu().numpy() & (~np.isfinite(values).all(axis=-1) | (places >= said.shape[1]))
    if lacking.any():
        row, token = (int(i[0]) for i in np.nonzero(lacking))
        raise SelfrepError(
            f"The source's answer to prompt {int(rows[row])} is shorter than the target's: it has no token "
            f"{int(places[row, token])}. Hold the intervention in the phase 'first n' of at most as many, or give a "
            "longer source."
        )
    return torch.as_tensor(np.nan_to_num(values))


def require(apply: Any, n: int, max_tokens: int) -> tuple[During, ...]:
    """What is held over n prompts and so many tokens.

    Raises:
        SelfrepError: something else, strengths or sources of another number of prompts, a phase that never comes.
    """
    listed = arguments.several(apply, During) if not isinstance(apply, tuple | list) or apply else ()
    for one in listed:
        if len(one.strength) not in (1, n):
            raise SelfrepError(f"A strength is one number, or one a prompt; got {len(one.strength)} for {n} prompts.")
        if one.source is not None and one.source.sizes["prompt"] not in (1, n):
            raise SelfrepError(
                f"A source has one answer for all prompts, or one for each; got {one.source.sizes['prompt']} for {n}."
            )
        first, stop = one.span
        if first >= max_tokens or stop <= first:
            raise SelfrepError(f"The phase {one.phase!r} never comes in an answer of at most {max_tokens} tokens.")
    return listed
