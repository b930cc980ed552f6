"""Arguments of blocks, cut and repeated as slicing and repeating by hand would."""

from __future__ import annotations

import torch

from selfrep.engine.replay.arguments import Arguments


def test_columns_are_cut_and_rows_repeated() -> None:
    table, one, positions, other = torch.randn(2, 7, 3), torch.randn(1, 7, 3), torch.arange(7), torch.randn(2, 5)
    arguments = Arguments(start=2, stop=6, width=7, rows=2, runs=3)
    cos, (sin, same), *rest = (arguments.cut(value, 2) for value in (table, (one, table), positions, other, None, True))
    assert torch.equal(cos, table[:, 2:6].repeat(2, 1, 1))
    assert torch.equal(sin, one[:, 2:6])
    assert torch.equal(rest[0], positions[2:6])
    assert rest[1] is other
    assert rest[2:] == [None, True]
    assert same.data_ptr() == cos.data_ptr()  # made once
    assert torch.equal(arguments.cut(table, 5), table[:, 2:6].repeat(5, 1, 1))  # more runs than were expected


def test_one_row_is_not_repeated() -> None:
    table = torch.randn(1, 4, 3)
    assert torch.equal(Arguments(1, 4, 4, rows=1).cut(table, 3), table[:, 1:])
