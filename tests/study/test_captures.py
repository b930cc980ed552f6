"""Readings of the same item, site, layers and tokens share one capture, and each is given what it asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from tests.analyses.planted import described, finish

from selfrep.analyses.analysis import Reading
from selfrep.engine.capture import score
from selfrep.models.organisms import BATTERY
from selfrep.store.run_directory import RunDirectory
from selfrep.study import captures
from selfrep.study.job import Job

AXIS = "default_axis: {item: who_are_you, default: [network]}\n"
BOTH = "separation: {item: who_are_you}\n" + AXIS


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many prompts each capture was of."""
    sound, calls = captures.capture, list[int]()

    def capture(lm: object, prompts: list[object], *rest: object, **how: object) -> xr.Dataset:
        calls.append(len(prompts))
        return sound(lm, prompts, *rest, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(captures, "capture", capture)
    return calls


def test_two_analyses_read_one_capture_and_get_the_numbers_of_their_own(tmp_path: Path, calls: list[int]) -> None:
    both = finish(described("organism:separate", BOTH), tmp_path / "both")
    assert len(calls) == 1
    alone = finish(described("organism:separate", AXIS), tmp_path / "alone")
    assert len(calls) == 2
    xr.testing.assert_allclose(both.read("default_axis").estimate, alone.read("default_axis").estimate)
    assert not alone.has("separation")
    assert set(both.read("activations_summary").condition.values) == {"you", "user"}


class Heard:
    """A reading that keeps what it is given."""

    def __init__(self) -> None:
        self.acts: list[xr.Dataset] = []

    def reading(self) -> Reading:
        return Reading(
            item="who_are_you",
            conditions=("you",),
            site="resid_post",
            layers=(1, 2),
            tokens="position",
            positions=(-1,),
            done=lambda: bool(self.acts),
            work=self.acts.append,
        )


@pytest.fixture
def job(tmp_path: Path) -> Job:
    few = ", names: [network, nurse]"
    asked = described("organism:separate", "", personas=few,
                      battery=f'{{file: "{BATTERY}", names: [who_are_you, what_writes]}}')  # fmt: skip
    return Job(asked, RunDirectory(tmp_path / "out"), "cpu", lambda message: None)


def test_each_reading_is_given_its_conditions_and_positions(
    job: Job, calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RunDirectory, "provenance", lambda directory, **known: known)
    one, other, everywhere = Heard(), Heard(), Heard()
    readings = [
        one.reading(),
        replace(other.reading(), conditions=("user", "neutral"), positions=(-3, -2)),
        replace(everywhere.reading(), positions=None),
    ]
    (both,) = captures.captures(job, readings[:2])
    assert not both.done()
    shares: list[float] = []
    both.work(shares.append)
    assert both.done()
    assert shares == sorted(shares)
    nurse = job.people["nurse"]
    assert calls == [nurse.n_paraphrases * (2 + 2) + len(nurse.neutral)], "two personas in two conditions, and nobody"
    assert set(one.acts[0].condition.values) == {"you"}
    assert one.acts[0].position.values.tolist() == [-1]
    assert set(other.acts[0].condition.values) == {"user", "neutral"}
    assert other.acts[0].position.values.tolist() == [-3, -2]
    for heard in (one, other):
        assert heard.acts[0].layer.values.tolist() == [1, 2]

    (rest,) = captures.captures(job, [readings[0], readings[2]])
    rest.work(shares.append)
    assert len(one.acts) == 1, "what is there is not made again"
    (whole,) = everywhere.acts
    assert whole.sizes["position"] > 3, "one that reads every position keeps them all"
    np.testing.assert_allclose(whole.activations.sel(position=[-1]).values, one.acts[0].activations.values, atol=1e-5)


@pytest.mark.parametrize(
    "change",
    [{"item": "what_writes"}, {"site": "resid_pre"}, {"layers": (1,)}, {"layers": None}, {"tokens": "segment"}],
)
def test_readings_of_anything_else_do_not_share(job: Job, change: dict[str, object]) -> None:
    one = Heard().reading()
    assert len(list(captures.captures(job, [one, one]))) == 1, "the control"
    assert len(list(captures.captures(job, [one, replace(one, **change)]))) == 2  # type: ignore[arg-type]
    assert not list(captures.captures(job, []))


def test_what_the_report_opens_with_reads_first_and_shares_the_capture_with_what_comes_later(
    job: Job, calls: list[int]
) -> None:
    later, first = Heard(), Heard()
    readings = [replace(later.reading(), positions=(-2,)), replace(first.reading(), opens=True)]
    job.directory.create_or_resume("name: small", "abc123")
    stages = list(captures.captures(job, readings))
    assert [stage.opens for stage in stages] == [True, False]
    stages[0].work(lambda share: None)
    assert stages[0].done()
    assert not stages[1].done()
    stages[1].work(lambda share: None)
    assert len(calls) == 1, "both read one capture"
    assert later.acts[0].position.values.tolist() == [-2]
    answered = job.directory.read("behaviour")
    asked = answered.item.to_numpy() == "who_are_you"
    you = asked & (answered.condition.to_numpy() == "you")
    assert np.isfinite(answered.log_odds.to_numpy()[you]).all(), "what the capture read is not asked again"
    assert np.isnan(answered.log_odds.to_numpy()[~asked]).all()
    prompts = [prompt for prompt, mine in zip(job._everything, you, strict=True) if mine]
    alone = score(job.lm, prompts)
    np.testing.assert_allclose(alone.log_odds, answered.log_odds.to_numpy()[you], atol=1e-4)
