"""Each text has its panel, each persona its ribbon."""

from __future__ import annotations

import numpy as np
import xarray as xr
from tests.plots.reading import legend, named, note
from tests.report.groups import GROUPS

from selfrep.analyses.posterior.figures import posterior_ribbons


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


def test_each_ribbon_is_its_persona_in_the_panel_of_its_text() -> None:
    group = GROUPS["posterior"]
    fig = posterior_ribbons(group.isel(text=[0, 0, 1]).assign_coords(shuffled=("text", [True, False, False])))
    assert legend(fig) == ["hal", "jfk"]
    colours = {(t.name, t.fillcolor) for t in fig.data}
    assert len(colours) == len({colour for _, colour in colours}) == 2, "a persona has one colour in all panels"
    for panel, text, author in (("x", 0, "jfk"), ("x2", 1, "hal")):
        assert note(fig, f"<b>{author}</b>").xref == f"{panel} domain"
        for person in ("hal", "jfk"):
            at = group.sel(text=text, persona=person)
            ribbon = named(fig, person, panel)
            assert list(ribbon.x) == [0, 1, 2, 3]
            np.testing.assert_array_equal(ribbon.y, [float(at.prior), *at.posterior.values])
            assert ribbon.stackgroup == "persona"
            for said, value, where in zip(ribbon.text, ribbon.y, ("before", "“a”", "“␣b”", "“c”"), strict=True):
                assert said.startswith(f"<b>{person}: {value:.2f}</b>")
                assert where in said
        assert tuple(fig.layout[panel.replace("x", "xaxis")].range) == (0, 3)
    assert tuple(fig.layout.yaxis.range) == (0, 1)
    assert "before a word was said" in fig.layout.meta["caption"]
    assert "the same for everybody" in posterior_ribbons(group.assign_attrs(prior="uniform")).layout.meta["caption"]
