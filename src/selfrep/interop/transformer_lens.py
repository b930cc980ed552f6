"""TransformerLens's activation patching, on selfrep's engine: change one import line and get the same numbers, sooner::

    from selfrep.interop import transformer_lens as patching      # was: from transformer_lens import patching

    patching.get_act_patch_resid_pre(bridge, corrupted_tokens, clean_cache, metric, reads=(-1,))

Signatures and returns are TransformerLens's (`transformer_lens.patching`, 4.3), and so is what is written: its patch
setters, taken from `clean_cache` into a run of `corrupted_tokens`. There are three keyword parameters more:

    `reads`
        the positions at which the metric reads logits, from the end (−1 is the last) or from the start. By default
        all of them, each a whole unembedding in every cell. The metric is handed [batch, pos, d_vocab] in any case;
        what it does not read is NaN, and before the sweep it must give the same with and without.
    `budget_gb`
        what a sweep may take beside the model; by default 1 GB on a CPU, half of what is free on a GPU.
    `progress`
        True for a bar, or a function that is called with (done, total) cells.

A metric is called at least once for each cell, in no particular order, with logits in float32; it must not keep them.
What the engine cannot serve (patch setters of one's own, a bridge in compatibility mode or with hooks on it,
an architecture whose blocks cannot be replayed) is handed to TransformerLens, with a warning that says why.

Example:
    >>> import torch
    >>> from selfrep.models.loading import load_model
    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> config = LlamaConfig(vocab_size=16, hidden_size=8, intermediate_size=16, num_hidden_layers=2,
    ...                      num_attention_heads=2, num_key_value_heads=2)
    >>> bridge = load_model(LlamaForCausalLM(config)).bridge
    >>> cache = bridge.run_with_cache(torch.tensor([[1, 2, 3]]))[1]
    >>> corrupted, metric = torch.tensor([[4, 2, 3]]), lambda logits: logits[0, -1, 5]
    >>> get_act_patch_resid_pre(bridge, corrupted, cache, metric).shape
    torch.Size([2, 3])
    >>> get_act_patch_attn_head_by_pos_every(bridge, corrupted, cache, metric).shape
    torch.Size([5, 2, 3, 2])
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import Tensor
from transformer_lens.patching import PatchingResult as PatchingResult
from transformer_lens.patching import get_act_patch_direct_path as get_act_patch_direct_path
from transformer_lens.patching import get_act_patch_direct_path_all_sources as get_act_patch_direct_path_all_sources
from transformer_lens.patching import (
    layer_head_dest_src_pos_pattern_patch_setter as layer_head_dest_src_pos_pattern_patch_setter,
)
from transformer_lens.patching import layer_head_pattern_patch_setter as layer_head_pattern_patch_setter
from transformer_lens.patching import layer_head_pos_pattern_patch_setter as layer_head_pos_pattern_patch_setter
from transformer_lens.patching import layer_head_vector_patch_setter as layer_head_vector_patch_setter
from transformer_lens.patching import layer_pos_head_vector_patch_setter as layer_pos_head_vector_patch_setter
from transformer_lens.patching import layer_pos_patch_setter as layer_pos_patch_setter
from transformer_lens.patching import make_df_from_ranges as make_df_from_ranges

from selfrep.errors import SelfrepError
from selfrep.interop.cells import Cache, Setter
from selfrep.interop.generic import Metrics
from selfrep.interop.generic import generic_activation_patch as generic_activation_patch


def _sweeps(setter: Setter, *axes: str) -> Callable[[str, str], partial[Any]]:
    """What makes the functions that write with a setter, over these axes: from an activation, and what it is."""

    def sweep(activation: str, what: str) -> partial[Any]:
        out = partial(generic_activation_patch, patch_setter=setter, activation_name=activation, index_axis_names=axes)
        out.__doc__ = (
            f"Patch {what}: every cell of ({', '.join(axes)}). See `generic_activation_patch` for arguments and "
            "returns."
        )
        return out

    return sweep


_by_pos = _sweeps(layer_pos_patch_setter, "layer", "pos")
get_act_patch_resid_pre = _by_pos("resid_pre", "the residual stream before each block")
get_act_patch_resid_mid = _by_pos("resid_mid", "the residual stream between attention and MLP")
get_act_patch_resid_post = _by_pos("resid_post", "the residual stream after each block (only in selfrep)")
get_act_patch_attn_out = _by_pos("attn_out", "the output of each attention layer")
get_act_patch_mlp_out = _by_pos("mlp_out", "the output of each MLP")

_head_by_pos = _sweeps(layer_pos_head_vector_patch_setter, "layer", "pos", "head")
get_act_patch_attn_head_out_by_pos = _head_by_pos("z", "each head's output, position by position")
get_act_patch_attn_head_q_by_pos = _head_by_pos("q", "each head's query, position by position")
get_act_patch_attn_head_k_by_pos = _head_by_pos("k", "each key head, position by position")
get_act_patch_attn_head_v_by_pos = _head_by_pos("v", "each value head, position by position")

_head = _sweeps(layer_head_vector_patch_setter, "layer", "head")
get_act_patch_attn_head_out_all_pos = _head("z", "each head's output at all positions")
get_act_patch_attn_head_q_all_pos = _head("q", "each head's query at all positions")
get_act_patch_attn_head_k_all_pos = _head("k", "each key head at all positions")
get_act_patch_attn_head_v_all_pos = _head("v", "each value head at all positions")

_pattern = _sweeps(layer_head_pattern_patch_setter, "layer", "head_index")
_row = _sweeps(layer_head_pos_pattern_patch_setter, "layer", "head_index", "dest_pos")
_entry = _sweeps(layer_head_dest_src_pos_pattern_patch_setter, "layer", "head_index", "dest_pos", "src_pos")
get_act_patch_attn_head_pattern_all_pos = _pattern("pattern", "each head's attention pattern")
get_act_patch_attn_head_pattern_by_pos = _row("pattern", "each row of each pattern")
get_act_patch_attn_head_pattern_dest_src_pos = _entry("pattern", "each entry of each pattern")


def _bundle(what: str, order: tuple[str, ...], **parts: partial[Any]) -> partial[Any]:
    """A function that runs several sweeps, and returns them on a leading axis, their own axes in this order."""
    out = partial(_every, parts, order)
    out.__doc__ = (
        f"Patch {what}: [{len(parts)}, {', '.join(order)}]. Arguments, a model, tokens, a cache and a metric, options "
        "and other returns are those of `generic_activation_patch`; axis `patch_type` comes first, after that of "
        "several metrics. Where a model has fewer key and value heads than heads, the rest of their part is 0, as in "
        "TransformerLens."
    )
    return out


def _every(
    parts: Mapping[str, partial[Any]],
    order: tuple[str, ...],
    model: Any,
    corrupted_tokens: Tensor,
    clean_cache: Cache,
    metric: Metrics,
    **options: Any,
) -> Tensor | PatchingResult:
    """What `_bundle` promises."""
    if unknown := set(options) - {"reduce", "baseline", "reads", "budget_gb", "progress"}:
        raise SelfrepError(f"Options are reduce, baseline, reads, budget_gb and progress; got {sorted(unknown)}.")
    # Asked for by name, a metric always comes as a PatchingResult, whose axes are named.
    by_name = dict(metric) if isinstance(metric, Mapping) else {"metric": metric}
    results = [part(model, corrupted_tokens, clean_cache, by_name, **options) for part in parts.values()]
    aligned = []
    for result in results:
        names = [{"head_index": "head", "dest_pos": "pos"}.get(name, name) for name in result.axis_names]
        aligned.append(result.values.movedim([1 + names.index(axis) for axis in order], list(range(1, 1 + len(order)))))
    widest = [max(sizes) for sizes in zip(*(one.shape for one in aligned), strict=True)]
    values = aligned[0].new_zeros(widest[0], len(parts), *widest[1:])
    for t, one in enumerate(aligned):
        values[:, t][tuple(map(slice, one.shape))] = one
    result = PatchingResult(
        values=values,
        axis_names=["patch_type", *order],
        index_df=make_df_from_ranges([len(parts), *widest[1 : 1 + len(order)]], ["patch_type", *order]),
        metric_names=list(by_name),
        reduced=results[0].reduced,
        baseline=results[0].baseline,
        has_metric_axis=True,
        patch_type_names=list(parts),
    )
    if isinstance(metric, Mapping):
        return result
    one = result["metric"]
    return one if options.get("reduce") == "none" or options.get("baseline") else one.values


get_act_patch_attn_head_all_pos_every = _bundle(
    "outputs, queries, keys, values and patterns of every head at all positions",
    ("layer", "head"),
    out=get_act_patch_attn_head_out_all_pos,
    q=get_act_patch_attn_head_q_all_pos,
    k=get_act_patch_attn_head_k_all_pos,
    v=get_act_patch_attn_head_v_all_pos,
    pattern=get_act_patch_attn_head_pattern_all_pos,
)
get_act_patch_attn_head_by_pos_every = _bundle(
    "outputs, queries, keys, values and patterns of every head, position by position (patterns by destination)",
    ("layer", "pos", "head"),
    out=get_act_patch_attn_head_out_by_pos,
    q=get_act_patch_attn_head_q_by_pos,
    k=get_act_patch_attn_head_k_by_pos,
    v=get_act_patch_attn_head_v_by_pos,
    pattern=get_act_patch_attn_head_pattern_by_pos,
)
get_act_patch_block_every = _bundle(
    "the residual stream before each block, attention outputs and MLP outputs",
    ("layer", "pos"),
    resid_pre=get_act_patch_resid_pre,
    attn_out=get_act_patch_attn_out,
    mlp_out=get_act_patch_mlp_out,
)
