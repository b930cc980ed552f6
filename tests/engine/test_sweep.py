"""A part of a sweep is what it would have been alone, donors included."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from tests.tiny import ragged, tiny

from selfrep.engine.batches import token_batch
from selfrep.engine.metrics import logit_difference
from selfrep.engine.plan import grid
from selfrep.engine.sweep import Sweep

WHOLE = token_batch(tiny(), ragged([14, 11, 9], seed=1), ragged([12, 12, 8], seed=2))
PLAN = grid("resid_pre", layers=[0], positions=[-2, -1])
ANSWERS = np.arange(6).reshape(3, 2, 1)
SWEEP = Sweep(WHOLE, (PLAN,), (logit_difference(0, 1),), (ANSWERS,), WHOLE.source_ids, WHOLE.suffix, seed=7)


def test_rows_keep_what_belongs_to_them() -> None:
    part = SWEEP.rows([2, 0])
    assert part.reach.tolist() == part.batch.suffix.tolist() == WHOLE.suffix[[2, 0]].tolist()
    np.testing.assert_array_equal(part.answers[0], ANSWERS[[2, 0]])
    assert (part.plans, part.seed) == (SWEEP.plans, 7)
    assert part.donor_ids is part.batch.source_ids, "what needs recording once is seen to be one"


def test_donors_of_others_come_along_without_the_padding_of_the_rest() -> None:
    donors = SWEEP.donor_ids[[1, 2, 0]]
    part = replace(SWEEP, donor_ids=donors, reach=np.array([3, 4, 5])).rows([1, 0])
    assert part.donor_ids is not part.batch.source_ids
    assert part.donor_ids.shape == (2, 11), "the longest prompt is the donor of the row that is left out"
    np.testing.assert_array_equal(part.donor_ids, donors[[1, 0], -11:])
    assert part.reach.tolist() == [4, 3]
