"""The ways to patch that the benchmark compares, each doing the same cells.

Every tool is given its best: the source is run once and its activations kept; only the last token's logits are asked
for, wherever a tool lets one ask (all but TransformerLens's `generic_activation_patch`, which calls the model itself);
wrapping a model and building interventions is not timed. The libraries get a twin of the model on the same weights, so
that no hook or wrapper of theirs slows another tool down.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pandas as pd
import torch
import xarray as xr
from bench_workloads import Cell, Work
from torch import Tensor
from transformers import PreTrainedModel

from selfrep.engine.metrics import logit_difference
from selfrep.engine.patch import patch_tokens
from selfrep.engine.plan import grid
from selfrep.models.language_model import LanguageModel

FIRST, SECOND = 198, 271
"""The two tokens whose logits are compared; any two would do."""

Kept = dict[int, Tensor]
"""The source's activations, layer → [row, token, feature]."""


@dataclass(frozen=True)
class Loop:
    """A tool ready to run: what it does once (`record`), and what it does for cells: (kept, cells) → [cell, row]."""

    record: Callable[[], Any]
    run: Callable[[Any, Sequence[Cell]], Tensor]


Tool = Callable[[Work], Loop]


def difference(logits: Tensor) -> Tensor:
    """[row, token, vocabulary] → [row], of the last token, in float32."""
    last = logits[:, -1].float()
    return last[:, FIRST] - last[:, SECOND]


def selfrep(work: Work) -> Loop:
    """The staged replay, from token ids to the labelled Dataset; it runs the whole grid that the cells span.

    A sweep checks itself the first time that it meets a model. Here it meets a new one every turn, so that each turn
    holds what that costs.
    """
    axes = ["layer", "position", "head"][: 3 if work.site == "z" else 2]
    metric = logit_difference(FIRST, SECOND)
    _ = work.lm.weights_hash  # is kept, and holds for a twin, whose weights are the same tensors

    def unchecked() -> LanguageModel:
        return replace(work.lm, hf=twin(work.lm.hf))

    def run(lm: LanguageModel, cells: Sequence[Cell]) -> Tensor:
        layers, positions, heads = (sorted({cell[axis] for cell in cells}) for axis in range(3))
        plan = grid(work.site, layers=layers, positions=positions, heads=heads if work.site == "z" else None)
        effects = patch_tokens(lm, work.source.ids, work.target.ids, plan, metric)
        index = {axis: xr.DataArray([getattr(cell, axis) for cell in cells], dims="cell") for axis in axes}
        return torch.tensor(effects.patched.sel(index).transpose("cell", "pair").values)

    return Loop(unchecked, run)


def selfrep_checked(work: Work) -> Loop:
    """The same on a model that has been checked: every sweep of a kind after the first."""
    return Loop(lambda: work.lm, selfrep(work).run)


def transformer_lens(work: Work) -> Loop:
    """`generic_activation_patch` on the bridge.

    It cannot be told of an attention mask, so for ragged rows the bridge's own forward pass is bound to one meanwhile.
    """
    from transformer_lens import patching

    bridge = work.lm.bridge
    axes, setter = ["layer", "pos"], patching.layer_pos_patch_setter
    if work.site == "z":
        axes, setter = [*axes, "head_index"], patching.layer_pos_head_vector_patch_setter

    @contextmanager
    def seeing(mask: Tensor | None) -> Iterator[None]:
        if mask is None:
            yield
            return
        bridge.forward = partial(bridge.forward, attention_mask=mask)
        try:
            yield
        finally:
            del bridge.forward

    def record() -> Any:
        with seeing(work.source.mask):
            hook = f"hook_{work.site}"
            return bridge.run_with_cache(work.source.padded, names_filter=lambda name: name.endswith(hook))[1]

    def run(cache: Any, cells: Sequence[Cell]) -> Tensor:
        width = work.target.ids.shape[1]
        index = pd.DataFrame([(c.layer, width + c.position, c.head)[: len(axes)] for c in cells], columns=axes)
        with seeing(work.target.mask):
            result = patching.generic_activation_patch(
                bridge, work.target.padded, cache, difference, setter, work.site, index_df=index, reduce="none"
            )
        return result.values

    return Loop(record, run)


def nnsight(work: Work) -> Loop:
    """One trace a cell (several invokes in one trace were measured to be slower)."""
    from nnsight import NNsight

    model = NNsight(twin(work.lm.hf))

    def run(kept: Kept, cells: Sequence[Cell]) -> Tensor:
        out = []
        for cell in cells:
            module, at = model.get(work.path(cell.layer)), (slice(None), cell.position, work.width(cell))
            with model.trace(**work.target.inputs):
                module.input[at] = kept[cell.layer][at]
                logits = model.output.logits.save()
            out.append(difference(logits))
        return torch.stack(out)

    return Loop(partial(recorded, work), run)


def pyvene(work: Work) -> Loop:
    """One `IntervenableModel` a layer, handed the source's activations: left to itself it runs the source each time."""
    import pyvene as library

    hf, rows, width = twin(work.lm.hf), len(work.target.ids), work.target.ids.shape[1]
    component, unit = ("head_attention_value_output", "h.pos") if work.site == "z" else ("block_input", "pos")
    models = [
        library.IntervenableModel(
            {"layer": layer, "component": component, "unit": unit, "intervention_type": library.VanillaIntervention}, hf
        )
        for layer in range(work.lm.n_layers)
    ]

    def run(kept: Kept, cells: Sequence[Cell]) -> Tensor:
        out = []
        for cell in cells:
            model = models[cell.layer]
            value = kept[cell.layer][:, cell.position, work.width(cell)][:, None]
            place: Any = [[width + cell.position]] * rows
            if cell.head is not None:
                value, place = value[:, None], [[[cell.head]] * rows, place]
            _, result = model(
                work.target.inputs,
                unit_locations={"sources->base": (None, [place])},
                source_representations={model.sorted_keys[0]: value},
            )
            out.append(difference(result.logits))
        return torch.stack(out)

    return Loop(partial(recorded, work), run)


def plain_hooks(work: Work) -> Loop:
    """One hooked forward pass of the Hugging Face model a cell."""
    hf = work.lm.hf

    def run(kept: Kept, cells: Sequence[Cell]) -> Tensor:
        out = []
        for cell in cells:
            at = (slice(None), cell.position, work.width(cell))

            def change(_: object, args: tuple[Tensor, ...], at: Any = at, value: Tensor = kept[cell.layer]) -> Any:
                x = args[0].clone()
                x[at] = value[at]
                return (x, *args[1:])

            handle = hf.get_submodule(work.path(cell.layer)).register_forward_pre_hook(change)
            out.append(difference(hf(**work.target.inputs).logits))
            handle.remove()
        return torch.stack(out)

    return Loop(partial(recorded, work), run)


TOOLS: dict[str, Tool] = {
    "selfrep": selfrep,
    "selfrep_checked": selfrep_checked,
    "transformer_lens": transformer_lens,
    "nnsight": nnsight,
    "pyvene": pyvene,
    "plain_hooks": plain_hooks,
}


WHOLE_GRID = ("selfrep", "selfrep_checked")
"""Those that compute all cells: what one cell costs depends on the others."""


def recorded(work: Work) -> Kept:
    """The source's activations at the site, by one hooked forward pass of the Hugging Face model."""
    kept: Kept = {}
    with ExitStack() as stack:
        for layer in range(work.lm.n_layers):

            def keep(_: object, args: tuple[Tensor, ...], layer: int = layer) -> None:
                kept[layer] = args[0]

            module = work.lm.hf.get_submodule(work.path(layer))
            stack.callback(module.register_forward_pre_hook(keep).remove)
        work.lm.hf(**work.source.inputs)
    return kept


def unpatched(work: Work) -> Tensor:
    """[row] the target as it is."""
    return difference(work.lm.hf(**work.target.inputs).logits)


def row_by_row(work: Work, cells: Sequence[Cell]) -> Tensor:
    """[cell, row], each row alone and without padding, by plain hooks: nothing here can go wrong with a mask."""
    loops = [plain_hooks(work.alone(row)) for row in range(len(work.target.ids))]
    return torch.cat([loop.run(loop.record(), cells) for loop in loops], dim=1)


def twin(hf: PreTrainedModel) -> PreTrainedModel:
    """A copy that shares every weight."""
    return copy.deepcopy(hf, memo={id(t): t for t in [*hf.parameters(), *hf.buffers()]})
