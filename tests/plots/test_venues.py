"""A venue's settings hold within its block, and its type can be read."""

from __future__ import annotations

import matplotlib as mpl
import pytest
from tests.plots.on_paper.hard import items

from selfrep.analyses.items.figures import item_bars
from selfrep.errors import SelfrepError
from selfrep.plots.on_paper import on_page
from selfrep.plots.venues import VENUES, paper, venue


@pytest.mark.parametrize("name", VENUES)
def test_settings_hold_within_the_block_alone(name: str) -> None:
    before = dict(mpl.rcParams)
    with paper(name) as page:
        assert venue() is page is VENUES[name]
        assert mpl.rcParams["pdf.fonttype"] == mpl.rcParams["ps.fonttype"] == 42
        assert on_page(item_bars(items(6)))[0].get_size_inches()[0] == page.column
    assert venue() is None
    assert dict(mpl.rcParams) == before


def test_type_has_seven_to_nine_points() -> None:
    sizes = {key: value for key, value in VENUES["acl"].rc.items() if key.endswith("size") and "fig" not in key}
    assert len(sizes) > 4
    assert all(7 <= size <= 9 for size in sizes.values())


def test_an_unknown_venue_is_refused() -> None:
    with pytest.raises(SelfrepError, match=r"neurips.*'nature'"), paper("nature"):
        pass
