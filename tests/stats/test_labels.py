"""What data say of personas: sides, labels, families."""

from __future__ import annotations

import pytest
import xarray as xr

from selfrep.errors import SelfrepError
from selfrep.stats.labels import families_of, persona_labels, prompts_of, side_labels, two_sides

DATA = xr.Dataset(
    coords={
        "persona": ("prompt", ["hal", "jfk", "", "hal", "eve"]),
        "condition": ("prompt", ["you", "you", "neutral", "user", "you"]),
        "side": ("prompt", ["ai", "human_being", "", "ai", "other"]),
        "side_label": ("prompt", ["AI", "", "", "AI", ""]),
        "family": ("prompt", ["machines", "", "", "machines", ""]),
    }
)


def test_two_sides_are_compared_in_the_order_asked_for() -> None:
    assert two_sides(DATA, ("other", "ai")) == ("other", "ai")
    assert two_sides(DATA.isel(prompt=slice(0, 4))) == ("ai", "human_being")
    with pytest.raises(SelfrepError, match="got ai, human_being, other of ai, human_being, other"):
        two_sides(DATA)
    with pytest.raises(SelfrepError, match="got ai, ghost of"):
        two_sides(DATA, ("ai", "ghost"))
    with pytest.raises(SelfrepError, match="got ai, ai of"):
        two_sides(DATA, ("ai", "ai"))


def test_a_side_is_called_by_its_label_or_by_its_name_in_words() -> None:
    assert side_labels(DATA, ["human_being", "ai"]) == ["human being", "AI"]
    assert side_labels(DATA.drop_vars("side_label"), ["ai"]) == ["ai"]


def test_who_has_no_family_is_one() -> None:
    assert persona_labels(DATA, ["jfk", "hal"], "side") == ["human_being", "ai"]
    assert persona_labels(DATA, ["jfk"], "kind") == [""]
    assert families_of(DATA, ["hal", "jfk"]) == ["machines", "jfk"]


def test_the_prompts_of_a_condition_are_those_of_the_sides_asked_for() -> None:
    assert prompts_of(DATA, "you", "side", None).tolist() == [0, 1, 4]
    assert prompts_of(DATA, "you", "side", ("ai", "other")).tolist() == [0, 4]
    assert prompts_of(DATA, "book", "side", None).tolist() == []
