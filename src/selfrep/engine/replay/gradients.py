"""Gradients of a metric at every site, from the target's runs of a batch: what approximations stand on.

As in exact patching, the tokens before the suffix are recorded once and read as keys and values; only the suffix is run
again, from any block. A model whose blocks cannot be replayed is run as a whole, a prompt at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from selfrep.engine import hooks, reference
from selfrep.engine.agreement import agree, root_mean_square, unpatched_draws
from selfrep.engine.effects import Baselines
from selfrep.engine.hooks import Place
from selfrep.engine.metrics import Reading
from selfrep.engine.plan import PatchPlan
from selfrep.engine.replay.baselines import SweepRecording, record_sweep
from selfrep.engine.replay.walk import push
from selfrep.engine.sweep import PatchSweep
from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.models.products import is_half
from selfrep.models.quantised import is_bare
from selfrep.models.state import others_on_gradients
from selfrep.models.twins import NoTwin, in_float32

WRONG = 0.3
"""How far the slope of a quantised linear layer may be off, beside how far the layer moves what it is given."""

Rerun = Callable[[int, int], Tensor]
"""(first block, copies) → the residual stream after the last block at the tokens that are read, [copy, row, token,
d_model]. Hooks on the modules of the blocks are felt."""


@dataclass(frozen=True)
class TargetRuns:
    """The target's runs of a batch of pairs.

    Attributes:
        readings: the metrics, compiled for the batch.
        rerun: runs the targets again, so many copies side by side.
        passing: what passes at a place in the donors' and in the targets' runs, [row, token, (component,) feature] at
            the last `sweep.width` tokens.
        on: the same of another model.
    """

    lm: LanguageModel
    sweep: PatchSweep
    readings: tuple[Reading, ...]
    baselines: Baselines
    rerun: Rerun
    passing: Callable[[Place], tuple[Tensor, Tensor]]
    on: Callable[[LanguageModel], TargetRuns]

    @torch.no_grad()
    def move(self, plan: PatchPlan, layer: int) -> Tensor:
        """The value that a plan writes at a layer, minus the target's own: [row, token, (component,) feature]."""
        source, own = self.passing((plan.site, layer))
        source = self.sweep.source_values(plan.site, layer, source, own)
        return plan.intervention.values(source, own, layer) - own

    def values(self, final: Tensor) -> list[Tensor]:
        """Each metric, [copy, row], of what `rerun` gives."""
        return [
            reading.value(self.lm.logits(final[:, :, list(reading.positions)], reading.tokens))
            for reading in self.readings
        ]

    def check(self, values: Sequence[Tensor]) -> None:
        """Raise Mismatch when these metrics, [copy, row] of runs with nothing added, are not those of the targets:
        then gradients would be taken of something else than the model."""
        own = torch.stack([value.detach() for value in values], dim=-1).cpu().numpy()
        wanted = np.broadcast_to(self.baselines.target, own.shape)
        half = is_half(self.lm.dtype)
        noise = root_mean_square(unpatched_draws(self.lm, self.sweep)) if half else None
        if agree(own.reshape(-1, own.shape[-1]), wanted.reshape(-1, own.shape[-1]), noise):
            return
        fault = (
            f"The run that gradients are taken of must say what the model says. On {self.lm.name} it is off by "
            f"{np.abs(own - wanted).max():.3g}: use patch, which checks itself against plain forward passes."
        )
        if not half:
            raise reference.Mismatch(fault)
        try:
            twin = in_float32(self.lm)
        except NoTwin as reason:
            raise reference.Mismatch(f"{fault} {reason}") from reason
        with torch.no_grad():
            again = self.on(twin)
            again.check(again.values(again.rerun(0, 1)))


def replay_runs(recording: SweepRecording) -> TargetRuns:
    """The target's runs of a batch that is recorded: its suffixes are replayed."""
    lm, target, donor, reads = recording.lm, recording.target, recording.donor, recording.reads

    def rerun(block: int, copies: int) -> Tensor:
        x = target.residuals[block].expand(copies, -1, -1, -1)
        for layer in range(block, lm.n_layers):
            x = push(lm, target, layer, x, target.start)
        ends = x[:, :, -reads:]
        before = target.final[:, -reads : target.width - ends.shape[2]]  # read before what is run again
        return ends if ends.shape[2] == reads else torch.cat([before.expand(copies, -1, -1, -1), ends], dim=2)

    def passing(place: Place) -> tuple[Tensor, Tensor]:
        return donor.at(*place), target.at(*place)

    def on(other: LanguageModel) -> TargetRuns:
        return replay_runs(record_sweep(other, recording.sweep))

    return TargetRuns(lm, recording.sweep, recording.readings, recording.baselines, rerun, passing, on)


def whole_run(lm: LanguageModel, pair: PatchSweep) -> TargetRuns:
    """The runs of a sweep of one pair, whose target is run as a whole by the untouched model."""
    ids = torch.as_tensor(pair.batch.target_ids, device=lm.device)
    readings = tuple(reference.readings_of(lm, pair))
    reads = max(-p for reading in readings for p in reading.positions)
    places = {(cell.site, cell.layer) for cell in pair.cells}
    prompts = pair.donor_ids[0], pair.batch.target_ids[0]
    donor, target = (reference.activations(lm, prompt, places) for prompt in prompts)
    reach = int(pair.reach[0])

    def rerun(block: int, copies: int) -> Tensor:
        final: list[Tensor] = []
        with ExitStack() as stack:
            stack.enter_context(hooks.listening(lm.blocks[-1], "out", final.append))
            lm.hf.base_model(input_ids=ids.expand(copies, -1), use_cache=False)
        return final[0][:, None, -reads:]

    def passing(place: Place) -> tuple[Tensor, Tensor]:
        own = target[place][-pair.width :]
        source = own.clone()
        n = min(reach, pair.width)
        source[-n:] = donor[place][-n:]
        return source[None], own[None]

    _, baselines = reference.run_sweep(lm, replace(pair, plans=()))
    return TargetRuns(lm, pair, readings, baselines, rerun, passing, lambda other: whole_run(other, pair))


def visit(
    runs: TargetRuns, place: Place, kept: dict[Place, Tensor], add: Tensor | None = None
) -> AbstractContextManager[None]:
    """Within, what passes at a place is kept, after something is added to it.

    What enters a norm also goes past it: to `resid_mid` it is added in place, as patches there are written.

    Args:
        kept: gets what passes, with all features of the module.
        add: [copy × row, token, (component,) feature], for the last tokens.
    """
    module, tap = runs.lm.tap(*place)

    def change(x: Tensor) -> Tensor:
        if add is not None:
            spread = torch.zeros_like(x)
            part = spread[:, -add.shape[1] :]
            part.copy_(add if tap.part is None else tap.part.write(part, add.to(x)))
            x = x.add_(spread) if place[0] == "resid_mid" else x + spread
        kept[place] = x
        return x

    return hooks.replacing(module, tap.end, change)


def gradients(
    runs: TargetRuns,
    places: Sequence[Place],
    *,
    block: int = 0,
    copies: int = 1,
    add: Mapping[Place, Tensor] | None = None,
    drop: bool = False,
    check: bool = True,
) -> dict[Place, Tensor]:
    """∂metric/∂activation at places, from one pass forward and one backward for each metric (and dropped block).

    Args:
        block: where the runs start; no place is before it.
        add: what is added to the activations at a place, see `visit`.
        drop: also with each block in turn dropped from the gradient: it goes past the block, not through it.
        check: whether a run with nothing added must give the target's own metrics.

    Returns:
        For each place [way, metric, copy, row, token, (component,) feature] at the last `sweep.width` tokens: way 0 is
        the gradient itself, way 1 + l the one without block l.

    Raises:
        SelfrepError: a metric that is no differentiable function of the logits; weights made in inference mode; a run
            that, with nothing added, is not the target's own.
    """
    lm, width = runs.lm, runs.sweep.width
    _require_differentiable(lm)
    kept: dict[Place, Tensor] = {}
    drop_block: list[int | None] = [None]
    with torch.enable_grad(), ExitStack() as stack:
        stack.enter_context(hooks.replacing(lm.blocks[block], "in", lambda x: x.detach().requires_grad_()))
        for layer in range(block, lm.n_layers) if drop else ():
            stack.enter_context(_droppable(lm, layer, drop_block))
        for place in places:
            stack.enter_context(visit(runs, place, kept, (add or {}).get(place)))
        values = runs.values(runs.rerun(block, copies))
        totals = [value.sum() for value in values]
    if check and not add:
        runs.check(values)
    for metric, total in zip(runs.sweep.metrics, totals, strict=True):
        if not total.requires_grad:
            raise SelfrepError(
                f"A gradient needs a metric that is a differentiable function of the logits; {metric.name!r} is none. "
                "Use patch, or write the metric in torch operations on what it is given."
            )
    out: dict[Place, list[Tensor]] = {place: [] for place in places}
    for way in (None, *range(lm.n_layers)) if drop else (None,):
        drop_block[0] = way
        for total in totals:
            grads = torch.autograd.grad(
                total, [kept[place] for place in places], retain_graph=True, materialize_grads=True
            )
            for place, grad in zip(places, grads, strict=True):
                part = lm.layout.tap(place[0]).part
                out[place].append((grad if part is None else part.read(grad))[:, -width:].clone())
    ways = lm.n_layers + 1 if drop else 1
    return {
        place: torch.stack(grads).unflatten(1, (copies, -1)).unflatten(0, (ways, len(totals)))
        for place, grads in out.items()
    }


def _require_differentiable(lm: LanguageModel) -> None:
    """Raise SelfrepError for weights that gradients may not go through, or do not: past a quantised layer without any,
    the residual stream would carry one all the same, and be wrong. And for hooks that may change a gradient."""
    if any(weight.is_inference() for weight in lm.hf.parameters()):
        raise SelfrepError(
            f"A gradient goes through weights; those of {lm.name} were made in torch.inference_mode, which forbids it. "
            "Load the model outside of it."
        )
    if added := others_on_gradients(lm.hf):
        raise SelfrepError(
            f"A gradient is the model's own; {lm.name} has {', '.join(added[:3])}, which may change it. Remove what "
            "was added, or use patch, which takes no gradients."
        )
    for module in lm.blocks[0].modules():
        weight, wide = getattr(module, "weight", None), getattr(module, "in_features", None)
        if wide is None or (isinstance(weight, Tensor) and is_bare(weight)):
            continue
        x = torch.randn(1, 1, wide, generator=torch.Generator().manual_seed(0)).to(lm.device, lm.dtype)
        with torch.enable_grad():
            out = module(x.requires_grad_())
            slope = torch.autograd.grad(out.sum(), x, materialize_grads=True)[0] if out.requires_grad else 0 * x
        moved = (out.detach() - module(torch.zeros_like(x))).float()
        if (moved.sum() - (slope * x.detach()).float().sum()).abs() > WRONG * moved.norm():
            raise SelfrepError(
                f"A gradient goes through every layer; that of the {type(module).__name__} of {lm.name}, which is "
                "quantised, is none, or not its own. Use patch, or load the model unquantised."
            )


class _Gate(torch.autograd.Function):
    """Passes on what leaves a block; its gradient goes to what entered the block when the block is dropped."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, inputs: Tensor, output: Tensor, layer: int,
                drop_block: list[int | None]) -> Tensor:  # fmt: skip
        ctx.is_dropped = lambda: drop_block[0] == layer  # type: ignore[attr-defined]
        return output.view_as(output)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        return (grad, None, None, None) if ctx.is_dropped() else (None, grad, None, None)  # type: ignore[attr-defined]


@contextmanager
def _droppable(lm: LanguageModel, layer: int, drop_block: list[int | None]) -> Iterator[None]:
    """Within, gradients go past a block while `drop_block` names it."""
    inputs: list[Tensor] = []

    def leave(x: Tensor) -> Tensor:
        return _Gate.apply(inputs.pop(), x, layer, drop_block)

    block = lm.blocks[layer]
    with hooks.listening(block, "in", inputs.append), hooks.replacing(block, "out", leave):
        yield


@torch.no_grad()
def activation_after(runs: TargetRuns, place: Place, at: Place, add: Tensor) -> Tensor:
    """What passes at one place when something is added at another, earlier in the same block.

    Args:
        add: [copy, row, token, (component,) feature] at the last tokens.

    Returns:
        [copy, row, token, (component,) feature] at the last `sweep.width` tokens.
    """
    out: list[Tensor] = []

    def hear(_: Place, x: Tensor) -> None:
        out.append(x[:, -runs.sweep.width :].clone())
        raise hooks.EndOfPass

    with ExitStack() as stack, hooks.hearing(runs.lm, [place], hear), suppress(hooks.EndOfPass):
        stack.enter_context(visit(runs, at, {}, add.flatten(0, 1)))
        runs.rerun(at[1], len(add))
    return out[0].unflatten(0, (len(add), -1))
