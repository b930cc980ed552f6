"""A panel says what it shows at any size, and leaves out first what a reader loses least by."""

from __future__ import annotations

from tests.plots.on_paper.hard import effects, items, transfer
from tests.plots.on_paper.measuring import texts

from selfrep.analyses.items.figures import item_bars
from selfrep.analyses.transfer.figures import transfer_maps
from selfrep.plots.effects import heatmap
from selfrep.plots.on_paper import on_page


def said(figure: object) -> list[str]:
    return [text for text, _ in texts(figure)]  # type: ignore[arg-type]


def test_tokens_are_thinned_from_the_last_one_and_then_segments_stand_alone() -> None:
    fig = heatmap(effects(60, [f" w{k}" for k in range(60)], layers=3), 0)
    some = [text for text in said(on_page(fig, 3.25)[0]) if text.startswith("w")]
    assert "w59" in some
    assert 20 <= len(some) < 60
    assert len([text for text in said(on_page(fig, 10.0)[0]) if text.startswith("w")]) == 60
    narrow = said(on_page(heatmap(effects(300, [" w"], layers=3), 0), 2.2)[0])
    assert "w" not in narrow
    assert {"system", "question"} <= set(narrow)


def test_rows_have_their_names_in_lines_and_what_is_not_identified_says_so() -> None:
    written = said(on_page(item_bars(items(6)), 2.2)[0])
    assert written.count("not identified") == 2
    assert any("\n" in text and text.startswith("the captain") for text in written)
    assert "kept" in written


def test_panels_that_share_an_axis_tell_it_once() -> None:
    figure, axes = on_page(transfer_maps(transfer(12)), 10.0)
    assert [bool(ax.get_ylabel()) for ax in axes] == [True, False]
    assert axes[0].get_ylim() == axes[1].get_ylim()
    assert said(figure).count("layer") == 1
