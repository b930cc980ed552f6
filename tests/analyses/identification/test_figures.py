"""Personas stand on their scales at their values; what is not identified is only named."""

from __future__ import annotations

import numpy as np
import xarray as xr
from plotly.graph_objects import Figure, Scatter
from tests.plots.reading import ends, labels, legend, named, note, rules
from tests.report.groups import GROUPS, decimals

from selfrep.analyses.identification.figures import identification_dots, referent_lines
from selfrep.plots.theme import CONTROL, INK, colours

INKS = colours(["fictional_ai", "default", "human"])  # as they come in the data


def traces(fig: Figure, name: str) -> list[Scatter]:
    return [t for t in fig.data if t.name == name]


def test_each_persona_has_a_mark_in_its_kinds_colour_and_its_control(identified: xr.Dataset) -> None:
    fig = identification_dots(identified)
    at = identified.sel(subscale="ai_human")
    for kind, name in (("default", "default"), ("human", "human"), ("fictional_ai", "fictional ai")):
        (marks,) = traces(fig, name)
        np.testing.assert_allclose(marks.x, at.estimate.to_numpy()[at.kind.to_numpy() == kind])
    (control,) = traces(fig, "“the user is X”")
    assert sorted(control.x) == sorted(at.user_is.to_numpy())
    assert "<script>" not in fig.to_json()


def test_a_subscale_that_is_not_identified_is_only_named(identified: xr.Dataset) -> None:
    fig = identification_dots(identified)
    assert len(traces(fig, "default")) == 1
    assert "Not identified: maker, no item" in fig.layout.meta["caption"]
    closed = identified.assign(identified=identified.identified & False)
    assert "Not identified" in identification_dots(closed).layout.annotations[0].text


def test_referents_are_a_line_a_persona_and_the_means(identified: xr.Dataset, slopes: xr.Dataset) -> None:
    fig = referent_lines(identified, slopes)
    chosen = identified.estimate.sel(subscale=slopes.attrs["referents"])
    (default,) = traces(fig, "default")
    np.testing.assert_allclose(default.y, chosen.sel(persona="smollm"))
    (mean,) = traces(fig, "mean, “you are X”")
    np.testing.assert_allclose(mean.y, chosen.mean("persona"))
    closed = slopes.assign(identified=slopes.identified & False, reason=("series", ["deaf"]))
    assert "deaf" in referent_lines(identified, closed).layout.annotations[0].text


YOU, USER = ("estimate", "ci_low", "ci_high"), ("user_is", "user_is_ci_low", "user_is_ci_high")


def test_every_panel_holds_its_subscale_and_every_row_its_persona() -> None:
    group = GROUPS["identification"]
    fig = identification_dots(group)
    rows = {"smollm": 2, "hal": 1, "jfk": 0}  # kinds in the order of the palette, from the top
    assert labels(fig.layout.yaxis) == {float(y): name for name, y in rows.items()}
    assert rules(fig) == {("x", 0.0), ("x2", 0.0)}
    assert legend(fig) == ["“the user is X”", "default", "fictional ai", "human"]
    for panel, scale in (("x", "ai_human"), ("x2", "maker")):
        at = group.sel(subscale=scale)
        assert note(fig, f"<b>{scale.replace('_', ' ')}</b>").xref == f"{panel} domain"
        assert fig.layout[panel.replace("x", "xaxis")].title.text == "I (paraphrase SDs)"
        for name, kind in (("smollm", "default"), ("hal", "fictional ai"), ("jfk", "human")):
            marks, own = named(fig, kind, panel), at.sel(persona=name)
            for drawn, key in zip((marks.x, *ends(marks)), YOU, strict=True):
                np.testing.assert_allclose(drawn, float(own[key]))
            np.testing.assert_allclose(marks.y, rows[name] + 0.1)
            colour = INKS[kind.replace(" ai", "_ai")]
            assert (marks.marker.color, marks.error_x.color) == (colour, colour)
            assert decimals(marks.text[0]) == [float(own[key]) for key in YOU]
            assert f"<b>{name}:" in marks.text[0]
        control = named(fig, "“the user is X”", panel)
        assert (control.marker.color, control.marker.symbol) == (CONTROL, "diamond-open")
        for x, y, text in zip(control.x, control.y, control.text, strict=True):
            (name,) = (name for name, row in rows.items() if row - 0.2 == y)
            own = at.sel(persona=name)
            assert x == float(own.user_is)
            assert decimals(text) == [float(own[key]) for key in USER]
            assert f"<b>{name}, “the user is X”" in text


def test_referents_stand_in_their_order_with_their_slope() -> None:
    group, slopes = GROUPS["identification"], GROUPS["referents"]
    fig = referent_lines(group, slopes)
    chosen = group.sel(subscale=slopes.attrs["referents"])
    assert {x: text.replace("<br>", " ") for x, text in labels(fig.layout.xaxis).items()} == {
        0: "this chat", 1: "the user",
    }  # fmt: skip
    for name, values, colour, dash in (
        *((kind, chosen.estimate.sel(persona=who), INKS[kind.replace(" ai", "_ai")], None)
          for who, kind in (("hal", "fictional ai"), ("smollm", "default"), ("jfk", "human"))),
        ("mean, “you are X”", chosen.estimate.mean("persona"), INK, "solid"),
        ("mean, “the user is X”", chosen.user_is.mean("persona"), CONTROL, "dash"),
    ):  # fmt: skip
        line = named(fig, name)
        np.testing.assert_allclose(line.x, [0, 1])
        np.testing.assert_allclose(line.y, values)
        assert (line.line.color, line.line.dash) == (colour, dash)
        np.testing.assert_allclose([decimals(text)[0] for text in line.text], values, atol=5e-4)
    assert len(legend(fig)) == 5
    assert rules(fig) == {("y", 0.0)}
    assert fig.layout.yaxis.title.text == "I (paraphrase SDs)"
    first = slopes.isel(series=0)
    assert decimals(fig.layout.title.text.split("slope")[1]) == [
        float(first[key]) for key in ("mean", "ci_low", "ci_high")
    ]
