"""Lines run from their left to their right end in every panel, on one axis that no hair makes steep."""

from __future__ import annotations

import numpy as np
from tests.plots.reading import labels, legend, named, note

from selfrep.plots import two_by_two
from selfrep.plots.two_by_two import Line

VALUES = np.array([[1.0, 2.0], [3.0, -4.0]])


def draw(values: np.ndarray) -> object:
    lines = [Line("own", "#000000", "solid", values), Line("other", "#ff0000", "dash", values / 2)]
    return two_by_two.draw(
        lines, ["left", "right"], ["a < b", ""], ends=("no", "yes"), axis="nats", title="t", subtitle="", caption="c"
    )


def test_each_panel_holds_its_own_values_under_its_heading() -> None:
    fig = draw(VALUES)
    for i, panel in enumerate(("x", "x2")):
        for name, factor in (("own", 1.0), ("other", 0.5)):
            line = named(fig, name, panel)
            np.testing.assert_array_equal(line.y, VALUES[i] * factor)
            assert [text.partition(":")[0] for text in line.text] == [f"<b>{name}, no", f"<b>{name}, yes"]
    assert labels(fig.layout.xaxis) == {0: "no", 1: "yes"}
    assert legend(fig) == ["own", "other"]
    assert note(fig, "<b>right</b>").xref == "x2 domain"
    assert note(fig, "a &lt; b").xref == "x domain"


def test_the_axis_holds_all_values_and_spans_a_nat_at_least() -> None:
    low, high = draw(VALUES).layout.yaxis.range
    assert low < -4 < 3 < high
    low, high = draw(VALUES * 1e-3).layout.yaxis.range
    assert high - low == 1.0
