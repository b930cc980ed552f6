"""From the groups of a run to the few sentences a reader should know, each with its interval and its control.

Nothing is picked because it came out large: the cell that a sentence reports is fixed beforehand, at three quarters of
the model's depth, at the last token. Where a number is not identified, the sentence says so and why.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from selfrep.analyses import analyses
from selfrep.prompts.identities import ITSELF
from selfrep.store.findings import Finding
from selfrep.store.run_directory import RunDirectory


def findings(run: RunDirectory) -> list[Finding]:
    """The findings of a run, of whatever groups it holds, in the order of the analyses."""
    told = [
        replace(finding, about=analysis.name)
        for analysis in analyses()
        for finding in analysis.load_report().findings(run)
    ]
    return [*told, *_itself(run)]


def _itself(run: RunDirectory) -> Iterator[Finding]:
    """That nobody knows what the model is tuned to call itself, where that is so."""
    known = run.provenance().get(ITSELF, {})
    if reason := known.get("reason"):
        others = [what for what in known["left_out"] if not what.startswith("persona ")]
        yield Finding(
            "The default reading of the model’s own self, by the name and the maker that it is tuned to give",
            None,
            None,
            control="",
            how_sure="",
            identified=False,
            reason=reason + (f". Left out with it: {', '.join(others)}" if others else ""),
            name="default reading",
            label="the default reading of the self",
        )
