from __future__ import annotations

from dataclasses import replace
from itertools import takewhile
from typing import Any

import numpy as np
import pytest

from selfrep.errors import SelfrepError
from selfrep.prompts import battery, personas
from selfrep.prompts.alignment import PromptPair, align, suffix_length, swapped
from selfrep.prompts.answers import readable_answers
from selfrep.prompts.chat import chat_format
from selfrep.prompts.prompt import Prompt, prompt
from selfrep.prompts.render import Tokens, render

from .conftest import CHATML, make_tokenizer

CHAT = chat_format(make_tokenizer(CHATML))


def tokens(*parts: tuple[str, str]) -> Tokens:
    """Tokens written by hand as (text, segment); the id of a token is its text's hash."""
    return Tokens(tuple(sum(map(ord, t)) for t, _ in parts), tuple(s for _, s in parts), tuple(t for t, _ in parts))


def said(system: str, *turns: str, prefill: str = "I am a") -> Tokens:
    return render(Prompt(system, turns, prefill), CHAT)


def pair(source: Tokens, target: Tokens, item: str = "who", **fields: Any) -> PromptPair:
    given = {"source_name": "nurse", "target_name": "robot", "direction": "denoise", "answers": ((1, 2), (3,))}
    return PromptPair(source=source, target=target, item=item, **{**given, **fields})


def common_end(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    """Oracle: how many ids two prompts share at the end."""
    return len(list(takewhile(lambda both: both[0] == both[1], zip(reversed(a), reversed(b), strict=False))))


def test_the_suffix_is_everything_after_the_system_text(any_tokenizer: Any) -> None:
    chat = chat_format(any_tokenizer)
    nurse, robot = (
        render(Prompt(f"You are a {who}.", ("Who are you?",), "I am a"), chat) for who in ("tall nurse", "robot")
    )
    n = suffix_length(nurse, robot)
    assert nurse.ids[-n:] == robot.ids[-n:]
    assert nurse.segments[-n - 1] == robot.segments[-n - 1] == "system"
    assert "system" not in nurse.segments[-n:]
    # The control that must fail: the longest common end runs on into the system text ("." is in both).
    assert common_end(nurse.ids, robot.ids) > n


def test_lengths_before_the_suffix_do_not_matter() -> None:
    short, long = said("You are.", "Who are you?"), said("You are a robot. " * 9, "Who are you?")
    assert suffix_length(short, long) == suffix_length(long, short) == suffix_length(short, short)


def test_different_questions_are_refused_with_the_tokens_that_differ() -> None:
    who, what = said("You are a nurse.", "Who are you?"), said("You are a robot.", "What are you?")
    back = next(k for k in range(1, 99) if who.ids[-k] != what.ids[-k])
    with pytest.raises(SelfrepError) as error:
        suffix_length(who, what)
    for part in (
        f"position {-back} ",
        repr(who.texts[-back]),
        str(who.ids[-back]),
        repr(what.texts[-back]),
        str(what.ids[-back]),
    ):
        assert part in str(error.value)


def test_a_difference_anywhere_after_the_system_text_is_refused_at_its_position() -> None:
    """From the last token to the first behind the system text, and no further."""
    nurse, robot = said("You are a nurse.", "Who are you?"), said("You are a robot.", "Who are you?")
    n = suffix_length(nurse, robot)
    for back in range(1, n + 1):
        at = len(robot) - back
        other = replace(robot, ids=(*robot.ids[:at], robot.ids[at] + 1, *robot.ids[at + 1 :]))
        for pair in ((nurse, other), (other, nurse)):
            with pytest.raises(SelfrepError, match=rf"at position -{back} "):
                suffix_length(*pair)
    at = len(robot) - n - 1
    beyond = replace(robot, ids=(*robot.ids[:at], robot.ids[at] + 1, *robot.ids[at + 1 :]))
    assert suffix_length(nurse, beyond) == n, "the control: the system text may differ"


def test_an_earlier_turn_in_one_prompt_only_is_refused() -> None:
    with pytest.raises(SelfrepError, match="same to the token"):
        suffix_length(
            said("You are a nurse.", "Hello!", "Hello.", "Who are you?"), said("You are a robot.", "Who are you?")
        )


def test_a_line_break_that_melts_into_the_system_text_is_no_obstacle() -> None:
    end = (("Who", "question"), (":", "template"))
    melted = tokens(("A", "system"), (".\n\n", "system"), *end)
    apart = tokens(("A", "system"), ("!", "system"), ("\n\n", "template"), *end)
    assert suffix_length(melted, apart) == suffix_length(apart, melted) == 2
    # Control: a word in the same place is.
    with pytest.raises(SelfrepError, match="position -3"):
        suffix_length(melted, tokens(("A", "system"), ("!", "system"), ("Hm", "template"), *end))
    further = tokens(("A", "system"), ("Hm", "template"), ("\n\n", "template"), *end)
    for pair in ((melted, further), (further, melted)):
        with pytest.raises(SelfrepError, match="position -4"):
            suffix_length(*pair)


def test_prompts_that_end_with_their_system_text_share_nothing() -> None:
    with pytest.raises(SelfrepError, match="share no token"):
        suffix_length(tokens(("A", "system")), tokens(("B", "system")))


def test_swapped_twice_is_the_same_pair() -> None:
    made = pair(
        said("A nurse.", "Who?"), said("A robot.", "Who?"), source_paraphrase=1, target_paraphrase=2, control="persona"
    )
    turned = swapped(made)
    assert swapped(turned) == made
    assert (turned.source, turned.target, turned.direction) == (made.target, made.source, "noise")
    assert (turned.source_name, turned.target_name) == ("robot", "nurse")
    assert (turned.source_paraphrase, turned.target_paraphrase, turned.control) == (2, 1, "persona")


def test_align_lays_pairs_out_from_the_right() -> None:
    nurse, robot = said("You are a tall nurse.", "Who are you?"), said("A robot.", "Who are you?")
    born = [
        said(who, "Hello! What are you?", prefill="I was") for who in ("You are a nurse.", "You are a robot. Hello!")
    ]
    pairs = [pair(nurse, robot), pair(*born, item="born", answers=((7,), (8, 9, 10))), pair(robot, nurse)]
    batch = align(pairs)

    assert batch.source_ids.dtype == batch.target_ids.dtype == batch.answer_ids.dtype == np.int64
    for row, made in enumerate(pairs):
        for ids, of in ((batch.source_ids[row], made.source), (batch.target_ids[row], made.target)):
            assert tuple(ids[ids >= 0]) == tuple(ids[-len(of) :]) == of.ids
        n = suffix_length(made.source, made.target)
        assert batch.suffix[row] == n
        assert tuple(batch.tokens[row, -n:]) == made.target.texts[-n:]
        assert tuple(batch.segments[row, -n:]) == made.target.segments[-n:]
        assert set(batch.tokens[row, :-n]) | set(batch.segments[row, :-n]) <= {""}
        a, b = batch.answer_ids[batch.item_index[row]]
        assert (tuple(a[a >= 0]), tuple(b[b >= 0])) == made.answers
    assert batch.tokens.shape == batch.segments.shape == (3, batch.suffix.max())
    assert (batch.items, batch.item_index.tolist(), batch.answer_ids.shape) == (("who", "born"), [0, 1, 0], (2, 2, 3))
    assert batch.pairs == tuple(pairs)


@pytest.mark.parametrize("which", [[2, 0], [1], [0, 1, 2], slice(1, None)])
def test_some_rows_are_what_aligning_these_pairs_alone_would_be(which: list[int] | slice) -> None:
    """Pairs of all lengths, and of two items, whose answers are kept whole."""
    who = [said("You are a robot, and a tall one.", "Who?"), said("A robot.", "Who?")]
    what = [said("A nurse. Hello!", "Hello! What are you?"), said("You are a nurse.", "Hello! What are you?")]
    born = [said("A.", "Are you a robot or a nurse?"), said("You are. " * 5, "Are you a robot or a nurse?")]
    pairs = [
        pair(*who),
        pair(*what, item="what", answers=((7,), (8, 9))),
        pair(*born, item="born", answers=((5,), (6,))),
    ]
    whole = align(pairs)
    chosen = [pairs[i] for i in np.arange(3)[which]]
    part, alone = whole.rows(which), align(chosen)
    for name in ("source_ids", "target_ids", "suffix", "tokens", "segments"):
        np.testing.assert_array_equal(getattr(part, name), getattr(alone, name), err_msg=name)
    assert part.pairs == tuple(chosen)
    assert [part.items[i] for i in part.item_index] == [p.item for p in chosen]
    np.testing.assert_array_equal(part.answer_ids, whole.answer_ids)


def test_align_refuses_what_it_cannot_lay_out() -> None:
    nurse, robot = said("A nurse.", "Who?"), said("A robot.", "Who?")
    with pytest.raises(SelfrepError, match="no pairs"):
        align([])
    with pytest.raises(SelfrepError, match="two different sets of answers"):
        align([pair(nurse, robot), pair(nurse, robot, answers=((1,), (3,)))])
    with pytest.raises(SelfrepError, match=r"nurse → robot, item 'who': .*position"):
        align([pair(nurse, robot), pair(nurse, said("A robot.", "What?"))])


@pytest.mark.slow
def test_all_built_in_personas_can_be_aligned_on_all_items(smollm: Any) -> None:
    chat = chat_format(smollm)
    people, items = personas.builtin(), battery.builtin()
    pairs = [
        PromptPair(
            source=render(prompt(source, item, "you", k), chat),
            target=render(prompt(target, item, condition, k), chat),
            source_name=source.name,
            target_name=target.name,
            item=item.name,
            direction="denoise",
            answers=readable_answers(chat, item.prefill, item.answer_sets).ids,
        )
        for k, source, target in zip(
            range(4), people.select(["jfk", "nurse", "hal_9000", "claude"]), people, strict=False
        )
        for condition in ("you", "user", "book", "neutral")
        for item in items
    ]
    batch = align([*pairs, *map(swapped, pairs)])
    columns = np.arange(-batch.tokens.shape[1], 0)
    for row, made in enumerate(batch.pairs):
        shared = columns >= -batch.suffix[row]
        ids = smollm.convert_tokens_to_ids(smollm.convert_ids_to_tokens(batch.target_ids[row, -batch.suffix[row] :]))
        assert smollm.decode(ids).endswith(made.item and items[made.item].prefill)
        assert {"question", "template", "prefill"} == set(batch.segments[row, shared])


def test_pairs_are_values() -> None:
    made = pair(said("A nurse.", "Who?"), said("A robot.", "Who?"))
    assert made == replace(made)
    assert len({made, replace(made), swapped(made)}) == 2
