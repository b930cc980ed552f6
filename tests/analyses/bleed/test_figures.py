"""B stands between its ends beside "the user is X", item by item."""

from __future__ import annotations

from tests.plots.reading import check_shares
from tests.report.groups import GROUPS

from selfrep.analyses.bleed.figures import bleed_shares
from selfrep.plots import rows
from selfrep.plots.theme import CONTROL, OWN


def test_every_share_stands_above_that_of_the_user_where_its_numbers_are() -> None:
    user = ("user_is", "user_is_ci_low", "user_is_ci_high")
    check_shares(
        bleed_shares(GROUPS["bleed"]),
        GROUPS["bleed"],
        [
            ("“you are X”", ("estimate", "ci_low", "ci_high"), OWN, "circle", rows.APART),
            ("“the user is X”", user, CONTROL, "diamond-open", -rows.APART),
        ],
        ("persona_shift", "truth_shift", "p"),
        ("separate", "conflated"),
        "B, persona / (persona + truth)",
    )
