"""Where a model computes: on one device, by name; or, too large for one, spread by accelerate.

accelerate hooks every module of a model that it spreads over devices, main memory and disk: what enters a module is
moved to where that computes, and weights kept elsewhere are fetched for as long as it runs (between runs they are on
torch's "meta" device: shapes without numbers). Who calls modules need know nothing of it. Who reads weights, or asks
where the model is, asks here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec

import torch
from torch import nn
from transformers import PreTrainedModel

from selfrep.errors import SelfrepError

DeviceMap = str | Mapping[str, int | str | torch.device]
"""Which part of a model computes or is kept where: "auto", or module path → device or "disk" (see accelerate)."""


def entrance(hf: PreTrainedModel) -> torch.device:
    """Where a model takes its tokens: the one device that it is on, or that of its embedding."""
    hook = getattr(hf.get_input_embeddings(), "_hf_hook", None)
    devices = [getattr(one, "execution_device", None) for one in getattr(hook, "hooks", [hook])]
    return next((torch.device(device) for device in devices if device is not None), hf.device)


def is_spread(hf: nn.Module) -> bool:
    """Whether accelerate moves what enters this model's modules, or fetches their weights."""
    return any(hasattr(module, "_hf_hook") for module in hf.modules())


@contextmanager
def fetched(module: nn.Module) -> Iterator[None]:
    """Within, a module's own weights are where it computes, also if they are kept elsewhere."""
    if not any(tensor.is_meta for tensor in [*module.parameters(recurse=False), *module.buffers(recurse=False)]):
        yield
        return
    from accelerate.utils import align_module_device

    with align_module_device(module):
        yield


def checked(device_map: DeviceMap) -> DeviceMap:
    """A device map whose devices are there.

    Raises:
        SelfrepError: accelerate is not installed, a device that is not there.
    """
    if find_spec("accelerate") is None:
        raise SelfrepError("A device_map needs accelerate, which is not installed: pip install 'selfrep[big]'.")
    if isinstance(device_map, str):
        return device_map
    for place in device_map.values():
        if place != "disk":
            named(f"cuda:{place}" if isinstance(place, int) else str(place))
    return dict(device_map)


def named(name: str) -> torch.device:
    """The device of that name: "auto" (CUDA, else MPS, else the CPU), "cpu", "cuda", "cuda:1", "mps".

    Raises:
        SelfrepError: no such device, or not on this machine.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device: torch.device | None = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda", "mps"):
        raise SelfrepError(f"A device is auto, cpu, cuda, cuda:N or mps; got {name!r}.")
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise SelfrepError(
            f"The device {name!r} is not there: this torch ({torch.__version__}) sees {torch.cuda.device_count()} CUDA "
            "devices. Use --device cpu, or install a torch built for your GPU."
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise SelfrepError("The device 'mps' is not there on this machine. Use --device cpu.")
    return device
