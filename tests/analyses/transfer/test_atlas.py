"""Every number of the maps of T is the one that was kept, beside its own control; and the code makes it again."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from tests.analyses.planted import swept

from selfrep.analyses.atlas import LAYER, PLACE, Atlas, Sheet
from selfrep.analyses.transfer.atlas import atlases
from selfrep.store.run_directory import RunDirectory

__all__ = ["swept"]

pytestmark = pytest.mark.slow  # sweeps of its own


def of(run: RunDirectory, name: str) -> Atlas:
    (atlas,) = (each for each in atlases(run) if isinstance(each, Atlas) and each.name == name)
    return atlas


def sheet_of(atlas: Atlas, *options: str) -> Sheet:
    at = tuple(pick.options.index(option) for pick, option in zip(atlas.picks, options, strict=True))
    (sheet,) = (each for each in atlas.sheets if each.at == at)
    return sheet


def run_code(sheet: Sheet, path: Path, layer: int, place: str) -> float:
    code = sheet.code.replace("{path!r}", repr(str(path))).replace(LAYER, str(layer)).replace(PLACE, place)
    with redirect_stdout(io.StringIO()) as printed:
        exec(compile(code, "snippet", "exec"), {})
    return float(printed.getvalue())


def test_each_run_is_a_map_of_its_own_numbers(swept: RunDirectory) -> None:
    atlas, effects = of(swept, "effects/resid_pre"), swept.read("effects/resid_pre")
    singles = [sheet for sheet in atlas.sheets if sheet.lines[0].label == "T of this pair"]
    assert len(singles) == effects.sizes["pair"] == 12
    assert len({sheet.at for sheet in atlas.sheets}) == len(atlas.sheets)
    for i, sheet in enumerate(singles):
        np.testing.assert_array_equal(sheet.lines[0].values, effects.transfer[i].to_numpy())
        assert sheet.tokens == tuple(effects.token[i].to_numpy())
        direction = atlas.picks[2].options[sheet.at[2]]
        ends = (effects.source[i].item(), effects.target[i].item())
        assert direction == effects.direction[i].item()
        assert [spoken.who.split(":")[0] for spoken in sheet.prompts] == ["source", "target"]
        shown = atlas.picks[0].options[sheet.at[0]].split(" → ")
        told = [spoken.who.split(": ")[1] for spoken in sheet.prompts]
        assert shown == (told if direction == "denoise" else told[::-1]), ends


def test_a_control_stands_beside_the_run_that_it_is_made_of(swept: RunDirectory) -> None:
    """The oracle: total effects, which a control shares with its own run alone."""
    atlas, effects = of(swept, "effects/resid_pre"), swept.read("effects/resid_pre")
    controls = swept.read("controls/effects/resid_pre")
    totals = effects.total_effect.to_numpy()
    assert len(np.unique(totals)) == len(totals), "the control: no two runs have the same"
    singles = [sheet for sheet in atlas.sheets if sheet.lines[0].label == "T of this pair"]
    for kind, words in (("random", "a random direction"), ("paraphrase", "another paraphrase")):
        rows = controls.isel(pair=controls.control.to_numpy() == kind)
        assert rows.sizes["pair"] >= 6
        for k in range(rows.sizes["pair"]):
            i = int(np.argmin(np.abs(totals - rows.total_effect[k].item())))
            (line,) = (line for line in singles[i].lines if words in line.label)
            np.testing.assert_array_equal(line.values, rows.transfer[k].to_numpy())


def test_means_come_with_interval_and_controls_and_stand_beside_their_pairs(swept: RunDirectory) -> None:
    atlas = of(swept, "effects/resid_pre")
    shares = swept.read("transfer/effects/resid_pre").sel(direction="noise")
    mean = sheet_of(atlas, "mean of 2 pairs, self → persona", "In peace, who are you?", "noise", "all paraphrases")
    own = mean.lines[0]
    np.testing.assert_array_equal(own.values, shares.estimate.to_numpy().astype(np.float32))
    assert own.high is not None
    np.testing.assert_array_equal(own.high, shares.ci_high.to_numpy().astype(np.float32))
    assert [line.label for line in mean.lines if line.kind == "control"] == [
        "control: another paraphrase of the target", "control: another persona of the target’s side",
        "control: a random direction",
    ]  # fmt: skip
    beside = sheet_of(atlas, "no persona → nurse", "In peace, who are you?", "noise", "1")
    (line,) = (line for line in beside.lines if line.kind == "mean")
    np.testing.assert_array_equal(line.values, own.values)
    other = sheet_of(atlas, "robot → nurse", "In peace, who are you?", "noise", "1")
    (line,) = (line for line in other.lines if line.kind == "mean")
    assert not np.array_equal(line.values, own.values), "the control: another kind of pairs has another mean"


@pytest.mark.parametrize(
    ("options", "layer", "position"),
    [
        (("no persona → nurse", "In peace, who are you?", "denoise", "2"), 2, -1),
        (("robot → nurse", "In peace, who are you?", "noise", "1"), 3, -10),
    ],
)
def test_the_code_of_a_run_makes_its_number_again(
    swept: RunDirectory, options: tuple[str, ...], layer: int, position: int
) -> None:
    atlas = of(swept, "effects/resid_pre")
    sheet, other = sheet_of(atlas, *options), sheet_of(atlas, "no persona → poet", *options[1:])
    row, column = atlas.layers.index(layer), atlas.places.index(str(position))
    again = run_code(sheet, swept.path, layer, str(position))
    assert again == pytest.approx(sheet.lines[0].values[row, column], abs=2e-5)
    control = sheet_of(atlas, *options[:2], {"denoise": "noise", "noise": "denoise"}[options[2]], options[3])
    assert len({float(each.lines[0].values[row, column]) for each in (sheet, other, control)}) > 1


def test_the_code_of_segments_makes_its_number_again(swept: RunDirectory) -> None:
    atlas = of(swept, "segments/attn_out")
    sheet = sheet_of(atlas, "no persona → nurse", "In peace, who are you?", "denoise", "1")
    values = sheet.lines[0].values[0]
    k = int(np.nanargmax(np.abs(values)))
    assert abs(values[k]) > 0.05, "the control: there is something to find"
    again = run_code(sheet, swept.path, 2, repr(atlas.places[k]))
    assert again == pytest.approx(values[k], abs=2e-5)


def test_what_was_not_swept_is_said(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.create_or_resume("name: mine", "abc")
    assert list(atlases(run)) == [
        "T token by token: the study has no such sweep.",
        "T segment by segment: the study has no such sweep.",
    ]
    run.write("effects/resid_pre", xr.Dataset({"patched": (("pair", "layer"), np.zeros((1, 2)))}))
    assert next(iter(atlases(run))) == "T token by token: its sweeps hold no pairs of personas."
