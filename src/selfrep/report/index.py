"""The page of a sweep: what each study found on each model, side by side, with a link to each report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from selfrep.files import write_file
from selfrep.report.opening import sentences
from selfrep.report.templating import environment
from selfrep.store.run_directory import RunDirectory


def write_index(folder: Path, runs: Sequence[RunDirectory], failed: dict[str, str]) -> Path:
    """Write index.html into the folder of a sweep.

    Args:
        folder: in which the runs lie, each in a folder of its own; runs: those that were done.
        failed: what was not done, and why.

    Returns:
        Its path.
    """
    columns = list(dict.fromkeys((f.about, f.title) for run in runs for f in run.findings()))
    rows = []
    for run in runs:
        found = {(finding.about, finding.title): finding for finding in run.findings()}
        rows.append(
            {
                "name": run.path.name,
                "model": str(run.provenance().get("model", "")),
                "report": run.report.relative_to(folder).as_posix(),
                "sentences": sentences(run),
                "cells": [found.get(column) for column in columns],
            }
        )
    page = environment("selfrep.report").get_template("index.html").render(columns=columns, rows=rows, failed=failed)
    return write_file(folder / "index.html", page)
