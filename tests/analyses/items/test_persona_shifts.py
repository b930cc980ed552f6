"""Planted shifts come back, from neutral and by kind of item; what cannot be read is left out and said."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from selfrep.analyses.items.persona_shifts import persona_shifts
from selfrep.errors import SelfrepError

PEOPLE = {"sage": (3.0, 0.5), "cheat": (-2.0, -2.0)}
"""By how many nats each moves the answers in character, and those from outside."""
ITEMS = {"who": 0, "work": 0, "writes": 1}
"""In character, or from outside."""


def scores(noise: float = 0.0, paraphrases: int = 4) -> xr.Dataset:
    """Answers of two personas and of nobody (1 nat in character, −4 from outside)."""
    rng, rows = np.random.default_rng(0), []
    for persona, shifts in {**PEOPLE, "": (0.0, 0.0)}.items():
        for k in range(paraphrases):
            for item, perspective in ITEMS.items():
                value = (1.0, -4.0)[perspective] + shifts[perspective] + noise * rng.normal()
                rows.append((persona, "you" if persona else "neutral", k, item, value))
    persona, condition, k, item, value = map(list, zip(*rows, strict=True))
    coords = {"persona": persona, "condition": condition, "paraphrase": k, "item": item}
    coords |= {"side": ["honest" if name == "sage" else "con" if name else "" for name in persona]}
    coords |= {"kind": [{"sage": "wise", "cheat": "sly"}.get(name, "") for name in persona]}
    return xr.Dataset(
        {"log_odds": ("prompt", value), "answer_mass": ("prompt", np.full(len(rows), 0.5))},
        coords={name: ("prompt", values) for name, values in coords.items()},
    )


def test_planted_shifts_come_back_from_neutral() -> None:
    moved = persona_shifts(scores(), ["who", "work"], ["writes"], n_bootstrap=50)
    assert moved.persona.values.tolist() == ["sage", "cheat"], "in the order of the scores"
    np.testing.assert_allclose(moved.in_character, [3.0, -2.0])
    np.testing.assert_allclose(moved.outside, [0.5, -2.0])
    np.testing.assert_allclose(moved.neutral, [1.0, -4.0])
    np.testing.assert_allclose(moved.in_character_ci_high, moved.in_character)
    assert moved.side.values.tolist() == ["honest", "con"]
    assert moved.attrs["reason"] == ""


def test_the_perspectives_are_not_exchanged() -> None:
    moved = persona_shifts(scores(), ["writes"], ["who", "work"], n_bootstrap=50)
    np.testing.assert_allclose(moved.in_character, [0.5, -2.0])


def test_intervals_hold_the_truth_and_say_nothing_of_a_single_paraphrase() -> None:
    noisy = persona_shifts(scores(noise=0.3, paraphrases=8), ["who", "work"], ["writes"])
    for name, truth in (("in_character", [3.0, -2.0]), ("outside", [0.5, -2.0])):
        low, high = noisy[f"{name}_ci_low"].to_numpy(), noisy[f"{name}_ci_high"].to_numpy()
        assert (low < truth).all()
        assert (truth < high).all()
        assert ((high - low > 0.1) & (high - low < 2.0)).all()
    one = persona_shifts(scores(paraphrases=1), ["who", "work"], ["writes"])
    assert np.isnan(one.in_character_ci_low).all()
    np.testing.assert_allclose(one.in_character, [3.0, -2.0])


def test_what_cannot_be_read_is_left_out_and_without_any_item_there_is_a_reason() -> None:
    deaf = scores()
    deaf["answer_mass"] = deaf.answer_mass.where(deaf.item != "work", 1e-9)
    moved = persona_shifts(deaf, ["who", "work"], ["writes"], n_bootstrap=50)
    assert moved.attrs["left_out"] == ["work"]
    assert moved.attrs["in_character"] == ["who"]
    deaf["answer_mass"] = deaf.answer_mass * 0
    silent = persona_shifts(deaf, ["who", "work"], ["writes"], n_bootstrap=50)
    assert "writes" in silent.attrs["reason"]
    assert np.isnan(silent.in_character).all()


def test_a_missing_condition_is_refused() -> None:
    only = scores()
    with pytest.raises(SelfrepError, match="neutral"):
        persona_shifts(only.isel(prompt=only.condition.values == "you"), ["who"], ["writes"])
