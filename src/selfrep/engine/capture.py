"""From prompts to activations with named axes, and to what the model would answer."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Literal

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from selfrep.engine import metrics
from selfrep.engine.progress import Progress, ticker
from selfrep.engine.replay import memory
from selfrep.engine.replay.prefix_sharing import PromptSet, pass_tokens, run_alone, run_prompts
from selfrep.errors import CannotReplay, SelfrepError
from selfrep.models.devices import memory_errors, release
from selfrep.models.language_model import LanguageModel
from selfrep.models.sites import RESIDUAL_SITES, component, site_and_layer
from selfrep.prompts import arguments
from selfrep.prompts.arguments import Several
from selfrep.prompts.prompt import Prompt
from selfrep.prompts.render import SEGMENTS, Tokens

LABELS = (
    "persona", "side", "kind", "family", "reading", "condition", "paraphrase", "frame", "item",
    "persona_label", "side_label", "kind_label",
)  # fmt: skip
READINGS = ("log_odds", "answer_mass", "unsaid_log_odds", "unsaid_mass")


def capture(
    lm: LanguageModel,
    prompts: Several[Prompt],
    sites: Several[str] = ("resid_post",),
    *,
    layers: Several[int] | None = None,
    tokens: Literal["segment", "position"] = "segment",
    positions: Several[int] | None = None,
    storage: Literal["float32", "float16"] = "float32",
    budget_gb: float = 4.0,
    progress: Progress = None,
) -> xr.Dataset:
    """Run prompts and keep activations.

    Args:
        prompts: what to say; `selfrep.make_prompts` makes them from personas and items.
        sites: residual-stream sites (resid_pre, resid_mid, resid_post, attn_out, mlp_out).
        layers: 0-indexed blocks; all when None.
        tokens: "segment" keeps the mean over each segment (system, template, question, prefill), "position" single
            tokens.
        positions: for single tokens, which, counted from the end; by default all those after the system text.
        storage: the type that activations are kept in.
        budget_gb: the most memory the result may take. A study has no such limit: it captures as many layers at a time
            as fit, and keeps on disk what its estimates need.
        progress: True for a bar, or a function that is called with (done, total) prompts.

    Returns:
        Dataset with `activations` (prompt, site, layer, segment | position, d_model), NaN where a prompt has no such
        token; on `prompt` the labels of `selfrep.Prompt` as coordinates (persona, side, …), and `prompt_hash`, of its
        token ids; and, where prompts carry answers, what `score` gives.

    Raises:
        SelfrepError: unknown site, layers out of range, a result larger than the budget, NaN logits, unfit answers.

    Warns:
        UserWarning: an architecture whose attention cannot be replaced, and whose prompts are run one by one.

    Example:
        >>> import selfrep as sr
        >>> from selfrep.models.organisms import BATTERY, PERSONAS
        >>> lm = sr.load_model("organism:separate")
        >>> people, battery = sr.personas.load(PERSONAS), sr.battery.load(BATTERY)
        >>> prompts = sr.make_prompts(people["nurse"], battery["who_are_you"])
        >>> acts = sr.capture(lm, prompts, "resid_post", layers=[0, 2])
        >>> acts.activations.dims, acts.activations.shape
        (('prompt', 'site', 'layer', 'segment', 'd_model'), (4, 1, 2, 4, 128))
    """
    arguments.one(lm, LanguageModel, "model")
    prompts = arguments.several(prompts, Prompt)
    sites, layers = _places(lm, sites, layers)
    prompt_set = PromptSet.of(lm, prompts)
    if tokens == "segment":
        columns: Sequence[int | str] = list(SEGMENTS)
    else:
        longest = max(len(r) for r in prompt_set.renderings)
        suffix = max(len(r) - cut for r, cut in zip(prompt_set.renderings, prompt_set.cut, strict=True))
        where = list(range(-suffix, 0) if positions is None else arguments.numbers(positions, "positions"))
        if bad := [p for p in where if not -longest <= p < 0]:
            raise SelfrepError(
                f"A position counts from the end of the prompt, −1 being the last token; the longest prompt has "
                f"{longest} tokens; got {bad}."
            )
        columns = where
    shape = (len(prompts), len(sites), len(layers), len(columns), lm.d_model)
    gigabytes = np.prod(shape, dtype=float) * np.dtype(storage).itemsize / 1e9
    if gigabytes > budget_gb:
        raise SelfrepError(
            f"The activations would take {gigabytes:.1f} GB, over the budget of {budget_gb:g} GB: prompts × sites "
            f"× layers × {tokens}s × d_model = {' × '.join(map(str, shape))}. Capture a few layers in each call, keep "
            "fewer positions, use storage='float16', or raise budget_gb. A study does with a few layers at a time."
        )
    out = np.full(shape, np.nan, dtype=storage)

    def keep(index: list[int], activations: Iterable[Tensor]) -> None:
        """Some prompts' activations, each [site, layer, token, d_model], tokens from its first."""
        places, values = [], []
        for i, own in zip(index, activations, strict=True):
            for c, column in enumerate(columns):
                if (value := _column(own, prompt_set.renderings[i], column)) is not None:
                    places.append((i, c))
                    values.append(value)
        kept = torch.stack(values).cpu().numpy() if values else ()  # one copy from the device, not one a column
        for (i, c), value in zip(places, kept, strict=True):
            out[i, :, :, c] = value

    read = _run(lm, prompt_set, sites, layers, keep, progress)
    coords: dict[str, object] = {"site": sites, "layer": layers, tokens: columns}
    if tokens == "position":
        for name, field in (("token", "texts"), ("segment_of", "segments")):
            cells = [[getattr(r, field)[p] if -p <= len(r) else "" for p in where] for r in prompt_set.renderings]
            coords[name] = (("prompt", "position"), np.array(cells, dtype=str))
    data = xr.DataArray(out, dims=("prompt", "site", "layer", tokens, "d_model"), name="activations")
    return read.assign(activations=data).assign_coords(coords)


def _places(lm: LanguageModel, sites: Several[str], layers: Several[int] | None) -> tuple[list[str], list[int]]:
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


def score(lm: LanguageModel, prompts: Several[Prompt], *, progress: Progress = None) -> xr.Dataset:
    """What the model would answer: the log odds of the answer sets per prompt, without activations. See `capture`.

    A persona's description makes its own words likely, whoever speaks. So the same logits are read twice: by all
    answers, and by those that no description says (`said` of `Prompt`; `make_prompts` knows all personas).

    Args:
        prompts: with answer sets, as `selfrep.make_prompts` makes them.
        progress: as in `capture`.

    Returns:
        Dataset over `prompt`, with the coordinates that `capture` gives:

        * `log_odds`: nats, first answer set against the second.
        * `answer_mass`: 0 … 1, the probability of any answer.
        * `unsaid_log_odds`, `unsaid_mass`: the same of the answers that no description says; NaN where a side has none.

    Raises:
        SelfrepError: a prompt without answers, unfit answers, NaN logits.

    Example:
        >>> import selfrep as sr
        >>> from selfrep.models.organisms import BATTERY, PERSONAS
        >>> lm = sr.load_model("organism:separate")
        >>> people, battery = sr.personas.load(PERSONAS), sr.battery.load(BATTERY)
        >>> prompts = sr.make_prompts(people.select(["robot", "nurse"]), battery["who_are_you"], paraphrases=0)
        >>> sr.score(lm, prompts).log_odds.values.round(2).tolist()
        [4.0, -4.0]
    """
    arguments.one(lm, LanguageModel, "model")
    return _run(lm, PromptSet.of(lm, answered(prompts)), [], [], None, progress)


def answered(prompts: Several[Prompt]) -> tuple[Prompt, ...]:
    """One prompt or several, each with answers to score. Raises SelfrepError for those without.

    Example:
        >>> answered(Prompt("", ("Who are you?",), "I am a"))
        Traceback (most recent call last):
        selfrep.errors.SelfrepError: To score answers, prompts must carry answer sets; these do not: ['Who are you?'].
    """
    asked = arguments.several(prompts, Prompt)
    if bare := [p.item or p.question for p in asked if p.answers is None]:
        raise SelfrepError(f"To score answers, prompts must carry answer sets; these do not: {bare[:3]}.")
    return asked


def blank_scores(prompts: Sequence[Prompt]) -> xr.Dataset:
    """The Dataset that `score` will return, its numbers still NaN: to make room for results before they are there.

    It lacks the hashes of the prompts, which take a tokenizer."""
    return _with_labels(prompts, np.full((len(READINGS), len(prompts)), np.nan))


def _run(
    lm: LanguageModel,
    prompts: PromptSet,
    sites: list[str],
    layers: list[int],
    keep: Callable[[list[int], Iterable[Tensor]], None] | None,
    progress: Progress,
) -> xr.Dataset:
    """Run all prompts; `keep` is handed some prompts' numbers, and the activations [site, layer, token, d_model] of
    each."""
    n, tick = len(prompts.prompts), ticker(progress, "prompt")
    readings = np.full((len(READINGS), n), np.nan)
    pending = dict.fromkeys(range(n))

    def settle(index: list[int], logits: Tensor, activations: Iterable[Tensor]) -> None:
        whole = prompts.answers[index], prompts.unsaid[index]
        twice = (whole[0] != whole[1]).any()
        readings[:2, index] = _read(lm, logits, whole[0])
        readings[2:, index] = _read(lm, logits, whole[1]) if twice else readings[:2, index]
        if keep is not None:
            keep(index, activations)
        for i in index:
            del pending[i]
        tick(n - len(pending), n)

    with lm.exclusive():
        try:
            while pending:
                room = _room(lm, prompts, pending)
                try:
                    with memory_errors():
                        for index, logits, activations in run_prompts(lm, prompts.only(pending), sites, layers):
                            settle(index, logits, activations)
                except torch.OutOfMemoryError as error:
                    longest = max(len(prompts.renderings[i]) for i in pending)
                    if room <= longest:
                        raise SelfrepError(
                            f"A single prompt of {longest} tokens does not fit the memory of {lm.device}. Use shorter "
                            "prompts, a smaller model, or float16 or bfloat16."
                        ) from error
                if pending:  # half as many tokens at once; outside of `except`, where its memory is let go of
                    memory.remember_pass(lm, room // 2)
                    release(lm.device)
        except CannotReplay as reason:
            warnings.warn(f"{reason} Each prompt is run on its own: this is slow.", UserWarning, stacklevel=3)
            for i in list(pending):
                settle([i], *run_alone(lm, prompts.renderings[i], sites, layers))
    hashes = ("prompt", np.array([tokens.hash for tokens in prompts.renderings]))
    out = _with_labels(prompts.prompts, readings).assign_coords(prompt_hash=hashes).assign_attrs(model=lm.name)
    return out.drop_vars(list(out.data_vars)) if np.isnan(readings[0]).all() else out


def _room(lm: LanguageModel, prompts: PromptSet, pending: Iterable[int]) -> int:
    """How many tokens a pass over these prompts may hold, or has to."""
    return min(pass_tokens(lm), sum(len(prompts.renderings[i]) for i in pending))


def _read(lm: LanguageModel, logits: Tensor, answers: np.ndarray) -> np.ndarray:
    """Log odds and mass, [2, prompt], of answers [prompt, side, k]; NaN where a side has none."""
    reading = metrics.log_odds(answers, logits.device)
    odds = reading.value(logits[:, None, reading.tokens])
    both = torch.stack([odds, metrics.answer_mass(lm, logits, answers)]).cpu().numpy()
    on_both_sides = np.asarray((answers >= 0).any(axis=2)).all(axis=1)
    return np.where(on_both_sides, both, np.nan)


def _with_labels(prompts: Sequence[Prompt], readings: np.ndarray) -> xr.Dataset:
    coords = {name: ("prompt", np.array([getattr(p, name) for p in prompts])) for name in LABELS}
    return xr.Dataset({name: ("prompt", row) for name, row in zip(READINGS, readings, strict=True)}, coords=coords)
