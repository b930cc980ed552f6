"""The list of analyses: the built-in ones in the order of the report, and those that join it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from selfrep.analyses import ANALYSES, analyses, register, unregister
from selfrep.analyses.analysis import Analysis
from selfrep.errors import SelfrepError


@pytest.fixture
def mine() -> Iterator[Analysis]:
    yield register(Analysis("mine", "how it is mine"))
    unregister("mine")


def test_what_is_registered_stands_after_the_built_in_ones_until_it_is_taken_off(mine: Analysis) -> None:
    assert analyses()[: len(ANALYSES)] == ANALYSES
    assert analyses()[-1] is mine
    unregister("mine")
    assert mine not in analyses()
    unregister("mine")


def test_registering_a_name_again_replaces_it(mine: Analysis) -> None:
    other = register(Analysis("mine", "another"))
    assert [known for known in analyses() if known.name == "mine"] == [other]


def test_the_name_of_a_built_in_one_is_refused() -> None:
    with pytest.raises(SelfrepError, match="built-in analysis 'bleed'"):
        register(Analysis("bleed", "mine"))
    assert len({known.name for known in ANALYSES}) == len(ANALYSES)
