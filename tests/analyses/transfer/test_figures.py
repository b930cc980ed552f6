"""Maps and lines show the Dataset, denoising beside noising, next to every control."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import plotly.graph_objects as go
import pytest
import xarray as xr
from tests.plots.reading import legend, named, note, rules
from tests.report.groups import GROUPS, LAYERS, decimals

from selfrep.analyses.transfer.figures import PANELS, transfer_maps
from selfrep.plots.theme import CONTROLS, DASHES, DIRECTIONS, caption

Maker = Callable[..., xr.Dataset]


def all_named(fig: go.Figure, name: str) -> list[go.Scatter]:
    return [trace for trace in fig.data if trace.name == name]


def test_transfer_of_segments_is_drawn_by_layer_with_grey_controls(transfer: Maker) -> None:
    moved = transfer("segment")
    fig = transfer_maps(moved)
    for i, direction in enumerate(("denoise", "noise")):
        lines = all_named(fig, direction)
        assert len(lines) == 5
        for j, line in enumerate(lines):
            np.testing.assert_array_equal(line.y, moved.estimate.values[i, :, j])
    for kind in ("paraphrase", "persona", "random"):
        colour, dash = CONTROLS[kind]
        assert len({colour[1:3], colour[3:5], colour[5:7]}) == 1, "grey"
        assert {t.line.dash for t in all_named(fig, f"control: {kind}")} == {dash}
    shown = [trace.name for trace in fig.data if trace.showlegend]
    assert len(shown) == len(set(shown)) == 5
    assert not all_named(transfer_maps(moved.drop_vars("control_random")), "control: random")


def band(fig: go.Figure, colour: str, panel: str) -> tuple[list[float], list[float]]:
    """Low and high end of the one band of this colour in a panel, from the first layer to the last."""
    tint = f"rgba({','.join(str(int(colour[i : i + 2], 16)) for i in (1, 3, 5))},0.16)"
    (found,) = (t for t in fig.data if t.name == "interval" and t.fillcolor == tint and (t.xaxis or "x") == panel)
    n = len(found.x) // 2
    assert list(found.x[:n]) == list(found.x[n:])[::-1] == LAYERS
    return list(found.y[n:])[::-1], list(found.y[:n])


def test_lines_of_a_transfer_hold_their_segment_with_bands_rules_and_looks() -> None:
    moved = GROUPS["transfer/segments/resid_pre"]
    fig = transfer_maps(moved)
    controls = [f"control: {kind}" for kind in ("fact", "paraphrase", "persona", "random")]
    assert sorted(legend(fig)) == [*controls, "persona → self", "self → persona"]
    assert rules(fig) == {("y", 0.0), ("y", 1.0), ("y2", 0.0), ("y2", 1.0)}
    for panel, segment in (("x", "question"), ("x2", "all")):
        assert note(fig, f"<b>{PANELS.get(segment, segment)}</b>").xref == f"{panel} domain"
        for direction, arrow in (("denoise", "self → persona"), ("noise", "persona → self")):
            at, colour = moved.sel(segment=segment, direction=direction), DIRECTIONS[direction]
            line = named(fig, arrow, panel)
            np.testing.assert_array_equal(line.y, at.estimate)
            assert (line.line.color, line.line.dash) == (colour, DASHES[direction])
            low, high = band(fig, colour, panel)
            np.testing.assert_array_equal(low, at.ci_low)
            np.testing.assert_array_equal(high, at.ci_high)
            for k, text in enumerate(line.text):
                np.testing.assert_allclose(decimals(text), [float(at[v][k]) for v in ("estimate", "ci_low", "ci_high")])
            for kind, (grey, dash) in CONTROLS.items():
                (control,) = (
                    t
                    for t in all_named(fig, f"control: {kind}")
                    if (t.xaxis or "x") == panel and f"{kind}), {arrow}:" in t.text[0]
                )
                np.testing.assert_array_equal(control.y, at[f"control_{kind}"])
                assert (control.line.color, control.line.dash) == (grey, dash)
    assert fig.layout.yaxis.title.text == "T"
    counts = "persona → self: 12 pairs (2 gated) · self → persona: 13 pairs (3 gated)"
    assert counts in fig.layout.title.text
    bare = transfer_maps(moved.drop_attrs())
    assert {"denoise", "noise"} < set(legend(bare)), "the control: pairs of which nothing is said"
    assert len({DASHES["denoise"], DASHES["noise"]}) == 2, "told apart in print"


def maps(fig: go.Figure) -> list[go.Heatmap]:
    return [trace for trace in fig.data if trace.type == "heatmap"]


def headings(fig: go.Figure) -> str:
    return " ".join(a.text for a in fig.layout.annotations)


def test_hover_says_the_controls(transfer: Maker) -> None:
    said = maps(transfer_maps(transfer()))[0].text[3][0]
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


@pytest.mark.parametrize(("most", "limit"), [(0.4, 1.0), (1.3, 1.3), (-1.3, 1.3), (9.0, 1.5)])
def test_colours_reach_the_whole_behaviour_in_any_panel(transfer: Maker, most: float, limit: float) -> None:
    moved = transfer()
    moved.estimate[:] = 0.1
    moved.estimate[1, 2, 3] = most
    fig = transfer_maps(moved)
    assert fig.layout.coloraxis.cmax == pytest.approx(limit)
    assert fig.layout.coloraxis.colorbar.ticktext[-1].startswith("≥") == (abs(most) > limit)


def test_every_cell_says_its_own_numbers() -> None:
    moved = GROUPS["transfer/effects/resid_pre"]
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


def test_what_is_not_identified_says_why(transfer: Maker) -> None:
    moved = transfer()
    moved = moved.assign(estimate=moved.estimate * np.nan)
    moved.attrs |= {"identified": "not identified", "reason": "there is <nothing> to carry over"}
    fig = transfer_maps(moved)
    assert not fig.data
    assert "there is &lt;nothing&gt;" in headings(fig)
    assert "there is <nothing>" in fig.layout.meta["caption"]


def test_lines_of_a_single_pair_say_that_they_are_not_identified(transfer: Maker) -> None:
    data = transfer("segment")
    one = data.assign(reason=("direction", ["one pair is left", "one pair is left"]))
    told = "Drawn, but not identified: one pair is left."
    assert caption(transfer_maps(one)).count(told) == 1
    assert "not identified" not in caption(transfer_maps(data.assign(reason=("direction", ["", ""]))))


def test_long_prompts_stand_one_below_the_other(transfer: Maker) -> None:
    moved = transfer()
    long = xr.concat([moved] * 6, dim="position", data_vars="minimal").assign_coords(position=np.arange(-42, 0))
    fig = transfer_maps(long)
    assert fig.layout.yaxis.domain[0] > fig.layout.yaxis2.domain[1]


def test_a_segment_that_no_prompt_has_gets_no_panel(transfer: Maker) -> None:
    moved = transfer("segment")
    moved.estimate.loc[{"segment": "prefill"}] = np.nan
    bold = [a.text for a in transfer_maps(moved).layout.annotations if a.text.startswith("<b>")]
    assert bold == [
        f"<b>{PANELS.get(segment, segment)}</b>" for segment in moved.segment.values if segment != "prefill"
    ]
