"""The findings of a run, one sentence each, and the reason where there is none.

A finding has its interval and its control, because a number without them says nothing. A number that cannot be trusted
is not kept at all: the finding then has a reason, and every place that shows findings shows the reason instead.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import pandas as pd
from pydantic import Field, TypeAdapter, ValidationError

from selfrep.errors import SelfrepError
from selfrep.harmless import for_cell
from selfrep.stats.numbers import told, with_unit

NOT_IDENTIFIED = "not identified"


@dataclass(frozen=True)
class Finding:
    """One result of a study.

    Attributes:
        title: the claim or quantity, one plain sentence.
        value: the estimate in `unit`; a text such as "layer 22" is allowed; None where it is not identified.
        interval: its 95 % interval (low, high) in the same unit, where there is one.
        control: the result of the control, in words and numbers: the value must be compared with it.
        how_sure: which test, over how many units, and what remains open.
        identified: whether the data can answer at all.
        reason: why not, where `identified` is False.
        unit: the unit of value and interval, e.g. "nats".
        about: the analysis it is a result of, e.g. "binding".
        name: what it is called in every run of whatever model, so that two runs can be compared; the title, if left
            out.
        label: what it is in a few words, for tables; the title, if left out.
        p: of the test that `how_sure` names, where there is one.
        n: how many independent units it comes from; n_of: which, e.g. "families of personas".
        beside: the first number of the control, in the same unit; beside_what: of what it is.
        gate: what the data had to show for this number to be told.

    Raises `SelfrepError` when an identified finding has no finite value, or an unidentified one no reason.

    Example:
        >>> Finding("The sides differ by", 5.8, (4.9, 6.8), "0.1 nats", "16 personas", unit="nats").value_text
        '5.8\xa0nats'
        >>> Finding("The share", 0.4, None, "", "", identified=False, reason="the truth moves nothing").value is None
        True
    """

    title: str
    value: float | str | None
    interval: tuple[float, float] | None
    control: str
    how_sure: str
    identified: bool = True
    reason: str = ""
    unit: str = ""
    about: str = ""
    name: str = ""
    label: str = ""
    p: Annotated[float, Field(ge=0, le=1)] | None = None
    n: Annotated[int, Field(ge=0, lt=2**53)] | None = None
    n_of: str = ""
    beside: float | None = None
    beside_what: str = ""
    gate: str = ""

    def __post_init__(self) -> None:
        for field in ("name", "label"):
            object.__setattr__(self, field, getattr(self, field) or self.title)
        for field in ("p", "beside"):  # NaN is how Datasets say that there is none
            number = getattr(self, field)
            if number is not None and not (self.identified and math.isfinite(number)):
                object.__setattr__(self, field, None)
        if not self.identified:
            if not self.reason:
                raise SelfrepError(
                    f"The finding {self.title!r} is not identified but has no reason. Give `reason`: what the "
                    "data lack."
                )
            object.__setattr__(self, "value", None)
            object.__setattr__(self, "interval", None)
            return
        numbers = [] if isinstance(self.value, str) else [self.value]
        numbers += list(self.interval or ())
        if not all(number is not None and math.isfinite(number) for number in numbers):
            raise SelfrepError(
                f"The finding {self.title!r} has the value {self.value} and the interval {self.interval}: a number "
                "that is missing or not finite cannot be a finding. Set identified=False and give the reason."
            )

    @property
    def value_text(self) -> str:
        """The value with its unit, or "not identified"."""
        if self.value is None:
            return NOT_IDENTIFIED
        return with_unit(self.value if isinstance(self.value, str) else told(self.value), self.unit)

    @property
    def interval_text(self) -> str:
        """The interval as "95 % interval: 7.1 to 9.2 nats", or nothing."""
        if self.interval is None:
            return ""
        low, high = self.interval
        return with_unit(f"95\N{NO-BREAK SPACE}% interval {told(low)} to {told(high)}", self.unit)

    def record(self) -> dict[str, Any]:
        """The finding as plain JSON values; `from_record` reads them."""
        return asdict(self)

    @staticmethod
    def from_record(record: dict[str, Any]) -> Finding:
        """The finding of which this is the `record`.

        Example:
            >>> finding = Finding("The sides differ by", 5.8, (4.9, 6.8), "0.1 nats", "16 personas", unit="nats")
            >>> Finding.from_record(finding.record()) == finding
            True
        """
        return read(json.dumps([record]), "the record")[0]


def read(text: str | bytes, origin: str) -> Findings:
    """The findings in JSON text, which somebody may have changed.

    Args:
        text: a list of records; origin: what errors call it.

    Raises:
        SelfrepError: no JSON, or not the fields that findings have.

    Example:
        >>> read('[{"title": "x", "value": "y", "interval": 3, "control": "", "how_sure": ""}]', "findings.json")
        Traceback (most recent call last):
        selfrep.errors.SelfrepError: findings.json must hold the findings of a run, but does not: 0 › interval: ...
    """
    try:
        return Findings(_RECORDS.validate_json(text, strict=True))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        what = " › ".join(map(str, first["loc"])) or "the whole file"
        reason = f"{what}: {first['msg']}"
    except SelfrepError as error:
        reason = str(error)
    raise SelfrepError(
        f"{origin} must hold the findings of a run, but does not: {reason} Let the study run again: it makes them anew."
    )


_RECORDS = TypeAdapter(tuple[Finding, ...])

COLUMNS = (
    "analysis", "name", "label", "value", "ci_low", "ci_high", "unit", "control", "control_name", "p", "n", "n_of",
    "identified", "gate", "reason",
)  # fmt: skip
"""Of the findings as a table; docs/results.md says what each holds."""


class Findings(tuple[Finding, ...]):
    """The findings of a run, in the order of the report.

    Example:
        >>> findings = Findings([Finding("The sides differ by", 5.8, (4.9, 6.8), "", "", unit="nats", p=0.01)])
        >>> findings.to_dataframe()[["label", "value", "ci_low", "p"]].values.tolist()
        [['The sides differ by', 5.8, 4.9, 0.01]]
    """

    __slots__ = ()

    def to_dataframe(self) -> pd.DataFrame:
        """A row a finding, with the columns of findings.csv; NaN (of n: NA) where there is no number."""
        rows = [_row(finding) for finding in self]
        numbers = dict.fromkeys(("ci_low", "ci_high", "control", "p"), "float64")
        return pd.DataFrame(rows, columns=list(COLUMNS)).astype(numbers | {"n": "Int64", "identified": "bool"})

    def to_csv(self) -> str:
        """The same as text, its numbers in full."""
        table = self.to_dataframe()
        texts = list(table.select_dtypes(["object", "string"]).columns)
        table[texts] = table[texts].map(for_cell)
        return str(table.to_csv(index=False, lineterminator="\n"))


def _row(finding: Finding) -> tuple[Any, ...]:
    low, high = finding.interval or (None, None)
    return (
        finding.about, finding.name, finding.label, finding.value, low, high, finding.unit, finding.beside,
        finding.beside_what, finding.p, finding.n, finding.n_of, finding.identified, finding.gate, finding.reason,
    )  # fmt: skip
