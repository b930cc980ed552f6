"""The table beside a figure holds the numbers of its group, and every figure of a run is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
import xarray as xr
from tests.report.groups import GROUPS, run_of

from selfrep import plots
from selfrep.analyses import ANALYSES
from selfrep.errors import SelfrepError
from selfrep.report import figures
from selfrep.report.figures import OPENING, drawings, write_figures
from selfrep.report.opening import lines


def plane() -> xr.Dataset:
    """What the map of personas shows: the layer at three quarters of the depth, as points."""
    at = GROUPS["activations_summary"].sel(layer=3, drop=True)
    return at.rename(prompt="point")


DESIGN = [name for name, v in GROUPS["mediation"].variables.items() if set(v.dims) <= {"cue", "stakes"}]
SHOWN = {
    **{name: GROUPS[name] for name in ("items", "binding", "bleed", "identification", "default_axis")},
    **{name: GROUPS[name] for name in ("divergence", "separation", "spectator")},
    **{name: GROUPS[name] for name in ("anomaly", "mediation", "directness", "posterior")},
    **{name.replace("/", "_"): GROUPS[name] for name in GROUPS if name.startswith("transfer/")},
    "referents": GROUPS["identification"],
    "separation_profile": GROUPS["separation"],
    "divergence_profile": GROUPS["divergence"].isel(position=[-1]),
    "persona_map": plane(),
    "cue_by_stakes": GROUPS["mediation"][DESIGN],
    "self_and_persona": lines(GROUPS["divergence"], GROUPS["transfer/segments/resid_pre"]),
    "degree_of_separation": GROUPS["persona_shifts"],
}
"""What each figure shows, by its name."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The figures of a run that holds all groups, each drawing told by its title alone."""
    run = run_of(path=tmp_path_factory.mktemp("run"))

    def told(figure: go.Figure, path: Path, **how: str) -> Path:
        path.write_text(figure.layout.meta["title"])
        return path

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(figures, "ENDINGS", (".html",))
        patched.setattr(plots, "save", told)
        heard: list[str] = []
        written = write_figures(run, heard.append)
    assert not heard
    assert sorted(written) == sorted(run.figures.iterdir())
    return run.figures


def test_every_kind_of_figure_is_written_with_its_table(folder: Path) -> None:
    kinds = {figure.name for analysis in ANALYSES for figure in analysis.load_report().figures if figure.name}
    assert kinds < set(SHOWN), "the control: the table above leaves no kind out"
    assert {path.name for path in folder.iterdir()} == {f"{n}{end}" for n in SHOWN for end in (".csv", ".html")}


@pytest.mark.parametrize("name", SHOWN)
def test_a_table_read_back_is_its_group(folder: Path, name: str) -> None:
    data = SHOWN[name]
    data = data.assign_coords({dim: range(n) for dim, n in data.sizes.items() if dim not in data.coords})
    table = pd.read_csv(folder / f"{name}.csv", keep_default_na=False, dtype=str)
    assert set(table.columns) == set(data.variables)
    for column, variable in data.variables.items():
        mine, dims = table[table[column].astype(str) != ""], list(variable.dims)
        mine = mine[(mine[dims].astype(str) != "").all(axis=1)] if dims else mine
        there = (
            np.isfinite(variable.to_numpy()) if variable.dtype.kind == "f" else variable.to_numpy().astype(str) != ""
        )
        cells = mine.drop_duplicates(dims) if dims else mine.head(1)
        assert len(cells) == there.sum(), f"{column}: a row for each of its cells"
        at = {
            dim: xr.DataArray(mine[dim].astype((data[dim].dtype.kind != "U" and data[dim].dtype) or str), dims="row")
            for dim in dims
        }
        expected = np.broadcast_to(data[column].sel(at).to_numpy(), len(mine))
        if variable.dtype.kind == "f":
            np.testing.assert_allclose(mine[column].astype(float), expected, err_msg=str(column))
        else:
            np.testing.assert_array_equal(mine[column].astype(str), expected.astype(str), err_msg=str(column))


def test_figures_stand_in_the_chapter_of_their_group() -> None:
    about = {one.name: one.about for one in drawings(run_of())}
    general = {"items", "separation", "separation_profile", "persona_map"}
    assert {name for name in about if about[name] == OPENING} == {"self_and_persona", "degree_of_separation"}
    assert next(iter(about)) == "self_and_persona", "the figure that answers the question is the first"
    assert {name for name in about if not about[name]} == general | {n for n in SHOWN if n.startswith("transfer_")}
    assert (about["cue_by_stakes"], about["referents"]) == ("mediation", "identification")
    assert about["divergence_profile"] == "divergence"
    assert all(
        about[name] == name for name in ("divergence", "binding", "bleed", "default_axis", "anomaly", "directness")
    )


def test_a_figure_needs_all_of_its_groups_and_something_to_show() -> None:
    names = ("identification", "activations_summary")
    assert {one.name for one in drawings(run_of({name: GROUPS[name] for name in names}))} == {
        "identification", "persona_map",
    }  # fmt: skip
    only = GROUPS["identification"].sel(subscale=["series: this chat", "series: the user"])
    run = run_of({"identification": only, "referents": GROUPS["referents"]})
    assert [one.name for one in drawings(run)] == ["referents"], "their lines show them all"


def test_paper_is_written_without_a_browser_and_what_it_cannot_show_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of({name: GROUPS[name] for name in ("items", "bleed")}, tmp_path)
    monkeypatch.setattr(plots.export, "browser", lambda: None)
    heard: list[str] = []
    written = write_figures(run, heard.append)
    assert [path.suffix for path in written] == [".csv", ".html", ".svg", ".pdf"] * 2
    assert all(path.stat().st_size > 500 for path in written)
    assert not heard
    assert b"/Type3" not in (run.figures / "bleed.pdf").read_bytes()

    (first, *others) = drawings(run)
    pie = replace(first, figure=go.Figure(go.Pie(values=[1, 2])).update_layout(meta=first.figure.layout.meta))
    written = write_figures(run, heard.append, [pie, *others])
    assert [path.suffix for path in written] == [".csv", ".html", ".csv", ".html", ".svg", ".pdf"]
    (said,) = heard
    assert said.startswith(f"{first.name}: ")
    assert "pie" in said

    def full(figure: go.Figure, path: Path, **how: str) -> Path:
        raise SelfrepError("the disk is full")

    monkeypatch.setattr(plots, "save", full)
    with pytest.raises(SelfrepError, match="disk is full"):
        write_figures(run, heard.append)
