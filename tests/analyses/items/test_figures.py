"""Every item shows its shift beside its control, or why it shows none."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from tests.plots.reading import ends, labels, legend, named
from tests.report.groups import GROUPS, decimals

from selfrep.analyses.items.figures import degree_of_separation, item_bars
from selfrep.plots import rows
from selfrep.plots.theme import CONTROL, NULL, OWN


def test_shifts_and_intervals_are_the_datasets(items: xr.Dataset) -> None:
    fig = item_bars(items)
    kept = items.isel(item=items.shift_reason.values == "")
    for trace, key, bound in ((fig.data[0], "", ""), (fig.data[2], "user_", "user_shift_")):
        shift = kept[f"{key}shift"].values
        np.testing.assert_array_equal(trace.x, shift)
        np.testing.assert_allclose(shift + trace.error_x.array, kept[f"{bound}ci_high"])
        np.testing.assert_allclose(shift - trace.error_x.arrayminus, kept[f"{bound}ci_low"])


def test_the_first_item_is_on_top_and_names_are_text(items: xr.Dataset) -> None:
    axis = item_bars(items).layout.yaxis
    labels = dict(zip(axis.tickvals, axis.ticktext, strict=True))
    assert labels[4] == "who are you"
    assert "&lt;b&gt;" in labels[3]
    assert all("<script" not in label for label in axis.ticktext)
    assert labels[0] == "<b>in character</b>", "a mean over several items"
    assert "…" in labels[1]


def test_an_item_that_failed_its_gate_shows_no_number_but_the_reason(items: xr.Dataset) -> None:
    fig = item_bars(items)
    failed = next(trace for trace in fig.data if trace.name == "not identified")
    assert list(failed.text) == ["not identified"]
    assert "the shift of &lt;0.2&gt; nats" in failed.hovertext[0]
    height = failed.y[0]
    drawn = [y for trace in fig.data[:3] for y in trace.y]
    assert all(abs(y - height) > 0.5 for y in drawn)
    assert [a.text for a in fig.layout.annotations].count("0.50") == 4


def test_when_no_item_passes_the_figure_says_so(items: xr.Dataset) -> None:
    fig = item_bars(items.assign(shift_reason=items.reason.astype(object).where(False, "<too> weak")))
    assert not fig.data
    assert "&lt;too&gt; weak" in fig.layout.annotations[0].text


def test_hover_says_levels_and_neutral(items: xr.Dataset) -> None:
    said = item_bars(items).data[0].text[0]
    for word in ("who_are_you", "no persona 0.25", "AUC 0.9", "kept: 0.5 [0.4, 0.6]"):
        assert word in said


LOOKS = (
    ("“you are X”", "shift", OWN, "circle", rows.APART),
    ("by all words", "all_words_shift", NULL, "circle-open", 0.0),
    ("“the user is X”", "user_shift", CONTROL, "diamond-open", -rows.APART),
)


def test_every_row_has_its_marks_its_share_and_its_words_in_place() -> None:
    group = GROUPS["items"].assign(kept=("item", [0.21, -0.32, 0.43]), shift_reason=("item", ["", "deaf", ""]))
    shown = group.isel(item=[0, 2])
    fig = item_bars(group)
    assert legend(fig) == [name for name, *_ in LOOKS]
    for name, key, colour, symbol, up in LOOKS:
        marks = named(fig, name)
        low, high = ends(marks)
        np.testing.assert_allclose(marks.x, shown[key])
        bounds = key.removesuffix("shift") if key != "user_shift" else "user_shift_"
        np.testing.assert_allclose(low, shown[f"{bounds}ci_low"])
        np.testing.assert_allclose(high, shown[f"{bounds}ci_high"])
        np.testing.assert_allclose(marks.y, np.array([2, 0]) + up)
        assert (marks.marker.color, marks.error_x.color, marks.marker.symbol) == (colour, colour, symbol)
        said = (
            "shift ci_low ci_high p user_shift user_shift_ci_low user_shift_ci_high all_words_shift all_words_ci_low "
            "all_words_ci_high kept kept_ci_low kept_ci_high "
            "first second neutral paraphrase_sd answer_mass auc"
        )
        for k, text in enumerate(marks.text):
            np.testing.assert_allclose(decimals(text), [float(shown[v][k]) for v in said.split()], rtol=1e-9)
            assert text.count(" nats") == 4
    assert labels(fig.layout.yaxis) == {
        2: "who", 1: "<b>all in character</b>", 0: "<b>all spectator, third person</b>",
    }  # fmt: skip
    assert {a.text: a.y for a in fig.layout.annotations} == {"kept": 1, "0.21": 2, "0.43": 0}
    assert fig.layout.xaxis.title.text == "shift of the log odds, AI minus humans (nats)"
    assert fig.layout.xaxis.zeroline
    assert "57 against 68 families" in fig.layout.title.text


def test_a_share_that_rounds_to_nothing_has_no_sign() -> None:
    fig = item_bars(GROUPS["items"].assign(kept=("item", [-0.004, -0.006, 0.004])))
    assert [a.text for a in fig.layout.annotations if a.text != "kept"] == ["0.00", "−0.01", "0.00"]


def shifts() -> xr.Dataset:
    at = np.array([[3.0, 0.5], [-2.0, -2.0], [2.0, 1.0]])
    values = {"in_character": at[:, 0], "outside": at[:, 1]}
    bounds = {f"{name}_ci_{end}": v + k for name, v in values.items() for end, k in (("low", -0.25), ("high", 0.5))}
    people = {
        "kind": ["wise", "sly", "wise"],
        "side": ["honest", "con", "honest"],
        "kind_label": ["sages", "sly", "sages"],
    }
    return xr.Dataset(
        {name: ("persona", v) for name, v in (values | bounds).items()},
        coords={"persona": ["sage", "<b>", "old_man"]} | {name: ("persona", v) for name, v in people.items()},
        attrs={"answers": ["true", "false"], "in_character": ["who", "work"], "outside": ["writes"], "reason": ""},
    )


def test_a_point_a_persona_with_neutral_where_the_axes_cross() -> None:
    fig = degree_of_separation(shifts())
    sages, sly, neutral = (named(fig, name) for name in ("sages", "sly", "no persona"))
    np.testing.assert_allclose([sages.x, sages.y], [[3.0, 2.0], [0.5, 1.0]])
    np.testing.assert_allclose(sages.error_y.array, 0.5)
    np.testing.assert_allclose(sages.error_x.arrayminus, 0.25)
    assert (list(neutral.x), list(neutral.y)) == ([0], [0])
    assert sages.marker.symbol != sly.marker.symbol, "sides are told apart by marks"
    assert sages.marker.color != sly.marker.color, "kinds by colours"
    texts = [note.text for note in fig.layout.annotations]
    assert "old man" in texts
    assert "&lt;b&gt;" in texts
    assert "“true” against “false” · 2 items in character, 1 from outside" in fig.layout.title.text
    assert "3 [2.75, 3.5]" in sages.text[0]
    x, y = fig.layout.xaxis, fig.layout.yaxis
    scale = [np.ptp(axis.range) / length for axis, length in ((x, 462), (y, fig.layout.height - 54 - 48 - 19))]
    assert scale[0] == pytest.approx(scale[1], rel=0.02), "one scale on both axes"


def test_without_numbers_the_plane_says_why() -> None:
    fig = degree_of_separation((shifts() * np.nan).assign_attrs(reason="no answer <is> probable"))
    assert not fig.data
    assert "&lt;is&gt;" in fig.layout.annotations[0].text
