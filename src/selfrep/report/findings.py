"""From the groups of a run to the few sentences a reader should know, each with its interval and its control.

Nothing is picked because it came out large: the cell that a sentence reports is fixed beforehand, at three quarters of
the model's depth, at the last token. Where a number is not identified, the sentence says so and why.
"""

from __future__ import annotations

from selfrep.analyses import analyses
from selfrep.store.findings import Finding
from selfrep.store.run_directory import RunDirectory


def findings(run: RunDirectory) -> list[Finding]:
    """The findings of a run, of whatever groups it holds, in the order of the analyses."""
    return [finding for analysis in analyses() for finding in analysis.load_report().findings(run)]
