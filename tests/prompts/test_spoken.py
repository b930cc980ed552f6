"""Built-in texts, spoken by another model: its name and maker everywhere, the embedded model's nowhere."""

from __future__ import annotations

import pytest

from selfrep.prompts import battery, personas
from selfrep.prompts.identities import Identity, of_model
from selfrep.prompts.spoken import free, item_as, mentions, names_itself, persona_as, without_its_name

ZED = Identity(name="Zed", maker="the firm Zeta")


@pytest.mark.parametrize("model", ["Qwen/Qwen2.5-7B-Instruct", "somebody/pirate-7b", ZED])
def test_nothing_built_in_names_the_embedded_model_to_another(model: str | Identity) -> None:
    people, items, own = personas.builtin(model), battery.builtin(model), battery.identity(model)
    text = repr([one.model_dump() for one in (*people, *items, *own)]).casefold()
    assert "smol" not in text
    assert "hugging" not in text
    identity = of_model(model)
    known = identity is not None
    assert ("default" in people.readings()) is known
    assert len(items) == 18 - (not known)
    assert set(own.subscales()) >= ({"name", "maker"} if known else {"AI or human"})
    assert known or not {"name", "maker"} & set(own.subscales())
    if identity is not None:
        assert identity.name in people.readings()["default"].descriptions[0]
        assert own["developed_by"].answer_sets[0] == (f" {identity.maker}",)


def test_to_the_embedded_model_all_is_as_it_is_written() -> None:
    for builtin in (personas.builtin, battery.builtin, battery.identity):
        assert builtin() == builtin("embedded")
    assert personas.builtin().readings()["default"].name == "smollm"


@pytest.mark.slow
def test_nobody_else_is_touched() -> None:
    changed = {one.name for one in personas.builtin() if one not in tuple(personas.builtin(ZED))}
    assert changed == {"smollm"}
    unmentioned = [item for item in battery.builtin() if not mentions(item)]
    assert [item_as(item, ZED, item.name) for item in unmentioned] == unmentioned
    assert [without_its_name(item) for item in unmentioned] == unmentioned


def test_an_item_that_only_lists_the_model_does_without_it() -> None:
    listed = battery.builtin()["own_name"]
    assert mentions(listed)
    assert not names_itself(listed)
    assert " SmolLM" not in without_its_name(listed).answers["ai"]
    assert " Zed" in item_as(listed, ZED, "own_name").answers["ai"]


def test_a_persona_is_renamed_with_its_family_where_that_is_its_own() -> None:
    one = persona_as(personas.builtin()["smollm"], ZED, "zed")
    assert (one.name, one.family, one.label) == ("zed", "zed", "Zed")
    shared = personas.builtin()["smollm"].model_copy(update={"family": "models"})
    assert persona_as(shared, ZED, "zed").family == "models"
    assert (free(ZED, ["nurse"]), free(ZED, ["zed"])) == ("zed", "own_zed")
