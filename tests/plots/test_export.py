"""Figures become files; what is missing is said together with how to get it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Literal

import plotly.graph_objects as go
import pytest

from selfrep.errors import SelfrepError
from selfrep.plots import export
from selfrep.plots.export import SCRIPT, browser, save
from selfrep.plots.on_paper import on_page


@pytest.fixture
def figure() -> go.Figure:
    return go.Figure(go.Scatter(x=[1, 2], y=[1, 2])).update_layout(height=288, title_text="a < b")


def test_a_page_is_self_contained(figure: go.Figure, tmp_path: Path) -> None:
    path = save(figure, tmp_path / "new" / "figure.html")
    page = path.read_text(encoding="utf-8")
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=", page)
    assert "Plotly.newPlot" in page
    assert "288" in page


def test_pages_of_one_folder_may_share_what_draws_them(figure: go.Figure, tmp_path: Path) -> None:
    first, second = (save(figure, tmp_path / name, script="beside") for name in ("a.html", "b.html"))
    for page in (first, second):
        assert re.findall(r"<script[^>]+src=\"([^\"]+)\"", page.read_text("utf-8")) == ["plotly.min.js"]
        assert page.stat().st_size < 50_000
    assert {path.name for path in tmp_path.iterdir()} == {"a.html", "b.html", "plotly.min.js"}
    assert "plotly.js" in (tmp_path / "plotly.min.js").read_text("utf-8")[:200]


@pytest.mark.slow
def test_a_browser_draws_in_the_size_that_was_asked_for(figure: go.Figure, tmp_path: Path, chromium: str) -> None:
    svg = save(figure, tmp_path / "f.svg", engine="browser").read_text(encoding="utf-8")
    assert 'width="528"' in svg
    assert 'height="288"' in svg
    assert "a &#60; b" in svg
    png = save(figure, str(tmp_path / "f.png"), width_in=4.0, height_in=2.0, engine="browser").read_bytes()
    assert (int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")) == (4 * 96 * 3, 2 * 96 * 3)
    pdf = save(figure, tmp_path / "f.pdf", engine="browser").read_bytes()
    box = re.search(rb"/MediaBox\s*\[\s*0\s+0\s+([\d.]+)\s+([\d.]+)", pdf)
    assert pdf.startswith(b"%PDF")
    assert box is not None
    assert float(box[1]) == pytest.approx(5.5 * 72, abs=1.5)
    assert export._artist.cache_info().currsize == 1, "one browser drew them all"


def test_paper_needs_no_browser_and_has_the_size_that_was_asked_for(
    figure: go.Figure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "browser", lambda: None)
    monkeypatch.setattr(export, "_artist", None)  # the control: whoever asked for one would fail
    pdf = save(figure, tmp_path / "f.pdf", 3.25, 2.0).read_bytes()
    box = re.search(rb"/MediaBox\s*\[\s*0\s+0\s+([\d.]+)\s+([\d.]+)", pdf)
    assert box is not None
    assert [float(side) for side in box.groups()] == pytest.approx([3.25 * 72, 2.0 * 72])
    png = save(figure, tmp_path / "f.png", 2.2, 2.0).read_bytes()
    assert (int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")) == (660, 600)
    assert "a &lt; b" in save(figure, tmp_path / "f.svg").read_text("utf-8")
    assert "pgfqpoint{5.5000in}" in save(figure, tmp_path / "f.pgf").read_text("utf-8")
    with pytest.raises(TypeError):
        save(figure, tmp_path / "g.pdf", engine="browser")


def test_figures_of_matplotlib_are_saved_as_they_are(figure: go.Figure, tmp_path: Path) -> None:
    axes = on_page(figure, 3.25)[1]
    sizes = {save(one, tmp_path / "f.png").read_bytes()[16:24] for one in (axes[0], axes, axes[0].figure)}
    assert len(sizes) == 1
    with pytest.raises(SelfrepError, match="width="):
        save(axes[0], tmp_path / "f.pdf", 5.5)
    with pytest.raises(SelfrepError, match="plotly draws"):
        save(axes[0], tmp_path / "f.html")
    with pytest.raises(SelfrepError, match="got str"):
        save("figure", tmp_path / "f.pdf")
    with pytest.raises(SelfrepError, match="engine='pencil'"):
        save(figure, tmp_path / "f.pdf", engine="pencil")
    with pytest.raises(SelfrepError, match="pgf"):
        save(figure, tmp_path / "f.pgf", engine="browser")


def test_what_cannot_be_saved_is_refused(figure: go.Figure, tmp_path: Path) -> None:
    with pytest.raises(SelfrepError, match=r"\.html, \.svg, \.pdf, \.png, \.pgf.*'figure\.jpg'"):
        save(figure, tmp_path / "figure.jpg")
    with pytest.raises(SelfrepError, match="positive"):
        save(figure, tmp_path / "figure.html", width_in=0.0)
    with pytest.raises(SelfrepError, match="positive"):
        save(figure, tmp_path / "figure.html", height_in=-1.0)
    assert list(tmp_path.iterdir()) == []


CHILD = """
import asyncio, os, sys
import plotly.graph_objects as go
from selfrep.plots.export import save
fig, folder = go.Figure(go.Scatter(x=[0, 1], y=[0, 1])), sys.argv[1]
save(fig, folder + "/parent.svg", engine="browser")
child = os.fork()
if child == 0:
    save(fig, folder + "/child.svg", engine="browser")
    sys.exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
save(fig, folder + "/after.svg", engine="browser")

async def notebook():
    save(fig, folder + "/loop.svg", engine="browser")

asyncio.run(notebook())
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that forks")
@pytest.mark.usefixtures("chromium")
def test_a_forked_child_and_an_event_loop_save_figures(tmp_path: Path) -> None:
    """The browser of the parent is spoken to by a thread that the child does not have."""
    pytest.importorskip("kaleido")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CHILD, str(tmp_path)], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    svgs = [(tmp_path / f"{name}.svg").read_text("utf-8") for name in ("parent", "child", "after", "loop")]
    assert all(svg.startswith("<svg") for svg in svgs)


@pytest.fixture
def fresh() -> object:
    """No browser from another test, and none left for the next."""
    export._artist.cache_clear()
    yield
    export._artist.cache_clear()


@pytest.mark.usefixtures("fresh")
def test_without_a_browser_the_error_says_how_to_get_one(
    figure: go.Figure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "none"))
    assert browser() is None
    with pytest.raises(SelfrepError, match=r"none was found.*apt-get install chromium.*BROWSER_PATH"):
        save(figure, tmp_path / "f.svg", engine="browser")
    assert save(figure, tmp_path / "f.html").exists()


@pytest.mark.usefixtures("fresh")
def test_without_kaleido_the_error_says_how_to_get_it(
    figure: go.Figure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROWSER_PATH", sys.executable)
    monkeypatch.setitem(sys.modules, "kaleido", None)
    with pytest.raises(SelfrepError, match=r"kaleido.*pip install 'selfrep\[figures\]'"):
        save(figure, tmp_path / "f.svg", engine="browser")


@pytest.mark.usefixtures("fresh")
def test_a_program_that_is_no_browser_is_named(
    figure: go.Figure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("kaleido")
    fake = tmp_path / "browser"
    fake.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    fake.chmod(0o755)
    monkeypatch.setenv("BROWSER_PATH", str(fake))
    assert browser() == str(fake)
    monkeypatch.setattr(export, "_PATIENCE", 10.0)
    with pytest.raises(SelfrepError, match=re.escape(str(fake))):
        save(figure, tmp_path / "f.svg", engine="browser")


def test_the_browser_is_looked_for_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "google-chrome"
    program.write_text("", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.delenv("BROWSER_PATH", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert browser() == str(program)
    assert os.access(program, os.X_OK)


def test_the_script_of_a_folder_of_pages_stands_beside_them_once(tmp_path: Path) -> None:
    fig = go.Figure(go.Scatter(x=[0, 1], y=[0, 1]))
    pages = [save(fig, tmp_path / f"{name}.html", script="beside") for name in ("a", "b")]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html", "b.html", SCRIPT]
    for page in pages:
        assert f'src="{SCRIPT}"' in page.read_text("utf-8")
        assert page.stat().st_size < 50_000
    assert "Plotly" in (tmp_path / SCRIPT).read_text("utf-8")
    assert save(fig, tmp_path / "alone.html").stat().st_size > 1_000_000, "the control: one that stands for itself"


HARM = "<img src='https://example.org/seen.png'><b onmouseover=\"document.body.dataset.pwned=1\">x</b>"


@pytest.mark.parametrize("script", ["inside", "beside"])
def test_a_page_that_is_hovered_and_clicked_asks_nothing_of_the_net(
    chromium: str, tmp_path: Path, script: Literal["inside", "beside"]
) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright (the extra test)")
    fig = go.Figure(go.Scatter(x=[1, 2], y=[1, 2], text=[HARM, HARM], hovertext=[HARM, HARM], mode="markers+text"))
    fig.update_layout(title_text=HARM, height=400)
    file = save(fig, tmp_path / "figure.html", script=script)
    asked, told = list[str](), list[str]()
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = launched.new_page(viewport={"width": 800, "height": 600})
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: told.append(message.text))
        page.goto(file.as_uri())
        page.wait_for_selector(".main-svg .points path")
        box = page.locator(".main-svg .points path").first.bounding_box()
        at = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.mouse.move(*at)
        page.wait_for_selector(".hoverlayer .hovertext")
        page.mouse.click(*at)
        assert page.evaluate("document.body.dataset.pwned") is None
        assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
        # The control: what reaches for the net is stopped by the page itself, and would be seen.
        page.evaluate("new Image().src = 'https://example.org/seen.png'")
        page.wait_for_timeout(200)
        launched.close()
    assert any("example.org/seen.png" in line and "Content Security Policy" in line for line in told)
