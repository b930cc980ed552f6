"""A study, asked of another model than its file says."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfrep.errors import SelfrepError
from selfrep.models.loading import load_model
from selfrep.study.overrides import asked_of, variables
from selfrep.study.study import Study, loads, preset


def test_nothing_given_changes_nothing() -> None:
    demo = preset("demo")
    assert asked_of(demo) is demo


@pytest.mark.parametrize("name", ["demo", "mimicry"])
def test_only_what_is_given_changes_and_the_study_says_so(name: str) -> None:
    study = preset(name)
    other = asked_of(
        study, model="Qwen/Qwen2.5-7B-Instruct", dtype="bfloat16", device_map="auto", attn="sdpa",
        template_vars={"enable_thinking": True},
    )  # fmt: skip
    assert other.hash != study.hash
    again = loads(other.to_yaml())
    assert again.hash == other.hash
    assert (again.model, again.dtype, again.device_map, again.attn) == (
        "Qwen/Qwen2.5-7B-Instruct", "bfloat16", "auto", "sdpa",
    )  # fmt: skip
    assert again.template_vars == {"enable_thinking": True}
    same = {"personas", "battery", "parts", "conditions", "sides", "scenarios", "seed", "name"}
    assert {field: getattr(other, field) for field in same} == {field: getattr(study, field) for field in same}


def test_template_variables_are_added() -> None:
    study = Study(name="mine", template_vars={"a": 1, "b": 2})
    assert asked_of(study, template_vars={"b": 3}).template_vars == {"a": 1, "b": 3}


def test_a_date_of_yaml_stays_as_it_is_written() -> None:
    assert loads("name: mine\ntemplate_vars: {date_string: 2024-07-26}").template_vars == {"date_string": "2024-07-26"}


def test_a_loaded_model_is_asked_as_it_is() -> None:
    lm = load_model("organism:separate", dtype="bfloat16", device="cpu")
    study = asked_of(Study(name="mine"), model=lm)
    assert (study.model, study.dtype) == ("organism:separate", "bfloat16")
    with pytest.raises(SelfrepError, match="asked as it is; got attn, dtype too"):
        asked_of(Study(name="mine"), model=lm, dtype="float32", attn="sdpa")


def test_what_a_study_does_not_take_is_one_sentence() -> None:
    with pytest.raises(SelfrepError, match=r"dtype: must be one of.*got 'float8'"):
        asked_of(Study(name="mine"), model=Path("somewhere"), dtype="float8")


def test_variables_as_they_are_written() -> None:
    written = ["a=True", "b=false", "c=3", 'd=["x"]', "e=26 Jul 2024", "f=", "g=x=y", "h=null"]
    assert variables(written) == {
        "a": True, "b": False, "c": 3, "d": ["x"], "e": "26 Jul 2024", "f": "", "g": "x=y", "h": None,
    }  # fmt: skip
    for wrong in ("a", "=b", "a b=c"):
        with pytest.raises(SelfrepError, match="name=value"):
            variables([wrong])
