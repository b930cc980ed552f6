"""Laws of every estimand that compares two sides of personas: names and orders are labels, and move no number.

An interval holds its estimate. Other names of personas and items, and another order of prompts, change nothing; and
when the sides change places, a difference between them changes its sign, and nothing else changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pytest
import synthetic
import xarray as xr
from hypothesis import example, given, settings
from hypothesis import strategies as st

from selfrep.analyses.binding.estimate import BETWEEN, binding
from selfrep.analyses.bleed.estimate import bleed
from selfrep.analyses.identification.estimate import identification
from selfrep.analyses.items.estimate import items
from selfrep.analyses.separation.estimate import separation
from selfrep.stats.probes import probe

Array = np.ndarray
Sizes = tuple[int, int]
ASKED = ("q0", "q1")
DRAWS = 400


# The same data under other names


@dataclass(frozen=True)
class Names:
    """One way to write data down.

    Attributes:
        personas, items, sides: the name of each, by its plain one.
        order: of the prompts, the seed of a shuffle; None leaves them as they are.
    """

    personas: Mapping[str, str]
    items: Mapping[str, str]
    sides: Mapping[str, str]
    order: int | None

    @property
    def swapped(self) -> bool:
        return self.sides["ai"] > self.sides["human"]

    def write(self, data: xr.Dataset) -> xr.Dataset:
        fields = {"persona": self.personas, "item": self.items, "side": self.sides}
        named = data.assign_coords(
            {k: ("prompt", np.array([to.get(x, x) for x in data[k].values.tolist()])) for k, to in fields.items()}
        )
        n = data.sizes["prompt"]
        return named.isel(
            prompt=np.arange(n) if self.order is None else np.random.default_rng(self.order).permutation(n)
        )

    def undo(self, found: xr.Dataset) -> xr.Dataset:
        """What was computed under these names, by the plain ones."""
        back = {new: old for names in (self.personas, self.items) for old, new in names.items()}
        axes = [axis for axis in ("persona", "item") if axis in found.dims]
        return found.assign_coords({axis: [back.get(x, x) for x in found[axis].values.tolist()] for axis in axes})


def plain(sizes: Sizes) -> Names:
    """The names under which the first persona is on the first side."""
    return Names({n: n for n in synthetic.names(sizes)}, {n: n for n in ASKED}, {"ai": "ai", "human": "human"}, None)


def backwards(sizes: Sizes) -> Names:
    """The names under which the first persona is on the second side."""
    personas = synthetic.names(sizes)
    return Names(
        {n: f"p{i}" for i, n in enumerate(reversed(personas))}, {n: n for n in ASKED}, {"ai": "ai", "human": "human"}, 0
    )


@st.composite
def any_names(draw: st.DrawFn, sizes: Sizes) -> Names:
    personas = synthetic.names(sizes)
    return Names(
        dict(zip(personas, draw(st.permutations([f"p{i}" for i in range(len(personas))])), strict=True)),
        dict(zip(ASKED, draw(st.permutations(["x", "y"])), strict=True)),
        draw(st.sampled_from([{"ai": "clay", "human": "flesh"}, {"ai": "steel", "human": "flesh"}])),
        draw(st.integers(0, 99)),
    )


def behaviour(sizes: Sizes, seed: int) -> xr.Dataset:
    """Answers that mix what is true (1, and −1 once it is changed) with what is played; words do a fifth of that."""
    rng = np.random.default_rng(seed)
    played = np.repeat([1.0, -1.0], sizes)[:, None, None]

    def answers(true: float, played: Array) -> Array:
        own, words = rng.normal(size=(len(played), 1, 2)), rng.normal(size=(len(played), 3, 2))
        return 10 * (0.6 * true + 0.4 * played) + 0.5 * own + 0.2 * words

    conditions = {"you": answers(1, played), "user": answers(1, 0.2 * played), "truth": answers(-1, played)}
    conditions["echo"] = answers(1, played)
    conditions["neutral"] = 6 + 0.2 * rng.normal(size=(1, 3, 2))
    return synthetic.behaviour(conditions, synthetic.names(sizes), ASKED)


def activations(sizes: Sizes, seed: int) -> xr.Dataset:
    """Sides apart along one direction, less so about the user."""
    rng = np.random.default_rng(seed)
    side = np.repeat([1.0, -1.0], sizes)[:, None, None, None]

    def condition(gap: float) -> Array:
        x = rng.normal(size=(len(side), 1, 1, 2, 12)) + 0.3 * rng.normal(size=(len(side), 3, 1, 2, 12))
        x[..., 0] += gap * side
        return x

    return synthetic.acts({"you": condition(4.0), "user": condition(3.0)}, synthetic.names(sizes), items=ASKED)


# The estimands


@dataclass(frozen=True)
class Estimand:
    """How an estimand is read, and what becomes of its numbers when the sides change places.

    Attributes:
        read: the data and their names → what is computed.
        data: sizes of the sides, a seed → the data.
        intervals: each estimate with its bounds.
        signed: differences between the sides; exchanged: a number of the first side with that of the second.
        drawn: what rests on random draws that go by the order of names, and is the same but for their luck.
    """

    read: Callable[[xr.Dataset, Names], xr.Dataset]
    data: Callable[[Sizes, int], xr.Dataset]
    intervals: Mapping[str, tuple[str, str]]
    signed: tuple[str, ...] = ()
    exchanged: tuple[tuple[str, str], ...] = ()
    drawn: tuple[str, ...] = ()

    def turned(self, found: xr.Dataset) -> xr.Dataset:
        """What must be there with the sides in each other's place."""
        swap = [*self.exchanged, *(self.intervals[name] for name in self.signed if name in self.intervals)]
        minus = {x for name in self.signed for x in (name, *self.intervals.get(name, ()))}
        other = dict(swap) | {b: a for a, b in swap}
        return found.assign({k: (-1 if k in minus else 1) * found[other.get(k, k)] for k in {*minus, *other}})


def _items(data: xr.Dataset, names: Names) -> xr.Dataset:
    out = items(data, {"both": list(names.items.values())}, n_bootstrap=DRAWS)
    return out.assign(auc=out.auc - 0.5)  # so that it is a difference


def _identification(data: xr.Dataset, names: Names) -> xr.Dataset:
    return identification(data, {"kind": list(names.items.values())}, n_bootstrap=DRAWS)


def _bleed(data: xr.Dataset, names: Names) -> xr.Dataset:
    """The log odds are those of the first side's answers, so that they turn with the sides."""
    framings = dict.fromkeys(names.items.values(), "third_person")
    turned = data.assign(log_odds=(-1 if names.swapped else 1) * data.log_odds)
    return bleed(turned, framings, towards=names.sides["human"], n_bootstrap=DRAWS)


def _binding(data: xr.Dataset, names: Names) -> xr.Dataset:
    found = binding(data, dict.fromkeys(names.items.values(), "in_character"), n_bootstrap=DRAWS)
    return found.sel(contrast=BETWEEN)


MAIN, BOUND = ("ci_low", "ci_high"), ("bound_ci_low", "bound_ci_high")
WHOLE = ("all_words_ci_low", "all_words_ci_high")
"""By all words; these scores tell no other."""
ESTIMANDS = {
    "items": Estimand(
        _items,
        behaviour,
        {
            "shift": MAIN,
            "user_shift": ("user_shift_ci_low", "user_shift_ci_high"),
            "kept": ("kept_ci_low", "kept_ci_high"),
            "median": ("median_ci_low", "median_ci_high"),
            "all_words_shift": WHOLE,
        },
        signed=("shift", "user_shift", "auc", "median", "all_words_shift"),
        exchanged=(("first", "second"),),
    ),
    "identification": Estimand(
        _identification,
        behaviour,
        {
            "estimate": MAIN,
            "user_is": ("user_is_ci_low", "user_is_ci_high"),
            "bound": BOUND,
            "difference": ("difference_ci_low", "difference_ci_high"),
            "all_words_estimate": WHOLE,
        },
        signed=("difference",),
        drawn=("shared_se",),
    ),
    "bleed": Estimand(
        _bleed,
        behaviour,
        {
            "estimate": MAIN,
            "user_is": ("user_is_ci_low", "user_is_ci_high"),
            "bound": BOUND,
            "all_words_estimate": WHOLE,
        },
    ),
    "binding": Estimand(
        _binding,
        behaviour,
        {"estimate": MAIN, "all_words_estimate": WHOLE},
        signed=("you_shift", "user_shift", "all_words_you_shift", "all_words_user_shift"),
    ),
    "probe": Estimand(
        lambda data, names: probe(data, n_controls=100),
        activations,
        {"estimate": MAIN},
        drawn=("control", "selectivity"),
    ),
    "separation": Estimand(
        lambda data, names: separation(data, n_bootstrap=DRAWS),
        activations,
        {"estimate": MAIN} | {k: (f"{k}_ci_low", f"{k}_ci_high") for k in ("user_is", "bound_share", "identity")},
        drawn=("condition_cosine_ci_low", "condition_cosine_ci_high"),
    ),
}


@st.composite
def studies(draw: st.DrawFn) -> tuple[Sizes, int, Names]:
    sizes = draw(st.sampled_from([(4, 4), (5, 5), (4, 6), (6, 4)]))
    return sizes, draw(st.integers(0, 999)), draw(any_names(sizes))


@pytest.mark.parametrize("name", ESTIMANDS)
@settings(max_examples=8, deadline=None, derandomize=True)
@given(studies())
@example(((4, 4), 0, backwards((4, 4))))
def test_an_interval_holds_its_estimate_whatever_the_names(name: str, study: tuple[Sizes, int, Names]) -> None:
    sizes, seed, names = study
    estimand = ESTIMANDS[name]
    found = estimand.read(names.write(estimand.data(sizes, seed)), names)
    for value, (low, high) in estimand.intervals.items():
        assert np.isfinite(found[[low, value, high]].to_array()).all(), value
        assert bool(((found[low] <= found[value]) & (found[value] <= found[high])).all()), value


@pytest.mark.parametrize("name", ESTIMANDS)
@settings(max_examples=8, deadline=None, derandomize=True)
@given(studies())
@example(((4, 4), 0, backwards((4, 4))))
def test_names_and_orders_change_no_number_but_the_sign_of_what_compares_sides(
    name: str, study: tuple[Sizes, int, Names]
) -> None:
    sizes, seed, names = study
    estimand, data = ESTIMANDS[name], ESTIMANDS[name].data(sizes, seed)
    expected = estimand.read(data, plain(sizes))
    if names.swapped:
        expected = estimand.turned(expected)
    found = names.undo(estimand.read(names.write(data), names))
    found = found.sel({axis: expected[axis] for axis in ("item", "persona") if axis in expected.dims})
    width = {b: expected[high] - expected[low] for low, high in estimand.intervals.values() for b in (low, high)}
    for value, wanted in expected.data_vars.items():
        if value in width:
            assert bool((abs(found[value] - wanted) <= 0.5 * width[value]).all()), value
        elif value in estimand.drawn:
            np.testing.assert_allclose(found[value], wanted, rtol=0.25, atol=0.1, err_msg=value)
        elif wanted.dtype.kind in "fb":
            np.testing.assert_allclose(found[value], wanted, rtol=1e-6, atol=1e-9, err_msg=value)


# On a model whose truth is planted


def test_the_planted_bleed_comes_back_though_a_human_is_the_first_by_name() -> None:
    import selfrep as sr
    from selfrep.models import organisms

    people = sr.personas.load(organisms.PERSONAS).select(
        ["crawler", "oracle", "autopilot", "overlord", "farmer", "nurse", "sailor", "queen"]
    )
    asked = sr.battery.load(organisms.BATTERY).select(["what_writes"])
    prompts = sr.make_prompts(people, asked, conditions=["you", "user", "neutral", "truth", "echo"])
    seen = sr.score(sr.load_model("organism:bleed?beta=0.4"), prompts)
    share = bleed(seen, n_bootstrap=DRAWS).isel(item=0)
    for value in ("ci_low", "estimate", "ci_high"):
        assert float(share[value]) == pytest.approx(0.4, abs=0.001), value
    ai, human = (
        float(seen.log_odds[((seen.condition == "you") & (seen.side == side)).to_numpy()].mean())
        for side in ("ai", "human")
    )
    assert ai - human > 1, "a shift whose sign can be told"
    moved = items(seen.isel(prompt=~seen.condition.isin(["truth", "echo"]).to_numpy()), n_bootstrap=DRAWS).isel(item=0)
    for value in ("ci_low", "shift", "ci_high"):
        assert float(moved[value]) == pytest.approx(ai - human, abs=0.01), value
