"""Ribbons fill each panel from the prior to the last token; shuffled texts have none."""

from __future__ import annotations

import numpy as np
import xarray as xr

from selfrep.results.plots.speakers import posterior_ribbons


def test_each_text_has_a_panel_that_is_always_full() -> None:
    rng = np.random.default_rng(0)
    raw = rng.random((3, 4, 5))
    pi = raw / raw.sum(axis=0)
    pi[:, 1, 3:] = np.nan
    pieces = np.full((4, 5), " <b>")
    found = xr.Dataset(
        {"posterior": (("persona", "text", "token"), pi), "prior": ("persona", [0.5, 0.3, 0.2])},
        coords={
            "persona": ["jfk", "<b>$x$</b>", "hal_9000"],
            "author": ("text", ["jfk", "hal_9000", "jfk", "jfk"]),
            "shuffled": ("text", [False, False, True, True]),
            "piece": (("text", "token"), pieces),
        },
    )
    fig = posterior_ribbons(found)
    assert len(fig.data) == 2 * 3
    for panel, last in (("x", 5), ("x2", 3)):
        ribbons = [trace for trace in fig.data if trace.xaxis == panel]
        np.testing.assert_allclose(np.sum([trace.y for trace in ribbons], axis=0), 1)
        assert [trace.y[0] for trace in ribbons] == [0.5, 0.3, 0.2]
        assert {len(trace.y) for trace in ribbons} == {last + 1}
    assert "<b>$x$" not in "".join(trace.name for trace in fig.data)
    assert "&lt;b&gt;" in fig.data[0].text[1]
    assert [note.text for note in fig.layout.annotations] == ["<b>jfk</b>", "<b>hal 9000</b>"]
