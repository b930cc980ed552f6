"""`generic_activation_patch`: one sweep, from TransformerLens's arguments to its returns.

The engine serves TransformerLens's own patch setters; everything else is computed by TransformerLens, and a warning
says why.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformer_lens import patching
from transformer_lens.patching import PatchingResult, make_df_from_ranges

from selfrep.engine.progress import Progress
from selfrep.errors import SelfrepError
from selfrep.interop import caches, metrics
from selfrep.interop.bridges import verify
from selfrep.interop.cells import Cache, Setter, cells_of, kind_of
from selfrep.interop.metrics import MetricFn

Metrics = MetricFn | Mapping[str, MetricFn]
"""One metric, or several by name."""


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
    progress: Progress = None,
) -> Any:
    """`transformer_lens.patching.generic_activation_patch`; see there, and the head of this file for the rest.

    Args:
        model: a `TransformerBridge`, in evaluation mode.
        corrupted_tokens: [batch, pos] ids; padding is attended to as well, as in `bridge(tokens)`.
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
        Mismatch: the first time that a bridge runs a kind of sweep, two cells and the unpatched run are computed by
            `bridge.run_with_hooks` too, and they do not agree.

    Example:
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> from selfrep.models.loading import load_model
        >>> config = LlamaConfig(vocab_size=16, hidden_size=8, intermediate_size=16, num_hidden_layers=2,
        ...                      num_attention_heads=2, num_key_value_heads=2)
        >>> bridge = load_model(LlamaForCausalLM(config)).bridge
        >>> clean, corrupted = torch.tensor([[1, 2, 3]]), torch.tensor([[4, 2, 3]])
        >>> logits, cache = bridge.run_with_cache(clean)
        >>> def metric(logits):
        ...     return logits[0, -1, 5] - logits[0, -1, 6]
        >>> values = generic_activation_patch(bridge, corrupted, cache, metric, patching.layer_pos_patch_setter,
        ...                                   "resid_pre", ["layer", "pos"], reads=(-1,))
        >>> values.shape, torch.allclose(values[0, 0], metric(logits), atol=1e-5)
        (torch.Size([2, 3]), True)
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
    named = dict(patching_metric) if isinstance(patching_metric, Mapping) else {"metric": patching_metric}
    if not named:
        raise SelfrepError("There is no metric: the mapping is empty.")
    axes = list(index_axis_names or ())
    shape = _ranges(model, tokens, activation_name, axes) if index_df is None else [len(index_df)]
    rows = make_df_from_ranges(shape, axes) if index_df is None else index_df
    swept = _replayed(
        model, tokens, clean_cache, named, patch_setter, activation_name, rows, reduce, reads, budget_gb, progress
    )
    if isinstance(swept, SelfrepError):
        warnings.warn(
            f"{swept} TransformerLens computes this sweep, with a whole forward pass for each cell: this is slow.",
            UserWarning,
            stacklevel=2,
        )
        theirs: Any = patching.generic_activation_patch
        result = theirs(
            model, tokens, clean_cache, named, patch_setter, activation_name, index_axis_names, index_df,
            reduce=reduce, baseline=baseline,
        )  # fmt: skip
    else:
        values, own = swept
        result = PatchingResult(
            values=values.reshape(len(named), *shape, *values.shape[2:]),
            axis_names=axes,
            index_df=rows,
            metric_names=list(named),
            reduced=reduce != "none",
            baseline=own if baseline else None,
            has_metric_axis=True,
        )
    if not several:
        result = result["metric"]
    if wants_result:
        return result
    return (result.values, rows) if return_index_df else result.values


def _replayed(
    model: Any,
    tokens: Tensor,
    cache: Cache,
    named: Mapping[str, MetricFn],
    setter: Setter,
    activation: str,
    rows: Any,
    reduce: str,
    reads: Sequence[int] | None,
    budget_gb: float | None,
    progress: Progress,
) -> tuple[Tensor, Tensor] | SelfrepError:
    """[metric, cell, (batch)] patched and [metric, (batch)] unpatched; or why the engine cannot serve it."""
    kind = kind_of(setter, activation)
    if kind is None:
        name = getattr(setter, "__name__", type(setter).__name__)
        return SelfrepError(f"selfrep's engine does not serve {activation!r} with the patch setter {name}.")
    cells = cells_of(rows, kind, tokens.shape[1])
    seen = metrics.view(reads, tokens.shape[1])
    rules = [metrics.rule(metric, name, len(tokens), reduce) for name, metric in named.items()]
    try:
        corrupted = caches.run_corrupted(model, tokens, kind, cells)
    except SelfrepError as reason:
        return reason
    if activation == "resid_mid" and torch.is_grad_enabled() and any(p.requires_grad for p in model.parameters()):
        warnings.warn(
            "With gradients on, TransformerLens writes resid_mid into the MLP's input only; here, as TransformerLens "
            "does under torch.no_grad(), the whole residual stream is written.",
            UserWarning,
            stacklevel=3,
        )
    with torch.no_grad():
        own = metrics.baseline(corrupted.lm, corrupted.run.final, rules, seen)
    readings = metrics.readings(rules, seen)
    values = caches.sweep(corrupted, cache, readings, cells, budget_gb=budget_gb, progress=progress)
    verify(model, tokens, kind, cache, rules, cells, values, own)
    values, own = (x.to(model.cfg.device) for x in (values, own))
    if reduce == "none":
        return values, own
    return (values.mean(-1), own.mean(-1)) if reduce == "mean" else (values[..., 0], own[..., 0])


def _checked(model: Any, tokens: Tensor) -> Tensor:
    """Tokens as [batch, pos]."""
    if not isinstance(tokens, Tensor) or tokens.ndim not in (1, 2) or tokens.is_floating_point() or not tokens.numel():
        got = f"{list(tokens.shape)} of {tokens.dtype}" if isinstance(tokens, Tensor) else type(tokens).__name__
        raise SelfrepError(f"corrupted_tokens are ids, a tensor [batch, pos]; got {got}. bridge.to_tokens makes one.")
    if int(tokens.min()) < 0 or int(tokens.max()) >= model.cfg.d_vocab:
        got = f"{int(tokens.min())} … {int(tokens.max())}"
        raise SelfrepError(f"Token ids of this model are 0 … {model.cfg.d_vocab - 1}; corrupted_tokens has {got}.")
    modules = model.original_model.modules() if hasattr(model, "original_model") else ()
    if getattr(model, "training", False) or any(module.training for module in modules):
        raise SelfrepError("Patching needs a model in evaluation mode; this one is training. Call model.eval().")
    return tokens if tokens.ndim == 2 else tokens[None]


def _ranges(model: Any, tokens: Tensor, activation: str, names: Sequence[str]) -> list[int]:
    """How many values each axis takes, as TransformerLens counts them."""
    n_heads = model.cfg.n_heads
    if activation in ("k", "v") and model.cfg.n_key_value_heads is not None:
        n_heads = model.cfg.n_key_value_heads
    known = {"layer": model.cfg.n_layers, "head": n_heads, "head_index": n_heads}
    known |= dict.fromkeys(("pos", "src_pos", "dest_pos"), tokens.shape[1])
    if unknown := [name for name in names if name not in known]:
        raise SelfrepError(f"An axis is one of {', '.join(known)}; got {unknown}.")
    return [known[name] for name in names]
