"""The page to explore in a real browser: every control does what it says, keys too, and foreign words stay text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.report.explore.made import LAYERS, POSITIONS, effects, made, shares

import selfrep as sr
from selfrep.report.page import write_report

pytestmark = pytest.mark.slow
sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright (the extra test)")

HARM = "document.body.dataset.pwned=1"
HOSTILE = f"""</script><script>{HARM}</script><img src=x onerror="{HARM}">\"'&\u202e\u2067""" + "w" * 200


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def tame(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(made(tmp_path_factory.mktemp("tame")), [])


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(made(tmp_path_factory.mktemp("hostile"), lambda text: text + HOSTILE), [])


class Opened:
    """A page, with what went wrong in it and what it asked of the network."""

    def __init__(self, browser: Any, file: Path, where: str = "#explore", width: int = 1400, **context: Any) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, **context)
        self.page = self.context.new_page()
        self.page.set_default_timeout(15_000)
        self.wrong: list[str] = []
        self.asked: list[str] = []
        self.page.on(
            "console", lambda said: self.wrong.append(said.text) if said.type in ("error", "warning") else None
        )
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(file.as_uri() + where)

    def _said(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.wrong.append(message.text)

    def __enter__(self) -> Opened:
        self.page.wait_for_selector("#maps .map .main-svg", state="attached")
        return self

    def __exit__(self, *failed: object) -> None:
        self.context.close()
        if failed == (None, None, None):
            assert self.wrong == []
            assert [url for url in self.asked if not url.startswith(("file:", "data:", "blob:"))] == []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.page, name)

    def pick(self, name: str, option: str) -> None:
        self.page.get_by_label(name, exact=True).select_option(label=option)

    def sweep(self, pair: str = "no persona → the engine", direction: str = "noise") -> None:
        """Show one run of the sweep."""
        self.page.select_option("#atlas", label="T, patching the residual stream entering a block token by token")
        self.pick("Pair", pair)
        self.pick("Direction", direction)


def number(text: str) -> float:
    return float(re.search(r"[TSΔ] = (−?[\d.]+)", text)[1].replace("−", "-"))  # type: ignore[index]


def test_the_choices_change_the_map_and_its_number(browser: Any, tame: Path) -> None:
    kept = effects().transfer.to_numpy()
    with Opened(browser, tame) as page:
        for row, (pair, direction) in enumerate(
            (f"no persona → the {who}", way) for who in ("clerk", "engine") for way in ("denoise", "noise")
        ):
            page.sweep(pair, direction)
            drawn = page.evaluate("document.querySelector('.map').data[0].z")
            np.testing.assert_allclose(np.array(drawn, float), kept[row], rtol=1e-6)
            assert number(page.inner_text("#cell")) == pytest.approx(kept[row, 2, -1], abs=6e-3)
        assert "control: a random direction" in page.inner_text("#numbers")
        assert page.locator("#prompts .prompt").count() == 2
        assert "You are an engine" in page.inner_text("#prompts")
        page.select_option("#atlas", label="S, how far the sides lie apart in the residual stream leaving a block")
        assert page.inner_text("#cell").startswith("S = ")
        assert page.locator("#by-place").is_hidden()


def test_a_click_and_the_arrow_keys_choose_the_cell(browser: Any, tame: Path) -> None:
    kept = effects().transfer.to_numpy()[3]
    with Opened(browser, tame) as page:
        page.sweep()
        box = page.locator(".map .nsewdrag").first.bounding_box()
        x, y = (2.5 / len(POSITIONS)) * box["width"], (0.5 / len(LAYERS)) * box["height"]
        page.mouse.click(box["x"] + x, box["y"] + y)
        assert "at layer 9, position −10 “you”" in page.inner_text("#cell")
        assert number(page.inner_text("#cell")) == pytest.approx(kept[3, 2], abs=6e-3)
        page.locator(".map").focus()
        for key in ("ArrowDown", "ArrowRight", "ArrowUp", "ArrowLeft", "ArrowDown"):
            page.keyboard.press(key)
        assert "at layer 5, position −10" in page.inner_text("#cell")
        page.keyboard.press("End")
        assert "position −1 “'a\"&”" in page.inner_text("#cell")
        page.keyboard.press("Home")
        for _ in range(9):
            page.keyboard.press("ArrowDown")
        assert "at layer 0, position −12" in page.inner_text("#cell")
        assert "no number" in page.inner_text("#cell")
        assert "This prompt has no such token" in page.inner_text("#why")
        outline = "getComputedStyle(document.activeElement).outlineStyle"
        assert page.evaluate(outline) == "solid", "the focus is visible"


def test_two_maps_stand_side_by_side(browser: Any, tame: Path) -> None:
    kept = effects().transfer.to_numpy()
    with Opened(browser, tame) as page:
        page.sweep("no persona → the clerk", "denoise")
        page.click("#compare")
        page.pick("B · Pair", "no persona → the engine")
        page.pick("B · Direction", "noise")
        boxes = [page.locator(".map").nth(i).bounding_box() for i in (0, 1)]
        assert boxes[0]["y"] == boxes[1]["y"]
        said = page.inner_text("#cell")
        a, b = (kept[row, 2, -1] for row in (0, 3))
        assert float(re.search(r"A − B = (−?[\d.]+)", said)[1].replace("−", "-")) == pytest.approx(a - b, abs=6e-3)  # type: ignore[index]
        scales = page.evaluate("[...document.querySelectorAll('.map')].map((map) => map.data[0].zmax)")
        assert scales[0] == scales[1]
        assert page.inner_text("#whose-code") == "The number of A again, in Python"
        page.click("#compare")
        assert page.locator(".map").count() == 1


def test_the_interval_is_that_of_the_mean(browser: Any, tame: Path) -> None:
    kept = shares([])
    with Opened(browser, tame) as page:
        page.sweep("mean of 2 pairs, self → persona", "noise")
        low, high = (float(kept[name][1, 2, -1]) for name in ("ci_low", "ci_high"))
        texts = re.search(r"95 % interval (−?[\d.]+) to (−?[\d.]+)", page.inner_text("#cell"))
        assert texts is not None
        assert [float(t.replace("−", "-")) for t in texts.groups()] == pytest.approx([low, high], abs=6e-3)
        assert "0.03" in page.inner_text("#numbers"), "its p"


@pytest.mark.parametrize(
    ("words", "kind", "place", "shown"),
    [
        ("xyzzy", None, "#cell", "no persona"),
        ("sides differ", "finding", "#finding", "5.8\xa0nats"),
        ("man of files", "persona", "#maps", "the clerk"),
        ("you are an engine", "prompt", "#prompts", "You are an engine"),
        ("THE ENGINE", "pair", "#maps", "the engine"),
    ],
)
def test_search_finds_and_goes_there(
    browser: Any, tame: Path, words: str, kind: str | None, place: str, shown: str
) -> None:
    with Opened(browser, tame) as page:
        page.keyboard.press("/")
        assert page.evaluate("document.activeElement.id") == "search"
        page.keyboard.type(words)
        results = page.locator("#results [role=option]")
        if kind is None:
            assert results.count() == 0
            assert "Nothing found." in page.inner_text("#results")
            return
        chosen = results.filter(has=page.locator(".kind", has_text=kind)).first
        if kind == "pair":
            page.keyboard.press("ArrowDown")
            page.keyboard.press("Enter")
        else:
            chosen.click()
        assert shown in page.inner_text(place)
        assert page.locator("#results").is_hidden()


def test_the_other_controls(browser: Any, tame: Path) -> None:
    with Opened(browser, tame) as page:
        page.keyboard.press("?")
        assert page.locator("#keys").is_visible()
        page.click("#close")
        page.click("#help")
        page.keyboard.press("Escape")
        assert page.locator("#keys").is_hidden()
        page.locator(".map").focus()
        page.keyboard.press("c")
        assert page.locator(".map").count() == 2
        page.click("#copy")
        assert page.evaluate("getSelection().toString()").startswith("import selfrep as sr")
        page.click("#search")
        page.keyboard.type("cd?/")
        assert page.locator(".map").count() == 2, "who writes gives no commands"
        page.keyboard.press("Escape")
        assert page.input_value("#search") == ""
        names = page.evaluate(
            "[...document.querySelectorAll('#explore select, #explore input, #explore button')]"
            ".filter((c) => !(c.labels?.length || c.textContent.trim() || c.closest('.modebar'))).length"
        )
        assert names == 0, "every control has a name"


def test_the_address_finds_the_number_again(browser: Any, tame: Path) -> None:
    with Opened(browser, tame) as page:
        page.sweep()
        page.click("#compare")
        page.locator(".map").first.focus()
        page.keyboard.press("ArrowLeft")
        kept, address = page.inner_text("#cell"), page.evaluate("location.hash")
    with Opened(browser, tame, address) as page:
        assert page.inner_text("#cell") == kept
    with Opened(browser, tame, "#explore?map=gone&at=9.9.9.9&layer=77") as page:
        assert page.inner_text("#cell").startswith("T = "), "an address of another run leads to the beginning"


def luminance(page: Any) -> float:
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return sum(map(float, re.findall(r"[\d.]+", colour)[:3])) / 765


def test_dark_and_light_follow_the_system_and_the_switch(browser: Any, tame: Path) -> None:
    with Opened(browser, tame, color_scheme="dark") as page:
        assert luminance(page) < 0.2
        page.click("#theme")
        assert luminance(page) > 0.9
    with Opened(browser, tame) as page:
        assert luminance(page) > 0.9
        page.keyboard.press("d")
        assert luminance(page) < 0.2
        ink = page.evaluate("document.querySelector('.map').layout.font.color")
        assert min(map(float, re.findall(r"\d+", ink)[:3])) > 150, "what is drawn is light too"


def test_paper_shows_what_was_chosen_and_no_controls(browser: Any, tame: Path) -> None:
    with Opened(browser, tame, color_scheme="dark") as page:
        page.sweep()
        page.emulate_media(media="print")
        assert page.locator("#explore .controls:visible").count() == 0
        assert luminance(page) > 0.9
        assert page.locator(".name").is_visible()
        assert "the engine" in page.inner_text(".name")
        assert page.locator("#numbers").is_visible()


@pytest.mark.parametrize("width", [400, 1400])
def test_foreign_words_stay_text_at_every_width(browser: Any, hostile: Path, width: int) -> None:
    with Opened(browser, hostile, width=width) as page:
        for i in range(page.locator("#atlas option").count()):
            page.select_option("#atlas", index=i)
            for pick in range(page.locator("#picks select").count()):
                for option in range(page.locator("#picks select").nth(pick).locator("option").count()):
                    page.locator("#picks select").nth(pick).select_option(index=option)
        page.click("#compare")
        page.click("#search")
        page.keyboard.type("files")
        page.locator("#results [role=option]").first.click()
        assert HOSTILE in page.locator("#prompts").text_content()
        assert page.evaluate("'pwned' in document.body.dataset") is False
        assert page.evaluate("document.querySelectorAll('#explore img, #explore script:not([type])').length") == 0
        wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, "the page scrolls sideways"


def test_without_scripts_the_chapters_are_there_and_the_page_says_why(browser: Any, tame: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(tame.as_uri())
    assert page.locator("#explorer").is_hidden()
    assert "switched off here" in page.inner_text("#explore")
    assert page.locator("#found").is_visible()
    context.close()


def test_a_notebook_shows_the_same_in_a_frame(browser: Any, tame: Path, tmp_path: Path) -> None:
    shown = sr.explore(tame.parent)._repr_html_()
    file = tmp_path / "notebook.html"
    file.write_text(f"<!doctype html><meta charset=utf-8><title>n</title>{shown}", "utf-8")
    context = browser.new_context()
    page, wrong = context.new_page(), []
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(file.as_uri())
    frame = page.frame_locator("iframe")
    frame.locator(".map .main-svg").first.wait_for(state="attached")
    frame.locator("#compare").click()
    assert frame.locator(".map").count() == 2
    assert str(tame.parent) in frame.locator("#code").inner_text()
    assert wrong == []
    context.close()
