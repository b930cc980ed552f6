"""The state a model is in: what is remembered of a model (a self-check, the hash of its weights) holds for that state.

A model in memory belongs to the user, who may train it on, add or merge an adapter, or set hooks between two sweeps.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules import module as everywhere

from selfrep.models import devices
from selfrep.models.quantised import is_bare, plain_parts

_FORWARD = ("_forward_pre_hooks", "_forward_hooks")
_BACKWARD = ("_backward_pre_hooks", "_backward_hooks")
_HARMLESS = {"transformers", "accelerate", "selfrep"}
"""Packages whose hooks treat all tokens and rows alike: they collect outputs, or move tensors between devices."""
_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_SCALARS = (str, int, float, bool)
_OF_EVERY_MODULE = frozenset(vars(nn.Module()))
_ADAPTER = ("active_adapters", "disable_adapters", "merged_adapters", "scaling")
"""What decides, beside its weights, what an adapter of peft does to the layer it wraps."""


class State(NamedTuple):
    """Three digests. `trained`: of the numbers that training changes; `weights`: of all weights and the tensors that
    hold them; `model`: of that and of its modules, their settings and their hooks."""

    trained: str
    weights: str
    model: str


@torch.no_grad()
def state_of(hf: nn.Module) -> State:
    """The state a model is in, from a small part of its weights: milliseconds, where a hash of all takes seconds.

    Of each row of each weight one number is read. A change that torch does not count (`weight.data[3, 5] = 1`) and that
    misses those is not noticed; one that torch counts, as every optimiser makes, always is.

    Example:
        >>> layer = nn.Linear(3, 3)
        >>> before = state_of(layer)
        >>> state_of(layer) == before
        True
        >>> layer.weight.data += 1
        >>> state_of(layer).trained == before.trained
        False
    """
    named = _tensors(hf)
    parts = [(name, part) for name, tensor in named for part in plain_parts(tensor)]
    sums = _sums([part for _, part in parts])
    bare = {name for name, tensor in named if is_bare(tensor)}  # a quantised one may be packed when it is first used
    trained = _digest([(name, one) for (name, _), one in zip(parts, sums, strict=True) if name in bare])
    tensors = [(name, part.data_ptr(), _version(part), str(part.dtype), tuple(part.shape)) for name, part in parts]
    weights = _digest(sums, tensors, adapter_settings(hf))
    modules = [(path, type(module).__qualname__, _settings(module)) for path, module in hf.named_modules()]
    hooks = [(path, name, id(hook)) for path, name, hook in _hooks(hf, _FORWARD + _BACKWARD)]
    config = _settings(hf.config) if hasattr(hf, "config") else ()
    return State(trained, weights, _digest(weights, modules, hooks, config))


def others(hf: nn.Module) -> list[str]:
    """What others have put between the modules of a model: forward hooks, or a `forward` in place of a module's own.

    Nobody knows what it does to tokens that are run without those before them, or beside other prompts. Not counted are
    hooks of transformers and accelerate themselves, and what torch.compile made of a `forward`.

    Example:
        >>> layer = nn.Linear(3, 3)
        >>> _ = layer.register_forward_hook(print)
        >>> others(layer)
        ['a forward hook on Linear']
    """
    return _hooks_of_others(hf, _FORWARD) + [
        f"a forward of its own in {path or type(hf).__name__}"
        for path, module in hf.named_modules()
        if "forward" in vars(module) and not hasattr(module, "_hf_hook") and not is_compiled(module)
        and _package(vars(module)["forward"]) not in _HARMLESS
    ]  # fmt: skip


def others_on_gradients(hf: nn.Module) -> list[str]:
    """The hooks of others that gradients pass, and that may change them; where there are none they never act.

    Example:
        >>> layer = nn.Linear(3, 3)
        >>> _ = layer.register_full_backward_hook(print)
        >>> others(layer), others_on_gradients(layer)
        ([], ['a backward hook on Linear'])
    """
    return _hooks_of_others(hf, _BACKWARD)


def is_compiled(module: nn.Module) -> bool:
    """Whether torch.compile has been at this very module.

    Example:
        >>> is_compiled(nn.Linear(3, 3))
        False
    """
    made = getattr(vars(module).get("forward"), "_torchdynamo_orig_callable", None)
    return hasattr(module, "_orig_mod") or made is not None or getattr(module, "_compiled_call_impl", None) is not None


def is_bare_linear(module: nn.Module) -> bool:
    """Whether a module computes x @ weight.T + bias and nothing else: no adapter, no quantised weights, no hook.

    Example:
        >>> is_bare_linear(nn.Linear(3, 3)), is_bare_linear(nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)))
        (True, False)
    """
    return type(module) is nn.Linear and all(map(is_bare, module.parameters(recurse=False))) and not others(module)


def weights_digest(hf: nn.Module) -> str:
    """sha256 of the numbers of all weights, with their names.

    Of quantised weights it is that of their parts; of adapters it holds too whether they are active.
    """
    digest = hashlib.sha256()
    for name, tensor in _tensors(hf):  # not of state_dict(), which repacks weights of bitsandbytes
        path, _, own = name.rpartition(".")
        if tensor.is_meta:
            module = hf.get_submodule(path)
            with devices.fetch_weights(module):
                tensor = getattr(module, own).detach().cpu()
        digest.update(name.replace("_orig_mod.", "").encode())  # as torch.compile calls what it wraps
        for part in plain_parts(tensor):
            digest.update(part.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    if adapters := adapter_settings(hf):
        digest.update(repr(adapters).encode())
    return digest.hexdigest()


def adapter_settings(hf: nn.Module) -> tuple[object, ...]:
    """Which adapters of peft are active, merged, scaled by how much: (path, settings) of each layer that has any."""
    return tuple(
        (path, tuple(_plain(getattr(module, name, None)) for name in _ADAPTER))
        for path, module in hf.named_modules()
        if hasattr(module, "merged_adapters")
    )


def _tensors(hf: nn.Module) -> list[tuple[str, Tensor]]:
    """The weights, those of adapters too, and what else is saved with a model, in the order of their names: that of the
    modules changes where a layer takes a weight away and puts it back, as peft's does for experts."""
    tensors = dict(hf.named_parameters(remove_duplicate=False))
    for path, module in hf.named_modules():
        for name, tensor in module._buffers.items():
            if tensor is not None and name not in module._non_persistent_buffers_set:
                tensors[f"{path}.{name}" if path else name] = tensor
    return sorted(tensors.items())


def _sums(parts: list[Tensor]) -> list[int]:
    """For each tensor the sum of one number a row, each of another column, by its bits: rounding hides no change."""
    sums = []
    for part in parts:
        if part.is_meta or part.is_sparse or part.is_complex() or not part.numel():
            sums.append(torch.zeros((), dtype=torch.int64))
            continue
        step = part.shape[-1] + 1 if part.ndim > 1 and part.shape[-1] < part.numel() else 1
        flat = part.reshape(-1) if part.is_contiguous() else part.mT.reshape(-1) if part.ndim > 1 else part
        sums.append(flat[::step].contiguous().view(_INTEGERS[part.element_size()]).sum(dtype=torch.int64))
    by_device: dict[torch.device, list[int]] = {}
    for i, one in enumerate(sums):
        by_device.setdefault(one.device, []).append(i)
    out = [0] * len(sums)
    for members in by_device.values():  # one wait for each device, not one for each weight
        for i, value in zip(members, torch.stack([sums[i] for i in members]).cpu().tolist(), strict=True):
            out[i] = value
    return out


def _version(tensor: Tensor) -> int:
    return -1 if tensor.is_inference() else tensor._version


def _hooks(hf: nn.Module, kinds: tuple[str, ...]) -> Iterator[tuple[str, str, Any]]:
    """(path, kind, hook) of every hook on a module of a model, and of those that are on every module there is."""
    for kind in kinds:
        for hook in getattr(everywhere, f"_global{kind}", {}).values():
            yield "every module", kind, hook
    for path, module in hf.named_modules():
        for kind in kinds:
            for hook in getattr(module, kind).values():
                yield path, kind, hook


def _hooks_of_others(hf: nn.Module, kinds: tuple[str, ...]) -> list[str]:
    return [
        f"a {kind.strip('_').removesuffix('s').replace('_', ' ')} on {path or type(hf).__name__}"
        for path, kind, hook in _hooks(hf, kinds)
        if _package(hook) not in _HARMLESS
    ]


def _package(hook: Any) -> str:
    while isinstance(hook, functools.partial):
        hook = hook.func
    hook = getattr(hook, "__func__", hook)
    return str(getattr(hook, "__module__", None) or type(hook).__module__).partition(".")[0]


def _settings(thing: Any) -> tuple[object, ...]:
    """The attributes of a module or configuration that are plain values; whether it is in training is none of them."""
    return tuple(
        (name, plain)
        for name, value in vars(thing).items()
        if name not in _OF_EVERY_MODULE and (plain := _plain(value)) is not None
    )


def _plain(value: Any) -> object:
    """A value of numbers and words, however nested, as tuples; None for anything else."""
    kind = type(value)
    if kind in _SCALARS:
        return value
    if kind in (tuple, list):
        return tuple(map(_plain, value))
    if kind in (set, frozenset):
        return tuple(sorted(map(str, value)))
    return tuple((str(key), _plain(one)) for key, one in value.items()) if isinstance(value, dict) else None


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()
