"""From prompts to activations with named axes, and to what the model would answer."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from selfrep import digests
from selfrep.engine import metrics
from selfrep.engine.kept import Kept, columns_of, places_of
from selfrep.engine.progress import Progress, Tick, ticker
from selfrep.engine.replay import memory
from selfrep.engine.replay.prefix_sharing import PromptSet, pass_tokens, run_alone, run_prompts
from selfrep.errors import CannotReplay, SelfrepError
from selfrep.models.devices import memory_errors, release
from selfrep.models.language_model import LanguageModel
from selfrep.prompts import arguments
from selfrep.prompts.arguments import Several
from selfrep.prompts.prompt import Prompt
from selfrep.store.streamed import Large, Streamed

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
    tokens: Literal["segment", "turn", "position"] = "segment",
    positions: Several[int] | None = None,
    storage: Literal["float32", "float16"] = "float32",
    budget_gb: float = 4.0,
    out: str | Path | None = None,
    progress: Progress = None,
) -> xr.Dataset:
    """Run prompts and keep activations.

    Args:
        prompts: what to say; `selfrep.make_prompts` makes them from personas and items.
        sites: residual-stream sites (resid_pre, resid_mid, resid_post, attn_out, mlp_out).
        layers: 0-indexed blocks; all when None.
        tokens: "segment" keeps the mean over each segment (system, template, question, prefill), "turn" over each turn
            of a `selfrep.conversation` (system, user 1, assistant 1, …), "position" single tokens.
        positions: for single tokens, which, counted from the end; by default all those after the system text.
        storage: the type that activations are kept in.
        budget_gb: the most memory the result may take, where it is not streamed to disk. A study has no such limit: it
            captures as many layers at a time as fit, and keeps on disk what its estimates need.
        out: a folder such as "acts.zarr", to which activations are streamed, any number of them. What was stopped goes
            on by the same call. `xarray.open_zarr` opens it, too.
        progress: True for a bar, or a function that is called with (done, total) prompts.

    Returns:
        Dataset with `activations` (prompt, site, layer, segment | turn | position, d_model), NaN where a prompt has no
        such token; on `prompt` the labels of `selfrep.Prompt` as coordinates (persona, side, …), and `prompt_hash`, of
        its token ids; and, where prompts carry answers, what `score` gives. With `out`, activations stay on disk until
        they are asked for.

    Raises:
        SelfrepError: unknown site, layers out of range, a result larger than the budget, NaN logits, unfit answers; an
            `out` that holds something else or cannot be written.

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
    sites, layers = places_of(lm, sites, layers)
    prompt_set = PromptSet.of(lm, prompts)
    kept = Kept(prompt_set, sites, layers, tokens, columns_of(prompt_set, tokens, positions), lm.d_model, storage)
    if out is not None:
        return _streamed(lm, kept, Path(out), progress)
    if kept.gigabytes > budget_gb:
        raise SelfrepError(
            f"The activations would take {kept.gigabytes:.1f} GB, over the budget of {budget_gb:g} GB: prompts × sites "
            f"× layers × {tokens}s × d_model = {' × '.join(map(str, kept.shape))}. Stream them to disk with "
            "out='acts.zarr', capture a few layers in each call, keep fewer positions, use storage='float16', or raise "
            "budget_gb. A study does with a few layers at a time."
        )
    values = kept.blank(range(len(prompts)))
    readings = _run(lm, prompt_set, sites, layers, kept.into(values), progress)
    activations = xr.DataArray(values, dims=kept.dims, name="activations")
    return _labelled(lm, prompt_set, readings).assign(activations=activations).assign_coords(kept.coords())


def _streamed(lm: LanguageModel, kept: Kept, path: Path, progress: Progress) -> xr.Dataset:
    """Activations block by block to disk, of the prompts whose block is not there yet."""
    n, tick, store = len(kept.prompts.prompts), ticker(progress, "prompt"), Streamed(path)
    answers = bool((kept.prompts.answers >= 0).any())
    blank = _labelled(lm, kept.prompts, np.full((len(READINGS), n), np.nan), answers)
    origin = {
        "model": lm.name,
        "weights": lm.weights_hash,
        "dtype": str(lm.dtype).removeprefix("torch."),
        "prompts": digests.of_text("".join(r.hash for r in kept.prompts.renderings)),
        "sites": kept.sites,
        "layers": kept.layers,
        f"{kept.tokens}s": list(kept.columns),
        "storage": kept.storage,
    }
    blank = blank.assign_coords(kept.coords())
    with store.filling(blank, Large("activations", kept.dims, kept.shape, kept.storage), origin):
        blocks = store.pending()
        before = n - sum(map(len, blocks))
        for rows in blocks:
            values = kept.blank(rows)
            keep = kept.into(values, rows.start)
            only = kept.prompts.only(rows)
            readings = _run(lm, only, kept.sites, kept.layers, keep, partial(_part, tick, before, n))
            of_block = dict(zip(READINGS, readings[:, rows.start : rows.stop], strict=True))
            store.write(rows, {"activations": values} | {k: v for k, v in of_block.items() if k in blank})
            before += len(rows)
        tick(n, n)
    return store.open()


def _part(tick: Tick, before: int, n: int, done: int, _: int) -> None:
    tick(before + done, n)


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
    prompt_set = PromptSet.of(lm, answered(prompts))
    return _labelled(lm, prompt_set, _run(lm, prompt_set, [], [], None, progress))


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
) -> np.ndarray:
    """Run all prompts of the groups: what they say of their answers, [reading, prompt], NaN for others.

    `keep` is handed some prompts' numbers, and the activations [site, layer, token, d_model] of each."""
    tick = ticker(progress, "prompt")
    readings = np.full((len(READINGS), len(prompts.prompts)), np.nan)
    pending = dict.fromkeys(sorted(i for group in prompts.groups for i in group))
    n = len(pending)

    def settle(index: list[int], logits: Tensor, activations: Iterable[Tensor]) -> None:
        whole = prompts.answers[index], prompts.unsaid[index]
        twice = (whole[0] != whole[1]).any()
        readings[:2, index] = read_answers(lm, logits, whole[0])
        readings[2:, index] = read_answers(lm, logits, whole[1]) if twice else readings[:2, index]
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
    return readings


def _labelled(lm: LanguageModel, prompts: PromptSet, readings: np.ndarray, keep: bool | None = None) -> xr.Dataset:
    """What was read of the answers, with the labels and hashes of the prompts; labels alone, where nothing was."""
    hashes = ("prompt", np.array([tokens.hash for tokens in prompts.renderings]))
    out = _with_labels(prompts.prompts, readings).assign_coords(prompt_hash=hashes).assign_attrs(model=lm.name)
    empty = bool(np.isnan(readings[0]).all()) if keep is None else not keep
    return out.drop_vars(list(out.data_vars)) if empty else out


def _room(lm: LanguageModel, prompts: PromptSet, pending: Iterable[int]) -> int:
    """How many tokens a pass over these prompts may hold, or has to."""
    return min(pass_tokens(lm), sum(len(prompts.renderings[i]) for i in pending))


def read_answers(lm: LanguageModel, logits: Tensor, answers: np.ndarray) -> np.ndarray:
    """Log odds and mass, [2, prompt], of answers [prompt, side, k]; NaN where a side has none."""
    reading = metrics.log_odds(answers, logits.device)
    odds = reading.value(logits[:, None, reading.tokens])
    both = torch.stack([odds, metrics.answer_mass(lm, logits, answers)]).cpu().numpy()
    on_both_sides = np.asarray((answers >= 0).any(axis=2)).all(axis=1)
    return np.where(on_both_sides, both, np.nan)


def labels_of(prompts: Sequence[Prompt]) -> dict[str, tuple[str, np.ndarray]]:
    """The labels of prompts, as coordinates.

    Example:
        >>> labels_of([Prompt("", ("Who are you?",), persona="nurse")])["persona"][1].tolist()
        ['nurse']
    """
    return {name: ("prompt", np.array([getattr(p, name) for p in prompts])) for name in LABELS}


def _with_labels(prompts: Sequence[Prompt], readings: np.ndarray) -> xr.Dataset:
    rows = {name: ("prompt", row) for name, row in zip(READINGS, readings, strict=True)}
    return xr.Dataset(rows, coords=labels_of(prompts))
