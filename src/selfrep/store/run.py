"""A run, opened to be read: its findings, its effects, its estimates, as xarray.

`RunDirectory` is for those who write a run. This is for those who ask what came out::

    run = selfrep.open_run("out/demo")
    run.findings
    run.effects("resid_pre").transfer
    run.estimate("binding")
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import xarray as xr

from selfrep.errors import SelfrepError, close_match
from selfrep.prompts import yaml_errors
from selfrep.prompts.shown import shown
from selfrep.store.findings import Findings
from selfrep.store.run_directory import RunDirectory

EFFECTS, SEGMENTS, SUMMARY = "effects", "segments", "activations_summary"


@shown(lambda self: {"n": len(self), "names": ", ".join(self)})
@dataclass(frozen=True, eq=False)
class Groups(Mapping[str, xr.Dataset]):
    """Some groups of a run by name; each is read when it is first looked at, and not kept."""

    directory: RunDirectory
    names: tuple[str, ...]

    def __getitem__(self, name: str) -> xr.Dataset:
        """The group of that name, or the only one under it ("transfer"). Raises SelfrepError when there is none."""
        under = [known for known in self.names if known == name or known.startswith(f"{name}/")]
        if name not in self.names and len(under) != 1:
            what = f"{len(under)} named so: {', '.join(under)}" if under else "nothing named so"
            raise SelfrepError(
                f"{self.directory.path} has {what}; asked for was {name!r}{close_match(name, self.names)}. "
                f"There are: {', '.join(self.names) or 'none'}."
            )
        return self.directory.read(name if name in self.names else under[0])

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


@shown(
    lambda self: {
        "path": str(self.path),
        "study": self.study.get("name"),
        "findings": len(self.findings),
        "groups": len(self.directory.groups()),
    }
)
@dataclass(frozen=True)
class Run:
    """What a study left in its directory. Nothing of it is changed.

    Attributes:
        directory: the place on disk.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import xarray as xr
        >>> from selfrep.store.run_directory import RunDirectory
        >>> directory = RunDirectory(Path(tempfile.mkdtemp()))
        >>> directory.create_or_resume("name: mine", "0" * 64)
        False
        >>> directory.write("binding", xr.Dataset({"estimate": 0.5}))
        >>> run = open_run(directory.path)
        >>> list(run.estimates), run.findings
        (['binding'], ())
    """

    directory: RunDirectory

    @property
    def path(self) -> Path:
        """The folder."""
        return self.directory.path

    @property
    def findings(self) -> Findings:
        """What the run says, in the order of the report: each with value, interval, control, or the reason why not.

        A tuple; `run.findings.to_dataframe()` is a table, with the columns of findings.csv.
        """
        return self.directory.findings()

    @cached_property
    def study(self) -> dict[str, Any]:
        """The study that ran, as plain data; `selfrep.load_study(run.path / "study.yaml")` makes an object of it."""
        study = yaml_errors.plain(self.directory.study_yaml, str(self.directory.path / "study.yaml"))
        return study if isinstance(study, dict) else {}

    @property
    def provenance(self) -> dict[str, Any]:
        """Model, weights, versions, device, seed, and the words that were used."""
        return self.directory.provenance()

    def effects(self, site: str | None = None) -> xr.Dataset:
        """The effects of patching single positions at a site, as `selfrep.patch` returns them.

        Args:
            site: may be left out where a run has patched one site only.

        Raises:
            SelfrepError: nothing was patched there.
        """
        return self._patched(EFFECTS, site)

    def segments(self, site: str | None = None) -> xr.Dataset:
        """The effects of patching whole segments at a site; as `effects`."""
        return self._patched(SEGMENTS, site)

    @property
    def estimates(self) -> Mapping[str, xr.Dataset]:
        """What analyses made of the answers of the model, by name: each Dataset is read when it is looked up.

        Whatever was written whole is here; the rows that forward passes brought one by one are in `tree`.
        """
        groups = (name for name in self.directory.groups() if not self.directory.grows(name) and name != SUMMARY)
        return Groups(self.directory, tuple(groups))

    def estimate(self, name: str) -> xr.Dataset:
        """One estimate, e.g. "binding". Raises SelfrepError, naming those that there are, when it is not there."""
        return self.estimates[name]

    @property
    def activations_summary(self) -> xr.Dataset:
        """Size of the captured activations, and the plane in which personas differ most. Raises SelfrepError when
        nothing was captured."""
        if not self.directory.has(SUMMARY):
            raise SelfrepError(f"{self.path} holds no summary of activations: its study asked for no separation.")
        return self.directory.read(SUMMARY)

    @property
    def tree(self) -> xr.DataTree:
        """Every group of the run, in memory, e.g. tree["behaviour"], tree["effects/resid_pre"]."""
        return xr.DataTree.from_dict({f"/{name}": self.directory.read(name) for name in self.directory.groups()})

    def _patched(self, kind: str, site: str | None) -> xr.Dataset:
        names = tuple(name for name in self.directory.groups() if name.startswith(f"{kind}/"))
        if not names:
            raise SelfrepError(f"{self.path} holds no {kind}: its study has no sweep of that kind.")
        return Groups(self.directory, names)[kind if site is None else f"{kind}/{site}"]


def open_run(path: str | Path) -> Run:
    """Open what `selfrep run`, `selfrep demo` or `selfrep.run_study` wrote.

    Args:
        path: the run directory.

    Returns:
        `Run`: its findings, effects, segments, estimates, activations_summary, provenance, study, and tree.

    Raises:
        SelfrepError: the folder holds no run.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import xarray as xr
        >>> from selfrep.store.run_directory import RunDirectory
        >>> directory = RunDirectory(Path(tempfile.mkdtemp()))
        >>> directory.create_or_resume("name: mine", "0" * 64)
        False
        >>> directory.write("binding", xr.Dataset({"estimate": 0.5}))
        >>> run = open_run(directory.path)
        >>> float(run.estimate("binding").estimate)
        0.5
    """
    if not isinstance(path, str | Path):
        raise SelfrepError(f"A run is opened by the path of its folder; got {type(path).__name__}.")
    return Run(RunDirectory.open(path))
