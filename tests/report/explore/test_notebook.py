"""What a notebook shows: one frame, in which foreign words stay text, and which cannot reach what is around it."""

from __future__ import annotations

import html
from html.parser import HTMLParser
from pathlib import Path

import pytest
from tests.report.explore.made import made

import selfrep as sr
from selfrep.errors import SelfrepError
from selfrep.store.run_directory import RunDirectory


class Frames(HTMLParser):
    """The tags of a text, with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_a_run_is_one_frame_with_the_whole_page_in_it(tmp_path: Path) -> None:
    run = made(tmp_path, lambda text: f'{text}"><script>alert(1)</script>')
    shown = sr.explore(sr.open_run(run.path), height=640)
    ((tag, attrs),) = Frames(shown._repr_html_()).tags
    assert (tag, attrs["height"], attrs["srcdoc"]) == ("iframe", "640", shown.page)
    assert "allow-same-origin" not in (attrs["sandbox"] or "").split()
    assert "alert(1)</script>" not in shown.page.replace(html.escape("alert(1)</script>"), "")
    assert "Content-Security-Policy" in shown.page
    assert repr(str(run.path)).replace("'", "") in shown.page, "its code opens the folder that was given"
    assert repr(shown).startswith("Explorer(title=")


def test_a_run_without_maps_says_so_and_brings_no_library(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "begun")
    run.create_or_resume("name: begun", "abc")
    page = sr.explore(run.path).page
    assert "This run holds no map to explore." in page
    assert "<script" not in page


def test_what_cannot_be_shown_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SelfrepError, match="holds no run"):
        sr.explore(tmp_path)
    with pytest.raises(SelfrepError, match="200 to 4000 pixels; got 100"):
        sr.explore(made(tmp_path / "a").path, height=100)
