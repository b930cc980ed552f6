"""Every number of the maps of Δ is the one that was kept, and the code makes it again."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from tests.analyses.planted import rich

from selfrep.analyses.atlas import LAYER, PLACE, Atlas
from selfrep.analyses.divergence.atlas import atlases
from selfrep.analyses.divergence.figures import SELVES
from selfrep.store.run_directory import RunDirectory

__all__ = ["rich"]


@pytest.mark.slow
def test_each_persona_and_each_kind_is_a_map_beside_its_controls(rich: RunDirectory) -> None:
    (atlas,) = atlases(rich)
    assert isinstance(atlas, Atlas)
    div = rich.read("divergence").isel(site=0)
    people = div.persona.to_numpy().tolist()
    selves = {label: name for name, label in SELVES.items()}
    assert len(atlas.sheets) == div.sizes["reference"] * (div.sizes["persona"] + div.sizes["kind"])
    for sheet in atlas.sheets:
        reference = selves[atlas.picks[0].options[sheet.at[0]]]
        one = div.sel(reference=reference)
        if sheet.at[1] < len(people):
            one, names = one.sel(persona=people[sheet.at[1]]), ("estimate", "ci_low", "user_is")
        else:
            one, names = one.isel(kind=sheet.at[1] - len(people)), ("kind_estimate", "kind_ci_low", "kind_user_is")
        (user,) = (line for line in sheet.lines if "the user is" in line.label)
        shown = (sheet.lines[0].values, sheet.lines[0].low, user.values)
        for values, name in zip(shown, names, strict=True):
            np.testing.assert_array_equal(values, one[name].to_numpy().astype(np.float32))


def test_prompts_are_the_persona_and_the_self(rich: RunDirectory) -> None:
    (atlas,) = atlases(rich)
    assert isinstance(atlas, Atlas)
    k = atlas.picks[1].options.index("nurse")
    for sheet in (sheet for sheet in atlas.sheets if sheet.at[1] == k):
        persona, itself = sheet.prompts
        assert persona.who == "persona: nurse"
        assert itself.who.startswith("self: ")
        assert "nurse" in " ".join(text for _, text in persona.texts)
        assert "nurse" not in " ".join(text for _, text in itself.texts), "the control"


@pytest.mark.slow
def test_the_code_makes_the_number_again(rich: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (atlas,) = atlases(rich)
    assert isinstance(atlas, Atlas)
    sheet, other = atlas.sheets[3], atlas.sheets[4]
    code = sheet.code.replace("{path!r}", repr(str(rich.path))).replace(LAYER, "3").replace(PLACE, atlas.places[-1])
    with redirect_stdout(io.StringIO()) as printed:
        exec(compile(code, "snippet", "exec"), {})
    row = atlas.layers.index(3)
    assert float(printed.getvalue().split()[-1]) == pytest.approx(sheet.lines[0].values[row, -1], rel=1e-5)
    assert float(printed.getvalue().split()[-1]) != pytest.approx(other.lines[0].values[row, -1], rel=1e-3)


def test_a_run_without_it_says_so(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.create_or_resume("name: mine", "abc")
    assert list(atlases(run)) == ["Δ: this run measured no distance of personas from the self."]
