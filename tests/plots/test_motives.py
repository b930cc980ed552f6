"""Paths add up to the total and are drawn only where M stands; the curve of D always is."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from tests.plots.reading import labels, legend, named, rules
from tests.report.groups import GROUPS, decimals

from selfrep.plots.motives import directness_curve, mediation_paths
from selfrep.plots.theme import FAINT, KINDS, NULL, OWN


@pytest.fixture
def paths() -> xr.Dataset:
    phi = np.array([[[1.0, 2.0, 0.5]], [[0.8, 2.2, 0.5]]])
    share = np.array([[1 / 3], [np.nan]])
    return xr.Dataset(
        dict.fromkeys(("phi", "phi_ci_low", "phi_ci_high"), (("order", "donor", "path"), phi))
        | dict.fromkeys(("estimate", "ci_low", "ci_high"), (("order", "donor"), share))
        | {"identified": (("order", "donor"), [[True], [False]])}
        | {"reason": (("order", "donor"), [[""], ["P is <idle>"]])}
        | {"random": (("order", "donor", "mediator"), np.full((2, 1, 2), 0.25))},
        coords={"order": ["P first", "S first"], "donor": ["both"], "path": ["P", "S", "direct"],
                "mediator": ["P", "S"]},
    )  # fmt: skip


def test_bars_stack_to_the_total_in_either_order(paths: xr.Dataset) -> None:
    fig = mediation_paths(paths)
    assert [bar.name for bar in fig.data] == ["through the fictional AI", "through self and goals", "through neither"]
    np.testing.assert_allclose(np.sum([bar.x for bar in fig.data], axis=0), 3.5)
    said = [str(note.text) for note in fig.layout.annotations]
    assert said[0].startswith("M = 0.333")
    assert "not identified: P is &lt;idle&gt;" in said[1]
    assert all("random subspaces reach 0.25, 0.25 nats" in text for text in said)


def test_no_bar_is_drawn_where_no_order_is_identified(paths: xr.Dataset) -> None:
    closed = paths.assign(
        identified=paths.identified & False, reason=paths.reason.where(~paths.identified, "too small")
    )
    fig = mediation_paths(closed)
    assert not fig.data
    assert "Not identified" in fig.layout.annotations[0].text


@pytest.mark.parametrize("gate", [True, False])
def test_the_curve_shows_the_shift_and_names_d_only_where_it_stands(gate: bool) -> None:
    d = 0.25 if gate else np.nan
    shift = np.array([1.0, 2.0, 4.0])
    found = xr.Dataset(
        {"shift": ("share", shift), "shift_ci_low": ("share", shift - 1), "shift_ci_high": ("share", shift + 1)}
        | dict.fromkeys(("estimate", "ci_low", "ci_high"), ((), d))
        | {"identified": ((), gate), "reason": ((), ""), "paraphrase_sd": ((), 0.5)},
        coords={"share": [0.0, 0.5, 1.0]},
    )
    fig = directness_curve(found)
    (line,) = [trace for trace in fig.data if trace.name.startswith("shift")]
    assert list(line.y) == [1, 2, 4]
    assert ("D = 0.25" in fig.layout.title.text) == gate
    assert ("not identified" in fig.layout.title.text) == (not gate)


def test_each_order_has_its_bar_its_paths_and_its_m() -> None:
    group = GROUPS["mediation"]
    fig, at = mediation_paths(group), group.sel(donor="both")
    rows = {"P first": 1.0, "S first": 0.0}
    assert labels(fig.layout.yaxis) == {1: "fiction whole,<br>self without it", 0: "self whole,<br>fiction without it"}
    assert fig.layout.barmode == "relative"
    for name, path, colour in (
        ("through the fictional AI", "P", KINDS["fictional_ai"]),
        ("through self and goals", "S", OWN),
        ("through neither", "direct", FAINT),
    ):
        bar, phi = named(fig, name), at.sel(path=path)
        np.testing.assert_array_equal(bar.x, phi.phi)
        assert (list(bar.y), bar.orientation, bar.base) == (list(rows.values()), "h", None)
        assert bar.marker.color == colour
        for k, order in enumerate(rows):
            said = [float(phi[v][k]) for v in ("phi", "phi_ci_low", "phi_ci_high")]
            np.testing.assert_allclose(decimals(bar.text[k]), said, rtol=1e-9)
            assert bar.text[k] == bar.text[k].split(" nats</b>, ")[0] + f" nats</b>, {order}"
    for said, (order, y) in zip(fig.layout.annotations, rows.items(), strict=True):
        one = at.sel(order=order)
        expected = [float(one[v]) for v in ("estimate", "ci_low", "ci_high")]
        expected += [float(one.random.sel(mediator=m)) for m in ("P", "S")]
        np.testing.assert_allclose(decimals(said.text), expected, rtol=1e-9)
        assert y + 0.25 <= said.y < y + 0.5, "above its own bar"
    assert rules(fig) == {("x", 0.0)}
    assert fig.layout.xaxis.title.text == "change of the log odds of the behaviour (nats)"


def test_the_curve_stands_between_its_bounds_beside_what_paraphrasing_does() -> None:
    group = GROUPS["directness"].assign(paraphrase_sd=0.4)
    fig = directness_curve(group)
    line, band = named(fig, "shift, with its 95 % interval"), named(fig, "interval")
    np.testing.assert_array_equal(line.x, [0, 0.5, 1])
    np.testing.assert_array_equal(line.y, group["shift"])
    assert (line.line.color, band.fillcolor) == (OWN, "rgba(0,114,178,0.15)")
    np.testing.assert_array_equal(band.x, [0, 0.5, 1, 1, 0.5, 0])
    np.testing.assert_array_equal(band.y, [*group.shift_ci_high.values, *group.shift_ci_low.values[::-1]])
    noise = named(fig, "what paraphrasing does (1 SD)")
    assert list(zip(noise.x, noise.y, strict=True)) == [(0, 0.4), (1, 0.4), (None, None), (0, -0.4), (1, -0.4)]
    assert (noise.line.color, noise.line.dash) == (NULL, "dot")
    assert legend(fig) == ["shift, with its 95 % interval", "what paraphrasing does (1 SD)"]
    assert rules(fig) == {("y", 0.0)}
    assert labels(fig.layout.xaxis) == {0: "0 %", 0.5: "50 %", 1: "100 %"}
    for k, text in enumerate(line.text):
        said = [float(group[v][k]) for v in ("shift", "shift_ci_low", "shift_ci_high")]
        np.testing.assert_allclose(decimals(text), said, rtol=1e-9)
        assert text.startswith(f"<b>after {50 * k} % ")
        assert text.endswith(" nats</b>")
    assert fig.layout.yaxis.title.text == "shift of the behaviour (nats)"
    said = [float(group[v]) for v in ("estimate", "ci_low", "ci_high")]
    np.testing.assert_allclose(decimals(fig.layout.title.text.split("D = ")[1]), said)
