"""Patterns that could run for ever are refused, and those of real tokenizers are not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from selfrep.errors import SelfrepError
from selfrep.models import tokenizer_files
from selfrep.models.tokenizer_files import FILE, repeats_repetition, require_bounded

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re)?|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
DEEPSEEK = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|"
    r"[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
)
BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"
THREES = r"\d{1,3}(?=(?:\d{3})*\b)"


@pytest.mark.parametrize("pattern", [GPT2, LLAMA3, O200K, DEEPSEEK, BLOOM, THREES, r"\(+", r"[(a+)]+", "(ab)+", "a|b"])
def test_patterns_of_real_tokenizers_are_taken(pattern: str) -> None:
    assert not repeats_repetition(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+b",
        "(a|aa)+$",
        "(.*)*",
        r"(?:\s*\w+)*!",
        "((a+))+",
        "((a|b))*",
        "(a{2,})+",
        "(a*){50}",
        "x(?:y(z+)?)+",
        "(a?){50}a",
    ],
)
def test_repetitions_that_repeat_are_refused(pattern: str, tmp_path: Path) -> None:
    step = {"type": "Split", "pattern": {"Regex": pattern}}
    (tmp_path / FILE).write_text(json.dumps({"pre_tokenizer": {"pretokenizers": [{"x": [step]}]}, "model": {}}))
    with pytest.raises(SelfrepError, match="whose repetitions repeat"):
        require_bounded(tmp_path)


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"normalizer": {"type": "Prepend", "prepend": "x" * 10**6}}, "1,000,000 times as long"),
        ({"normalizer": {"normalizers": [{"type": "Replace", "content": "e" * 40}] * 3}}, "64,000 times as long"),
        ({"added_tokens": [{}] * (tokenizer_files.MOST_ADDED + 1)}, "adds 100,001 tokens"),
        ({"pre_tokenizer": {"pattern": {"Regex": r"(a*)\\1*b"}}}, "looks back"),
        ({"post_processor": {"single": [{"SpecialToken": {"id": "<x>"}}], "special_tokens": {}}}, "token '<x>'"),
    ],
)
def test_what_grows_without_measure_is_refused(part: dict[str, object], words: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(json.dumps(part))
    with pytest.raises(SelfrepError, match=words):
        require_bounded(tmp_path)


def test_what_usual_tokenizers_put_in_is_taken(tmp_path: Path) -> None:
    steps = [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]
    single = [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    around = {"type": "TemplateProcessing", "single": single, "special_tokens": {"<s>": {"id": "<s>", "ids": [1]}}}
    (tmp_path / FILE).write_text(json.dumps({"normalizer": {"normalizers": steps}, "post_processor": around}))
    require_bounded(tmp_path)


def test_what_is_no_tokenizer_is_refused_and_words_are_no_patterns(tmp_path: Path) -> None:
    require_bounded(tmp_path)
    for text in ("[" * 200_000, "[1]", "{", "\0"):
        (tmp_path / FILE).write_text(text)
        with pytest.raises(SelfrepError, match="must describe a tokenizer"):
            require_bounded(tmp_path)
    (tmp_path / FILE).write_text(json.dumps({"model": {"vocab": {"(a+)+": 1}, "Regex": "(a+)+"}, "normalizer": None}))
    require_bounded(tmp_path)


def test_it_is_asked_before_a_tokenizer_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from selfrep.models.outline import outline

    (tmp_path / "config.json").write_text("{}")
    (tmp_path / FILE).write_text(json.dumps({"normalizer": {"pattern": {"Regex": "(a+)+"}}}))
    with pytest.raises(SelfrepError, match="whose repetitions repeat"):
        outline(str(tmp_path))
    monkeypatch.setattr(tokenizer_files, "repeats_repetition", lambda pattern: False)
    with pytest.raises(SelfrepError, match="cannot be read"):
        outline(str(tmp_path))
