"""The run directory: what a study leaves on disk, and whether a study may go on in it.

    study.yaml        the exact study, with its hash in the first line
    provenance.json   model, weights, versions, device, seed, the exact texts
    findings.json     the findings, each with interval and control; findings.csv the same, a row each
    results.zarr      what was measured and what was made of it, in groups; every array has named dimensions
    figures/          the figures and the numbers they show
    report.html       what a reader opens
    .owner.json, .lock    who writes here at the moment, .changing who changes what workers share: `selfrep.store.owner`

How arrays get into results.zarr and out of it is the concern of `selfrep.store.groups` and `selfrep.store.rows`.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from selfrep import digests
from selfrep.errors import SelfrepError
from selfrep.files import reserve, write_file, writing
from selfrep.store import records, seal
from selfrep.store.findings import Finding, Findings
from selfrep.store.findings import read as read_findings
from selfrep.store.owner import changing
from selfrep.store.provenance import read as read_provenance
from selfrep.store.rows import Rows

_STUDY, _PROVENANCE, _FINDINGS = "study.yaml", "provenance.json", "findings.json"
_TABLE = "findings.csv"
_FOUND = "findings_sha256"
"""Where provenance.json keeps the checksum of findings.json."""
_HEADER = re.compile(r"\A# selfrep study (\S+)[^\n]*\n")


class RunDirectory(Rows):
    """One study's folder on disk. Making the object touches nothing; `create_or_resume` or `open` does.

    Fields:
        path: the folder. Its groups are read and written by the methods of `Groups` and `Rows`.

    Example:
        >>> import tempfile
        >>> run = RunDirectory(Path(tempfile.mkdtemp(), "out"))
        >>> run.create_or_resume("name: demo", "abc123"), run.create_or_resume("name: demo", "abc123")
        (False, True)
        >>> run.study_yaml, run.study_hash
        ('name: demo', 'abc123')
        >>> run.provenance(seed=3), run.findings(), run.groups()
        ({'seed': 3}, (), ())
        >>> RunDirectory.open(run.path) == run
        True
    """

    # ---- the study --------------------------------------------------------------------------------------------------

    @staticmethod
    def open(path: str | Path) -> RunDirectory:
        """An existing run directory, to read its results.

        Raises:
            SelfrepError: no run at `path`, or one that may not be read.
        """
        run = RunDirectory(Path(path))
        try:
            run._require_own()
            lacking = [place.name for place in (run.path / _STUDY, run.store) if not place.exists()]
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

    def clear(self) -> None:
        """Remove what a run left here, so that another can begin. Files that no run writes stay.

        Raises:
            SelfrepError: the directory cannot be written.

        Example:
            >>> import tempfile
            >>> run = RunDirectory(Path(tempfile.mkdtemp(), "out"))
            >>> _ = run.create_or_resume("name: demo", "abc123")
            >>> run.clear()
            >>> run.create_or_resume("name: another", "def456")
            False
        """
        with writing(self.path):
            for place in (self.store, self.figures):
                if place.is_symlink():
                    place.unlink()
                elif place.exists():
                    shutil.rmtree(place)
            for name in (_STUDY, _PROVENANCE, _FINDINGS, _TABLE, self.report.name):
                (self.path / name).unlink(missing_ok=True)

    def create_or_resume(self, study_yaml: str, study_hash: str) -> bool:
        """Make the directory for this study, or continue the same study where it stopped.

        Called once by each process: it also clears what a killed one left half written. A directory
        in which nothing was done yet, since the model could not be loaded as it was asked for, is anybody's.

        Args:
            study_yaml: the exact text of the study; study_hash: its hash.

        Returns:
            True when the study was already there.

        Raises:
            SelfrepError: the directory belongs to another study (the message shows the difference), holds results of
                unknown origin, or cannot be written.
        """
        reserve(self.path)  # a resumed run, too, must learn now that it may not write
        with changing(self.path):
            self._require_own()
            resumed = self.resumes(study_yaml, study_hash)
            if not resumed and (self.path / _STUDY).is_file():
                self.clear()
            header = f"# selfrep study {study_hash} - the exact study that ran here; edit a copy, not this file\n"
            with writing(self.path):
                for folder in (self.path, self.figures):
                    for half in folder.glob(".*.partial"):  # of a process that was killed
                        half.unlink()
                if not resumed:
                    write_file(self.path / _STUDY, header + study_yaml)
                self.create()
            return resumed

    def resumes(self, study_yaml: str, study_hash: str) -> bool:
        """Whether this study would go on here; False where it would begin.

        Args:
            study_yaml, study_hash: as `create_or_resume` takes them.

        Raises:
            SelfrepError: the directory belongs to another study, or holds results of unknown origin.

        Example:
            >>> RunDirectory(Path("no such folder")).resumes("name: demo", "abc123")
            False
        """
        if not (self.path / _STUDY).is_file():
            if leftovers := [p.name for p in (self.store, self.path / _PROVENANCE, self.report) if p.exists()]:
                raise SelfrepError(
                    f"{self.path} holds {', '.join(leftovers)} but no study.yaml, so it is unknown to which study they "
                    "belong. Choose another directory with --out, or remove them."
                )
            return False
        if self.study_hash == study_hash:
            return True
        if not self.groups():
            return False
        held, wanted = self.study_yaml.splitlines(), study_yaml.splitlines()
        difference = "\n".join(difflib.unified_diff(held, wanted, "in the directory", "given now", lineterm="", n=1))
        raise SelfrepError(
            f"{self.path} holds another study ({self.study_hash[:12]}, not {study_hash[:12]}). The difference:\n"
            f"{difference or '(the text is the same: study.yaml was edited after its run began)'}\n"
            "Choose another directory with --out, or start over with --fresh."
        )

    def _require_own(self) -> None:
        """Refuse folders that are links: what is written there would lie elsewhere."""
        for place in (self.store / seal.META, self.figures):
            seal.require_own(place, self.path)

    @property
    def study_yaml(self) -> str:
        """The text of the study, as it was given to `create_or_resume`."""
        return _HEADER.sub("", records.text_of(self.path / _STUDY))

    @property
    def study_hash(self) -> str:
        """The hash of the study that ran here; empty when the first line of study.yaml was removed."""
        header = _HEADER.match(records.text_of(self.path / _STUDY))
        return header.group(1) if header else ""

    # ---- places -----------------------------------------------------------------------------------------------------

    @property
    def figures(self) -> Path:
        """The folder of the figures and of the numbers they show."""
        return self.path / "figures"

    @property
    def report(self) -> Path:
        """The one file a reader opens."""
        return self.path / "report.html"

    # ---- records ----------------------------------------------------------------------------------------------------

    def provenance(self, **entries: Any) -> dict[str, Any]:
        """The origin of the results: model, versions, device, …

        Args:
            entries: are added, and replace older ones; numpy values, paths and pydantic models become JSON.

        Returns:
            all entries.

        Raises:
            SelfrepError: provenance.json was changed into what no run writes.
        """
        if not entries:
            return self._provenance()
        with changing(self.path):  # what another process has added in between stays
            known = self._provenance() | json.loads(_json(entries))
            records.write_sealed(self.path / _PROVENANCE, known)
        return known

    def _provenance(self) -> dict[str, Any]:
        file = self.path / _PROVENANCE
        if not os.path.lexists(file):
            return {}
        return read_provenance(json.dumps(records.sealed_of(file)).encode(), str(file))

    def write_findings(self, findings: Sequence[Finding]) -> None:
        """Write the findings, in this order, to findings.json, and as a table to findings.csv."""
        text = _json([finding.record() for finding in findings])
        self.provenance(**{_FOUND: digests.of_text(text)})
        write_file(self.path / _TABLE, Findings(findings).to_csv())
        write_file(self.path / _FINDINGS, text)

    def findings(self) -> Findings:
        """The findings kept, in order; none as long as the run has not written any.

        Raises:
            SelfrepError: findings.json is not what was written.
        """
        file, written = self.path / _FINDINGS, self.provenance().get(_FOUND)
        if not os.path.lexists(file) and written is None:
            return Findings()
        text = records.text_of(file)
        if digests.of_text(text) != written:
            raise SelfrepError(
                f"{file} is not what was written: it is damaged, or was changed. Run the same command again: findings, "
                "figures and report are made anew from what was measured."
            )
        return read_findings(text, str(file))


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=_plain) + "\n"


def _plain(value: Any) -> Any:
    """JSON values for what runs like to record: numpy numbers and arrays, paths, pydantic models."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if hasattr(value, "model_dump"):
        return value.model_dump()
    return str(value)
