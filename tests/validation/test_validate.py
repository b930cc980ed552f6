"""The whole on a few organisms; which ones are grown; and a user's estimator beside ours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import xarray as xr
from tests.models.external.compiled import arrays, config, hooked, write_interpbench, write_tracr

import selfrep as sr
from selfrep import analyses
from selfrep.errors import SelfrepError
from selfrep.models import organisms
from selfrep.validation import validate as module
from selfrep.validation.maps import COMMON, Observation
from selfrep.validation.rows import EASY, HARD, SLOW, TRAINED
from selfrep.validation.validate import Subject, subjects

FEW = [Subject("bleed", 0), Subject("bleed", 2, 0.2, deals=1)]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "subjects", lambda quick, seed: FEW)
    two = [one for one in analyses.ANALYSES if one.name in ("bleed", "binding")]  # each room has a test of its own
    monkeypatch.setattr(analyses, "ANALYSES", tuple(two))
    monkeypatch.setattr(module, "COMMON", {"attribution alone": COMMON["attribution alone"]})


@pytest.mark.slow
@pytest.mark.usefixtures("few")
def test_a_card_of_a_few_organisms() -> None:
    heard: list[tuple[str, float, float]] = []

    def patched(view: Observation) -> xr.DataArray:
        return abs(view.effects.patched - view.effects.target_metric).mean("pair")

    card = sr.validate(quick=True, estimators={"mean movement": patched}, on_progress=lambda *now: heard.append(now))
    assert [one.name for one in card.organisms] == [subject.name for subject in FEW]
    assert heard[0] == ("organism:bleed?seed=0", 0, 2)
    assert heard[-1] == ("scores", 2, 2)
    by_what = {row.what: row for row in card.rows}
    assert by_what["AUROC of |T|"].passed is True
    assert by_what["AUROC of S"].passed is True
    mine = {row.truth: row.score for row in card.rows if row.what == "AUROC of mean movement"}
    assert mine["causal cells"] > 0.99 > mine["presence"]
    assert any(what.startswith("β, bleed") for what in by_what)
    assert len(card.organisms[-1].deals) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("few")
def test_models_from_elsewhere_are_marked_beside_organisms(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "subjects", lambda quick, seed: FEW[1:])
    heard: list[tuple[str, float, float]] = []
    first = write_tracr(tmp_path / "first", arrays(), config())
    both = write_tracr(tmp_path / "both", arrays(via=True), config(causal=False))
    trained = write_interpbench(tmp_path / "3", *hooked(arrays(), noise=0.01))
    card = sr.validate(
        quick=True, tracr=[first, str(both)], interpbench=[trained], on_progress=lambda *now: heard.append(now)
    )
    assert [stage for stage, _, _ in heard] == ["Tracr first", "Tracr both", "InterpBench 3", FEW[1].name, "scores"]
    assert [done for _, done, _ in heard] == [0, 1, 2, 3, 4]
    assert [one.name for one in card.external] == ["Tracr first", "Tracr both", "InterpBench 3"]
    scores = [row.score for row in card.rows if row.part == "External truth"]
    assert scores == [1.0] * 8
    assert {row.part for row in card.rows} > {"External truth"}, "organisms too"


def test_a_bad_folder_is_refused_before_anything_is_grown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "examine", lambda *_: pytest.fail("grown in vain"))
    good = write_tracr(tmp_path / "first", arrays(), config())
    mute = write_tracr(tmp_path / "mute", arrays(), config(pairs=[[["BOS", "b"], ["BOS", "c"]]]))
    for folders, message in (([good, tmp_path / "none"], "none is none"), ([mute], "answers none of")):
        with pytest.raises(SelfrepError, match=message):
            sr.validate(quick=True, tracr=folders)


@pytest.mark.usefixtures("few")
def test_a_name_that_is_taken_is_refused() -> None:
    with pytest.raises(SelfrepError, match="T is taken"):
        sr.validate(estimators={"T": lambda view: view.effects.transfer})


def test_every_kind_is_grown_and_the_quick_ones_are_not_trained() -> None:
    quick, full = subjects(True), subjects(False)
    assert {s.kind for s in quick if not s.deals} == {*EASY, *HARD} - {*SLOW}
    assert [s.kind for s in quick if s.deals] == ["families"]
    assert {s.kind for s in full} == {*EASY, *HARD, *TRAINED} == set(organisms.KINDS)
    assert len({s.name for s in full}) == len(full)
    for kind in EASY:
        assert {s.noise for s in full if s.kind == kind and not s.deals} == {0.0, 0.1, 0.2, 0.3}
    for kind in HARD:
        assert len([s for s in full if s.kind == kind and not s.deals]) == 6
    others = subjects(False, 50)
    assert [replace(s, seed=s.seed + 50) for s in full] == others
    assert not {s.name for s in full} & {s.name for s in others}
    with pytest.raises(SelfrepError, match="seeds of 0 or more; got -1"):
        sr.validate(seed=-1)
    for subject in full:
        assert organisms.parse(subject.name).noise == subject.noise
