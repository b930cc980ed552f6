"""Where a model computes: on one device, by name; or, when too large for one, spread over several by accelerate.

accelerate hooks every module of a model that it spreads over devices, main memory and disk. Inputs are moved to the
device of the module, and weights kept elsewhere are fetched while it runs (between runs they are on torch's "meta"
device: shapes without numbers). Code that only calls modules may ignore this. Code that reads weights, or needs the
device of a model, uses this file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch
from torch import nn

from selfrep.errors import SelfrepError, close_match

if TYPE_CHECKING:
    from transformers import PreTrainedModel

DeviceMap = str | Mapping[str, int | str | torch.device]
"""The place of each part of a model: a strategy, one device, or module path → device or "disk" (see accelerate)."""
DEVICES = ("cpu", "cuda", "mps")
STRATEGIES = ("auto", "balanced", "balanced_low_0", "sequential")
"""By which accelerate says itself where each part goes."""


def entrance(hf: PreTrainedModel) -> torch.device:
    """The device of a model's input: its only one, or that of its embedding.

    Example:
        >>> from selfrep.models.loading import load_model
        >>> entrance(load_model("organism:bleed?beta=0.4", device="cpu").hf)
        device(type='cpu')
    """
    hook = getattr(hf.get_input_embeddings(), "_hf_hook", None)
    devices = [getattr(one, "execution_device", None) for one in getattr(hook, "hooks", [hook])]
    return next((torch.device(device) for device in devices if device is not None), hf.device)


def is_spread(hf: nn.Module) -> bool:
    """Whether accelerate moves the inputs of this model's modules, or fetches their weights.

    Example:
        >>> is_spread(nn.Linear(2, 2))
        False
    """
    return any(hasattr(module, "_hf_hook") for module in hf.modules())


@contextmanager
def fetch_weights(module: nn.Module) -> Iterator[None]:
    """Inside the `with` block a module's own weights are on its device, even if they are kept elsewhere.

    Example:
        >>> module = nn.Linear(2, 2)
        >>> with fetch_weights(module):
        ...     list(module.weight.shape)
        [2, 2]
    """
    if not any(tensor.is_meta for tensor in [*module.parameters(recurse=False), *module.buffers(recurse=False)]):
        yield
        return
    from accelerate.utils import align_module_device

    with align_module_device(module):
        yield


def check_device_map(device_map: DeviceMap) -> DeviceMap:
    """The device map itself, once its devices are known to exist.

    Raises:
        SelfrepError: accelerate is not installed, no such strategy, or a device does not exist.

    Example:
        >>> check_device_map({"model": "cpu", "lm_head": "disk"})
        {'model': 'cpu', 'lm_head': 'disk'}
        >>> check_device_map("atuo")
        Traceback (most recent call last):
        selfrep.errors.SelfrepError: A device_map is auto, balanced, balanced_low_0 or sequential, one device, or says
        of each part of the model where it goes; got 'atuo' (did you mean 'auto'?).
    """
    if find_spec("accelerate") is None:
        raise SelfrepError("A device_map needs accelerate, which is not installed: pip install 'selfrep[big]'.")
    if device_map in STRATEGIES:
        return device_map
    if isinstance(device_map, str):
        if device_map.partition(":")[0] not in DEVICES:
            raise SelfrepError(
                "A device_map is auto, balanced, balanced_low_0 or sequential, one device, or says of each part of the "
                f"model where it goes; got {device_map!r}{close_match(device_map, STRATEGIES)}."
            )
        device(device_map)
        return device_map
    for place in device_map.values():
        if place != "disk":
            device(f"cuda:{place}" if isinstance(place, int) else str(place))
    return dict(device_map)


def device(name: str) -> torch.device:
    """The device of that name: "auto" (CUDA, else MPS, else the CPU), "cpu", "cuda", "cuda:1", "mps".

    Raises:
        SelfrepError: no such device, or not on this machine.

    Example:
        >>> device("cpu")
        device(type='cpu')
        >>> device("gpu")
        Traceback (most recent call last):
        selfrep.errors.SelfrepError: A device is auto, cpu, cuda, cuda:N or mps; got 'gpu'.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        place: torch.device | None = torch.device(name)
    except RuntimeError:
        place = None
    if place is None or place.type not in DEVICES:
        raise SelfrepError(f"A device is auto, cpu, cuda, cuda:N or mps; got {name!r}.")
    if place.type == "cuda" and (not torch.cuda.is_available() or (place.index or 0) >= torch.cuda.device_count()):
        raise SelfrepError(
            f"The device {name!r} does not exist: this torch ({torch.__version__}) sees "
            f"{torch.cuda.device_count()} CUDA devices. Use --device cpu, or install a torch built for your GPU."
        )
    if place.type == "mps" and not torch.backends.mps.is_available():
        raise SelfrepError("The device 'mps' does not exist on this machine. Use --device cpu.")
    return place


def require_compiler(hf: PreTrainedModel) -> None:
    """Raise SelfrepError where torch cannot compile for a model's device, or the model is spread over several."""
    if is_spread(hf):
        raise SelfrepError(
            "Blocks are compiled where a model is on one device; accelerate moves the inputs of this one: leave out "
            "compile."
        )
    try:
        torch.compile(lambda x: x.sin() + 1, dynamic=True)(torch.ones(3, device=entrance(hf)))
    except Exception as error:  # torch raises whatever its compilers do
        raise SelfrepError(
            f"compile=True needs a compiler for {entrance(hf).type}, and torch's does not work here "
            f"({type(error).__name__}: {str(error).strip().splitlines()[0][:200]}). Leave it out, or install "
            "one: a C++ compiler for the CPU, Triton for CUDA."
        ) from error


NO_ROOM = ("MPS backend out of memory", "Invalid buffer size", "CUDA error: out of memory", "STATUS_ALLOC_FAILED",
           "not enough memory", "can't allocate memory")  # fmt: skip
"""What a RuntimeError says that is an error of memory and no torch.OutOfMemoryError: on MPS (the second of a single
tensor), in CUDA and its libraries outside of torch's own memory, and on a CPU."""


@contextmanager
def memory_errors() -> Iterator[None]:
    """Inside the `with` block every kind of lack of memory is a torch.OutOfMemoryError.

    Example:
        >>> with memory_errors():
        ...     raise RuntimeError("MPS backend out of memory (MPS allocated: 9.06 GB)")
        Traceback (most recent call last):
        torch.OutOfMemoryError: MPS backend out of memory (MPS allocated: 9.06 GB)
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        if any(words in str(error) for words in NO_ROOM):
            raise torch.OutOfMemoryError(str(error)) from error
        raise


def synchronize(device: torch.device) -> None:
    """Wait until a device has done all that it was given.

    Example:
        >>> synchronize(torch.device("cpu"))
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def release(device: torch.device) -> None:
    """Give back what torch holds of a device's memory without using it.

    Example:
        >>> release(torch.device("cpu"))
    """
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
