"""What a folder says that can be asked, and what cannot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from selfrep.errors import SelfrepError
from selfrep.models.external.inputs import Description, Inputs, inputs, tokenizer

PLACE = Path("inputs.json")


def made(said: Description, d_vocab: int = 4, positions: int = 5, shortest: int = 2) -> Inputs:
    return inputs(said, PLACE, d_vocab=d_vocab, positions=positions, shortest=shortest)


def test_drawn_inputs_have_the_words_and_lengths_that_are_allowed() -> None:
    found = made(Description(vocabulary=("BOS", 1, 2, "PAD"), bos="BOS", pad="PAD"))
    rng = np.random.default_rng(0)
    prompts = [found.draw(rng) for _ in range(200)]
    assert {len(prompt) for prompt in prompts} == {2, 3, 4, 5}
    assert {prompt[0] for prompt in prompts} == {0}
    assert {token for prompt in prompts for token in prompt[1:]} == {1, 2}
    bare = made(Description(vocabulary=("x", "y", "z", "w"), lengths=(3, 3)))
    assert {len(bare.draw(rng)) for _ in range(20)} == {3}
    assert {token for _ in range(50) for token in bare.draw(rng)} == {0, 1, 2, 3}


def test_pairs_are_words_or_without_a_vocabulary_token_ids() -> None:
    assert made(Description(vocabulary=("B", True, 1, "c"), pairs=((("B", 1), ("B", True)),))).pairs == (
        ((0, 2), (0, 1)),
    )
    assert made(Description(pairs=(((0, 3), (1, 2, 2)),))).pairs == (((0, 3), (1, 2, 2)),)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (Description(), 'give inputs.json a "vocabulary".*or "pairs"'),
        (Description(vocabulary=("a", "b")), "each of the 4 tokens.*names 2"),
        (Description(vocabulary=("a", "b", "a", "c")), "names 4, of which 3 differ"),
        (Description(pairs=(((0,), (4,)),)), "a token id, 0 … 3; inputs.json has 4"),
        (Description(pairs=(((0,), ("a",)),)), "a token id, 0 … 3; inputs.json has 'a'"),
        (
            Description(vocabulary=("a", "b", "c", "d"), pairs=((("a",), ("e",)),)),
            "'a', 'b', 'c', 'd'; inputs.json has 'e'",
        ),
        (Description(pairs=(((0,) * 6, (1,)),)), "1 … 5 tokens, .*there are 1 to 6"),
        (Description(pairs=(((), (1,)),)), "there are 0 to 1"),
        (Description(vocabulary=("a", "b", "c", "d"), bos="a", lengths=(1, 5)), "2 … 5 here; .* says 1 and 5"),
    ],
)
def test_what_cannot_be_asked(said: Description, message: str) -> None:
    with pytest.raises(SelfrepError, match=message):
        made(said)


def test_a_tokenizer_needs_words_between_spaces() -> None:
    reader = tokenizer(Description(vocabulary=("BOS", 1, "(", "PAD"), bos="BOS", pad="PAD"))
    assert reader is not None
    assert reader("BOS ( 1 (").input_ids == [0, 2, 1, 2]
    for words in ((), ("a", "a b"), ("1", 1)):
        assert tokenizer(Description(vocabulary=words)) is None
