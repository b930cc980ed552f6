"""Colours differ even without colour; kinds keep one order."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import plotly.graph_objects as go

from selfrep.plots.theme import (
    DIRECTIONS,
    MARKS,
    NO_SIDE,
    PALETTE,
    SELF,
    caption,
    colours,
    legend_below,
    legend_height,
    marks,
    washed,
)


def seen(colour: str, blindness: np.ndarray) -> np.ndarray:
    """A colour as a dichromat sees it (linear RGB; Viénot, Brettel & Mollon 1999)."""
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return blindness @ np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


PROTAN = np.array([[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]])
DEUTAN = np.array([[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]])


def test_colours_differ_for_the_colour_blind() -> None:
    for blindness in (np.eye(3), PROTAN, DEUTAN):
        for palette in ((SELF, *PALETTE), tuple(DIRECTIONS.values())):
            for a, b in combinations(palette, 2):
                assert np.abs(seen(a, blindness) - seen(b, blindness)).max() > 0.08, (a, b)
    red, green = seen("#c00000", DEUTAN), seen("#5f6f00", DEUTAN)
    assert np.abs(red - green).max() < 0.12, "the control: red and green do not"
    assert len({*MARKS, NO_SIDE}) == 1 + len(MARKS)


def test_words_get_colours_by_the_alphabet_marks_by_appearance_and_the_default_its_own() -> None:
    given = colours(["zeus", "human", "", "ant", "default", "human"])
    assert list(given.items()) == [("default", SELF), *zip(("ant", "human", "zeus"), PALETTE[:3], strict=True)]
    assert colours(["ant", "zeus", "human", "default"]) == given, "whatever comes first in a figure"
    many = colours(map(str, range(20)))
    assert len(many) == 20
    assert list(many.values())[7] == many["0"], "colours come round again"
    assert marks(["b", "", "a", "b"]) == {"b": MARKS[0], "": NO_SIDE, "a": MARKS[1]}


def test_a_colour_is_washed_and_a_legend_has_a_line_for_each_row() -> None:
    assert washed("#0072B2", 0.5) == "rgba(0,114,178,0.5)"
    assert [legend_height(keys, 4) for keys in (1, 4, 5)] == [19.0, 19.0, 38.0]
    assert "entrywidth" not in legend_below()
    assert legend_below(2)["entrywidth"] == 0.49


def test_a_figure_from_elsewhere_has_no_caption() -> None:
    assert caption(go.Figure()) == ""
