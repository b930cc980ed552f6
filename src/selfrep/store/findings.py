"""The findings of a run, one sentence each, and the reason where there is none.

A finding has its interval and its control, because a number without them says nothing. A number that cannot be trusted
is not kept at all: the finding then has a reason, and every place that shows findings shows the reason instead.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from selfrep.errors import SelfrepError
from selfrep.stats.numbers import number, with_unit

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
        about: the chapter of the report it belongs to, e.g. "binding"; empty: the general part.

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

    def __post_init__(self) -> None:
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
        return with_unit(self.value if isinstance(self.value, str) else number(self.value), self.unit)

    @property
    def interval_text(self) -> str:
        """The interval as "95 % interval: 7.1 to 9.2 nats", or nothing."""
        if self.interval is None:
            return ""
        low, high = self.interval
        return with_unit(f"95\N{NO-BREAK SPACE}% interval {number(low)} to {number(high)}", self.unit)

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
        interval = record.get("interval")
        return Finding(**{**record, "interval": None if interval is None else (interval[0], interval[1])})
