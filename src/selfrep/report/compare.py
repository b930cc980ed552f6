"""Two runs side by side: what each found, what differs between them, and which differences the data can tell.

That two intervals overlap is no test: quantities whose intervals overlap can surely differ, most of all where both were
measured on the same personas. So a difference has an interval only where it can have one. Where an analysis can compare
two runs unit by unit (see `selfrep.analyses.report.Report.differences`) it does; where the runs share no family of
personas, their errors are independent and add up; for the rest no difference is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from selfrep.analyses import analyses
from selfrep.analyses.sentences import FAMILIES
from selfrep.store.findings import Finding
from selfrep.store.run import Run, open_run

COLUMNS = (
    "analysis", "name", "label", "unit", "a", "a_ci_low", "a_ci_high", "b", "b_ci_low", "b_ci_high", "difference",
    "difference_ci_low", "difference_ci_high", "p", "verdict",
)  # fmt: skip
DIFFERS, UNSURE, NO_TEST = "differs", "may be equal", "no test"
_NOTHING = (np.nan, np.nan, np.nan, np.nan)
_OF_MODEL = ("model", "weights_hash", "architecture", "n_layers", "dtype", "device", "seed", "study_hash")


def compare(run_a: Run | str | Path, run_b: Run | str | Path) -> pd.DataFrame:
    """The findings of two runs side by side, matched by their names.

    Onsets are shares of the depth, and cells are fixed at three quarters of it, so that models of different depth can
    be compared.

    Args:
        run_a, run_b: runs, or their directories.

    Returns:
        A row a finding, in the order of the first run. `a`, `a_ci_low`, … and `b`, …: values with 95 % intervals, NaN
        where not identified. `difference`: a − b, with 95 % interval and p where the data allow them, else NaN.
        `verdict`: "differs", where the interval of the difference leaves out 0; "may be equal", where it does not; "no
        test", where there is none: overlap of two intervals tests nothing; or in which run it is missing or not
        identified. `attrs["apart"]`: what else differs, such as model, study and versions, name → (of a, of b).

    Raises:
        SelfrepError: a folder holds no run.

    Example:
        >>> import tempfile
        >>> from selfrep.store.run_directory import RunDirectory
        >>> def left(value):
        ...     directory = RunDirectory(Path(tempfile.mkdtemp()))
        ...     _ = directory.create_or_resume("name: mine", "0" * 64)
        ...     directory.write_findings([Finding("The share", value, None, "", "", name="share")])
        ...     return directory.path
        >>> both = compare(left(0.2), left(0.9))
        >>> both[["name", "a", "b", "verdict"]].values.tolist()
        [['share', 0.2, 0.9, 'no test']]
    """
    runs = tuple(run if isinstance(run, Run) else open_run(run) for run in (run_a, run_b))
    ours, theirs = ({(one.about, one.name): one for one in run.findings} for run in runs)
    paired = {
        (analysis.name, one.name): (one.estimate, one.ci_low, one.ci_high, one.p)
        for analysis in analyses()
        for one in analysis.load_report().differences(*(run.directory for run in runs))
    }
    independent = not _families(runs[0]) & _families(runs[1])
    rows = [
        _row(ours.get(key), theirs.get(key), paired.get(key), independent)
        for key in [*ours, *(key for key in theirs if key not in ours)]
    ]
    numbers = dict.fromkeys((one for one in COLUMNS if one[0] in "abdp" and one != "analysis"), "float64")
    table = pd.DataFrame(rows, columns=list(COLUMNS)).astype(numbers)
    table.attrs["apart"] = dict(_apart(*(run.provenance for run in runs)))
    return table


def _row(
    a: Finding | None, b: Finding | None, paired: tuple[float, float, float, float] | None, independent: bool
) -> tuple[Any, ...]:
    difference, verdict = _NOTHING, _lacking(a, b)
    if a is not None and b is not None and not verdict:
        difference = paired or (_added(a, b) if independent and a.n_of == FAMILIES else _NOTHING)
        low, high = difference[1:3]
        verdict = NO_TEST if not np.isfinite([low, high]).all() else DIFFERS if low > 0 or high < 0 else UNSURE
    about, name, label, unit = next((one.about, one.name, one.label, one.unit) for one in (a, b) if one is not None)
    return about, name, label, unit, *_numbers(a), *_numbers(b), *difference, verdict


def _lacking(a: Finding | None, b: Finding | None) -> str:
    """In which run a finding is missing, or not identified; "" where it is in both."""
    if a is None or b is None:
        return "only in b" if a is None else "only in a"
    dark = [name for name, one in (("a", a), ("b", b)) if not one.identified]
    return f"not identified in {' and '.join(dark)}" if dark else ""


def _numbers(finding: Finding | None) -> tuple[float, float, float]:
    if finding is None or not isinstance(finding.value, float):
        return np.nan, np.nan, np.nan
    low, high = finding.interval or (np.nan, np.nan)
    return finding.value, low, high


def _added(a: Finding, b: Finding) -> tuple[float, float, float, float]:
    """The difference of two independent estimates, from their own intervals (Zou and Donner 2008): each end of it is
    as far as the two ends that make it, squared and added."""
    (x, x_low, x_high), (y, y_low, y_high) = _numbers(a), _numbers(b)
    below, above = np.hypot(x - x_low, y_high - y), np.hypot(x_high - x, y - y_low)
    return x - y, x - y - float(below), x - y + float(above), np.nan


def _families(run: Run) -> set[str]:
    """The families of the personas of a run."""
    people: Mapping[str, Any] = (run.study.get("personas") or {}).get("define") or {}
    return {str(persona.get("family") or name) for name, persona in people.items()}


def _apart(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, str]]]:
    """What else differs: the model, the study, versions."""
    flat = [{name: run.get(name) for name in _OF_MODEL} | dict(run.get("versions", {})) for run in (a, b)]
    for name in dict.fromkeys([*flat[0], *flat[1]]):
        pair = tuple("" if run.get(name) is None else str(run[name]) for run in flat)
        if pair[0] != pair[1]:
            yield name, (pair[0], pair[1])
