"""The size of panels follows the width of their figure."""

from __future__ import annotations

import pytest
from tests.plots.on_paper.hard import effects, items, people

from selfrep.analyses.items.figures import degree_of_separation, item_bars
from selfrep.plots.effects import heatmap
from selfrep.plots.on_paper import on_page
from selfrep.plots.on_paper.block import columns_of, height_of
from selfrep.plots.on_paper.sheet import read


def test_columns_follow_the_width() -> None:
    assert [columns_of(2, 2, width) for width in (2.2, 3.25, 5.5, 10.0)] == [1, 1, 2, 2]
    assert [columns_of(9, 3, width) for width in (2.2, 3.25, 5.5, 10.0)] == [1, 2, 3, 5]
    assert columns_of(1, 1, 10.0) == 1


def test_planes_keep_their_scale_rows_their_height_and_maps_shrink_a_little() -> None:
    plane, rows, map_ = (read(fig).parts[0] for fig in (
        degree_of_separation(people(8)), item_bars(items(6)), heatmap(effects(6, [" a"])),
    ))  # fmt: skip
    assert height_of(plane, 2.0) == pytest.approx(2.0 * max(plane.aspect or 0, 0.62))
    assert height_of(rows, 1.0) == height_of(rows, 4.0) == rows.height
    assert 0.5 < height_of(map_, 0.5) / height_of(map_, map_.width) < 0.7


@pytest.mark.parametrize("width", [2.2, 5.5])
def test_a_unit_is_as_long_on_both_axes_of_a_plane(width: float) -> None:
    figure, (ax,) = on_page(degree_of_separation(people(8)), width)
    box = ax.get_position()
    across, up = box.width * figure.get_figwidth(), box.height * figure.get_figheight()
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    assert across / (right - left) == pytest.approx(up / (high - low), rel=1e-3)
