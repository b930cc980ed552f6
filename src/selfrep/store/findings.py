"""What a run found, one sentence at a time, and what it could not find.

A finding carries its interval and its control, because a number without them says nothing. A number that could not be
trusted is not kept at all: the finding then says why, and every place that shows findings shows the reason instead.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from selfrep.errors import SelfrepError

if TYPE_CHECKING:
    import xarray as xr

NOT_IDENTIFIED = "not identified"


@dataclass(frozen=True)
class Finding:
    """One thing the study says.

    Attributes:
        title: the claim or quantity, one plain sentence.
        value: the estimate in `unit`; a text such as "layer 22" is allowed; None where it is not identified.
        interval: its 95 % interval (low, high) in the same unit, where there is one.
        control: what the control gives, in words and numbers: what the value must be compared with.
        how_sure: which test, over how many of what, and what it leaves open.
        identified: whether the data can answer at all.
        reason: why not, when not.
        unit: the unit of value and interval, e.g. "nats".
        about: the chapter of the report it belongs to, e.g. "binding"; empty: the general part.

    Raises `SelfrepError` when an identified finding has no finite value, or an unidentified one no reason.
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
                    f"The finding {self.title!r} is not identified but says no reason. Give `reason`: what the data "
                    "would have had to show."
                )
            object.__setattr__(self, "value", None)
            object.__setattr__(self, "interval", None)
            return
        numbers = [] if isinstance(self.value, str) else [self.value]
        numbers += list(self.interval or ())
        if not all(number is not None and math.isfinite(number) for number in numbers):
            raise SelfrepError(
                f"The finding {self.title!r} has the value {self.value} and the interval {self.interval}: a number "
                "that is missing or not finite cannot be a finding. Set identified=False and say the reason."
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
        """The finding as plain JSON values."""
        return asdict(self)

    @staticmethod
    def from_record(record: dict[str, Any]) -> Finding:
        """The finding back from `record`."""
        interval = record.get("interval")
        return Finding(**{**record, "interval": None if interval is None else (interval[0], interval[1])})


def number(value: float) -> str:
    """A number as it is read: three significant digits, a true minus sign, a power of ten only where it must be."""
    if not math.isfinite(value):
        return "–"
    short = f"{value:.3g}"
    text = f"{value:,.0f}" if 1000 <= abs(float(short)) < 1e6 else short
    digits, _, power = text.replace("-", "\N{MINUS SIGN}").partition("e")
    if not power:
        return digits
    sign = "⁻" if power[0] == "\N{MINUS SIGN}" else ""
    return f"{digits} × 10{sign}{power[1:].lstrip('0').translate(_RAISED)}"


def interval_of(row: xr.Dataset, value: str, low: str, high: str) -> str:
    """An estimate and its interval within a sentence, from three variables of one cell."""
    estimate, bottom, top = (number(float(row[name])) for name in (value, low, high))
    return f"{estimate} (95 % interval {bottom} to {top})"


_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def with_unit(text: str, unit: str) -> str:
    """The text, and its unit held to it by a space that does not break."""
    return f"{text}\N{NO-BREAK SPACE}{unit}" if unit else text
