"""The curve stands between its bounds, whether or not D is identified."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from tests.plots.reading import labels, legend, named, rules
from tests.report.groups import GROUPS, decimals

from selfrep.analyses.directness.figures import directness_curve
from selfrep.plots.theme import NULL, OWN


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
