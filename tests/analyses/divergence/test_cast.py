"""Rows, families and units are those of the prompts, and every fold is without its own noise."""

from __future__ import annotations

import numpy as np
from tests.analyses.divergence.worlds import world

from selfrep.analyses.divergence.cast import Cast


def test_units_are_the_fewer_of_families_and_texts_and_nobody_is_compared_with_itself() -> None:
    for families, texts, units in ((4, 8, 4), (6, 4, 4), (3, 8, 0), (12, 8, 8), (5, 2, 0)):
        cast = Cast.of(world(families=families, texts=texts, readings=["default"]), "you", "user")
        role, default = cast.kinds.index("role"), cast.kinds.index("default")
        assert cast.kind_units[0, role] == units
        assert bool(cast.reasons[0][role]) == (units == 0)
        assert cast.n_families[1, default] == 0
        assert cast.kind_units[0, default] == (4 if texts > 2 else 0), "one persona: the fewer paraphrases"


def test_a_family_brings_no_noise_to_its_own_distances() -> None:
    cast = Cast.of(world(readings=["default"]), "you", "user")
    contrasts, fold = cast.noise
    assert len(contrasts) == 8 * 3, "readings of the self bring none"
    for persona, rows in enumerate(cast.own):
        others = contrasts[fold != cast.fold[persona]]
        assert not others[:, rows].any()
        assert others.any()


def test_a_frame_is_taken_off_all_that_stand_in_it() -> None:
    cast = Cast.of(world(), "you", "user")
    frames = np.random.default_rng(0).normal(size=(4, 5))[cast.frame]
    np.testing.assert_allclose(cast.within_frame @ frames, 0, atol=1e-12)
    assert np.abs(cast.within_frame @ np.arange(len(frames))).max() > 1, "the control: what is no frame's stays"
