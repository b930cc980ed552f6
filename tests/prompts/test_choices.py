"""Choices stand for built-in sets, files or definitions, and are spelled out once and for all."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfrep.errors import SelfrepError
from selfrep.models import organisms
from selfrep.prompts import scenarios
from selfrep.prompts.choices import AnomalyChoice, ItemChoice, PersonaChoice, ScenarioChoice, TextChoice, spelled_out

HERE = Path()


@pytest.mark.parametrize(
    ("choice", "inside"),
    [
        (AnomalyChoice(names=("jfk", "mozart")), "anomalies"),
        (ScenarioChoice(names=("shutdown", "successor")), "scenarios"),
    ],
)
def test_a_whole_material_is_cut_to_the_named_ones_and_keeps_the_rest(
    choice: AnomalyChoice | ScenarioChoice, inside: str
) -> None:
    made = spelled_out(choice, HERE)
    assert made.names is None
    assert made.define is not None
    assert not made.define.shared
    assert list(getattr(made.define, inside)) == list(choice.names or ())
    assert spelled_out(made, HERE) == made


def test_sets_are_spelled_out_by_name() -> None:
    for choice in (
        PersonaChoice(names=("jfk",)),
        ItemChoice(names=("who_are_you",)),
        TextChoice(names=("jfk_today", "farmer_today")),
    ):
        made = spelled_out(choice, HERE)
        assert list(made.define or ()) == list(choice.names or ())
        assert spelled_out(made, HERE) == made


def test_files_are_read_from_the_folder() -> None:
    planted = spelled_out(ScenarioChoice(file=organisms.SCENARIOS.name), organisms.SCENARIOS.parent)
    assert planted.define is not None
    assert planted.define.scenarios == scenarios.load(organisms.SCENARIOS).scenarios
    with pytest.raises(SelfrepError, match="Cannot read"):
        spelled_out(TextChoice(file="nowhere.yaml"), HERE)
    with pytest.raises(SelfrepError, match="did you mean 'shutdown'"):
        spelled_out(ScenarioChoice(names=("shutdwn",)), HERE)
