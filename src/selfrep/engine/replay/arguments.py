"""What blocks were called with beside the residual stream, cut to some columns and repeated for several runs.

Rotary tables and masks are handed to all blocks alike, so within a walk they are cut and repeated once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass
class Arguments:
    """Recorded arguments over columns `start` … `stop` of `width`, for rows that are runs × `rows` prompts.

    Attributes:
        runs: how many runs there may be at once; tables are repeated for so many, and sliced.
    """

    start: int
    stop: int
    width: int
    rows: int
    runs: int = 1
    _made: dict[int, tuple[Tensor, Tensor, int]] = field(default_factory=dict, init=False, repr=False)

    def cut(self, value: Any, runs: int) -> Any:
        """An argument as so many runs need it; what has no columns stays as it is."""
        if isinstance(value, (tuple, list)):
            return type(value)(self.cut(v, runs) for v in value)
        if not isinstance(value, Tensor):
            return value
        if value.ndim == 1 and len(value) == self.width:
            return value[self.start : self.stop]
        if value.ndim < 2 or value.shape[1] != self.width:
            return value
        if len(value) != self.rows or self.rows == 1:
            return value[:, self.start : self.stop]
        _, made, most = self._made.get(id(value), (None, None, 0))
        if made is None or most < runs:
            most = max(runs, self.runs)
            made = value[:, self.start : self.stop].repeat(most, *[1] * (value.ndim - 1))
            self._made[id(value)] = value, made, most  # with the value itself, whose id is its own while it lives
        return made[: runs * self.rows]
