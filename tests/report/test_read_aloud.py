"""The sentences of a report, read one by one: short, without identifiers, with as many digits as an estimate has."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from tests.report.groups import run_of

from selfrep.analyses import analyses
from selfrep.report.findings import findings
from selfrep.report.opening import sentences

LONGEST = 30
"""Words in a sentence; numbers in brackets are read past, and so count once."""
NAMES = {"P first", "S first"}


def told() -> Iterator[tuple[str, str]]:
    """Every paragraph that a reader is told by a run that holds something of every analysis, and where it stands."""
    run = run_of()
    for finding in findings(run):
        for field in ("title", "control", "how_sure", "label", "gate", "beside_what"):
            yield f"{finding.about}, {field}", getattr(finding, field)
    for paragraph in sentences(run):
        yield "opening", paragraph
    for analysis in analyses():
        report = analysis.load_report()
        if report.chapter:
            for field in ("title", "asks", "misleads"):
                yield f"{analysis.name}, {field}", getattr(report.chapter, field)
        for limit in report.limits:
            yield f"{analysis.name}, limits", f"{limit.title} {limit.text}"


def parts(paragraph: str) -> list[str]:
    """The sentences of a paragraph, and the parts between semicolons of those that list something."""
    bare = re.sub(r"[\[(](?:95 % interval )?[−\d][^\])]*[\])]", "", paragraph)  # an interval after its number
    return [part for part in re.split(r"(?<=[.?!:])\s+(?=[A-Zλπ“\d−p])|;\s+", bare.strip()) if part]


def longest(paragraph: str) -> int:
    return max((len(part.split()) for part in parts(paragraph)), default=0)


def identifiers(paragraph: str) -> list[str]:
    return re.findall(r"\b[a-z0-9]+(?:_[a-z0-9]+)+\b", paragraph)


def one_of_several(paragraph: str) -> list[str]:
    """ "1 items": a single one counted as several."""
    return re.findall(r"(?<![\d.,])1 (?:[a-z]+s|families)\b(?! of)", paragraph)


def digits(paragraph: str) -> list[str]:
    """Numbers with a decimal point that have more than two significant digits."""
    return [n for n in re.findall(r"\d+\.\d+", paragraph) if len(n.replace(".", "").lstrip("0")) > 2]


TOLD = list(told())


@pytest.mark.parametrize(("where", "paragraph"), TOLD, ids=[f"{i} {where}" for i, (where, _) in enumerate(TOLD)])
def test_a_sentence_is_short_and_in_words(where: str, paragraph: str) -> None:
    assert longest(paragraph) <= LONGEST, max(parts(paragraph), key=lambda part: len(part.split()))
    assert identifiers(paragraph) == [], paragraph
    assert one_of_several(paragraph) == [], paragraph
    assert digits(paragraph) == [], paragraph


def test_everything_was_read() -> None:
    places = {where.partition(",")[0] for where, _ in TOLD}
    assert places >= {"opening", *(analysis.name for analysis in analyses())}


def test_what_is_wrong_is_found() -> None:
    """The control: of each mistake one."""
    assert longest("word " * 31) == 31
    assert identifiers("of hal_9000 and others") == ["hal_9000"]
    assert one_of_several("over 1 items; 11 items, 0.1 nats, 1 item") == ["1 items"]
    assert digits("0.183, 0.18, 12.3, 1.2 and layer 22") == ["0.183", "12.3"]
