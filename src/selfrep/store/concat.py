"""The effects of several calls, or of several runs, as one.

Personas, items and machines are swept one after another, and every call has prompts of its own lengths. Laid side by
side from the end of the prompt, they are what a single call with all pairs would have returned.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, overload

import numpy as np
import xarray as xr

from selfrep.errors import SelfrepError
from selfrep.store.run import EFFECTS, Run

ALIKE = ("site", "intervention", "window", "sets", "metric", "model", "weights_hash", "dtype")
"""Attributes that say what was done: numbers that differ in one of them are not of one kind."""


@overload
def concat(parts: Iterable[xr.Dataset]) -> xr.Dataset: ...


@overload
def concat(parts: Iterable[xr.DataTree] | Iterable[Run]) -> xr.DataTree: ...


def concat(parts: Iterable[Any]) -> xr.Dataset | xr.DataTree:
    """Join the effects of different pairs along `pair`; `selfrep.transfer` takes the result.

    Args:
        parts: Datasets from `patch`, `attribute` or `patch_tokens` with the same plan; or DataTrees, those of several
            plans; or runs, from `open_run`, whose effects are joined site by site.

    Returns:
        The Dataset, with all variables of the parts (`patched`, `transfer` and so on), its pairs one after another.
        Positions count from the end: where a pair has no such position, numbers are NaN and texts "". Ids are
        right-aligned, −1 on the left. Of attributes those are kept that all share; what describes one call alone
        (`done`, the rank correlation of a screen) is left out. Of DataTrees, and of runs, a DataTree by plan or site.

    Raises:
        SelfrepError: nothing to join; other sites, layers, segments, heads, metrics or models; one item with two sets
            of answers.

    Example:
        >>> import xarray as xr
        >>> a, b = (
        ...     xr.Dataset(
        ...         {"patched": (("pair", "layer", "position"), [[[1.0] * n]])},
        ...         {"layer": [0], "position": list(range(-n, 0))},
        ...     )
        ...     for n in (1, 2)
        ... )
        >>> concat([a, b]).patched.values.tolist()
        [[[nan, 1.0]], [[1.0, 1.0]]]
    """
    if isinstance(parts, xr.Dataset | xr.DataTree | Run):
        parts = [parts]
    effects: list[Any] = [_tree(part) if isinstance(part, Run) else part for part in parts]
    kinds = {type(part) for part in effects}
    if kinds == {xr.Dataset}:
        return _joined(effects)
    if kinds != {xr.DataTree}:
        raise SelfrepError(
            "Effects are joined as Datasets from sr.patch, as DataTrees of several plans, or as runs from sr.open_run; "
            f"got {', '.join(sorted(kind.__name__ for kind in kinds)) or 'nothing'}."
        )
    names = [list(tree.children) for tree in effects]
    if any(set(other) != set(names[0]) for other in names):
        raise SelfrepError(f"All parts must hold the same plans or sites; got {names}. Join those that all have.")
    return xr.DataTree.from_dict({name: _joined([tree[name].to_dataset() for tree in effects]) for name in names[0]})


def _tree(run: Run) -> xr.DataTree:
    sites = [name.removeprefix(f"{EFFECTS}/") for name in run.directory.groups() if name.startswith(f"{EFFECTS}/")]
    if not sites:
        raise SelfrepError(f"{run.path} holds no effects to join: its study has no sweep of positions.")
    return xr.DataTree.from_dict({site: run.effects(site) for site in sites})


def _joined(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    _require_alike(parts)
    if not any("source" in part.coords for part in parts) and all("answer_ids" in part for part in parts):
        parts = _renumbered(parts)
    table = _answers(parts)
    rows = [_rows(part, parts) for part in parts]
    for name in sorted({str(name) for part in rows for name in part.variables}):
        if lacking := [k for k, part in enumerate(rows) if name not in part.variables]:
            raise SelfrepError(f"All parts must hold the same variables; part {lacking[0]} has no {name!r}.")
    joined = xr.concat(rows, "pair", join="exact", combine_attrs="drop_conflicts")
    if "segment_of" in joined.coords:
        columns = [set(map(str, column)) - {""} for column in joined.segment_of.transpose("position", "pair").values]
        joined = joined.assign_coords(
            segment=("position", np.array([c.pop() if len(c) == 1 else "mixed" for c in columns]))
        )
    return joined if table is None else joined.merge(table)


def _require_alike(parts: Sequence[xr.Dataset]) -> None:
    for k, part in enumerate(parts):
        if "patched" not in part or "pair" not in part.patched.dims:
            raise SelfrepError(f"Effects hold patched(pair, layer, …); part {k} has {list(part.data_vars)[:5]}.")
        for name in ALIKE:
            values = [other.attrs.get(name) for other in (parts[0], part)]
            if values[0] != values[1]:
                raise SelfrepError(
                    f"Only effects of one {name} can be joined: part 0 has {values[0]!r}, part {k} {values[1]!r}."
                )
        if set(part.patched.dims) != set(parts[0].patched.dims):
            raise SelfrepError(
                f"Part 0 has the dimensions {parts[0].patched.dims}, part {k} {part.patched.dims}: one plan for all."
            )
        for axis in set(part.patched.dims) - {"pair", "position"}:
            labels = [other[axis].values.tolist() for other in (parts[0], part)]
            if labels[0] != labels[1]:
                raise SelfrepError(
                    f"All parts must have the same {axis}s: part 0 has {labels[0]}, part {k} {labels[1]}. Patch the "
                    f"others too, or choose those that all have: .sel({axis}=[…])."
                )


def _rows(part: xr.Dataset, parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """What a part holds of each pair, as wide as the widest part."""
    rows = part[[name for name, v in part.data_vars.items() if "pair" in v.dims and name != "done"]]
    rows = rows.drop_vars([name for name, v in rows.coords.items() if name in ("item_name", "side", "segment")])
    for axis in ("source_token", "target_token"):
        if axis in rows.dims:
            width = max(other.sizes[axis] for other in parts)
            rows = rows.pad({axis: (width - rows.sizes[axis], 0)}, constant_values=-1)
    if "position" not in rows.dims:
        return rows
    positions = sorted({int(p) for other in parts for p in other.position.values})
    fills = {name: _fill(v) for name, v in rows.variables.items() if "position" in v.dims and name != "position"}
    return rows.reindex(position=positions, fill_value=fills)


def _fill(variable: xr.Variable) -> object:
    return {"U": "", "T": "", "O": "", "b": False, "i": -1}.get(variable.dtype.kind, np.nan)


def _renumbered(parts: Sequence[xr.Dataset]) -> list[xr.Dataset]:
    """Effects of token ids, whose answers have numbers for names: numbered through all parts, the same ones alike."""
    numbers: dict[str, str] = {}
    out = []
    for part in parts:
        own = {}
        for name, sides in zip(map(str, part.item_name.values), part.answer_ids.values, strict=True):
            content = str([side[side >= 0].tolist() for side in sides])
            own[name] = numbers.setdefault(content, f"answers{len(numbers)}")
        items = np.array([own[str(name)] for name in part.item.values])
        out.append(part.assign_coords(item=("pair", items), item_name=[own[str(n)] for n in part.item_name.values]))
    return out


def _answers(parts: Sequence[xr.Dataset]) -> xr.Dataset | None:
    """The answer sets of all items, as wide as the widest."""
    if any("answer_ids" not in part for part in parts):
        return None
    width = max(part.sizes["k"] for part in parts)
    answers: dict[str, np.ndarray] = {}
    for part in parts:
        padded = part.answer_ids.pad(k=(0, width - part.sizes["k"]), constant_values=-1)
        for name, ids in zip(map(str, part.item_name.values), padded.transpose("item_name", "side", "k"), strict=True):
            if not np.array_equal(answers.setdefault(name, ids.values), ids.values):
                raise SelfrepError(
                    f"Item {name!r} comes with two different sets of answers; give one of them another name."
                )
    data = (("item_name", "side", "k"), np.array(list(answers.values())))
    return xr.Dataset({"answer_ids": data}, {"item_name": list(answers), "side": parts[0].side.values})
