"""A CUDA device where there is none: numbers are computed on the CPU, tensors say that they lie on cuda:0.

Every operation on such tensors is one that a GPU would be told to do, so it can be counted: kernels (views are none),
copies between host and device, operations for which the CPU must wait, and operations on tensors of both places, which
a GPU refuses. How long a kernel takes is not known here, nor whether its library would choose another.

    with Counting() as count:
        place(hf)          # a model of Hugging Face
        ...
    count.kernels, count.to_host, count.to_device, count.waits, count.mixed
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

CUDA = torch.device("cuda:0")
FREE_BYTES = 140 * 10**9
VIEWS = frozenset({
    "view", "_unsafe_view", "expand", "slice", "select", "permute", "transpose", "t", "unsqueeze", "squeeze",
    "as_strided", "alias", "detach", "split", "split_with_sizes", "unbind", "unfold", "lift_fresh", "_reshape_alias",
    "diagonal", "empty", "empty_strided", "empty_like", "new_empty", "new_empty_strided", "chunk", "view_as",
    "reshape", "narrow", "movedim",
})  # fmt: skip
"""Operations that launch nothing: they name memory, or allocate it."""
WAITS = frozenset(
    {"_local_scalar_dense", "nonzero", "_unique2", "unique_dim", "unique_consecutive", "masked_select", "equal"}
)
"""Operations whose result the CPU needs before it can go on."""
INDEXED = frozenset({"index", "index_put", "index_put_", "_index_put_impl_"})

GUARD = """
#include <c10/core/impl/DeviceGuardImplInterface.h>
static const bool registered = [] {
  auto& registry = c10::impl::device_guard_impl_registry[static_cast<size_t>(c10::DeviceType::CUDA)];
  registry.store(new c10::impl::NoOpDeviceGuardImpl<c10::DeviceType::CUDA>());
  return true;
}();
"""
"""What torch without CUDA lacks to let tensors say that they lie there: a guard that does nothing."""


class Pretended(Tensor):
    """A CPU tensor that says it is on cuda:0."""

    @staticmethod
    def __new__(cls, inner: Tensor) -> Pretended:
        """Pretend that this tensor lies on cuda:0."""
        layout = {"strides": inner.stride(), "storage_offset": inner.storage_offset()}
        made = torch.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype, device=CUDA, **layout)
        made.inner = inner
        return made

    def __init__(self, inner: Tensor) -> None:
        """Made by `__new__`."""

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"Pretended({list(self.shape)}, {self.dtype})"

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func} outside of Counting")


class Counting(TorchDispatchMode):
    """Within, operations on pretended tensors are computed and counted, by name; copies and waits by place."""

    def __init__(self) -> None:
        super().__init__()
        _load_guard()
        self.clear()

    def clear(self) -> None:
        """Count from zero."""
        self.kernels: Counter[str] = Counter()
        self.to_host: Counter[str] = Counter()
        self.to_device: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()
        self.mixed: Counter[str] = Counter()

    def __enter__(self) -> Counting:
        self._before = torch._C._only_lift_cpu_tensors()
        torch._C._set_only_lift_cpu_tensors(True)
        self._own = {name: getattr(torch.cuda, name) for name in _STAND_INS}
        for name, stand_in in _STAND_INS.items():
            setattr(torch.cuda, name, stand_in)
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        for name, own in self._own.items():
            setattr(torch.cuda, name, own)
        torch._C._set_only_lift_cpu_tensors(self._before)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = func._schema.name.partition("::")[2]
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        there = [x for x in tensors if isinstance(x, Pretended)]
        asked = None if kwargs.get("device") is None else torch.device(kwargs["device"]).type
        on_cuda = bool(there) if asked is None else asked == "cuda"
        self._count(name, args, tensors, there, on_cuda)
        if asked is not None:
            kwargs["device"] = torch.device("cpu")
        known = {id(x.inner): x for x in there}  # what is written in place stays the tensor it is
        if name == "copy_":
            known, on_cuda = {id(_inner(args[0])): args[0]}, isinstance(args[0], Pretended)
        out = _EMULATED.get(name, func)(*tree_map(_inner, args), **tree_map(_inner, kwargs))
        if name == "_to_copy" and out is _inner(args[0]):
            out = out.clone()
        if not on_cuda or name in WAITS:
            return out

        def placed(x: Any) -> Any:
            if not isinstance(x, Tensor):
                return x
            return known[id(x)] if id(x) in known else Pretended(x)

        return tree_map(placed, out)

    def _count(self, name: str, args: Any, tensors: list[Tensor], there: list[Pretended], on_cuda: bool) -> None:
        if name in ("copy_", "_to_copy"):
            into = isinstance(args[0], Pretended) if name == "copy_" else on_cuda
            out_of = isinstance(args[1 if name == "copy_" else 0], Pretended)
            if into and out_of:
                self.kernels[name] += 1
            elif into:
                self.to_device[_caller()] += 1
            elif out_of:
                self.to_host[_caller()] += 1
            return
        if not there:
            if on_cuda and name not in VIEWS:
                self.kernels[name] += 1
            return
        if name in WAITS:
            self.waits[f"{name} {_caller()}"] += 1
        near = [x for x in tensors if not isinstance(x, Pretended) and x.ndim]
        if name in INDEXED:
            indices = [x for x in args[1] or () if isinstance(x, Tensor)]
            if any(x.dtype == torch.bool for x in indices):
                self.waits[f"boolean index {_caller()}"] += 1
            if any(not isinstance(x, Pretended) and x.ndim for x in indices):
                self.to_device[f"index {_caller()}"] += 1
        elif near:
            self.mixed[f"{name} {_caller()}"] += 1
        if name not in VIEWS:
            self.kernels[name] += 1


def place(hf: nn.Module) -> nn.Module:
    """Move a model to the pretended device, in place; tied weights stay tied."""
    moved: dict[int, Tensor] = {}
    for module in hf.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                key = id(parameter)
                if key not in moved:
                    moved[key] = nn.Parameter(Pretended(parameter.data), requires_grad=False)
                module._parameters[name] = moved[key]
        for name, buffer in module._buffers.items():
            if buffer is not None and not isinstance(buffer, Pretended):
                module._buffers[name] = Pretended(buffer)
    return hf


def _inner(x: Any) -> Any:
    return x.inner if isinstance(x, Pretended) else x


def _caller() -> str:
    """The line of the project that asks for an operation."""
    frame = sys._getframe(2)
    while frame.f_back is not None:
        path = Path(frame.f_code.co_filename)
        if "selfrep" in path.parts and "site-packages" not in path.parts:
            return f"{path.stem}.py:{frame.f_lineno} {frame.f_code.co_name}"
        frame = frame.f_back
    return "elsewhere"


def _attention(
    q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float | None, bias: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """What the fused kernels of CUDA give, by that of the CPU: the output and the log-sum-exp."""
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
    return kernel(q, k, v, 0.0, causal, attn_mask=bias, scale=scale)


def _flash(
    q: Tensor, k: Tensor, v: Tensor, dropout: float = 0.0, causal: bool = False, debug: bool = False, *,
    scale: float | None = None,
) -> tuple[Any, ...]:  # fmt: skip
    if q.dtype not in (torch.float16, torch.bfloat16):
        raise RuntimeError(f"FlashAttention only supports fp16 and bf16; got {q.dtype}")
    if not q.shape[-1] == v.shape[-1] <= 256 or q.shape[-1] % 8:
        raise RuntimeError(f"FlashAttention takes heads of 8, 16, … 256; got {q.shape[-1]} and {v.shape[-1]}")
    none = torch.empty(0)
    return *_attention(q, k, v, causal, scale), None, None, q.shape[2], k.shape[2], none, none, none


def _efficient(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, lse: bool, dropout: float = 0.0, causal: bool = False, *,
    scale: float | None = None,
) -> tuple[Any, ...]:  # fmt: skip
    if q.shape[1] != k.shape[1]:
        raise RuntimeError("memory-efficient attention takes as many key-value heads as query heads")
    if bias is not None and (bias.dtype != q.dtype or bias.shape != (*q.shape[:3], k.shape[2])):
        raise RuntimeError(f"a bias is {q.dtype} of scores' shape; got {bias.dtype}, {list(bias.shape)}")
    if bias is not None and any(stride % 8 for stride in bias.stride()[:-1]):
        raise RuntimeError(f"the strides of a bias are multiples of 8; got {bias.stride()}")
    out, sums = _attention(q, k, v, causal, scale, bias)
    padded = torch.full((*sums.shape[:2], -(-sums.shape[2] // 32) * 32), torch.inf)
    padded[..., : sums.shape[2]] = sums
    return out, padded, torch.empty(0), torch.empty(0)


def _bmm(x: Tensor, y: Tensor, out_dtype: torch.dtype | None = None) -> Tensor:
    """CUDA keeps the sums of half precision in float32, where it is asked to."""
    return torch.bmm(x, y) if out_dtype is None else torch.bmm(x.to(out_dtype), y.to(out_dtype))


_EMULATED = {
    "bmm": _bmm,
    "histc": lambda x, *args, **how: torch.histc(x.float(), *args, **how).to(x.dtype),
    "_scaled_dot_product_flash_attention": _flash,
    "_scaled_dot_product_efficient_attention": _efficient,
}
_STAND_INS: dict[str, Any] = {
    "get_device_name": lambda *device: "a pretended GPU",
    "get_device_capability": lambda *device: (9, 0),
    "mem_get_info": lambda *device: (FREE_BYTES, FREE_BYTES),
    "synchronize": lambda *device: None,
    "empty_cache": lambda: None,
    "_lazy_init": lambda: None,
}


def _load_guard() -> None:
    """Build the guard once for each torch, with the C++ compiler, and load it."""
    library = Path(tempfile.gettempdir()) / f"selfrep-guard-{torch.__version__}.so"
    if not library.exists():
        from torch.utils.cpp_extension import include_paths

        folder = Path(torch.__file__).parent / "lib"
        with tempfile.TemporaryDirectory() as scratch:
            source, made = Path(scratch, "guard.cpp"), Path(scratch, "guard.so")
            source.write_text(GUARD, "utf-8")
            flags = ["-shared", "-fPIC", "-std=c++20", *(f"-I{path}" for path in include_paths())]
            link = [f"-L{folder}", "-lc10", f"-Wl,-rpath,{folder}"]
            subprocess.run(["c++", *flags, str(source), *link, "-o", str(made)], check=True)
            library.write_bytes(made.read_bytes())
    ctypes.CDLL(str(library))
