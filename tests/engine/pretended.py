"""Two accelerators where there is none: CPU tensors that say they are elsewhere, and are held to it. Like MPS they have
no float64.

Run as a program, it spreads a tiny model over the two, patches it, and prints as JSON how far the numbers are from
those of the same model in one place, and how often the CPU had to wait for a device. torch keeps a device type that is
registered for the rest of the process, so tests run this in one of its own.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import accelerate
import numpy as np
import torch
from tests.tiny import D_MODEL, ragged, tiny, tiny_hf
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from selfrep.engine.interventions import InSubspace
from selfrep.engine.metrics import kl_divergence, logit_difference
from selfrep.engine.patch import patch_tokens
from selfrep.engine.plan import grid, prefix_patch
from selfrep.engine.replay import schedule
from selfrep.models.loading import load_model

aten = torch.ops.aten
WAITS = (aten._local_scalar_dense.default, aten._unique2.default, aten.nonzero.default)  # item, bool, unique, masks
INDEXED = (aten.index.Tensor, aten.index_put_.default, aten.index_put.default)  # torch lets CPU tensors index any


class Far(Tensor):
    """A CPU tensor that says it is on another device."""

    @staticmethod
    def __new__(cls, inner: Tensor, device: torch.device) -> Far:
        layout = {"strides": inner.stride(), "storage_offset": inner.storage_offset()}
        made = torch.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype, device=device, **layout)
        made.inner = inner
        return made

    def __init__(self, inner: Tensor, device: torch.device) -> None:
        """Made by `__new__`."""

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func} outside of Pretended")


class Pretended(TorchDispatchMode):
    """Within, operations on far tensors run, if all are on one device, and waits for a device are counted."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        tensors = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, Tensor)]
        far = [x for x in tensors if isinstance(x, Far)]
        near = [x for x in tensors if not isinstance(x, Far) and x.ndim]
        asked = None if kwargs.get("device") is None else torch.device(kwargs["device"])
        where = asked or (far[0].device if far else torch.device("cpu"))
        if func is aten.copy_.default:
            where = args[0].device
            self.waits += isinstance(args[0], Far) != isinstance(args[1], Far)
        elif func is aten._to_copy.default:
            self.waits += bool(far) == (where.type == "cpu")
        elif len({x.device for x in far}) > 1 or (far and near and func not in INDEXED):
            raise RuntimeError(f"{func} on {[(x.device, list(x.shape)) for x in tensors]}")
        else:
            self.waits += bool(far) and (func in WAITS or bool(near))
        if asked is not None:
            kwargs["device"] = torch.device("cpu")

        def inner(x: Any) -> Any:
            return x.inner if isinstance(x, Far) else x

        known = {id(x.inner): x for x in far}  # what is written in place stays the tensor it is
        out = func(*tree_map(inner, args), **tree_map(inner, kwargs))
        if where.type == "cpu":
            return out

        def placed(x: Any) -> Any:
            if not isinstance(x, Tensor):
                return x
            if x.dtype is torch.float64:
                raise TypeError(f"{func} gives float64, which {where} does not have")
            return known[id(x)] if id(x) in known else Far(x, where)

        return tree_map(placed, out)


SOURCE, TARGET = ragged([14, 11, 9], seed=1), ragged([12, 12, 8], seed=2)
EVEN = ragged([9, 9, 9], seed=1), ragged([9, 9, 9], seed=2)
METRICS = [logit_difference(7, 9), kl_divergence()]
ONE_WALK, MANY_WALKS = schedule.CostModel((1, 768), (1.0, 1.001)), schedule.CostModel((1, 100), (0.01, 1.0))
FEW, MANY = [-8, -1], list(range(-8, 0))


def places(hf: Any) -> dict[str, str]:
    """The first block and both ends on one device, the rest of the blocks and the last norm on the other."""
    named = {"model.embed_tokens": 0, "model.rotary_emb": 0, "model.norm": 1, "lm_head": 0}
    blocks = {f"model.layers.{i}": min(i, 1) for i in range(len(hf.model.layers))}
    return {name: f"far:{i}" for name, i in (named | blocks).items()}


def compared(family: str, site: str, positions: list[int], costs: schedule.CostModel) -> dict[str, Any]:
    """A model in two places beside the same in one."""
    if site == "prefix":
        plan, pair, how = prefix_patch(layers=[1] if positions is FEW else None), EVEN, {"suffix": 5}
    elif site == "subspace":
        basis = torch.linalg.qr(torch.randn(D_MODEL, 3, generator=torch.Generator().manual_seed(0)).double()).Q
        pair, how = (SOURCE, TARGET), {}
        plan = grid("resid_pre", positions=positions, intervention=InSubspace(basis))
    else:
        plan, pair, how = grid(site, positions=positions), (SOURCE, TARGET), {}
    wanted = patch_tokens(tiny(family), *pair, plan, METRICS, **how)
    hf, mode = tiny_hf(family), Pretended()
    with mode:
        accelerate.dispatch_model(hf, places(hf))
        lm = load_model(hf)
        schedule._models[lm.hf] = costs
        mode.waits = 0
        effects = patch_tokens(lm, *pair, plan, METRICS, check=False, **how)
    return {
        "off": float(np.nanmax(np.abs(effects.patched - wanted.patched))),
        "moved": float(np.nanmax(np.abs(wanted.patched - wanted.target_metric))),
        "waits": mode.waits,
        "devices": sorted({str(p.device) for p in lm.hf.parameters()} | {str(lm.device)}),
    }


def refused() -> list[str]:
    """What is refused of tensors on different devices, and of float64."""
    errors = []
    with Pretended():
        here, there = (torch.zeros(2).to(f"far:{i}") for i in (0, 1))
        for attempt in (lambda: here + there, here.double, lambda: torch.zeros(2, dtype=torch.float64).to("far:0")):
            try:
                attempt()
            except (RuntimeError, TypeError) as error:
                errors.append(type(error).__name__)
    return errors


def main(family: str, *sites: str) -> None:
    """Print all comparisons of a model as JSON."""
    _setup_privateuseone_for_python_backend("far")
    runs = {"few cells": (FEW, ONE_WALK), "many cells": (MANY, ONE_WALK), "many walks": (MANY, MANY_WALKS)}
    found = {site: {name: compared(family, site, *run) for name, run in runs.items()} for site in sites}
    sys.stdout.write(json.dumps({"refused": refused(), "sites": found}))


if __name__ == "__main__":
    main(*sys.argv[1:])
