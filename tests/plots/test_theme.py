"""Every figure has a title and says how to read it; colours differ even without colour."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from selfrep import plots
from selfrep.plots.theme import DIRECTIONS, KINDS, SIDES, caption

Maker = Callable[..., xr.Dataset]


def every(separation: Maker, transfer: Maker, effects: Maker, items: xr.Dataset, points: xr.Dataset) -> list[go.Figure]:
    return [
        plots.separation_map(separation()),
        plots.separation_map(separation("segment")),
        plots.separation_profile(separation()),
        plots.transfer_maps(transfer()),
        plots.transfer_maps(transfer("segment")),
        plots.heatmap(effects()),
        plots.item_bars(items),
        plots.persona_map(points),
        plots.transfer_maps(transfer() * np.nan),
    ]


def test_every_figure_has_title_caption_height_and_look(
    separation: Maker, transfer: Maker, effects: Maker, items: xr.Dataset, points: xr.Dataset
) -> None:
    for fig in every(separation, transfer, effects, items, points):
        assert fig.layout.title.text.startswith("<b>")
        assert fig.layout.meta["title"]
        assert len(caption(fig)) > 60
        assert 150 < fig.layout.height < 900
        assert fig.layout.template.layout.colorway
        assert "<script" not in fig.to_json().replace("\\u003c", "<")
    assert caption(go.Figure()) == ""


def seen(colour: str, blindness: np.ndarray) -> np.ndarray:
    """A colour as a dichromat sees it (linear RGB; Viénot, Brettel & Mollon 1999)."""
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return blindness @ np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


PROTAN = np.array([[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]])
DEUTAN = np.array([[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]])


def test_colours_differ_for_the_colour_blind() -> None:
    for blindness in (np.eye(3), PROTAN, DEUTAN):
        for palette in (KINDS, DIRECTIONS):
            for a, b in combinations(palette.values(), 2):
                assert np.abs(seen(a, blindness) - seen(b, blindness)).max() > 0.08, (a, b)
    red, green = seen("#c00000", DEUTAN), seen("#5f6f00", DEUTAN)
    assert np.abs(red - green).max() < 0.12, "the control: red and green do not"
    assert len(set(SIDES.values())) == 2
