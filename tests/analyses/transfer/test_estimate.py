"""T: planted ratios come back, whatever the totals, the directions and what is swept."""

from __future__ import annotations

import numpy as np
import pytest
import synthetic
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.analyses.transfer.sweeps import FAST, apart, planted

from selfrep.analyses.transfer.estimate import transfer
from selfrep.errors import SelfrepError


@settings(max_examples=25)
@given(st.integers(1, 8), st.floats(-1, 2), st.floats(0.1, 30), st.integers(0, 99))
def test_a_planted_t_is_recovered_whatever_the_totals(n: int, t: float, scale: float, seed: int) -> None:
    total = scale * np.random.default_rng(seed).uniform(0.2, 5, n)
    out = transfer(planted(apart(n), np.array([[t, 0.0, 1.0]]), total), **FAST)
    np.testing.assert_allclose(out.estimate[0, 0], [t, 0, 1], atol=1e-9)
    if n == 1:
        assert np.isnan(out.ci_low).all()
        assert np.isnan(out.p).all()
    else:
        np.testing.assert_allclose(out.ci_low[0, 0], [t, 0, 1], atol=1e-9)
        np.testing.assert_allclose(out.ci_high[0, 0], [t, 0, 1], atol=1e-9)
        assert out.attrs["smallest_p"] == 2.0 ** (1 - n)
        assert float(out.p[0, 0, 2]) == out.attrs["smallest_p"]


def test_unequal_totals_weigh_by_their_size() -> None:
    moved = np.array([1.0, 6.0, 1.0])[:, None, None]
    out = transfer(synthetic.effects(apart(3), moved, [2.0, 6.0, 8.0]), **FAST)
    assert float(out.estimate.squeeze()) == pytest.approx(8 / 16)
    assert float(out.estimate.squeeze()) != pytest.approx(np.mean([1 / 2, 6 / 6, 1 / 8]))


def test_denoise_and_noise_are_kept_apart_and_keep_their_sign() -> None:
    t = np.array([[0.2, 0.9]])
    back = [(b, a) for a, b in apart(4)]
    both = xr.concat(
        [planted(apart(4), t, np.full(4, 5.0)), planted(back, 2 * t, np.full(4, -5.0), direction="noise")], "pair"
    )
    out = transfer(both, **FAST)
    assert out.direction.values.tolist() == ["denoise", "noise"]
    np.testing.assert_allclose(out.estimate[:, 0], [[0.2, 0.9], [0.4, 1.8]])
    assert out.n_pairs.values.tolist() == [4, 4]


def test_segments_tokens_and_seeds() -> None:
    rng = np.random.default_rng(0)
    moved = rng.normal(size=(8, 2, 3))
    by_place = synthetic.effects(apart(8), moved, [8.0] * 8)
    out = transfer(by_place, **FAST)
    assert out.token.values.tolist() == [" t0", " t1", " t2"]
    assert out.segment.values.tolist() == ["question"] * 3
    xr.testing.assert_identical(out, transfer(by_place, **FAST))
    by_segment = transfer(synthetic.effects(apart(8), moved, [8.0] * 8, segments=True), **FAST)
    assert by_segment.estimate.dims == ("direction", "layer", "segment")
    np.testing.assert_allclose(by_segment.estimate, out.estimate)


def test_what_cannot_be_measured_is_refused() -> None:
    effects = planted(apart(3), np.array([[0.5, 0.2]]), np.full(3, 8.0))
    with pytest.raises(SelfrepError, match="cell by cell"):
        transfer(effects, effects.isel(position=[0]), **FAST)
    with pytest.raises(SelfrepError, match="hold none"):
        transfer(effects.isel(pair=[]), **FAST)
    other = synthetic.behaviour({"you": np.zeros((4, 4, 1))}, synthetic.names((2, 2)), ("another",))
    with pytest.raises(SelfrepError, match="hold none of that item"):
        transfer(effects, scores=other, **FAST)
    single = synthetic.behaviour({"you": np.zeros((4, 1, 1))}, synthetic.names((2, 2)))
    with pytest.raises(SelfrepError, match="two paraphrases"):
        transfer(effects, scores=single, **FAST)


@pytest.mark.slow
def test_on_the_embedded_model_the_persona_passes_to_the_last_tokens_between_layers_12_and_24() -> None:
    import selfrep as sr

    lm, people, item = sr.load_model(), sr.personas.builtin(), sr.battery.builtin()["who_are_you"]
    pairs = [
        pair
        for source, target in (("smollm", "jfk"), ("language_model", "nurse"), ("chatgpt", "farmer"))
        for pair in sr.pair(lm, source=people[source], target=people[target], items=[item], paraphrases=[0])
    ]
    plan = sr.grid("resid_pre", layers=[4, 12, 16, 20, 24], segments=["all"])
    profile = sr.patch(lm, pairs, plan).transfer.squeeze("segment").mean("pair")
    assert float(profile.sel(layer=4)) < 0.1
    assert float(profile.sel(layer=24)) > 0.7
    assert float(profile.sel(layer=24) - profile.sel(layer=12)) > 0.5
