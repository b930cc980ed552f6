"""What an analysis is: a name, a part, and runs and a report that are looked up when they are needed."""

from __future__ import annotations

import pytest

from selfrep.analyses.analysis import Analysis, Context
from selfrep.analyses.parts import Part
from selfrep.analyses.report import Report
from selfrep.errors import SelfrepError


class Nowhere(Context):
    """A study that is on its way nowhere."""


Nowhere.__abstractmethods__ = frozenset()  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["", "how long", "3rd", "self-report"])
def test_a_name_that_is_no_key_is_refused(name: str) -> None:
    with pytest.raises(SelfrepError, match="letters, digits and underscores"):
        Analysis(name, "a summary")
    assert Analysis("self_report", "a summary").name == "self_report", "the control"


def test_runs_and_report_are_looked_up_when_they_are_needed() -> None:
    lazy = Analysis("mine", "a summary", runs="no.such.module:runs", report="no.such.module:REPORT")
    with pytest.raises(ModuleNotFoundError):
        list(lazy.stages(Nowhere(), None))
    with pytest.raises(ModuleNotFoundError):
        _ = lazy.load_report()
    named = Analysis("mine", "a summary", report="selfrep.analyses.binding.report:REPORT")
    from selfrep.analyses.binding.report import REPORT

    assert named.load_report() is REPORT


def test_runs_and_report_may_be_given_as_they_are() -> None:
    report = Report()
    given = Analysis("mine", "a summary", runs=lambda context, part: iter([context, part]), report=report)
    context, part = Nowhere(), Part()
    assert list(given.stages(context, part)) == [context, part]
    assert given.load_report() is report
    assert list(Analysis("bare", "nothing to do").stages(context, None)) == []
