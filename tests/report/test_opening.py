"""The report opens with the numbers of its groups, drawn and said, and with less where there is less."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from tests.plots.reading import legend, named
from tests.report.groups import GROUPS, decimals, run_of

import selfrep as sr
from selfrep.errors import SelfrepError
from selfrep.report import opening
from selfrep.report.figures import OPENING, drawings
from selfrep.report.opening import lines, self_and_persona, sentences
from selfrep.report.page import write_report
from selfrep.store.run_directory import RunDirectory

SWEEP = "transfer/segments/resid_pre"
FAR, MOVED = GROUPS["divergence"], GROUPS[SWEEP]
BOTH = {name: GROUPS[name] for name in ("divergence", SWEEP)}


def on_disk(path: Path, groups: Mapping[str, xr.Dataset]) -> RunDirectory:
    run = RunDirectory(path / "run")
    run.create_or_resume("name: small\n", "abc123")
    for name, group in groups.items():
        run.write(name, group)
    return run


def test_the_figure_shows_the_distances_above_and_both_ways_below() -> None:
    fig = self_and_persona(FAR, MOVED)
    column = FAR.sel(reference="unprompted", site="resid_pre", position=-1)
    np.testing.assert_allclose(named(fig, "humans").y, column.kind_estimate.sel(kind="human"))
    np.testing.assert_allclose(named(fig, "one from another: humans").y, column.within.sel(side="human"))
    for arrow, direction in (("self → persona", "denoise"), ("persona → self", "noise")):
        line = named(fig, arrow, "x2")
        np.testing.assert_allclose(line.y, MOVED.estimate.sel(direction=direction, segment="all"))
        assert (line.yaxis, line.legend) == ("y2", "legend2")
        assert line.line.dash == {"denoise": "solid", "noise": "dash"}[direction]
    assert named(fig, "humans").legend == "legend"
    assert legend(fig)[:2] == ["the tuned default", "humans"]
    assert fig.layout.yaxis.domain[0] > fig.layout.yaxis2.domain[1], "the distances stand above"
    assert fig.layout.xaxis.range == fig.layout.xaxis2.range, "one scale of layers"


def test_lines_over_fewer_layers_stand_at_their_own() -> None:
    fig = self_and_persona(FAR.assign_coords(layer=[2, 3, 5, 6]), MOVED.sel(layer=[3, 4]))
    assert list(named(fig, "self → persona", "x2").x) == [1, 2]
    assert list(named(fig, "humans").x) == [0, 1, 3, 4]


def test_one_of_the_two_is_drawn_alone_and_neither_is_refused() -> None:
    alone = self_and_persona(FAR)
    assert "yaxis2" not in alone.layout
    assert "self → persona" not in legend(alone)
    assert named(self_and_persona(transfer=MOVED), "self → persona").yaxis == "y"
    with pytest.raises(SelfrepError, match="neither"):
        self_and_persona()
    with pytest.raises(SelfrepError, match="by='segment'"):
        self_and_persona(FAR, GROUPS["transfer/effects/resid_pre"])
    assert sr.plot.self_and_persona.__wrapped__ is self_and_persona


def test_a_direction_that_is_not_identified_is_not_drawn(tmp_path: Path) -> None:
    one = MOVED.assign_coords(reason=("direction", ["one pair is left", ""]))  # noise, denoise
    assert "persona → self" not in [trace.name for trace in self_and_persona(FAR, one).data]
    assert "persona → self" not in lines(FAR, one).line
    none = MOVED.assign_coords(reason=("direction", ["one pair is left"] * 2))
    drawn = opening.figure(run_of({"divergence": FAR, SWEEP: none}, tmp_path))
    assert drawn is not None
    assert "yaxis2" not in drawn[0].layout


def test_the_table_holds_every_line_with_its_interval() -> None:
    table = lines(FAR, MOVED)
    assert set(table.sizes) == {"line", "layer"}
    human = table.sel(line="humans")
    column = FAR.sel(reference="unprompted", site="resid_pre", position=-1, kind="human")
    for name in ("estimate", "ci_low", "ci_high"):
        np.testing.assert_allclose(human[name], column[f"kind_{name}"])
    back = MOVED.sel(direction="noise", segment="all")
    np.testing.assert_allclose(table.sel(line="persona → self").ci_high, back.ci_high)
    np.testing.assert_allclose(table.estimate.sel(line="a fact about no persona (persona → self)"), back.control_fact)
    assert str(table.quantity.sel(line="persona → self").item()) == "T"


def test_the_sentences_say_the_numbers_of_the_reported_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "selfrep.stats.numbers.TOLD", 3
    )  # all the digits that the groups have: two would not tell them apart
    layers = {"onset": [1, 2], "onset_ci_low": [0, 2], "onset_ci_high": [2, 4]}
    shares = {
        name: xr.full_like(FAR[name], 0.0) + xr.DataArray(values, dims="kind") / 4 for name, values in layers.items()
    }
    far, onset, moved = sentences(run_of(BOTH | {"divergence": FAR.assign(shares)}, tmp_path))
    column = FAR.sel(reference="unprompted", site="resid_pre", position=-1)
    here = column.sel(layer=3)
    ends = [f"kind_{name}" for name in ("estimate", "ci_low", "ci_high")]
    told = [float(here[name].sel(kind=kind)) for kind in ("default", "human") for name in ends]
    np.testing.assert_allclose(decimals(far), [*told, float(here.within.sel(side="human"))])
    assert "layer 3" in far
    assert FAR.layer.values[[0, -1]].tolist() == [0, 4]
    assert "layer 2 [2, 4] for the tuned default; layer 1 [0, 2] for humans" in onset
    cells = [MOVED.sel(segment="all", layer=3, direction=direction) for direction in ("denoise", "noise")]
    numbers = [float(cell[name]) for cell in cells for name in ("estimate", "ci_low", "ci_high")]
    np.testing.assert_allclose(decimals(moved), [*numbers, *(float(cell.control_fact) for cell in cells)])


def test_what_is_not_identified_is_said_with_its_reason_and_without_a_number(tmp_path: Path) -> None:
    dark = FAR.assign_coords(reason=("kind", ["too few families", ""]), onset_reason=("kind", ["it is flat", ""]))
    gone = MOVED.assign(reason=("direction", ["one pair is left", "one pair is left"])) if "reason" in MOVED else (
        MOVED.assign_coords(reason=("direction", ["one pair is left", "one pair is left"]))
    )  # fmt: skip
    far, onset, moved = sentences(run_of({"divergence": dark, SWEEP: gone.drop_vars("control_fact")}, tmp_path))
    human = float(FAR.kind_estimate.sel(reference="unprompted", layer=3, position=-1, kind="human").item())
    assert human not in decimals(far)
    assert "not identified for humans (too few families)" in far
    assert "not identified for humans (it is flat)" in onset
    assert not decimals(moved)
    assert "one pair is left" in moved
    assert "No fact about no persona" in moved
    for sentence in (far, onset, moved):
        assert "–" not in sentence
        assert "nan" not in sentence.lower()


def test_a_transfer_between_personas_says_that_the_self_was_not_patched(tmp_path: Path) -> None:
    others = MOVED.assign_attrs(ends=["source", "target"])
    run = run_of({SWEEP: others}, tmp_path)
    (only,) = sentences(run)
    assert "no pair has the model’s own self at one end" in only
    assert opening.figure(run) is None


def test_the_page_begins_with_the_answer(tmp_path: Path) -> None:
    run = on_disk(tmp_path, BOTH)
    assert [one.name for one in drawings(run) if one.about == OPENING] == [opening.NAME]
    page = write_report(run).read_text("utf-8")
    assert page.index('id="answer"') < page.index('id="asked"')
    assert page.index("figure-self_and_persona") < page.index(sentences(run)[0][:40]) < page.index('id="asked"')
    assert 'href="#answer"' in page


def test_without_either_there_is_no_opening(tmp_path: Path) -> None:
    run = on_disk(tmp_path, {"bleed": GROUPS["bleed"]})
    assert opening.figure(run) is None
    assert sentences(run) == []
    assert 'id="answer"' not in write_report(run).read_text("utf-8")


def test_empty_lines_are_refused() -> None:
    with pytest.raises(SelfrepError, match="neither"):
        lines()
    assert isinstance(lines(transfer=MOVED), xr.Dataset)
