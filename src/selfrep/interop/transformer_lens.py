"""TransformerLens's activation patching, on selfrep's engine: change one import line and get the same numbers, sooner.

    from selfrep.interop import transformer_lens as patching      # was: from transformer_lens import patching

    patching.get_act_patch_resid_pre(bridge, corrupted_tokens, clean_cache, metric, reads=(-1,))

Signatures and returns are TransformerLens's (`transformer_lens.patching`, 4.3), and so is what is written: its patch
setters, taken from `clean_cache` into a run of `corrupted_tokens`. There are three keyword parameters more:

    reads       the positions at which the metric reads logits, from the end (−1 is the last) or from the start. By
                default all of them, each a whole unembedding in every cell. The metric is handed [batch, pos, d_vocab]
                in any case; what it does not read is NaN, and before the sweep it must give the same with and without.
    budget_gb   what a sweep may take beside the model; by default 1 GB on a CPU, half of what is free on a GPU.
    progress    called with (done, total) cells; there is no progress bar.

A metric is called once for each cell and some times more, in no particular order, with logits in float32; it must not
keep them. What the engine cannot serve (patch setters of one's own, a bridge in compatibility mode or with hooks on it,
an architecture whose blocks cannot be replayed) is handed to TransformerLens, with a warning that says why.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import prod
from typing import Any, Literal

import torch
from torch import Tensor
from transformer_lens import patching as theirs
from transformer_lens.patching import (
    PatchingResult,
    get_act_patch_direct_path,
    get_act_patch_direct_path_all_sources,
    layer_head_dest_src_pos_pattern_patch_setter,
    layer_head_pattern_patch_setter,
    layer_head_pos_pattern_patch_setter,
    layer_head_vector_patch_setter,
    layer_pos_head_vector_patch_setter,
    layer_pos_patch_setter,
    make_df_from_ranges,
)

from selfrep.engine.proof import Mismatch
from selfrep.errors import SelfrepError
from selfrep.interop import caches
from selfrep.interop.caches import Cache, Index, Kind, Logits, Progress, Setter
from selfrep.models.sites import HEAD_SITES, RESIDUAL_SITES

__all__ = [
    "PatchingResult",
    "generic_activation_patch",
    "get_act_patch_attn_head_all_pos_every",
    "get_act_patch_attn_head_by_pos_every",
    "get_act_patch_attn_head_k_all_pos",
    "get_act_patch_attn_head_k_by_pos",
    "get_act_patch_attn_head_out_all_pos",
    "get_act_patch_attn_head_out_by_pos",
    "get_act_patch_attn_head_pattern_all_pos",
    "get_act_patch_attn_head_pattern_by_pos",
    "get_act_patch_attn_head_pattern_dest_src_pos",
    "get_act_patch_attn_head_q_all_pos",
    "get_act_patch_attn_head_q_by_pos",
    "get_act_patch_attn_head_v_all_pos",
    "get_act_patch_attn_head_v_by_pos",
    "get_act_patch_attn_out",
    "get_act_patch_block_every",
    "get_act_patch_direct_path",
    "get_act_patch_direct_path_all_sources",
    "get_act_patch_mlp_out",
    "get_act_patch_resid_mid",
    "get_act_patch_resid_post",
    "get_act_patch_resid_pre",
    "layer_head_dest_src_pos_pattern_patch_setter",
    "layer_head_pattern_patch_setter",
    "layer_head_pos_pattern_patch_setter",
    "layer_head_vector_patch_setter",
    "layer_pos_head_vector_patch_setter",
    "layer_pos_patch_setter",
    "make_df_from_ranges",
]

MetricFn = Callable[[Tensor], Any]
"""Logits [batch, pos, d_vocab] → a scalar, or [batch]."""
Metrics = MetricFn | Mapping[str, MetricFn]

_SERVED: dict[Any, tuple[tuple[str, ...], tuple[str, ...]]] = {
    layer_pos_patch_setter: (RESIDUAL_SITES, ("layer", "pos")),
    layer_pos_head_vector_patch_setter: (HEAD_SITES, ("layer", "pos", "head")),
    layer_head_vector_patch_setter: (HEAD_SITES, ("layer", "head")),
    layer_head_pattern_patch_setter: ((caches.PATTERN,), ("layer", "head")),
    layer_head_pos_pattern_patch_setter: ((caches.PATTERN,), ("layer", "head", "pos")),
    layer_head_dest_src_pos_pattern_patch_setter: ((caches.PATTERN,), ("layer", "head", "pos", "src")),
}
"""Patch setter → the activations it is served at, and what its index means."""


def generic_activation_patch(
    model: Any,
    corrupted_tokens: Tensor,
    clean_cache: Cache,
    patching_metric: Metrics,
    patch_setter: Setter,
    activation_name: str,
    index_axis_names: Sequence[str] | None = None,
    index_df: Any = None,
    return_index_df: bool = False,
    *,
    reduce: str = "scalar",
    baseline: bool = False,
    reads: Sequence[int] | None = None,
    budget_gb: float | None = None,
    progress: Progress | None = None,
) -> Any:
    """`transformer_lens.patching.generic_activation_patch`; see there, and the head of this file for the rest.

    Args:
        model: a `TransformerBridge`, in evaluation mode.
        corrupted_tokens: [batch, pos] ids; every token is seen, padding too, as in `bridge(tokens)`.
        clean_cache: holds the activation [batch, pos, ...] (or of a single prompt) at each layer that is swept.
        patching_metric: logits [batch, pos, d_vocab] → a scalar, or [batch] under reduce "mean" and "none"; or several
            by name.
        patch_setter: one of TransformerLens's six.
        activation_name: resid_pre, resid_mid, resid_post, attn_out, mlp_out; z, q, k, v; pattern.
        index_axis_names: axes that are swept in full; or index_df: a DataFrame with one cell a row, layer first.
        return_index_df: return the cells as well.
        reduce: "scalar"; "mean" over the batch; "none" keeps it.
        baseline: also read the unpatched run.

    Returns:
        float32 on the model's device: [*axes], or [row] with index_df; with that DataFrame if asked for. A
        `PatchingResult` under reduce="none", baseline=True, or with several metrics.

    Raises:
        SelfrepError: a metric, cell, cache or option out of order; a metric that reads more than `reads`.
        Mismatch: the first time a bridge is asked for a kind of sweep, two cells and the unpatched run are computed by
            `bridge.run_with_hooks` too, and do not say the same.
    """
    several = isinstance(patching_metric, Mapping)
    wants_result = several or reduce == "none" or baseline
    if wants_result and return_index_df:
        raise SelfrepError("return_index_df goes with a tensor; a PatchingResult carries its index_df.")
    if (index_axis_names is None) == (index_df is None):
        raise SelfrepError("Give index_axis_names or index_df, one of the two.")
    if reduce not in ("scalar", "mean", "none"):
        raise SelfrepError(f"reduce is 'scalar', 'mean' or 'none'; got {reduce!r}.")
    tokens = _checked(model, corrupted_tokens)
    result = _swept(
        model, tokens, clean_cache, patching_metric, patch_setter, activation_name, index_axis_names, index_df,
        reduce, baseline, reads, budget_gb, progress,
    )  # fmt: skip
    if wants_result:
        return result
    return (result.values, result.index_df) if return_index_df else result.values


def _checked(model: Any, tokens: Tensor) -> Tensor:
    """Tokens as [batch, pos]."""
    if not isinstance(tokens, Tensor) or tokens.ndim not in (1, 2) or tokens.is_floating_point() or not tokens.numel():
        what = f"{list(tokens.shape)} of {tokens.dtype}" if isinstance(tokens, Tensor) else type(tokens).__name__
        raise SelfrepError(
            f"corrupted_tokens is a tensor of ids, [batch, pos]; got {what}. bridge.to_tokens makes one."
        )
    modules = model.original_model.modules() if hasattr(model, "original_model") else ()
    if getattr(model, "training", False) or any(module.training for module in modules):
        raise SelfrepError(
            "Patching needs a model in evaluation mode; this one is in training mode. Call model.eval()."
        )
    return tokens if tokens.ndim == 2 else tokens[None]


def _swept(
    model: Any,
    tokens: Tensor,
    cache: Cache,
    metric: Metrics,
    setter: Setter,
    activation: str,
    axis_names: Sequence[str] | None,
    index_df: Any,
    reduce: str,
    baseline: bool,
    reads: Sequence[int] | None,
    budget_gb: float | None,
    progress: Progress | None,
) -> PatchingResult:
    """The sweep, always as a PatchingResult."""
    several = isinstance(metric, Mapping)
    named: dict[str, MetricFn] = dict(metric) if isinstance(metric, Mapping) else {"metric": metric}
    if not named:
        raise SelfrepError("There is no metric: the mapping is empty.")
    shape: tuple[int, ...] = ()
    if index_df is None:
        shape = _ranges(model, tokens, activation, axis_names or ())
        cells_df = make_df_from_ranges(list(shape), list(axis_names or ()))
    else:
        cells_df, shape = index_df, (len(index_df),)
    sites, axes = _SERVED.get(setter, ((), ()))
    try:
        if activation not in sites:
            name = getattr(setter, "__name__", type(setter).__name__)
            raise SelfrepError(f"selfrep's engine does not serve {activation!r} with the patch setter {name}.")
        kind = Kind(activation, axes, setter)
        cells = _cells(cells_df, kind, tokens.shape[1])
        corrupted = caches.run_corrupted(model, tokens, kind, cells)
    except SelfrepError as reason:
        warnings.warn(
            f"{reason} TransformerLens computes this sweep, with a whole forward pass for each cell: this is slow.",
            UserWarning,
            stacklevel=3,
        )
        result = theirs.generic_activation_patch(
            model, tokens, cache, named, setter, activation, axis_names, index_df, reduce=reduce, baseline=baseline
        )
        return result if several else result["metric"]
    if activation == "resid_mid" and torch.is_grad_enabled() and any(p.requires_grad for p in model.parameters()):
        warnings.warn(
            "With gradients on, TransformerLens writes resid_mid into the MLP's input only; here, as TransformerLens "
            "does under torch.no_grad(), the whole residual stream is written.",
            UserWarning,
            stacklevel=3,
        )
    rules = [partial(_value, fn, name, len(tokens), reduce) for name, fn in named.items()]
    view = Logits(tokens.shape[1], _positions(reads, tokens.shape[1]))
    values, own = caches.sweep(corrupted, cache, rules, cells, view, budget_gb=budget_gb, progress=progress)
    caches.verify(model, corrupted, cache, rules, cells, values, own)
    values, own = (x.to(model.cfg.device) for x in (values, own))
    if reduce != "none":  # a scalar stands in every place of the batch
        values, own = (x.mean(-1) if reduce == "mean" else x[..., 0] for x in (values, own))
    values = values.reshape(len(named), *shape, *values.shape[2:])
    return PatchingResult(
        values=values if several else values[0],
        axis_names=list(axis_names or ()),
        index_df=cells_df,
        metric_names=list(named),
        reduced=reduce != "none",
        baseline=None if not baseline else own if several else own[0],
        has_metric_axis=several,
    )


def _ranges(model: Any, tokens: Tensor, activation: str, names: Sequence[str]) -> tuple[int, ...]:
    """How many values each axis takes, as TransformerLens counts them."""
    n_heads = model.cfg.n_heads
    if activation in ("k", "v") and model.cfg.n_key_value_heads is not None:
        n_heads = model.cfg.n_key_value_heads
    pos = tokens.shape[1]
    known = {"layer": model.cfg.n_layers, "head": n_heads, "head_index": n_heads}
    known |= {"pos": pos, "src_pos": pos, "dest_pos": pos}
    if unknown := [name for name in names if name not in known]:
        raise SelfrepError(f"An axis is one of {', '.join(known)}; got {unknown}.")
    return tuple(known[name] for name in names)


def _cells(cells: Any, kind: Kind, n_tokens: int) -> list[Index]:
    """The rows of a DataFrame as indices, positions counted from the start."""
    if cells.shape[1] != len(kind.axes) or not len(cells):
        raise SelfrepError(
            f"A cell of this patch setter is ({', '.join(kind.axes)}); the index has columns {list(cells.columns)} and "
            f"{len(cells)} rows."
        )
    positional = [axis in ("pos", "src") for axis in kind.axes]
    return [
        tuple(int(i) + n_tokens * (of_position and i < 0) for i, of_position in zip(row, positional, strict=True))
        for row in cells.itertuples(index=False)
    ]


def _positions(reads: Sequence[int] | None, n_tokens: int) -> tuple[int, ...]:
    """The positions that are read, counted from the end."""
    if reads is None:
        return tuple(range(-n_tokens, 0))
    if not len(reads) or any(not -n_tokens <= p < n_tokens for p in reads):
        raise SelfrepError(
            f"A metric reads at one position or more of −{n_tokens} … {n_tokens - 1}; got reads={tuple(reads)}."
        )
    return tuple(sorted({p - n_tokens if p >= 0 else p for p in reads}))


def _value(metric: MetricFn, name: str, n_rows: int, reduce: str, logits: Tensor) -> Tensor:
    """What a metric says, [batch]; a scalar in every place of it."""
    out = torch.as_tensor(metric(logits)).detach()
    if reduce == "scalar":
        if out.ndim != 0:
            raise SelfrepError(
                f"A metric returns a scalar under reduce='scalar'; {name!r} returned {list(out.shape)}. With [batch] use "
                "reduce='mean' or 'none'."
            )
        return out.expand(n_rows)
    if out.shape != (n_rows,):
        raise SelfrepError(
            f"A metric returns [batch], here [{n_rows}], under reduce={reduce!r}; {name!r} returned {list(out.shape)}."
        )
    return out


def _named(activation: str, setter: Setter, axes: tuple[str, ...], what: str) -> partial[Any]:
    made = partial(generic_activation_patch, patch_setter=setter, activation_name=activation, index_axis_names=axes)
    made.__doc__ = (  # type: ignore[misc]
        f"Patch {what}: every cell of ({', '.join(axes)}). See `generic_activation_patch` for arguments and returns."
    )
    return made


_POS, _POS_HEAD, _HEAD = ("layer", "pos"), ("layer", "pos", "head"), ("layer", "head")

get_act_patch_resid_pre = _named("resid_pre", layer_pos_patch_setter, _POS, "the residual stream before each block")
get_act_patch_resid_mid = _named("resid_mid", layer_pos_patch_setter, _POS, "it between attention and MLP")
get_act_patch_resid_post = _named(
    "resid_post", layer_pos_patch_setter, _POS, "it after each block (not TransformerLens's)"
)
get_act_patch_attn_out = _named("attn_out", layer_pos_patch_setter, _POS, "the output of each attention layer")
get_act_patch_mlp_out = _named("mlp_out", layer_pos_patch_setter, _POS, "the output of each MLP")

_by_pos = layer_pos_head_vector_patch_setter
get_act_patch_attn_head_out_by_pos = _named("z", _by_pos, _POS_HEAD, "each head's output, position by position")
get_act_patch_attn_head_q_by_pos = _named("q", _by_pos, _POS_HEAD, "each head's query, position by position")
get_act_patch_attn_head_k_by_pos = _named("k", _by_pos, _POS_HEAD, "each key head, position by position")
get_act_patch_attn_head_v_by_pos = _named("v", _by_pos, _POS_HEAD, "each value head, position by position")

_all_pos = layer_head_vector_patch_setter
get_act_patch_attn_head_out_all_pos = _named("z", _all_pos, _HEAD, "each head's output at all positions")
get_act_patch_attn_head_q_all_pos = _named("q", _all_pos, _HEAD, "each head's query at all positions")
get_act_patch_attn_head_k_all_pos = _named("k", _all_pos, _HEAD, "each key head at all positions")
get_act_patch_attn_head_v_all_pos = _named("v", _all_pos, _HEAD, "each value head at all positions")

get_act_patch_attn_head_pattern_all_pos = _named(
    "pattern", layer_head_pattern_patch_setter, ("layer", "head_index"), "each head's attention pattern"
)
get_act_patch_attn_head_pattern_by_pos = _named(
    "pattern", layer_head_pos_pattern_patch_setter, ("layer", "head_index", "dest_pos"), "each row of each pattern"
)
get_act_patch_attn_head_pattern_dest_src_pos = _named(
    "pattern",
    layer_head_dest_src_pos_pattern_patch_setter,
    ("layer", "head_index", "dest_pos", "src_pos"),
    "each entry of each pattern",
)

_HEAD_TYPES = ("out", "q", "k", "v", "pattern")


def get_act_patch_attn_head_all_pos_every(
    model: Any, corrupted_tokens: Tensor, clean_cache: Cache, metric: Metrics, **options: Any
) -> Tensor | PatchingResult:
    """Outputs, queries, keys, values and patterns of every head at all positions: [5, layer, head].

    Where there are fewer key and value heads, the rest of their part is 0, as in TransformerLens. Options and other
    returns: see `generic_activation_patch`; axis `patch_type` comes first, after that of several metrics.
    """
    parts = (
        get_act_patch_attn_head_out_all_pos,
        get_act_patch_attn_head_q_all_pos,
        get_act_patch_attn_head_k_all_pos,
        get_act_patch_attn_head_v_all_pos,
        get_act_patch_attn_head_pattern_all_pos,
    )
    return _every(parts, _HEAD_TYPES, _HEAD, model, corrupted_tokens, clean_cache, metric, options)


def get_act_patch_attn_head_by_pos_every(
    model: Any, corrupted_tokens: Tensor, clean_cache: Cache, metric: Metrics, **options: Any
) -> Tensor | PatchingResult:
    """The same position by position, patterns by destination: [5, layer, pos, head]."""
    parts = (
        get_act_patch_attn_head_out_by_pos,
        get_act_patch_attn_head_q_by_pos,
        get_act_patch_attn_head_k_by_pos,
        get_act_patch_attn_head_v_by_pos,
        get_act_patch_attn_head_pattern_by_pos,
    )
    return _every(parts, _HEAD_TYPES, _POS_HEAD, model, corrupted_tokens, clean_cache, metric, options)


def get_act_patch_block_every(
    model: Any, corrupted_tokens: Tensor, clean_cache: Cache, metric: Metrics, **options: Any
) -> Tensor | PatchingResult:
    """The stream before each block, attention outputs and MLP outputs: [3, layer, pos]."""
    parts = (get_act_patch_resid_pre, get_act_patch_attn_out, get_act_patch_mlp_out)
    types = ("resid_pre", "attn_out", "mlp_out")
    return _every(parts, types, _POS, model, corrupted_tokens, clean_cache, metric, options)


def _every(
    parts: Sequence[partial[Any]],
    types: Sequence[str],
    order: tuple[str, ...],
    model: Any,
    tokens: Tensor,
    cache: Cache,
    metric: Metrics,
    options: dict[str, Any],
) -> Tensor | PatchingResult:
    """Several sweeps, their axes in this order, on a leading axis."""
    if unknown := set(options) - {"reduce", "baseline", "reads", "budget_gb", "progress"}:
        raise SelfrepError(f"Options are reduce, baseline, reads, budget_gb and progress; got {sorted(unknown)}.")
    # Asked for by name, a metric always comes as a PatchingResult, whose axes are named.
    several = isinstance(metric, Mapping)
    by_name = metric if several else {"metric": metric}
    results = [part(model, tokens, cache, by_name, **options) for part in parts]
    widest = {axis: 0 for axis in order}
    aligned = []
    for result in results:
        names = [{"head_index": "head", "dest_pos": "pos"}.get(name, name) for name in result.axis_names]
        rest = list(range(1 + len(names), result.values.ndim))
        aligned.append(result.values.permute(0, *(1 + names.index(axis) for axis in order), *rest))
        widest = {axis: max(n, aligned[-1].shape[1 + i]) for i, (axis, n) in enumerate(widest.items())}
    values = aligned[0].new_zeros(len(by_name), len(parts), *widest.values(), *aligned[0].shape[1 + len(order) :])
    for t, one in enumerate(aligned):
        values[:, t][tuple(slice(n) for n in one.shape)] = one
    result = PatchingResult(
        values=values,
        axis_names=["patch_type", *order],
        index_df=make_df_from_ranges([len(parts), *widest.values()], ["patch_type", *order]),
        metric_names=list(by_name),
        reduced=results[0].reduced,
        baseline=results[0].baseline,
        has_metric_axis=True,
        patch_type_names=list(types),
    )
    if several:
        return result
    one = result["metric"]
    return one if options.get("reduce") == "none" or options.get("baseline") else one.values
