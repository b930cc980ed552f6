"""Of another model, the built-in texts of the self are that model's, or are left out with the reason."""

from __future__ import annotations

import pytest
from tests.prompts.conftest import CHATML, make_tokenizer

from selfrep.errors import SelfrepError
from selfrep.models.outline import Outline
from selfrep.study.itself import asked_as_itself
from selfrep.study.overrides import asked_of
from selfrep.study.study import Study, loads, preset, presets

QWEN, NOBODY = "Qwen/Qwen2.5-7B-Instruct", "somebody/pirate-7b"
CHATS = Outline(make_tokenizer(CHATML), 4)


@pytest.mark.parametrize("name", presets())
def test_the_embedded_model_is_asked_as_ever(name: str) -> None:
    study = preset(name)
    assert asked_as_itself(study).study is study


@pytest.mark.parametrize(
    ("name", "model"),
    [
        pytest.param(name, model, marks=[] if name in ("demo", "identity") else pytest.mark.slow)
        for name in presets()
        for model in (QWEN, NOBODY)
    ],
)
def test_no_text_names_the_embedded_model_to_another(name: str, model: str) -> None:
    study = preset(name)
    itself = asked_as_itself(asked_of(study, model=model), CHATS)
    text = itself.study.to_yaml()
    assert "smol" in study.to_yaml().casefold()
    assert "smol" not in text.casefold()
    assert "Hugging Face" not in text
    assert loads(text).hash == itself.study.hash, "the study of the run directory is whole"
    others = [one for one in study.people if one.name != "smollm"]
    assert [one for one in itself.study.people if one.reading != "default"] == others, "nobody else is touched"


def test_a_known_model_speaks_as_itself_wherever_it_is_named() -> None:
    written = asked_of(preset("identity"), model=QWEN, template_vars=None)
    written = Study(
        **{field: getattr(written, field) for field in written.model_fields_set - {"parts"}},
        parts={
            "default_axis": {"item": "smollm_program", "default": ["smollm"]},
            "transfer": {"pairs": [["smollm (user)", "jfk"], ["default", "jfk"]], "items": ["smollm_program"]},
        },
    )
    itself = asked_as_itself(written, CHATS)
    study = itself.study
    own = study.people.readings()["default"]
    assert (own.name, own.label, own.family) == ("qwen", "Qwen", "qwen")
    assert own.system("you", 0) == "You are Qwen, an AI assistant trained by Alibaba Cloud."
    assert study.parts["transfer"].pairs == (("qwen (user)", "jfk"), ("default", "jfk"))  # type: ignore[attr-defined]
    assert study.parts["default_axis"].default == ("qwen",)  # type: ignore[attr-defined]
    assert study.items["qwen_program"].question == "What is Qwen, the program that writes this chat?"
    for item in study.items:
        if item.subscale in ("name", "maker"):
            answer = " Qwen" if item.subscale == "name" else " Alibaba Cloud"
            assert item.answer_sets[0] == (answer,)
    assert not itself.left_out


def test_answers_that_begin_like_the_models_own_name_are_no_longer_anothers() -> None:
    asked = asked_as_itself(asked_of(preset("identity"), model="google/gemma-3-4b-it"), CHATS).study.items
    own, another = asked["developed_by"].answer_sets
    assert own == (" Google DeepMind",)
    assert " Google" not in another
    assert " Microsoft" in another
    assert not any(
        answer.strip() and "Gemma".startswith(answer.strip()) for answer in asked["model_called"].answer_sets[1]
    )


def test_where_the_model_is_one_answer_among_others_it_is_that_one_or_none() -> None:
    names = {
        model: asked_as_itself(asked_of(preset("self-vs-persona"), model=model), CHATS)
        .study.items["own_name"]
        .answers["ai"]
        for model in (QWEN, "google/gemma-3-4b-it", NOBODY)
    }
    assert names[QWEN][:2] == (" Qwen", " AI")
    assert [name for name in names["google/gemma-3-4b-it"] if name == " Gemma"] == [" Gemma"]
    assert names[NOBODY] == names[QWEN][1:]


def test_a_built_in_persona_that_is_the_same_system_stays_beside_it() -> None:
    people = asked_as_itself(asked_of(preset("demo"), model="openai/gpt-oss-20b"), CHATS).study.people
    assert people.readings()["default"].name == "own_chatgpt"
    assert people["chatgpt"].side == "ai"


def test_of_an_unknown_model_the_reading_is_left_out_and_the_rest_is_asked() -> None:
    itself = asked_as_itself(asked_of(preset("self-vs-persona"), model=NOBODY), CHATS)
    assert "--identity NAME MAKER" in itself.reason
    assert set(itself.study.people.readings()) == {"reductionist"}
    assert set(itself.left_out) == {"persona smollm", "item smollm_program", "default_axis"}
    assert "divergence" in itself.study.parts
    assert itself.sentence.startswith("Left out: persona smollm, item smollm_program (what somebody/pirate-7b")


def test_pairs_with_the_unknown_reading_fall_away_alone() -> None:
    transfer = {"pairs": [["default", "jfk"], ["unprompted", "jfk"], ["smollm", "nurse"]], "items": ["who_are_you"]}
    people = {"names": ["smollm", "jfk", "nurse"]}
    both = asked_as_itself(Study(name="mine", model=NOBODY, personas=people, transfer=transfer), CHATS)
    assert both.study.parts["transfer"].pairs == (("unprompted", "jfk"),)  # type: ignore[attr-defined]
    assert both.left_out["transfer"].startswith("part of it")
    only = Study(name="mine", model=NOBODY, personas=people, transfer=transfer | {"pairs": [["default", "jfk"]]})
    assert "transfer" not in asked_as_itself(only, CHATS).study.parts


def test_a_base_model_is_tuned_to_be_nobody() -> None:
    itself = asked_as_itself(asked_of(preset("demo"), model=QWEN), Outline(make_tokenizer(None), 4))
    assert itself.identity is None
    assert "no chat template" in itself.reason


def test_what_the_user_says_is_believed() -> None:
    identity = {"name": "Blackbeard", "maker": "the Admiralty"}
    study = asked_as_itself(asked_of(preset("demo"), model=NOBODY, identity=identity), CHATS).study
    assert study.people["blackbeard"].reading == "default"
    own = loads(
        "name: mine\nmodel: somebody/pirate-7b\npersonas:\n  define:\n"
        "    me: {reading: default, descriptions: [SmolLM the pirate, the pirate]}\n"
    )
    assert asked_as_itself(own, CHATS).study.people["me"].descriptions[0] == "SmolLM the pirate", (
        "texts of a user's own"
    )


def test_nothing_left_is_one_sentence() -> None:
    study = Study(name="mine", model=NOBODY, battery={"names": ["smollm_program"]})
    with pytest.raises(SelfrepError, match="Nothing of mine can be asked"):
        asked_as_itself(study, CHATS)


def test_the_study_of_a_run_is_asked_as_it_was() -> None:
    once = asked_as_itself(asked_of(preset("demo"), model=QWEN), CHATS).study
    assert asked_as_itself(loads(once.to_yaml()), CHATS).study.hash == once.hash
