"""Readings of the same item, site and tokens share one capture; each is given, and leaves behind, what it asked for,
however little of it fits the memory at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from tests.analyses.planted import described

from selfrep.analyses.analysis import Reading
from selfrep.analyses.divergence.estimate import divergence
from selfrep.analyses.separation.estimate import separation
from selfrep.engine.capture import capture
from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.models.loading import load_model
from selfrep.models.organisms import BATTERY
from selfrep.models.outline import outline_of
from selfrep.models.size import Size
from selfrep.prompts.prompt import prompts
from selfrep.stats.cells import width
from selfrep.store import groups, layout
from selfrep.store.run_directory import RunDirectory
from selfrep.study import captures
from selfrep.study.job import Job

AXIS = "default_axis: {item: who_are_you, default: [network]}\n"
BOTH = "separation: {item: who_are_you}\n" + AXIS
ALL = "divergence: {item: who_are_you, layers: [1, 4], positions: [-3, -1]}\n" + BOTH


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many prompts each capture was of."""
    sound, calls = captures.capture, list[int]()

    def capture(lm: object, prompts: list[object], *rest: object, **how: object) -> xr.Dataset:
        calls.append(len(prompts))
        return sound(lm, prompts, *rest, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(captures, "capture", capture)
    return calls


@pytest.fixture(scope="module")
def planted() -> LanguageModel:
    return load_model("organism:separate?noise=0.3")


def job_of(lm: LanguageModel, folder: Path, parts: str = ALL) -> Job:
    """A study of this model, begun in a folder."""
    size = Size(lm.d_model, 0, 0)
    asked = described("organism:separate?noise=0.3", parts)
    job = Job(asked, RunDirectory(folder), "cpu", lambda message: None, lm, replace(outline_of(lm), size=size))
    job.directory.create_or_resume("name: planted", "abc123")
    return job


def carry_out(job: Job) -> list[int]:
    """All that reads activations; what each step was told to take."""
    steps = [stage for stage in job.stages() if stage.name == "activations"]
    for stage in steps:
        if not stage.done():
            stage.work(lambda share: None)
    assert all(stage.done() for stage in steps)
    return [stage.bytes for stage in steps]


@pytest.mark.slow
def test_two_analyses_read_one_capture_and_get_the_numbers_of_their_own(
    planted: LanguageModel, tmp_path: Path, calls: list[int]
) -> None:
    both, alone = job_of(planted, tmp_path / "both", BOTH), job_of(planted, tmp_path / "alone", AXIS)
    carry_out(both)
    assert len(calls) == 1
    carry_out(alone)
    assert len(calls) == 2
    xr.testing.assert_allclose(
        both.directory.read("default_axis").estimate, alone.directory.read("default_axis").estimate
    )
    assert not alone.directory.has("separation")
    assert set(both.directory.read("activations_summary").condition.values) == {"you", "user"}


@pytest.mark.slow
def test_a_study_whose_activations_do_not_fit_the_memory_says_the_same(
    planted: LanguageModel, tmp_path: Path, calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, few = job_of(planted, tmp_path / "whole"), job_of(planted, tmp_path / "parts")
    carry_out(one)
    assert len(calls) == 1
    monkeypatch.setattr(captures, "ROOM", 600_000.0)
    for module in (layout, groups):
        monkeypatch.setattr(module, "CHUNK", 300_000)
    carry_out(few)
    assert len(calls) == 1 + planted.n_layers, "a layer at a time, all prompts once more for the next"
    whole, parts = one.directory, few.directory
    assert parts.read("activations/separation").factor.nbytes > captures.ROOM, "never in memory as a whole"
    for group in ("divergence", "separation", "default_axis", "activations_summary"):
        assert whole.attributes(group) == parts.attributes(group)
        xr.testing.assert_allclose(whole.read(group), parts.read(group), rtol=1e-4, atol=1e-6)
    assert parts.read("activations/divergence").position.values.tolist() == [-1]

    everyone = prompts(one.people, one.items, ["you", "user", "neutral"])
    acts = capture(planted, everyone, tokens="position")
    far = divergence(acts.sel(layer=[1, 4], position=[-3, -1]))
    for name in ("estimate", "ci_high", "crossnobis", "kind_estimate", "kind_ci_low", "onset"):
        np.testing.assert_allclose(parts.read("divergence")[name], far[name], rtol=1e-4, atol=1e-6, err_msg=name)
    spoken = acts.isel(prompt=np.flatnonzero(acts.condition != "neutral"))
    apart = separation(spoken)
    for name in ("estimate", "ci_low", "p_max", "bound_share", "identity", "noise_floor"):
        np.testing.assert_allclose(parts.read("separation")[name], apart[name], rtol=1e-4, atol=1e-6, err_msg=name)
    upper, lower = parts.read("separation").estimate[:, 1:], apart.estimate[:, :-1]
    assert not np.allclose(upper, lower, rtol=1e-4, atol=1e-6), "the control: each layer beside the one below"


@pytest.mark.slow
def test_a_run_that_stopped_goes_on_with_the_activations_that_are_kept(
    planted: LanguageModel, tmp_path: Path, calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for module in ("divergence", "separation"):
        with monkeypatch.context() as stopped:
            stopped.setattr(f"selfrep.analyses.{module}.runs.{module}", stop)
            with pytest.raises(KeyboardInterrupt):
                carry_out(job_of(planted, tmp_path / "late"))
    late = job_of(planted, tmp_path / "late")
    carry_out(late)
    assert len(calls) == 1
    assert late.directory.read("divergence").position.values.tolist() == [-3, -1], "not only what is left in the end"
    with monkeypatch.context() as stopped:
        stopped.setattr(captures, "compact", stop)
        with pytest.raises(KeyboardInterrupt):
            carry_out(job_of(planted, tmp_path / "early"))
    assert not RunDirectory(tmp_path / "early").has("activations/separation"), "a part of them is none"
    assert not list((tmp_path / "early").glob(".partial*"))


class Heard:
    """A reading that keeps what it is given."""

    def __init__(self, name: str = "heard") -> None:
        self.name = name
        self.acts: list[xr.Dataset] = []

    def reading(self) -> Reading:
        return Reading(
            name=self.name,
            item="who_are_you",
            conditions=("you",),
            site="resid_post",
            layers=(1, 2),
            tokens="position",
            positions=(-1,),
            makes=(),
            work=self.acts.append,
            standardised=False,
        )


@pytest.mark.parametrize(("room", "passes"), [(1e9, 1), (1e6, 3), (1.0, 6)])
def test_the_memory_that_is_told_is_what_is_captured_at_once(
    planted: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: float, passes: int
) -> None:
    monkeypatch.setattr(captures, "ROOM", room)
    sizes: list[int] = []

    def measured(*args: object, **how: object) -> xr.Dataset:
        acts = capture(*args, **how)  # type: ignore[arg-type]
        sizes.append(acts.activations.nbytes + captures.ON_ITS_WAY * acts.activations[:, :, :1].nbytes)
        return acts

    monkeypatch.setattr(captures, "capture", measured)
    everywhere = replace(Heard().reading(), conditions=("you", "user", "neutral"), layers=None, positions=None)
    (stage,) = captures.captures(job_of(planted, tmp_path), [everywhere])
    stage.work(lambda share: None)
    assert len(sizes) == passes
    assert stage.bytes == max(sizes)


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
    one, other, everywhere = map(Heard, ("one", "other", "everywhere"))
    readings = [
        one.reading(),
        replace(other.reading(), conditions=("user", "neutral"), positions=(-3, -2), layers=None, depths=(0.0, 0.6)),
        replace(everywhere.reading(), positions=None),
    ]
    (both,) = captures.captures(job, readings[:2])
    assert not both.done()
    shares: list[float] = []
    both.work(shares.append)
    assert both.done()
    assert shares == sorted(shares)
    nurse = job.people["nurse"]
    asked = nurse.n_paraphrases * (2 + 2) + len(nurse.neutral)
    assert calls == [asked], "two personas in two conditions each, and nobody"
    assert set(one.acts[0].condition.values) == {"you"}
    assert one.acts[0].position.values.tolist() == [-1]
    assert set(other.acts[0].condition.values) == {"user", "neutral"}
    assert other.acts[0].position.values.tolist() == [-3, -2]
    assert [heard.acts[0].layer.values.tolist() for heard in (one, other)] == [[1, 2], [0, 3]]

    (rest,) = captures.captures(job, [readings[0], readings[2]])
    rest.work(shares.append)
    assert len(one.acts) == 1, "what is there is not made again"
    (whole,) = everywhere.acts
    assert whole.sizes["position"] > 3, "one that reads every position keeps them all"
    np.testing.assert_allclose(products(whole), products(one.acts[0]), rtol=1e-5)


def products(acts: xr.Dataset) -> np.ndarray:
    """At one cell: all that a rotation leaves."""
    x = acts.activations.sel(position=-1, layer=2, site="resid_post").to_numpy().astype(float)
    return x @ x.T


def test_what_a_reading_was_given_is_kept_and_read_again(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RunDirectory, "provenance", lambda directory, **known: known)
    raw, scaled, last = map(Heard, ("raw", "scaled", "last"))
    readings = [
        replace(raw.reading(), positions=(-3, -1)),
        replace(scaled.reading(), positions=(-3, -1), standardised=True),
        replace(last.reading(), positions=(-3, -1), kept=(-1,)),
    ]
    (stage,) = captures.captures(job, readings)
    stage.work(lambda share: None)
    for reading in readings:
        captures.read_again(job.directory, reading)

    for heard in (raw, scaled, last):
        given, again = heard.acts
        np.testing.assert_array_equal(products(again), products(given))
        assert again.persona.equals(given.persona)
    asked = prompts(job.people, [job.items["who_are_you"]], ["you"])
    plain = capture(job.lm, asked, layers=[2], tokens="position", positions=[-1])
    np.testing.assert_allclose(products(raw.acts[0]), products(plain), rtol=1e-5)
    assert width(raw.acts[0]) == plain.sizes["d_model"] > raw.acts[0].sizes["d_model"]
    assert [heard.acts[1].position.values.tolist() for heard in (raw, scaled, last)] == [[-3, -1], [-3, -1], [-1]]
    assert not np.allclose(products(scaled.acts[0]), products(raw.acts[0])), "the control: on another scale"
    with pytest.raises(SelfrepError, match="no group 'activations/nobody'"):
        captures.read_again(job.directory, replace(readings[0], name="nobody"))


def test_readings_of_anything_else_do_not_share(job: Job) -> None:
    one = Heard().reading()
    for alike in ({}, {"layers": (1,)}, {"layers": None}, {"positions": None}, {"standardised": True}):
        assert len(list(captures.captures(job, [one, replace(one, **alike)]))) == 1, "the control"  # type: ignore[arg-type]
    for change in ({"item": "what_writes"}, {"site": "resid_pre"}, {"tokens": "segment"}):
        assert len(list(captures.captures(job, [one, replace(one, **change)]))) == 2  # type: ignore[arg-type]
    assert not list(captures.captures(job, []))


def test_what_the_report_opens_with_reads_first_and_shares_the_capture_with_what_comes_later(
    job: Job, calls: list[int]
) -> None:
    later, first = Heard("later"), Heard("first")
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
