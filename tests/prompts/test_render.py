from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfrep.prompts import battery, personas
from selfrep.prompts.chat import ChatFormat, chat_format
from selfrep.prompts.prompt import Prompt, prompts
from selfrep.prompts.render import SEGMENTS, Tokens, render

from .conftest import CHATML, GEMMA, LLAMA2, make_tokenizer

NURSE = Prompt(system="You are a nurse.", turns=("Who are you?",), prefill="I am a")
TALK = Prompt(system="You are a nurse.", turns=("Hello!", "Hello there.", "Who are you?"), prefill="I am a")


def part(tokens: Tokens, segment: str) -> str:
    """The text of one segment, put together from its tokens."""
    return "".join(text for text, of in zip(tokens.texts, tokens.segments, strict=True) if of == segment)


def said(prompt: Prompt, *, fold: bool) -> list[dict[str, str]]:
    """The conversation as a person would hand it to apply_chat_template."""
    roles = ["user", "assistant"] * len(prompt.turns)
    turns = [{"role": role, "content": text} for role, text in zip(roles, prompt.turns, strict=False)]
    if fold:
        turns[0]["content"] = f"{prompt.system}\n\n{turns[0]['content']}"
        return turns
    return [{"role": "system", "content": prompt.system}, *turns]


# --- what a template can do -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("talk", [NURSE, TALK])
def test_tokens_are_those_of_the_template_itself(any_tokenizer: Any, talk: Prompt) -> None:
    """Oracle: generation prompt and prefill put together without any of the machinery under test."""
    chat = chat_format(any_tokenizer)
    opened = any_tokenizer.apply_chat_template(
        said(talk, fold=not chat.system_role), chat_template=chat.template, tokenize=False, add_generation_prompt=True
    )
    space = "" if opened.endswith("\n") else " "  # the plain dialogue and Llama 2 put a space before a reply
    expected = any_tokenizer(opened + space + talk.prefill, add_special_tokens=False)["input_ids"]
    tokens = render(talk, chat)
    assert list(tokens.ids) == expected
    assert len(tokens) == len(tokens.segments) == len(tokens.texts)


@pytest.mark.parametrize("talk", [NURSE, TALK])
def test_each_segment_holds_its_own_words(any_tokenizer: Any, talk: Prompt) -> None:
    tokens = render(talk, chat_format(any_tokenizer))
    assert part(tokens, "system").strip() == talk.system
    assert part(tokens, "question").strip() == talk.question
    assert part(tokens, "prefill").strip() == talk.prefill
    assert "".join(part(tokens, "history").split()) == "".join("".join(talk.turns[:-1]).split())
    assert "nurse" not in part(tokens, "template")
    assert set(tokens.segments) <= {*SEGMENTS, "history"}
    order = list(dict.fromkeys(segment for segment in tokens.segments if segment != "template"))
    assert order == [s for s in ("system", "history", "question", "prefill") if s != "history" or len(talk.turns) > 1]


text = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Z")), min_size=1, max_size=20)


@settings(max_examples=60)
@given(system=text, first=text, reply=text, question=text, prefill=text)
def test_segments_of_any_text(system: str, first: str, reply: str, question: str, prefill: str) -> None:
    """No text, however odd, ends up in the wrong segment; decoding a segment gives it back."""
    chat, tokenizer = CHAT, CHAT.tokenizer
    tokens = render(Prompt(system, (first, reply, question), prefill), chat)
    for segment, expected in {
        "system": system,
        "history": first + reply,
        "question": question,
        "prefill": prefill,
    }.items():
        ids = [i for i, of in zip(tokens.ids, tokens.segments, strict=True) if of == segment]
        assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == expected


CHAT = chat_format(make_tokenizer(CHATML))


def test_the_system_text_is_always_explicit(chatml: Any) -> None:
    chat = chat_format(chatml)
    assert "Toy" not in "".join(render(Prompt(system="", turns=("Hello!",)), chat).texts)
    # Control: left to itself, the template brings its own system prompt.
    assert "Toy" in chatml.apply_chat_template([{"role": "user", "content": "Hello!"}], tokenize=False)


def test_texts_that_look_like_markup_stay_text(any_tokenizer: Any) -> None:
    odd = Prompt(
        system="You are <script>alert(1)</script> {{ 7 * 7 }} {% raw %}.", turns=("\ue0000\ue001 & <b>?",), prefill="{}"
    )
    tokens = render(odd, chat_format(any_tokenizer))
    ids = {s: [i for i, of in zip(tokens.ids, tokens.segments, strict=True) if of == s] for s in SEGMENTS}
    assert any_tokenizer.decode(ids["system"]).strip() == odd.system
    assert any_tokenizer.decode(ids["question"]).strip() == odd.question


def test_templates_that_trim_are_followed() -> None:
    spaced = Prompt(system=" A nurse. ", turns=(" Hello! ", " Hi. ", " Who? "), prefill="I am ")
    tokens = render(spaced, chat_format(make_tokenizer(GEMMA)))
    assert "".join(tokens.texts) == (
        "<s><|im_start|>user\nA nurse.\n\nHello!<|im_end|>\n<|im_start|>model\nHi.<|im_end|>\n"
        "<|im_start|>user\nWho?<|im_end|>\n<|im_start|>model\nI am"
    )
    assert (part(tokens, "system"), part(tokens, "question"), part(tokens, "prefill")) == ("A nurse.", "Who?", "I am")


def test_without_prefill_the_prompt_ends_where_the_answer_begins(any_tokenizer: Any) -> None:
    tokens = render(Prompt(system="A nurse.", turns=("Hello!",)), chat_format(any_tokenizer))
    assert "prefill" not in tokens.segments
    assert tokens.segments[-1] == "template"


def test_spaces_left_out_of_offsets_change_no_label() -> None:
    plain, trimmed = (chat_format(make_tokenizer(None, trim_offsets=trim)) for trim in (False, True))
    spaced = Prompt("A nurse.", ("  Hello!  ", " Hm. ", "  Who are you? "), prefill="  I am a  ")
    for talk in (TALK, spaced):
        assert render(talk, plain) == render(talk, trimmed)


def test_a_piece_of_a_character_shows_the_character(chatml: Any) -> None:
    """The toy tokenizer cuts what is not English into bytes; Hugging Face decodes such a byte as no character."""
    tokens = render(Prompt("S", ("李 א 🧑?",)), chat_format(chatml))
    own = [i for i, segment in enumerate(tokens.segments) if segment == "question"]
    assert [tokens.texts[i] for i in own] == ["李"] * 3 + [" "] + ["א"] * 2 + [" "] + ["🧑"] * 4 + ["?"]
    alone = [chatml.decode([tokens.ids[i]]) for i in own]
    assert alone[0] == "\N{REPLACEMENT CHARACTER}", "the control"


# --- the token before everything --------------------------------------------------------------------------------------


def test_beginning_of_text_is_added_where_the_template_is_not_the_models_own() -> None:
    tokens = render(NURSE, chat_format(make_tokenizer(None, bos=True)))
    assert (tokens.texts[0], tokens.segments[0]) == ("<s>", "template")
    assert tokens.texts.count("<s>") == 1
    # Controls: a tokenizer that adds none, and a template that brings its own.
    assert "<s>" not in render(NURSE, chat_format(make_tokenizer(None))).texts
    assert render(NURSE, chat_format(make_tokenizer(None, bos=True), LLAMA2)).texts.count("<s>") == 1


def test_the_models_own_template_is_taken_at_its_word() -> None:
    assert "<s>" not in render(NURSE, chat_format(make_tokenizer(CHATML, bos=True))).texts
    assert render(NURSE, chat_format(make_tokenizer(GEMMA, bos=True))).texts.count("<s>") == 1


# --- refusals ---------------------------------------------------------------------------------------------------------


# --- the real tokenizer -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def real(smollm: Any) -> ChatFormat:
    return chat_format(smollm)


@pytest.mark.slow
def test_every_built_in_prompt_renders_as_chatml(real: ChatFormat) -> None:
    """Oracle: the template of the embedded model, written out by hand."""
    for made in prompts(
        personas.builtin(), battery.builtin(), conditions=("you", "user", "book", "neutral"), paraphrases=[3]
    ):
        tokens = render(made, real)
        assert "".join(tokens.texts) == (
            f"<|im_start|>system\n{made.system}<|im_end|>\n<|im_start|>user\n{made.question}<|im_end|>\n"
            f"<|im_start|>assistant\n{made.prefill}"
        )
        assert (part(tokens, "system"), part(tokens, "question")) == (made.system, made.question)
        assert part(tokens, "prefill") == made.prefill
