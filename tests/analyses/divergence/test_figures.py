"""Lines, bands and maps show the Dataset, one reading of the self at a time."""

from __future__ import annotations

import numpy as np
import pytest
from tests.plots.reading import legend, named
from tests.report.groups import GROUPS, decimals

from selfrep.analyses.divergence.figures import divergence_map, divergence_profile
from selfrep.errors import SelfrepError
from selfrep.plots.theme import PALETTE, SELF

DIV = GROUPS["divergence"]


@pytest.mark.parametrize("reference", ["unprompted", "default"])
def test_every_kind_is_a_line_with_its_band_beside_the_scales(reference: str) -> None:
    fig = divergence_profile(DIV, reference=reference)
    at = DIV.sel(reference=reference, site="resid_pre", position=-1)
    for kind, label, colour in (("human", "humans", PALETTE[0]), ("default", "the tuned default", SELF)):
        line = named(fig, label)
        np.testing.assert_array_equal(line.y, at.kind_estimate.sel(kind=kind))
        assert line.line.color == colour
    bands = [trace for trace in fig.data if trace.name == "interval"]
    np.testing.assert_array_equal(
        bands[-1].y, [*at.kind_ci_high.sel(kind="human"), *at.kind_ci_low.sel(kind="human")[::-1]]
    )
    np.testing.assert_array_equal(named(fig, "one from another: humans").y, at.within.sel(side="human"))
    (user,) = (name for name in legend(fig) if name.startswith("“the user is …”"))
    furthest = str(at.kind[int(at.kind_user_is.max("layer").argmax("kind"))].values)
    np.testing.assert_array_equal(named(fig, user).y, at.kind_user_is.sel(kind=furthest))
    assert str(at.kind_label.sel(kind=furthest).values) in user


def test_a_map_is_a_panel_a_kind_and_dots_what_may_be_0() -> None:
    fig = divergence_map(DIV)
    maps = [trace for trace in fig.data if trace.type == "heatmap"]
    at = DIV.sel(reference="unprompted", site="resid_pre")
    for one, kind in zip(maps, ("default", "human"), strict=True):
        np.testing.assert_array_equal(one.z, at.kind_estimate.sel(kind=kind))
        assert decimals(one.text[0][0])[0] == float(at.kind_estimate.sel(kind=kind)[0, 0])
    dotted = [trace for trace in fig.data if trace.name == "dotted"]
    assert sum(len(trace.x) for trace in dotted) == int((at.kind_ci_low <= 0).sum())


def test_what_is_not_there_is_refused_or_said() -> None:
    with pytest.raises(SelfrepError, match=r"no reference 'reductionist'.*unprompted, default"):
        divergence_profile(DIV, reference="reductionist")
    with pytest.raises(SelfrepError, match="no position -9"):
        divergence_profile(DIV, where=-9)
    with pytest.raises(SelfrepError, match="no site 'z'"):
        divergence_map(DIV, site="z")
    nothing = DIV.assign(kind_estimate=DIV.kind_estimate * np.nan)
    for draw in (divergence_profile, divergence_map):
        assert "Not identified" in draw(nothing).layout.annotations[0].text
