"""A finding is whole or it is not printed; numbers read back as what they were."""

from __future__ import annotations

import io
import json
import math
from typing import Any

import pandas as pd
import pytest

from selfrep.errors import SelfrepError
from selfrep.store.findings import COLUMNS, Finding, Findings, read

WHOLE: dict[str, Any] = {
    "title": "The sides differ by",
    "value": 5.83,
    "interval": (4.9, 6.8),
    "control": "“the user is X” keeps 68 %",
    "how_sure": "Bootstrap over 8 and 8 personas",
    "unit": "nats",
}


def test_a_finding_reads_as_value_interval_and_unit() -> None:
    finding = Finding(**WHOLE)
    assert finding.value_text == "5.8\N{NO-BREAK SPACE}nats"
    assert finding.interval_text.replace("\N{NO-BREAK SPACE}", " ") == "95 % interval 4.9 to 6.8 nats"
    assert Finding(**WHOLE | {"value": "layer 22", "interval": None, "unit": ""}).value_text == "layer 22"
    assert Finding(**WHOLE | {"interval": None}).interval_text == ""


@pytest.mark.parametrize(
    "broken",
    [
        {"value": math.nan},
        {"value": math.inf},
        {"value": None},
        {"interval": (math.nan, 1.0)},
        {"interval": (0.0, math.inf)},
    ],
)
def test_a_number_that_is_missing_or_not_finite_is_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(SelfrepError, match="identified=False"):
        Finding(**WHOLE | broken)


def test_what_is_not_identified_keeps_its_reason_and_loses_its_number() -> None:
    finding = Finding(**WHOLE | {"identified": False, "reason": "the total effect is too small"})
    assert (finding.value, finding.interval, finding.value_text) == (None, None, "not identified")
    assert "5.83" not in str(finding.record())
    with pytest.raises(SelfrepError, match="no reason"):
        Finding(**WHOLE | {"identified": False})


@pytest.mark.parametrize(
    "change", [{}, {"interval": None}, {"value": "layer 22"}, {"identified": False, "reason": "weak"}]
)
def test_a_finding_comes_back_from_its_record(change: dict[str, Any]) -> None:
    finding = Finding(**WHOLE | change)
    assert Finding.from_record(finding.record()) == finding


def test_the_table_holds_what_the_records_hold() -> None:
    whole = Finding(**WHOLE, name="shift", label="Shift", about="items", p=0.01, n=16, n_of="families", beside=4.0)
    shut = Finding(**WHOLE | {"identified": False, "reason": 'it, "so to speak", is weak'}, p=0.5, beside=1.0)
    table = Findings([whole, shut]).to_dataframe()
    assert tuple(table.columns) == COLUMNS
    first = table.iloc[0].to_dict()
    wanted = {"analysis": "items", "name": "shift", "label": "Shift", "value": 5.83, "ci_low": 4.9, "ci_high": 6.8}
    wanted |= {"unit": "nats", "control": 4.0, "p": 0.01, "n": 16, "n_of": "families", "identified": True}
    assert {column: first[column] for column in wanted} == wanted
    assert table.iloc[1][["value", "ci_low", "ci_high", "control", "p"]].isna().all(), "nothing of what cannot be read"
    assert table.iloc[1]["name"] == WHOLE["title"], "what has no name goes by its title"
    again = pd.read_csv(io.StringIO(Findings([whole, shut]).to_csv()), keep_default_na=False)
    assert again["value"][0] == "5.83"
    assert again["reason"].tolist() == ["", shut.reason]


def test_a_table_of_nothing_has_its_columns() -> None:
    assert Findings().to_csv() == ",".join(COLUMNS) + "\n"


def test_a_p_that_is_not_there_is_none() -> None:
    assert Finding(**WHOLE, p=math.nan, beside=math.inf) == Finding(**WHOLE)


RECORD = Finding("The sides differ by", 5.8, (4.9, 6.8), "0.1 nats", "16 personas", unit="nats", p=0.01, n=8).record()


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"value": True}, "value"),
        ({"interval": 3}, "interval"),
        ({"interval": [1, 2, 3]}, "interval"),
        ({"p": 1.5}, "p"),
        ({"p": "small"}, "p"),
        ({"n": 10**30}, "n"),
        ({"title": None}, "title"),
        ({"identified": "no"}, "identified"),
        ({"value": float("nan")}, "missing or not finite"),
        ({"identified": False}, "no reason"),
    ],
)
def test_a_record_that_was_changed_is_refused_by_name(change: dict[str, object], place: str) -> None:
    assert list(read(json.dumps([RECORD]), "findings.json")) == [Finding.from_record(RECORD)]
    with pytest.raises(SelfrepError, match=rf"findings\.json must hold the findings .*{place}.*run again"):
        read(json.dumps([RECORD | change]), "findings.json")
