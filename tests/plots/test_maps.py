"""Maps show the Dataset: its numbers, its gaps, its words and its doubts."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import plotly.graph_objects as go
import plotly.io as pio
import pytest
import xarray as xr
from tests.plots.reading import named, note
from tests.report.groups import GROUPS, LAYERS, decimals

from selfrep.errors import SelfrepError
from selfrep.plots.maps import heatmap, separation_map, transfer_maps

Maker = Callable[..., xr.Dataset]


def maps(fig: go.Figure) -> list[go.Heatmap]:
    return [trace for trace in fig.data if trace.type == "heatmap"]


def headings(fig: go.Figure) -> str:
    return " ".join(a.text for a in fig.layout.annotations)


@pytest.mark.parametrize("by", ["position", "segment"])
def test_separation_shows_its_numbers(separation: Maker, by: str) -> None:
    sep = separation(by, ("resid_pre", "attn_out"))
    fig = separation_map(sep)
    for trace, site in zip(maps(fig), ("resid_pre", "attn_out"), strict=True):
        np.testing.assert_array_equal(trace.z, sep.estimate.sel(site=site))
        assert site in headings(fig)
    assert fig.layout.coloraxis.cmax == -fig.layout.coloraxis.cmin == float(np.abs(sep.estimate).max())
    assert len(maps(separation_map(sep, site="attn_out"))) == 1


def test_separation_marks_what_chance_reaches_and_what_stands_out(separation: Maker) -> None:
    sep = separation()
    fig = separation_map(sep)
    dots = next(trace for trace in fig.data if trace.name == "dotted")
    expected = np.argwhere(sep.estimate.values[0] <= sep.null_high.values[0])
    assert {(y, x) for x, y in zip(dots.x, dots.y, strict=True)} == set(map(tuple, expected))
    assert 0 < len(expected) < sep.estimate.size, "the control: some cells are marked and some are not"
    assert any(trace.name == "outlined" and len(trace.x) for trace in fig.data)
    assert "floor<br>0.11" in headings(fig)
    nothing = separation_map(sep.assign(p_max=sep.p_max * 0 + 1))
    assert not any(trace.name == "outlined" and len(trace.x) for trace in nothing.data)


def test_hover_says_the_controls(separation: Maker, transfer: Maker) -> None:
    sep, moved = separation(), transfer()
    said = maps(separation_map(sep))[0].text[0][6]
    for word in ("S = ", "“the user is X”", "bound to the speaker", "0.11", "layer 0, position −1 “␣a”, prefill"):
        assert word in said
    said = maps(transfer_maps(moved))[0].text[3][0]
    for word in ("T = ", "control, paraphrase: 0.2", "control, random: 0.2", "layer 5, position −7"):
        assert word in said


def test_transfer_shows_denoise_beside_noise(transfer: Maker) -> None:
    moved = transfer()
    fig = transfer_maps(moved)
    assert [np.asarray(t.z).tolist() for t in maps(fig)] == [moved.estimate.values[i].tolist() for i in (0, 1)]
    assert "Denoise: 8 pairs (3 gated)" in headings(fig)
    assert fig.layout.xaxis.domain[1] < fig.layout.xaxis2.domain[0]
    assert len(maps(transfer_maps(transfer(directions=("noise",))))) == 1


def test_transfer_outlines_what_exceeds_every_control(transfer: Maker) -> None:
    moved = transfer()
    above = transfer_maps(moved)
    assert any(len(trace.x) for trace in above.data if trace.name == "outlined")
    bare = transfer_maps(moved.drop_vars([name for name in moved.data_vars if name.startswith("control_")]))
    assert not any(len(trace.x) for trace in bare.data if trace.name == "outlined"), "no control, no claim"
    strong = moved.assign(control_random=moved.control_random * 0 + 9)
    assert not any(len(trace.x) for trace in transfer_maps(strong).data if trace.name == "outlined")


def outlined(fig: go.Figure, panel: str = "x") -> set[tuple[int, int]]:
    """The cells (layer, place) that an outline encloses, by counting the strokes on the left of each."""
    line = named(fig, "outlined", panel)
    upright = {
        (line.x[k], min(line.y[k], line.y[k + 1])) for k in range(0, len(line.x), 3) if line.x[k] == line.x[k + 1]
    }
    z = np.asarray(next(t for t in maps(fig) if (t.xaxis or "x") == panel).z)
    cells = set()
    for i, j in np.ndindex(z.shape):
        if sum((x - 0.5, i - 0.5) in upright for x in range(j + 1)) % 2:
            cells.add((i, j))
    return cells


def test_a_cell_is_outlined_where_the_low_end_beats_zero_and_every_control(transfer: Maker) -> None:
    low = np.array([0.3, 0.3, 0.3, 0.1, -0.1, -0.1, np.nan])
    controls = {
        "paraphrase": [0.2, 0.4, 0.2, 0.2, -0.3, np.nan, 0.2],
        "persona": [0.2, 0.2, 0.4, np.nan, -0.3, np.nan, 0.2],
        "random": [0.2, 0.2, 0.2, np.nan, -0.3, np.nan, 0.2],
    }
    moved = transfer()
    whole = moved.estimate * 0
    moved = moved.assign(estimate=whole + 0.5, ci_high=whole + 0.9, ci_low=whole + low)
    moved = moved.assign({f"control_{name}": whole + values for name, values in controls.items()})
    fig = transfer_maps(moved)
    for panel in ("x", "x2"):
        assert outlined(fig, panel) == {(i, 0) for i in range(4)}, "the estimate alone would outline them all"
    up = moved.ci_low.copy()
    up[0, 2, 1] = 0.45
    assert outlined(transfer_maps(moved.assign(ci_low=up))) == {(i, 0) for i in range(4)} | {(2, 1)}


def test_a_cell_of_a_separation_is_outlined_by_its_p_over_the_whole_map(separation: Maker) -> None:
    sep = separation()
    p_max = np.full((1, 4, 7), 0.06)
    p_max[0, 1, 2] = p_max[0, 3, 6] = 0.04
    sep = sep.assign(p_max=(sep.p_max.dims, p_max), p=sep.p * 0 + 0.001)
    assert outlined(separation_map(sep)) == {(1, 2), (3, 6)}


@pytest.mark.parametrize("largest", [(0, 0, 1), (1, 3, 2)])
def test_colours_and_floor_are_those_of_all_panels(separation: Maker, largest: tuple[int, ...]) -> None:
    sep = separation(sites=("resid_pre", "attn_out"))
    sep.estimate[largest] = -3.5
    sep.noise_floor[0], sep.noise_floor[1] = 0.1, 0.3
    sep.noise_floor[1, 0, 0] = np.nan
    fig = separation_map(sep)
    assert (fig.layout.coloraxis.cmin, fig.layout.coloraxis.cmax) == (-3.5, 3.5)
    (mark,) = (a for a in fig.layout.annotations if a.name == "floor")
    assert mark.y == pytest.approx(0.5 + 0.1 / 3.5 / 2), "the median cell, of 28 with 0.1 and 27 with 0.3"


@pytest.mark.parametrize(("most", "limit"), [(0.4, 1.0), (1.3, 1.3), (-1.3, 1.3), (9.0, 1.5)])
def test_colours_of_a_transfer_reach_the_whole_behaviour_in_any_panel(
    transfer: Maker, effects: Maker, most: float, limit: float
) -> None:
    moved, raw = transfer(), effects()
    moved.estimate[:] = raw.transfer[:] = 0.1
    moved.estimate[1, 2, 3] = most
    raw.transfer[[1, 3], 2, 3] = most
    for fig in (transfer_maps(moved), heatmap(raw)):
        assert fig.layout.coloraxis.cmax == pytest.approx(limit)
        assert fig.layout.coloraxis.colorbar.ticktext[-1].startswith("≥") == (abs(most) > limit)


def test_every_cell_says_its_own_numbers() -> None:
    sep, moved = GROUPS["separation"], GROUPS["transfer/effects/resid_pre"]
    said = (
        "estimate ci_low ci_high null_high p p_max noise_floor user_is user_is_ci_low user_is_ci_high "
        "bound bound_ci_low bound_ci_high"
    )
    fig = separation_map(sep)
    for trace, site in zip(maps(fig), ("resid_pre", "resid_post"), strict=True):
        for (i, layer), (j, place) in product(enumerate(LAYERS), enumerate((-2, -1))):
            cell = sep.sel(site=site, layer=layer, position=place)
            numbers = [float(cell[name]) for name in said.split()]
            np.testing.assert_allclose(decimals(trace.text[i][j]), numbers, rtol=1e-9)
            assert f"layer {layer}, position −{-place}" in trace.text[i][j]
            assert trace.z[i][j] == float(cell.estimate)
    said = "estimate ci_low ci_high control_paraphrase control_persona control_random p"
    fig = transfer_maps(moved)
    for trace, direction in zip(maps(fig), ("noise", "denoise"), strict=True):
        for (i, layer), (j, place) in product(enumerate(LAYERS), enumerate((-2, -1))):
            cell = moved.sel(direction=direction, layer=layer, position=place)
            numbers = [float(cell[name]) for name in said.split()]
            np.testing.assert_allclose(decimals(trace.text[i][j]), numbers, rtol=1e-9)
            assert trace.z[i][j] == float(cell.estimate)
    assert note(fig, "<b>Noise: 12 pairs (2 gated)</b>").xref == "x domain"
    assert note(fig, "<b>Denoise: 13 pairs (3 gated)</b>").xref == "x2 domain"


def test_one_direction_may_lack_an_answer(transfer: Maker) -> None:
    moved = transfer()
    moved.estimate[1] = np.nan
    moved.n_pairs[1] = 0
    fig = transfer_maps(moved)
    assert "Noise: not identified" in headings(fig)
    assert np.isnan(np.asarray(maps(fig)[1].z, dtype=float)).all()


def test_what_is_not_identified_says_why(transfer: Maker, separation: Maker, effects: Maker) -> None:
    moved = transfer()
    moved = moved.assign(estimate=moved.estimate * np.nan)
    moved.attrs |= {"identified": "not identified", "reason": "there is <nothing> to carry over"}
    fig = transfer_maps(moved)
    assert not fig.data
    assert "there is &lt;nothing&gt;" in headings(fig)
    assert "there is <nothing>" in fig.layout.meta["caption"]
    for empty in (
        separation_map(separation() * np.nan),
        heatmap(effects().assign(transfer=effects().transfer * np.nan)),
    ):
        assert "Not identified" in headings(empty)


def test_heatmap_is_the_mean_of_the_real_pairs_by_direction(effects: Maker) -> None:
    given = effects()
    fig = heatmap(given)
    np.testing.assert_allclose(maps(fig)[0].z, given.transfer.values[[0, 2]].mean(axis=0))
    np.testing.assert_allclose(maps(fig)[1].z, given.transfer.values[[1, 3]].mean(axis=0))
    with_control = given.transfer.values[[0, 2, 4]].mean(axis=0)
    assert not np.allclose(maps(fig)[0].z, with_control), "the control: the fifth pair is one and would have changed it"


@pytest.mark.parametrize("by", ["position", "segment"])
def test_heatmap_of_one_pair(effects: Maker, by: str) -> None:
    given = effects(by)
    fig = heatmap(given, 1)
    np.testing.assert_array_equal(maps(fig)[0].z, given.transfer.values[1])
    assert "&lt;" in fig.layout.title.text


def test_heatmap_of_bare_token_ids(effects: Maker) -> None:
    bare = effects().drop_vars(["token", "segment", "segment_of", "direction", "control", "source", "target", "item"])
    fig = heatmap(bare, title="IOI <here>")
    np.testing.assert_allclose(maps(fig)[0].z, bare.transfer.mean("pair"))
    assert fig.layout.xaxis.ticktext[-1] == "−1"
    assert fig.layout.meta["title"] == "IOI <here>"


def test_gaps_stay_gaps(effects: Maker) -> None:
    given = effects()
    given.transfer[:, :, 0] = np.nan
    z = np.asarray(maps(heatmap(given))[0].z, dtype=float)
    assert np.isnan(z[:, 0]).all()
    assert np.isfinite(z[:, 1:]).all()


def test_what_is_not_there_is_refused(effects: Maker, separation: Maker) -> None:
    with pytest.raises(SelfrepError, match=r"no pair 9.*5"):
        heatmap(effects(), 9)
    with pytest.raises(SelfrepError, match="no real pair"):
        heatmap(effects().isel(pair=[4]))
    with pytest.raises(SelfrepError, match="dimensions"):
        heatmap(effects().expand_dims(head=2))
    with pytest.raises(SelfrepError, match=r"no site 'z'.*resid_post"):
        separation_map(separation(), site="z")


def test_names_are_escaped_and_the_global_template_left_alone(separation: Maker) -> None:
    before = pio.templates.default
    fig = separation_map(separation())
    assert pio.templates.default == before
    assert "<script" not in fig.layout.title.text
    assert "&lt;script" in fig.layout.title.text
    assert fig.layout.template.layout.font.family


def test_long_prompts_stand_one_below_the_other(transfer: Maker) -> None:
    moved = transfer()
    long = xr.concat([moved] * 6, dim="position", data_vars="minimal").assign_coords(position=np.arange(-42, 0))
    fig = transfer_maps(long)
    assert fig.layout.yaxis.domain[0] > fig.layout.yaxis2.domain[1]
