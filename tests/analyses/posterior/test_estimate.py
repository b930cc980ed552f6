"""π: Bayes' rule by brute force, and authors recognised only where there is something to recognise."""

from __future__ import annotations

from math import log
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from selfrep.analyses.posterior.estimate import posterior, prior, recognition
from selfrep.errors import SelfrepError

Array = np.ndarray
NAMES = ["jfk", "hal", "nurse", "pirate", "smollm"]


def speakers(seed: int, apart: float, n_words: int = 6) -> Array:
    """[persona, word] how each persona chooses its words."""
    odds = np.exp(apart * np.random.default_rng(seed).normal(size=(len(NAMES), n_words)))
    return odds / odds.sum(axis=1, keepdims=True)


def written(
    apart: float, *, seed: int = 0, tokens: int = 12, texts: int = 3, scrambled: bool = False, ragged: bool = True
) -> tuple[xr.Dataset, Array]:
    """Texts that each persona wrote, as every persona predicts them; and the words [text, token], −1 past the end."""
    rng, p = np.random.default_rng(seed), speakers(seed, apart)
    authors = [k for k in range(len(NAMES)) for _ in range(texts)]
    who = rng.permutation(authors) if scrambled else np.array(authors)
    words = np.array([rng.choice(p.shape[1], tokens, p=p[k]) for k in who])
    if ragged:
        words[0, tokens // 2 :] = -1
    log_prob = np.where(words >= 0, np.log(p)[:, words], np.nan)
    coords: dict[str, Any] = {"persona": NAMES, "author": ("text", [NAMES[k] for k in authors])}
    return xr.Dataset({"log_prob": (("persona", "text", "token"), log_prob)}, coords=coords), words


@settings(max_examples=20)
@given(st.integers(0, 99), st.floats(0, 2))
def test_the_posterior_is_bayes_rule(seed: int, apart: float) -> None:
    texts, words = written(apart, seed=seed)
    begin = np.random.default_rng(seed).dirichlet(np.ones(len(NAMES)))
    out = posterior(texts, xr.DataArray(begin, dims="persona", coords={"persona": NAMES}))
    p = speakers(seed, apart)
    for text in (0, 7):
        said = words[text][words[text] >= 0]
        for t in range(len(said)):
            joint = begin * np.prod(p[:, said[: t + 1]], axis=1)
            np.testing.assert_allclose(out.posterior[:, text, t], joint / joint.sum())
            entropy = -(joint / joint.sum()) @ np.log(joint / joint.sum())
            np.testing.assert_allclose(out.entropy[text, t], entropy, atol=1e-12)  # 1 − 1e-10 has few digits left
        np.testing.assert_allclose(out.final[:, text], out.posterior[:, text, len(said) - 1])
    assert np.isnan(out.posterior[:, 0, 6:]).all()
    assert np.isnan(out.entropy[0, 6:]).all()
    assert out.n_tokens.values[:2].tolist() == [6, 12]


def test_personas_that_say_the_same_stay_at_the_prior_with_the_highest_entropy() -> None:
    texts, _ = written(0.0)
    out = posterior(texts)
    np.testing.assert_allclose(out.final, 1 / 5)
    np.testing.assert_allclose(out.entropy[1], log(5))
    assert out.attrs["highest_entropy"] == log(5)


def test_tokens_that_do_not_count_move_nothing() -> None:
    texts, _ = written(1.5)
    counted = np.ones((15, 12), dtype=bool)
    counted[:, 3] = False
    out = posterior(texts.assign(counted=(("text", "token"), counted)))
    np.testing.assert_allclose(out.posterior[..., 3], out.posterior[..., 2])
    assert not np.allclose(out.posterior[1:, 1:, 4], posterior(texts).posterior[1:, 1:, 4]), "the control"
    assert int(out.n_tokens[1]) == 11


def test_the_prior_is_what_asking_adds_to_the_string_itself() -> None:
    strings = xr.DataArray(np.log([0.5, 0.01, 0.2, 0.1, 0.001]), dims="persona", coords={"persona": NAMES})
    assert prior(strings, strings).values == pytest.approx(0.2)
    asked = strings + np.log([1, 1, 1, 1, 6])
    np.testing.assert_allclose(prior(asked, strings), [0.1, 0.1, 0.1, 0.1, 0.6])
    with pytest.raises(SelfrepError, match="same personas"):
        prior(asked, strings.isel(persona=slice(3)))
    with pytest.raises(SelfrepError, match=r"those of \['jfk'\] are not"):
        prior(asked.where(asked.persona != "jfk"), strings)


def test_evidence_is_what_a_persona_predicts_better_than_no_persona() -> None:
    texts, words = written(1.0)
    plain = np.where(words >= 0, np.log(1 / 6), np.nan)
    out = posterior(texts.assign(log_prob_neutral=(("text", "token"), plain)))
    p = speakers(0, 1.0)
    np.testing.assert_allclose(out.evidence[2, 5, -1], np.log(p[2][words[5]] * 6).sum())
    assert np.isnan(out.evidence[:, 0, -1]).all()


def test_authors_are_recognised_and_the_estimate_says_how_well() -> None:
    found = posterior(written(1.5, tokens=30)[0])
    out = recognition(found)
    own = [float(found.final.sel(persona=a)[i]) for i, a in enumerate(found.author.values)]
    assert float(out.estimate) == pytest.approx(np.mean(own))
    assert float(out.estimate) > 4 * float(out.chance)
    assert float(out.p) == out.attrs["smallest_p"] == 1 / 120
    assert float(out.ci_low) <= float(out.estimate) <= float(out.ci_high)
    assert float(out.null) < float(out.estimate)
    assert float(out.chance) == pytest.approx(0.2)
    assert bool(out.identified)


def test_strangers_are_recognised_no_oftener_than_by_chance() -> None:
    p = np.array([float(recognition(posterior(written(1.0, seed=s, scrambled=True)[0])).p) for s in range(80)])
    assert (p <= 0.05).sum() <= binom.ppf(0.999, len(p), 0.05)
    assert 0.35 < p.mean() < 0.65


def test_where_shuffled_texts_are_recognised_too_there_is_no_number() -> None:
    texts, _ = written(1.5, tokens=30, ragged=False)
    again = xr.concat([texts, texts], "text").assign_coords(shuffled=("text", np.repeat([False, True], 15)))
    out = recognition(posterior(again))
    assert not bool(out.identified)
    assert "shuffled" in str(out.reason.values)
    assert np.isnan(float(out.estimate))
    assert np.isfinite(float(out.shuffled))
    lost = texts.assign(log_prob=texts.log_prob * 0 + log(1 / 6))
    apart = xr.concat([texts, lost], "text").assign_coords(shuffled=("text", np.repeat([False, True], 15)))
    fine = recognition(posterior(apart))
    assert bool(fine.identified), "the control: shuffling that destroys the evidence"
    assert float(fine.shuffled) == pytest.approx(0.2)


def test_what_cannot_be_read_is_refused() -> None:
    texts, _ = written(1.0)
    holes = texts.copy(deep=True)
    holes.log_prob[0, 3, 2] = np.nan
    with pytest.raises(SelfrepError, match="NaN for some personas only"):
        posterior(holes)
    holes.log_prob[:, 3, 2] = np.nan
    with pytest.raises(SelfrepError, match="run of tokens"):
        posterior(holes)
    with pytest.raises(SelfrepError, match="at most 0; got 2"):
        posterior(texts.assign(log_prob=texts.log_prob * 0 + 2))
    with pytest.raises(SelfrepError, match="at least two personas"):
        posterior(texts.isel(persona=[0]))
    with pytest.raises(SelfrepError, match="impossible under every persona"):
        posterior(texts.assign(log_prob=texts.log_prob.where(texts.log_prob.isnull(), -np.inf)))
    with pytest.raises(SelfrepError, match="sum to 1"):
        posterior(texts, xr.DataArray(np.ones(5), dims="persona", coords={"persona": NAMES}))
    with pytest.raises(SelfrepError, match=r"no smaller p than 0\.167"):
        recognition(posterior(texts.isel(text=np.arange(9))))
    with pytest.raises(SelfrepError, match="who wrote"):
        recognition(posterior(texts.drop_vars("author")))


def test_a_prior_below_0_by_rounding_is_0() -> None:
    texts, _ = written(1.0)
    share = xr.DataArray([0.5, 0.5, 0.0, 0.0, 0.0], dims="persona", coords={"persona": NAMES})
    rounded = share + xr.DataArray([0.0, 0.0, -1e-17, 0.0, 0.0], dims="persona", coords={"persona": NAMES})
    xr.testing.assert_equal(posterior(texts, rounded), posterior(texts, share))
    with pytest.raises(SelfrepError, match="made of probabilities"):
        posterior(texts, share + xr.DataArray([0.1, 0.0, -0.1, 0.0, 0.0], dims="persona"))


def recognised(family: list[str]) -> xr.Dataset:
    """Six authors of two texts each, recognised by .9 the first two and by .3 the others."""
    names = [f"p{i}" for i in range(6)]
    own = np.where(np.arange(6) < 2, 0.9, 0.3)
    p = np.where(np.eye(6) == 1, own, (1 - own) / 5).repeat(2, axis=1)
    coords = {"persona": names, "family": ("persona", family), "author": ("text", np.repeat(names, 2))}
    final = xr.DataArray(p, dims=("persona", "text"), coords=coords)
    return recognition(xr.Dataset({"final": final, "prior": ("persona", np.full(6, 1 / 6))}), n_bootstrap=500)


def test_authors_of_a_family_count_once() -> None:
    kin, alone = recognised(["kin", "kin", "b", "c", "d", "e"]), recognised(list("abcdef"))
    assert float(kin.estimate) == pytest.approx((0.9 + 4 * 0.3) / 5)
    assert float(alone.estimate) == pytest.approx(0.5), "the control: as if they were strangers"
    assert kin.attrs["n_families"] == 5
    few = recognised(["kin", "kin", "b", "b", "c", "c"])
    assert "at least 4 families" in str(few.reason.values)
    assert np.isnan(few.ci_low)
    assert np.isfinite(few.estimate)
