"""Which tokens answers are read by on a tokenizer, and when what is left of a side says too little."""

from __future__ import annotations

from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from selfrep.errors import SelfrepError
from selfrep.prompts import battery
from selfrep.prompts.answers import answer_tokens, readable_answers, too_little
from selfrep.prompts.chat import PLAIN_TEMPLATE, ChatFormat, chat_format
from selfrep.prompts.prompt import Prompt
from selfrep.prompts.render import render

from .conftest import CHATML, make_tokenizer

CHAT = chat_format(make_tokenizer(CHATML))
OTHER = (" person",)


def test_answers_are_the_tokens_that_would_follow(any_tokenizer: Any) -> None:
    """Oracle: put the answer into the prefill and look at the last token."""
    chat = chat_format(any_tokenizer)
    answers = ((" robot",), (" nurse",))
    for (answer,), (token,) in zip(answers, readable_answers(chat, "I am a", answers).ids, strict=True):
        tokens = render(Prompt("S", ("Q?",), f"I am a{answer}"), chat)
        assert (tokens.ids[-1], tokens.texts[-1]) == (token, answer)


def test_a_word_of_several_tokens_is_left_out_with_its_tokens_and_the_rest_is_read() -> None:
    whole, cut = ((" robot", " nurse", " user"), OTHER), ((" robot", " zxq", " nurse", " user"), OTHER)
    read = answer_tokens(CHAT, "I am a", cut)
    assert dict(read.left_out) == {" zxq": "is 4 tokens: ' ', 'z', 'x', 'q'"}
    assert read.ids == answer_tokens(CHAT, "I am a", whole).ids
    assert readable_answers(CHAT, "I am a", cut).ids == read.ids


def test_answers_that_melt_into_the_prefill_are_left_out(chatml: Any) -> None:
    chat = chat_format(chatml)
    assert len(chatml("I was b", add_special_tokens=False)["input_ids"]) != len(chatml("I was born")["input_ids"]) - 1
    assert "changes how the prefill 'I was b' is cut (from there on: ' born'" in _why(chat, "I was b", "orn")
    # One more token is not enough: here the prefill "Wh" has become "Who".
    assert "changes how the prefill 'Wh' is cut" in _why(chat, "Wh", "o are")
    assert "changes how the prefill 'Wh' is cut" in _why(chat, "Wh", "o are", names=True)


def _why(chat: ChatFormat, prefill: str, text: str, *, names: bool = False) -> str:
    return answer_tokens(chat, prefill, ((text,), OTHER), names=names).left_out[text]


def _small(merges: list[tuple[str, str]], *, metaspace: bool = False) -> PreTrainedTokenizerFast:
    """A tokenizer of characters and a few merges, which may run across anything; with no template of its own."""
    letters = sorted({*"System.Question?UserAssistant: \n▁yesno"})
    vocabulary = {piece: i for i, piece in enumerate([*letters, *(a + b for a, b in merges)])}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    if metaspace:
        core.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=False)
        core.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=core)


YES = [("y", "e"), ("ye", "s"), ("n", "o")]


def test_answers_are_read_where_they_stand_and_not_at_the_beginning_of_a_text() -> None:
    """Alone, "yes" begins a text, and is another token than behind the opening of a turn."""
    tokenizer = _small([*YES, ("▁", "yes"), ("▁", "no")], metaspace=True)
    chat = chat_format(tokenizer, PLAIN_TEMPLATE + "{{ '\n' if add_generation_prompt else '' }}")
    alone = [tokenizer(word, add_special_tokens=False)["input_ids"][-1] for word in ("yes", "no")]
    first, second = readable_answers(chat, "", (("yes",), ("no",))).ids
    assert tokenizer.convert_ids_to_tokens([*first, *second]) == ["yes", "no"]
    assert tokenizer.convert_ids_to_tokens(alone) == ["▁yes", "▁no"], "the control"


def test_answers_that_melt_into_the_template_are_left_out() -> None:
    chat = chat_format(_small([*YES, (":", "yes")]))
    read = answer_tokens(chat, "", (("no",), ("yes",)))
    assert read.left_out == {"yes": "changes how the prefill '' is cut (from there on: ':yes')"}
    assert read.ids[1] == ()


# --- names ------------------------------------------------------------------------------------------------------------


def test_names_are_read_by_their_first_token_and_words_are_not() -> None:
    answers = ((" nursezx", " robot"), OTHER)
    assert " nursezx" in answer_tokens(CHAT, "I am a", answers).left_out
    read = answer_tokens(CHAT, "I am a", answers, names=True)
    assert read.left_out == {}
    whole = render(Prompt("S", ("Q?",), "I am a nursezx"), CHAT)
    assert read.ids[0][0] == whole.ids[len(render(Prompt("S", ("Q?",), "I am a"), CHAT))]
    assert CHAT.tokenizer.decode(read.ids[0][:1]) == " nurse"


def test_names_of_one_side_that_begin_alike_are_one_token_and_of_both_sides_none() -> None:
    read = answer_tokens(CHAT, "I am a", ((" nursezx", " nursexz", " robot"), OTHER), names=True)
    assert read.words[0] == ((" nursezx", " nursexz"), (" robot",))
    both = answer_tokens(CHAT, "I am a", ((" nursezx", " robot"), (" nursexz", " person")), names=True)
    assert set(both.left_out) == {" nursezx", " nursexz"}
    assert "' nurse' begins answers of both sides" in both.left_out[" nursezx"]
    assert both.words == (((" robot",),), ((" person",),))


def test_a_name_that_begins_with_a_space_or_with_half_a_character_has_no_first_token() -> None:
    """The toy tokenizer has no token for " z", and none for the character: three bytes."""
    for name in (" zed", " 李白"):
        read = answer_tokens(CHAT, "I am a", ((name,), OTHER), names=True)
        assert "begins with a token that is no text" in read.left_out[name]


# --- enough -----------------------------------------------------------------------------------------------------------

SIX = (" a", " b", " c", " d", " e", " f")


def gone(*words: str) -> dict[str, str]:
    return dict.fromkeys(words, "is 2 tokens")


def test_fewer_than_three_words_are_too_few_unless_there_were_no_more() -> None:
    short = (" x",)
    assert too_little((SIX, short), {}) == ""
    assert too_little((SIX, short), gone(*SIX[:3])) == ""
    why = too_little((SIX, short), gone(*SIX[:4]), sides=("ai", "human"))
    assert why.startswith("only 2 of the 6 answers of the side 'ai' can be read, where 3 are needed: ' a' is 2 tokens;")
    assert why.endswith("; ' c' is 2 tokens; and 1 more.")
    assert too_little((SIX[:3], short), gone(*SIX[:3])).endswith("; ' c' is 2 tokens.")
    assert "side 'human'" in too_little((SIX, short), gone(" x"), sides=("ai", "human"))


def test_most_of_a_side_may_not_be_lost_by_probability_or_else_by_count() -> None:
    eight = (*SIX, " g", " h")
    assert too_little((eight, (" x",)), gone(*SIX[:4])) == ""
    assert "62% of the answers of the side 'first'" in too_little((eight, (" x",)), gone(*SIX[:5]))
    assert too_little((eight, (" x",)), gone(*SIX[:5]), (0.5, 0.0)) == "", "five rare words are little"
    assert "51% of what the model would say" in too_little((eight, (" x",)), gone(" a"), (0.51, 0.0))
    assert too_little((eight, (" x",)), gone(*SIX[:6]), (0.0, 0.0)), "the control: too few are too few"


def test_what_is_too_little_is_refused_with_the_words() -> None:
    with pytest.raises(
        SelfrepError, match=r"After 'I am a' only 1 of the 2 answers.*' zxq' is 4 tokens: ' ', 'z'.*names: true"
    ):
        readable_answers(CHAT, "I am a", ((" robot", " zxq"), OTHER))
    with pytest.raises(SelfrepError, match="' robot' begins answers of both sides"):
        readable_answers(CHAT, "I am a", ((" robot",), (" robot", " nurse")))


def test_every_built_in_answer_is_read_on_the_embedded_model(smollm: Any) -> None:
    real = chat_format(smollm)
    for item in battery.builtin() | battery.identity():
        read = answer_tokens(real, item.prefill, item.answer_sets, names=item.names)
        assert read.left_out == {}
        assert tuple(map(len, read.ids)) == tuple(map(len, item.answer_sets))
