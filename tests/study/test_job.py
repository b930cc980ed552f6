"""The steps of a study: each knows what is left of it, and analyses that read the same share it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from tests.analyses.planted import described, finish

from selfrep.errors import SelfrepError
from selfrep.models.organisms import ANOMALIES, BATTERY
from selfrep.prompts.prompt import prompts
from selfrep.store.run_directory import RunDirectory
from selfrep.study import job as jobs
from selfrep.study.job import Job


@pytest.mark.usefixtures("pageless")
def test_a_stopped_run_asks_only_what_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = described("organism:noticing", f'anomaly: {{file: "{ANOMALIES}"}}\n', personas="")
    sound, batches = jobs.score, list[int]()

    def score(lm: object, prompts: list[object], **how: object) -> object:
        if len(batches) == 2:
            raise KeyboardInterrupt
        batches.append(len(prompts))
        return sound(lm, prompts, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(jobs, "PROMPTS_AT_ONCE", 100)
    monkeypatch.setattr(jobs, "score", score)
    with pytest.raises(KeyboardInterrupt):
        finish(asked, tmp_path)
    rest = list[int]()
    monkeypatch.setattr(jobs, "score", lambda lm, prompts, **how: rest.append(len(prompts)) or sound(lm, prompts))
    done = finish(asked, tmp_path)
    total = sum(done.read(group).sizes["prompt"] for group in ("behaviour", "scenes"))
    assert sum(batches) + sum(rest) == total
    assert float(done.read("anomaly").estimate.sel(form="persona")) == pytest.approx(4, abs=1e-3)


def job(folder: Path, parts: str, **how: Any) -> Job:
    asked = described("organism:separate", parts, **how)
    directory = RunDirectory(folder / "out")
    directory.create_or_resume(asked.to_yaml(), asked.hash)
    return Job(asked, directory, "cpu", lambda message: None)


def test_the_answers_come_first_and_readings_of_activations_before_what_is_made_of_groups(tmp_path: Path) -> None:
    both = job(tmp_path, "bleed: {}\nseparation: {item: who_are_you}\n", battery=f'{{file: "{BATTERY}"}}')
    assert [stage.name for stage in both.stages()] == [
        "answers to every item",
        "activations",
        "what every persona says, in character and from outside",
        "what each item shows",
        "answers under a changed truth",
        "bleed",
    ]
    assert not any(stage.done() for stage in both.stages())
    assert all(stage.cost > 0 for stage in both.stages())
    assert "lm" not in vars(both), "the model is loaded by the stage that needs it"


def test_what_the_report_opens_with_comes_first_with_the_answers_that_it_needs(tmp_path: Path) -> None:
    parts = (
        "separation: {item: what_writes}\ndivergence: {item: what_writes}\n"
        "transfer: {pairs: [[unprompted, nurse]], items: [who_are_you], sweeps: [{site: resid_pre, by: segment}]}\n"
    )
    stages = list(job(tmp_path, parts, battery=f'{{file: "{BATTERY}"}}').stages())
    names = [stage.name for stage in stages]
    opens = [stage.opens for stage in stages]
    assert names[:4] == [
        "activations",
        "answers that come first",
        "patching resid_pre by segment",
        "what is carried over",
    ]
    assert opens[:4] == [True, False, True, True]
    assert not any(opens[4:])
    assert names.index("answers to every item") == 4
    assert names.count("activations") == 2, "what reads the same activations later is a step of its own"


def test_only_the_items_that_come_first_are_asked_and_the_rest_later(tmp_path: Path) -> None:
    asked = job(tmp_path, "", battery=f'{{file: "{BATTERY}"}}')
    first, other = list(asked.items.names())[:2]
    everything = prompts(asked.people, asked.items, ("you",))
    early = asked.scoring("first", "some", everything, items={first})
    early.work(lambda share: None)
    assert early.done()
    rows = asked.directory.read("some")
    np.testing.assert_array_equal(np.isfinite(rows.log_odds), rows.item == first)
    whole = asked.scoring("all", "some", everything)
    assert not whole.done()
    whole.work(lambda share: None)
    assert whole.done()
    assert np.isfinite(asked.directory.read("some").log_odds.sel(prompt=rows.item.values == other)).all()


def test_a_group_is_complete_with_its_last_row_and_labels_stay_with_their_rows(tmp_path: Path) -> None:
    asked = job(tmp_path, "")
    everything = prompts(asked.people, asked.items, ("you",))[:5]
    kinds = np.array([f"label {i}" for i in range(5)])
    stage = asked.scoring("some answers", "some", everything, {"note": ("prompt", kinds)})
    ticks: list[float] = []
    assert not asked.complete("some")
    asked.directory.prepare("some", asked._blank(everything, {"note": ("prompt", kinds)}), along="prompt")
    with pytest.raises(SelfrepError, match="5 of 5 rows of 'some' are missing"):
        asked.scores("some", asked.items)
    stage.work(ticks.append)
    assert stage.done()
    assert asked.complete("some")
    assert ticks == sorted(ticks)
    assert ticks[-1] == 1.0
    rows = asked.directory.read("some")
    np.testing.assert_array_equal(rows.note, kinds)
    np.testing.assert_array_equal(rows.persona, [prompt.persona for prompt in everything])
    assert asked.scores("some", asked.items).sizes == rows.sizes
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(RunDirectory, "read", lambda *_: pytest.fail("read twice"))
        xr.testing.assert_equal(asked.scores("some", asked.items), rows)
    assert asked.scores("some", asked.items.select([])).sizes["prompt"] == 0


def test_an_estimate_is_made_once(tmp_path: Path) -> None:
    asked, calls = job(tmp_path, ""), list[int]()

    def estimate() -> xr.Dataset:
        calls.append(1)
        return xr.Dataset({"estimate": 1.0})

    stage = asked.estimating("a number", "mine", estimate)
    assert not stage.done()
    stage.work(lambda share: None)
    assert stage.done()
    assert float(asked.directory.read("mine").estimate) == 1
    assert len(calls) == 1


def test_an_estimate_is_made_again_where_what_it_was_made_of_was(tmp_path: Path) -> None:
    asked, made = job(tmp_path, ""), list[float]()

    def estimate() -> xr.Dataset:
        made.append(float(asked.read("inputs").x.mean()))
        return xr.Dataset({"estimate": made[-1]})

    stage = asked.estimating("a number", "mine", estimate)
    for value in (1.0, 2.0):
        asked.directory.write("inputs", xr.Dataset({"x": ("row", [value])}))
        assert not stage.done()
        stage.work(lambda share: None)
        assert stage.done()
    asked.directory.annotate("inputs", lambda known: {"note": "nothing new was measured"})
    assert stage.done()
    assert made == [1.0, 2.0]
    assert asked.directory.attributes("mine") == asked.directory.read("mine").attrs == {}


def test_an_estimate_is_never_made_of_half(tmp_path: Path) -> None:
    asked = job(tmp_path, "")
    asked.directory.prepare("half", xr.Dataset({"x": ("pair", np.zeros(4))}))
    stage = asked.estimating("a number", "mine", lambda: asked.read("half"))
    for rows in ([], [0, 2]):
        asked.directory.write_rows("half", rows, xr.Dataset({"x": ("pair", np.ones(len(rows)))}))
        with pytest.raises(SelfrepError, match=f"{4 - len(rows)} of 4 rows of 'half' are missing"):
            stage.work(lambda share: None)
        assert not stage.done()
    asked.directory.write_rows("half", [1, 3], xr.Dataset({"x": ("pair", np.ones(2))}))
    stage.work(lambda share: None)
    assert stage.done()


def test_a_study_without_scenarios_has_none_to_give(tmp_path: Path) -> None:
    with pytest.raises(SelfrepError, match="has no scenarios"):
        _ = job(tmp_path, "").scenes


def test_a_model_whose_code_came_with_it_is_named() -> None:
    theirs = type("Own", (), {"__module__": "transformers_modules.own.modeling"})()
    ours = type("Llama", (), {"__module__": "transformers.models.llama"})()
    assert jobs._remote_code(theirs) == "transformers_modules.own.modeling"
    assert jobs._remote_code(ours) is None
