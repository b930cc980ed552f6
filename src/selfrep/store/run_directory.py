"""The run directory: what a study leaves on disk, and how an interrupted one goes on.

    study.yaml        the exact study, with its hash in the first line
    provenance.json   model, weights, versions, device, seed, the very words used
    findings.json     what was found, with interval and control
    results.zarr      one group an analysis; every array has named dimensions
    figures/          the figures and the numbers they show
    report.html       what a reader opens

Two rules keep it whole. A group appears all at once: it is written beside the store and moved in. A group that takes
long is preallocated with `done` false for every row (a pair, or a prompt); the data of a row are written first and its
`done` last, so a process killed at any moment leaves no cell that looks finished and is not.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import xarray as xr
import zarr
from zarr.errors import ZarrUserWarning

from selfrep.errors import SelfrepError
from selfrep.store.files import reserve, write_file, writing
from selfrep.store.findings import Finding

Axis = Literal["pair", "prompt"]
"""What a group may grow along."""
DONE = "done"
_FILLED = "fills"  # the attribute of `done` that names the variables a row must bring before it counts as done
_PARTIAL = ".partial-"
_HEADER = re.compile(r"\A# selfrep study (\S+)[^\n]*\n")


@dataclass(frozen=True)
class RunDirectory:
    """One study's place on disk. Making the object touches nothing; `create_or_resume` or `open` does."""

    path: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))

    # ---- the study --------------------------------------------------------------------------------------------------

    @staticmethod
    def open(path: str | Path) -> RunDirectory:
        """An existing run directory, to read or to draw from. Raises `SelfrepError` when there is none at `path`."""
        run = RunDirectory(Path(path))
        try:
            lacking = [place.name for place in (run._study_file, run.store) if not place.exists()]
        except PermissionError as error:
            raise SelfrepError(
                f"{run.path} may not be read ({error.strerror}). Change the permissions of the folders on the way to "
                "it, or give another run."
            ) from error
        if lacking:
            raise SelfrepError(
                f"{run.path} holds no run: there is no {' and no '.join(lacking)} in it. Give the folder that "
                "`selfrep run` or `selfrep demo` wrote (its --out)."
            )
        return run

    def create_or_resume(self, study_yaml: str, study_hash: str) -> bool:
        """Make the directory for this study, or take up the same study where it stopped.

        Called once a run, by the process that leads it: it also clears what a killed process left half written.
        Returns True when the study was already there. Raises `SelfrepError` when the directory belongs to another
        study (showing the difference), holds results of unknown origin, or cannot be written.
        """
        reserve(self.path)  # a resumed run, too, must learn now that it may not write
        resumed = self._study_file.is_file()
        if resumed:
            self._refuse_another(study_yaml, study_hash)
        elif leftovers := [p.name for p in (self.store, self._provenance_file, self.report) if p.exists()]:
            raise SelfrepError(
                f"{self.path} holds {', '.join(leftovers)} but no study.yaml, so it cannot be told which study they "
                "belong to. Choose another directory with --out, or remove them."
            )
        header = f"# selfrep study {study_hash} - the exact study that ran here; edit a copy, not this file\n"
        with writing(self.path):
            for stale in self.path.glob(f"{_PARTIAL}*"):
                shutil.rmtree(stale)
            if not resumed:
                write_file(self._study_file, header + study_yaml)
            zarr.open_group(self.store, mode="a", zarr_format=3)
            self._consolidate()
        return resumed

    def _refuse_another(self, study_yaml: str, study_hash: str) -> None:
        if self.study_hash == study_hash:
            return
        held, wanted = self.study_yaml.splitlines(), study_yaml.splitlines()
        difference = "\n".join(difflib.unified_diff(held, wanted, "in the directory", "asked for", lineterm="", n=1))
        raise SelfrepError(
            f"{self.path} holds another study ({self.study_hash[:12]}, not {study_hash[:12]}). The difference:\n"
            f"{difference or '(the text is the same: study.yaml was edited after its run began)'}\n"
            "Choose another directory with --out, or remove this one."
        )

    @property
    def study_yaml(self) -> str:
        """The text of the study, as it was given."""
        return _HEADER.sub("", self._study_file.read_text("utf-8"))

    @property
    def study_hash(self) -> str:
        """The hash of the study that ran here; empty when the first line of study.yaml was removed."""
        found = _HEADER.match(self._study_file.read_text("utf-8"))
        return found.group(1) if found else ""

    # ---- places -----------------------------------------------------------------------------------------------------

    @property
    def store(self) -> Path:
        """The Zarr store of all groups; any Zarr library reads it."""
        return self.path / "results.zarr"

    @property
    def figures(self) -> Path:
        """The folder of the figures and of the numbers they show."""
        return self.path / "figures"

    @property
    def report(self) -> Path:
        """The one file a reader opens."""
        return self.path / "report.html"

    @property
    def _study_file(self) -> Path:
        return self.path / "study.yaml"

    @property
    def _provenance_file(self) -> Path:
        return self.path / "provenance.json"

    @property
    def _findings_file(self) -> Path:
        return self.path / "findings.json"

    # ---- whole groups -----------------------------------------------------------------------------------------------

    def groups(self) -> tuple[str, ...]:
        """The names of the groups that hold arrays, e.g. "effects/resid_pre", sorted."""
        if not self.store.is_dir():
            return ()
        root = zarr.open_group(self.store, mode="r", use_consolidated=False)
        return tuple(
            sorted(
                {
                    name.rpartition("/")[0]
                    for name, _ in root.members(max_depth=None)
                    if "/" in name and isinstance(root[name], zarr.Array)
                }
            )
        )

    def has(self, group: str) -> bool:
        """Whether the group is there (finished or not: see `pending`)."""
        return (self.store / group / "zarr.json").is_file()

    def grows(self, group: str) -> bool:
        """Whether the group is one that `write_rows` fills."""
        return (self.store / group / DONE / "zarr.json").is_file()

    def read(self, group: str) -> xr.Dataset:
        """The group, in memory, its texts as numpy strings, its variables by name.

        Raises `SelfrepError` when there is no such group.
        """
        self._require(group)
        with xr.open_zarr(self.store, group=group, consolidated=False, chunks=None) as stored:
            return _in_order(_retype(stored.load(), np.dtype(str))).drop_encoding()

    def write(self, group: str, dataset: xr.Dataset) -> None:
        """Write the group, or replace it, all at once."""
        self._install(group, dataset, {})

    def annotate(self, group: str, **attributes: Any) -> None:
        """Add attributes to a group, or replace them: what is known only once its rows have been computed."""
        self._require(group)
        with writing(self.store):
            zarr.open_group(self.store, path=group, mode="r+", use_consolidated=False).update_attributes(attributes)
            self._consolidate()

    # ---- groups that grow row by row --------------------------------------------------------------------------------

    def prepare(self, group: str, template: xr.Dataset, along: Axis = "pair") -> None:
        """Preallocate a group that `write_rows` fills: `done` false, and every float variable over `along` NaN.

        All else in the template (coordinates, ids, attributes) is kept as given and is final. When the group is there
        already, nothing is written, and the template must agree with it. Raises `SelfrepError` when it does not.
        """
        filled = _measured(template, along)
        blank = template.assign({name: xr.full_like(template[name], np.nan) for name in filled})
        blank[DONE] = (along, np.zeros(template.sizes[along], dtype=bool), {_FILLED: filled})
        if not self.has(group):
            self._install(group, blank, {name: (1, *blank[name].shape[1:]) for name in (*filled, DONE)})
            return
        stored, wanted = self.read(group), _retype(blank, np.dtype(str))
        fixed = [name for name in wanted.variables if name not in (*filled, DONE)]
        same = set(stored.variables) == set(wanted.variables) and stored.sizes == wanted.sizes
        if not (same and all(stored[name].variable.equals(wanted[name].variable) for name in fixed)):
            raise SelfrepError(
                f"The group {group!r} in {self.store} was begun with other prompts, layers or positions than those "
                "asked for now, though the study is the same: the program has changed in between. Choose another "
                "directory with --out, or remove this one."
            )

    def pending(self, group: str) -> np.ndarray:
        """Indices [k] (int64) of the rows not done yet; all that `write_rows` still has to bring.

        None are pending in a group that was written whole. Raises `SelfrepError` when there is no such group.
        """
        arrays = self._arrays(group, "r")
        return np.flatnonzero(~np.asarray(arrays[DONE])) if DONE in arrays else np.empty(0, dtype=np.int64)

    def write_rows(self, group: str, indices: slice | Sequence[int] | np.ndarray, dataset: xr.Dataset) -> None:
        """Write the rows at these indices of a prepared group, then mark them done.

        Written are the variables that `prepare` left to fill; whatever else `dataset` holds is passed over. It has the
        rows of `indices`, in that order. Two processes may write different rows at once: each row is a chunk of its
        own. Raises `SelfrepError` when a variable is missing, when shapes do not fit, and when the disk is full.
        """
        with writing(self.store):
            arrays = self._arrays(group, "r+")
            if DONE not in arrays:
                raise SelfrepError(f"The group {group!r} in {self.store} was written whole; only `prepare`d ones grow.")
            done = arrays[DONE]
            rows = np.arange(done.shape[0])[indices]
            filled = cast(list[str], done.attrs[_FILLED])
            blocks = {name: _fitted(dataset, name, arrays[name], len(rows)) for name in filled}
            for name, block in blocks.items():
                for row, values in zip(rows, block, strict=True):
                    arrays[name][int(row)] = values
            for row in rows:
                done[int(row)] = True

    # ---- records ----------------------------------------------------------------------------------------------------

    def provenance(self, **entries: Any) -> dict[str, Any]:
        """What is known of where the results come from; `entries` are added to it (and replace older ones)."""
        file = self._provenance_file
        known: dict[str, Any] = json.loads(file.read_text("utf-8")) if file.is_file() else {}
        if entries:
            known |= json.loads(_json(entries))
            write_file(file, _json(known))
        return known

    def write_findings(self, findings: Sequence[Finding]) -> None:
        """Keep the findings, in this order, in findings.json."""
        write_file(self._findings_file, _json([finding.record() for finding in findings]))

    def findings(self) -> tuple[Finding, ...]:
        """The findings kept, in order; none when the run has not come so far."""
        if not self._findings_file.is_file():
            return ()
        return tuple(Finding.from_record(record) for record in json.loads(self._findings_file.read_text("utf-8")))

    # ---- how a group gets in and out --------------------------------------------------------------------------------

    def _require(self, group: str) -> None:
        if not self.has(group):
            raise SelfrepError(
                f"{self.store} has no group {group!r}. It holds: {', '.join(self.groups()) or 'nothing yet'}."
            )

    def _arrays(self, group: str, mode: Literal["r", "r+"]) -> dict[str, zarr.Array[Any]]:
        self._require(group)
        return dict(zarr.open_group(self.store, path=group, mode=mode, use_consolidated=False).arrays())

    def _install(self, group: str, dataset: xr.Dataset, chunks: dict[str, tuple[int, ...]]) -> None:
        target = self.store / group
        with writing(self.store):
            self.path.mkdir(parents=True, exist_ok=True)
            scratch = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=self.path))
            try:
                # Texts of variable length are the only string type that Zarr 3 specifies: others may not be readable
                # elsewhere, or later.
                _retype(dataset.drop_encoding(), np.dtypes.StringDType()).to_zarr(
                    scratch / "new", zarr_format=3, consolidated=False,
                    encoding={name: {"chunks": shape} for name, shape in chunks.items()},
                )  # fmt: skip
                root = zarr.open_group(self.store, mode="a", zarr_format=3)
                if parent := group.rpartition("/")[0]:
                    root.require_group(parent)
                if target.exists():
                    os.replace(target, scratch / "old")
                os.replace(scratch / "new", target)
                self._consolidate()
            finally:
                shutil.rmtree(scratch, ignore_errors=True)

    def _consolidate(self) -> None:
        # A courtesy to those who open the store with plain `xarray.open_zarr(path, group=...)`, which looks for
        # consolidated metadata at the root and warns when there are none. Nothing in selfrep relies on them.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ZarrUserWarning)  # "not part of the specification": hence a courtesy
            zarr.consolidate_metadata(self.store)


def _measured(dataset: xr.Dataset, along: Axis) -> list[str]:
    """The variables that a run fills in: floating point, with the rows first."""
    return [str(name) for name, v in dataset.data_vars.items() if v.dims[:1] == (along,) and v.dtype.kind == "f"]


def _fitted(dataset: xr.Dataset, name: str, array: Any, n_rows: int) -> np.ndarray:
    """`dataset[name]` as an array [row, ...] with the axes of the stored array, or a refusal."""
    dims = array.metadata.dimension_names
    if name not in dataset:
        raise SelfrepError(
            f"These rows bring no {name!r}, which `prepare` left to fill. Bring it, or leave it out there."
        )
    values = dataset[name]
    if set(values.dims) != set(dims) or values.transpose(*dims).shape != (n_rows, *array.shape[1:]):
        raise SelfrepError(
            f"{name!r} has {dict(values.sizes)}, but the store has room for "
            f"{dict(zip(dims, (n_rows, *array.shape[1:]), strict=True))}. Write the rows with the axes of `prepare`."
        )
    return values.transpose(*dims).to_numpy()


def _retype(dataset: xr.Dataset, dtype: Any) -> xr.Dataset:
    """The same dataset with every text in `dtype`."""
    texts = {name: v for name, v in dataset.variables.items() if v.dtype.kind in "UTO"}
    # By way of objects, since numpy does not size its fixed-width texts from those of variable length.
    # In C order: the codec for texts of variable length writes the elements as they lie in memory.
    changed = {
        name: (v.dims, v.to_numpy().astype(object, order="C").astype(dtype), v.attrs) for name, v in texts.items()
    }
    coords = {name: v for name, v in changed.items() if name in dataset.coords}
    return dataset.assign_coords(coords).assign({name: v for name, v in changed.items() if name not in coords})


def _in_order(dataset: xr.Dataset) -> xr.Dataset:
    """The same dataset, its variables by name: Zarr lists them in another order each time, and tables would show it."""
    variables, coords = (dict(sorted(part.variables.items())) for part in (dataset, dataset.coords))
    return xr.Dataset({k: v for k, v in variables.items() if k not in coords}, coords, dataset.attrs)


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=_plain) + "\n"


def _plain(value: Any) -> Any:
    """JSON values for what runs like to record: numpy numbers and arrays, paths, pydantic models."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if hasattr(value, "model_dump"):
        return value.model_dump()
    return str(value)
