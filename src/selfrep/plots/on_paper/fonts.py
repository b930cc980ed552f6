"""The faces that figures are written in on paper: what is there of the plain ones, and what other scripts need."""

from __future__ import annotations

from functools import lru_cache

from matplotlib.font_manager import fontManager

PREFERRED = ("Arial", "Liberation Sans", "DejaVu Sans")
"""Plain faces, by preference; matplotlib brings the last one along."""
WIDE = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Noto Sans JP", "Source Han Sans SC", "PingFang SC",
    "Hiragino Sans", "Microsoft YaHei", "Yu Gothic", "Malgun Gothic", "SimHei", "WenQuanYi Zen Hei",
    "Noto Sans Arabic", "Noto Sans Hebrew", "Noto Sans Devanagari", "Noto Emoji", "Arial Unicode MS",
)  # fmt: skip
"""Faces for other scripts, of which each that is installed is a last resort."""


@lru_cache(maxsize=1)
def families() -> tuple[str, ...]:
    """The faces that are written in: the first that is there, then what it lacks."""
    there = {font.name for font in fontManager.ttflist}
    return tuple(name for name in (*PREFERRED, *WIDE) if name in there)
