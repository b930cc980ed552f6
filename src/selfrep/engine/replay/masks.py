"""Which keys a query may not see: later ones, those beyond a window, padding.

A walk calls every block with the same tokens, and with more and more runs of them. So a mask is made once a walk, for
as many runs as there may be, and sliced.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

ALIGNED = 16
"""Rows of a bias start at multiples of so many numbers, as fused kernels want them."""


@dataclass
class Masks:
    """The masks of one walk, or of one pass; rows are runs × prompts, prompts fastest.

    Attributes:
        prefix_visible: [prompt, prefix_token], False at left padding; None when all of it is seen.
        own_visible: [prompt, token], False at left padding of the pass's own tokens; None when all are seen.
        runs: how many runs of a prompt there may be at once.
    """

    prefix_visible: Tensor | None = None
    own_visible: Tensor | None = None
    runs: int = 1
    _made: dict[object, tuple[int, Tensor]] = field(default_factory=dict, init=False, repr=False)

    def is_causal(self, tokens: int, window: int | None) -> bool:
        """Whether a row's own tokens see all of it that is not later."""
        return self.own_visible is None and (window is None or tokens <= window)

    def own(
        self,
        tokens: int,
        window: int | None,
        groups: int,
        rows: int,
        device: torch.device,
        bias: torch.dtype | None = None,
    ) -> Tensor:
        """[row or 1, 1, group × token, token] where a key is hidden from a query of the same row.

        A token sees itself, even where it is padding, so that no query sees nothing.

        Args:
            bias: what is added to scores instead of it, in this precision: see `as_bias`.
        """
        prompts = 1 if self.own_visible is None else len(self.own_visible)
        alike = prompts == 1

        def make(runs: int) -> Tensor:
            query, key = torch.arange(tokens, device=device)[:, None], torch.arange(tokens, device=device)
            hidden = (key > query)[None, None]
            if window is not None and tokens > window:
                hidden = hidden | (key <= query - window)
            if self.own_visible is not None:
                hidden = (hidden | ~self.own_visible.to(device)[:, None, None, :]) & (key != query)
            hidden = hidden.repeat(1 if alike else runs, 1, groups, 1)
            return hidden if bias is None else as_bias(hidden, bias)

        made = self._made_for(("own", tokens, window, groups, device, bias), rows // prompts, make)
        return made if alike else made[:rows]

    def prefix(
        self,
        prefix: int,
        tokens: int,
        window: int | None,
        groups: int,
        runs: int,
        device: torch.device,
        bias: torch.dtype | None = None,
    ) -> Tensor | None:
        """[prompt or 1, 1, run × group × token (or 1), prefix_token] where a key of the prefix is hidden.

        None when every query sees the whole prefix.

        Args:
            bias: as in `own`; where it hides all of a prefix, its log-sum-exp is far below any other.
        """
        near = window is None or prefix + tokens <= window
        visible = self.prefix_visible
        if near and visible is None:
            return None

        def make(runs: int) -> Tensor:
            query = prefix + torch.arange(tokens, device=device)[:, None]
            hidden = torch.arange(prefix, device=device)[None, None, None]
            hidden = hidden < 0 if near or window is None else hidden <= query - window
            if visible is not None:
                hidden = hidden | ~visible.to(device)[:, None, None, :]
            hidden = hidden if near else hidden.repeat(1, 1, runs * groups, 1)
            return hidden if bias is None else as_bias(hidden, bias)

        made = self._made_for(("prefix", prefix, tokens, window, groups, device, bias), runs, make)
        return made if near else made[:, :, : runs * groups * tokens]

    def _made_for(self, key: object, runs: int, make: Callable[[int], Tensor]) -> Tensor:
        most, made = self._made.get(key, (0, None))
        if made is None or most < runs:
            most = max(runs, self.runs)
            made = make(most)
            self._made[key] = most, made
        return made


def as_bias(hidden: Tensor, dtype: torch.dtype) -> Tensor:
    """0, or where a key is hidden a number that outweighs any score: finite, so that what sees nothing is no NaN."""
    wide = -(-hidden.shape[-1] // ALIGNED) * ALIGNED
    out = torch.zeros(*hidden.shape[:-1], wide, dtype=dtype, device=hidden.device)[..., : hidden.shape[-1]]
    return out.masked_fill_(hidden, torch.finfo(dtype).min / 4)
