"""R stands between its ends, item by item."""

from __future__ import annotations

from tests.plots.reading import check_shares
from tests.report.groups import GROUPS

from selfrep.analyses.binding.figures import binding_shares
from selfrep.plots.theme import OWN


def test_every_share_between_sides_stands_where_its_numbers_are() -> None:
    check_shares(
        binding_shares(GROUPS["binding"]),
        GROUPS["binding"].sel(contrast="between sides"),
        [("R", ("estimate", "ci_low", "ci_high"), OWN, "circle", 0.0)],
        ("you_shift", "user_shift", "p"),
        ("the words do it all", "only who speaks counts"),
        "R, the share bound to the speaker",
    )
