"""Figures stand beside each other, each with its own words."""

from __future__ import annotations

import plotly.graph_objects as go
import pytest
from matplotlib import pyplot as plt
from tests.plots.on_paper.hard import effects, items
from tests.plots.on_paper.measuring import faults, texts

from selfrep.analyses.items.figures import item_bars
from selfrep.errors import SelfrepError
from selfrep.plots.effects import heatmap
from selfrep.plots.joined import panels
from selfrep.plots.venues import paper


def test_each_keeps_its_title_its_tokens_and_its_keys() -> None:
    figs = [heatmap(effects(12, [" who", " are"], layers=3), 0), item_bars(items(6))]
    with paper("icml") as page:
        figure = panels(figs)
    assert figure.get_size_inches()[0] == page.text
    said = {text for text, _ in texts(figure)}
    assert {"who", "T", "layer", "“you are X”", "kept"} <= said
    assert {text.partition(" ")[0] for text in said if text.startswith(("a T", "b H"))} == {"a", "b"}
    assert faults(figure) == []
    plt.close("all")


def test_only_figures_of_plotly_are_put_together() -> None:
    with pytest.raises(SelfrepError, match="leave backend out"):
        panels([go.Figure(), "figure"])
