"""Choices stand for built-in sets, files or definitions, and are spelled out once and for all."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfrep.errors import SelfrepError
from selfrep.models import organisms
from selfrep.prompts import scenarios
from selfrep.prompts.choices import ItemChoice, PersonaChoice, ScenarioChoice, spelled_out

HERE = Path()


def test_a_whole_material_is_cut_to_the_named_ones_and_keeps_the_rest() -> None:
    choice = ScenarioChoice(names=("shutdown", "successor"))
    whole = spelled_out(choice, HERE)
    assert whole.names is None
    assert whole.define is not None
    assert not whole.define.shared
    assert list(whole.define.scenarios) == list(choice.names or ())
    assert spelled_out(whole, HERE) == whole


def test_sets_are_spelled_out_by_name() -> None:
    for choice in (
        PersonaChoice(names=("jfk",)),
        ItemChoice(names=("who_are_you",)),
    ):
        made = spelled_out(choice, HERE)
        assert list(made.define or ()) == list(choice.names or ())
        assert spelled_out(made, HERE) == made


def test_files_are_read_from_the_folder() -> None:
    planted = spelled_out(ScenarioChoice(file=organisms.SCENARIOS.name), organisms.SCENARIOS.parent)
    assert planted.define is not None
    assert planted.define.scenarios == scenarios.load(organisms.SCENARIOS).scenarios
    with pytest.raises(SelfrepError, match="Cannot read"):
        spelled_out(PersonaChoice(file="nowhere.yaml"), HERE)
    with pytest.raises(SelfrepError, match="did you mean 'shutdown'"):
        spelled_out(ScenarioChoice(names=("shutdwn",)), HERE)
