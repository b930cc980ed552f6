"""The plane shows every prompt and every persona once, by its kind, its side and its condition."""

from __future__ import annotations

import numpy as np
import xarray as xr
from tests.plots.reading import legend, note

from selfrep.analyses.separation.plane import persona_map
from selfrep.plots.theme import MARKS, colours


def test_every_prompt_is_drawn_once(points: xr.Dataset) -> None:
    fig = persona_map(points)
    small = [trace for trace in fig.data if trace.marker.size == 4]
    drawn = sorted((x, y) for trace in small for x, y in zip(trace.x, trace.y, strict=True))
    assert drawn == sorted(map(tuple, points.coordinates.values.tolist()))


def test_colour_is_the_kind_shape_the_side_and_hollow_the_user(points: xr.Dataset) -> None:
    large = [trace for trace in persona_map(points).data if trace.marker.size in (8, 10)]
    for trace in large:
        kind = trace.legendgroup
        hollow = trace.marker.size == 8
        assert trace.marker.color == colours(points.kind.values)[kind]
        assert trace.marker.symbol == MARKS[kind == "human"] + ("-open" if hollow else "")
    assert len(large) == 6
    jfk = points.coordinates.values[(points.persona == "jfk").values & (points.condition == "you").values].mean(axis=0)
    humans = next(t for t in large if t.legendgroup == "human" and t.marker.size == 10)
    assert any(np.allclose(jfk, at) for at in zip(humans.x, humans.y, strict=True))


def test_each_persona_is_named_once_and_as_text(points: xr.Dataset) -> None:
    texts = [a.text for a in persona_map(points).layout.annotations if a.showarrow]
    assert texts[:3] == ["smollm", "hal", "jfk"]
    assert len(texts) == 4
    assert texts[3].startswith("&lt;b&gt;")


def test_a_persona_is_called_by_its_label(points: xr.Dataset) -> None:
    """Two that share a label, and one that has none, keep their names."""
    called = {"smollm": "SmolLM", "hal": "HAL 9000", "jfk": "", "": ""}
    labels = [called.get(str(name), "HAL 9001") for name in points.persona.values]
    labelled = points.assign_coords(persona_label=("point", labels))
    texts = [a.text for a in persona_map(labelled).layout.annotations if a.showarrow]
    assert texts == ["SmolLM", "HAL 9000", "jfk", "HAL 9001"]
    alike = points.assign_coords(persona_label=("point", ["alike"] * len(labels)))
    assert "alike" not in [a.text for a in persona_map(alike).layout.annotations if a.showarrow]


def test_axes_share_a_scale_that_holds_every_point(points: xr.Dataset) -> None:
    fig = persona_map(points)
    assert fig.layout.yaxis.scaleanchor == "x"
    for axis, values in zip((fig.layout.xaxis, fig.layout.yaxis), points.coordinates.values.T, strict=True):
        assert axis.range[0] < values.min()
        assert values.max() < axis.range[1]
    width = 528 - fig.layout.margin.l - fig.layout.margin.r
    height = fig.layout.height - fig.layout.margin.t - fig.layout.margin.b
    units = [np.ptp(axis.range) for axis in (fig.layout.xaxis, fig.layout.yaxis)]
    np.testing.assert_allclose(width / units[0], height / units[1], rtol=0.01)


def test_points_on_one_spot_or_nowhere(points: xr.Dataset) -> None:
    assert persona_map(points.assign(coordinates=points.coordinates * 0)).data
    assert not persona_map(points.assign(coordinates=points.coordinates * np.nan)).data


def test_every_mark_is_its_personas_in_its_condition() -> None:
    """Each persona's mean stands at the mean of its own prompts, in the colour of its kind; axes say their share."""
    people = [("hal", "fictional_ai", "ai"), ("sam", "other_model", "ai"), ("jfk", "human", "human")]
    rows = [(*person, condition) for person in people for condition in ("you", "user") for _ in range(2)]
    at = np.arange(24.0).reshape(12, 2) ** 1.5 * [1, -1]
    names = zip(("persona", "kind", "side", "condition"), zip(*rows, strict=True), strict=True)
    called = {"fictional_ai": "AIs of films", "other_model": "other_model", "human": "people"}
    data = xr.Dataset(
        {"coordinates": (("point", "component"), at), "explained": ("component", [0.61, 0.23])},
        coords={"kind_label": ("point", [called[kind] for _, kind, _, _ in rows])}
        | {name: ("point", list(column)) for name, column in names}
        | {"component": [1, 2]},
        attrs={"site": "attn_out", "layer": 22, "position": -1},
    )
    fig = persona_map(data)
    for name, kind, side in people:
        for condition, size in (("you", 10), ("user", 8)):
            own = at[(data.persona.values == name) & (data.condition.values == condition)]
            (mark,) = (t for t in fig.data if t.legendgroup == kind and t.marker.size == size)
            np.testing.assert_allclose([*mark.x, *mark.y], own.mean(axis=0))
            assert mark.text[0].startswith(f"<b>{name}</b>")
            assert ("“the user is X”" in mark.text[0]) == (condition == "user")
            small = [t for t in fig.data if t.marker.size == 4 and t.marker.color == colours(data.kind.values)[kind]]
            (prompts,) = (t for t in small if t.marker.symbol.endswith("-open") == (condition == "user"))
            np.testing.assert_allclose(np.stack([prompts.x, prompts.y], axis=1), own)
            assert (
                prompts.marker.symbol
                == mark.marker.symbol
                == MARKS[side == "human"] + ("-open" if condition == "user" else "")
            )
        pointed = next(a for a in fig.layout.annotations if a.text == name)
        mean = at[(data.persona.values == name) & (data.condition.values == "you")].mean(axis=0)
        np.testing.assert_allclose((pointed.x, pointed.y), mean)
    assert set(legend(fig)) == {"AIs of films", "other model", "people", "“you are X”", "“the user is X”"}
    keys = {t.name: t.marker.symbol for t in fig.data if t.x[0] is None}
    assert keys == {"“you are X”": "circle", "“the user is X”": "circle-open"}
    assert fig.layout.yaxis.title.text == "component 2 (23 % of the variance)"
    assert note(fig, "component 1 (61 % of the variance)").y == 0
    assert "attn_out · layer 22 · last token" in fig.layout.title.text
    for axis in (fig.layout.xaxis, fig.layout.yaxis):
        assert axis.range[0] < axis.range[1]
    early = persona_map(data.assign_attrs(position=-3)).layout.title.text
    assert "position −3" in early
