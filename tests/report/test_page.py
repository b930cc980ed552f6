"""The report says everything, shows foreign words as text, asks nothing of the network, and opens in a browser."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
import xarray as xr
import yaml
from tests.report.groups import GROUPS

from selfrep.analyses import register, unregister
from selfrep.analyses.analysis import Analysis
from selfrep.analyses.report import Chapter, Figure, Report
from selfrep.errors import SelfrepError
from selfrep.report import page as report
from selfrep.report.figures import Drawing, drawings
from selfrep.report.page import write_report
from selfrep.store.findings import Finding
from selfrep.store.run_directory import RunDirectory

HARM = "document.body.dataset.pwned=1"
HOSTILE = f"""</script><script>{HARM}</script><img src=x onerror="{HARM}">""" + "{{ 7*7 }}"
LAW = "patching nothing leaves the target"


def study(text: Callable[[str], str] = str) -> dict[str, Any]:
    """A study as it lies in a run directory; `text` is put around every word that people write."""
    who = {"ai": [" machine", text(" model")], "human": [" man", " woman"]}
    return {
        "name": text("demo"),
        "personas": {
            "define": {
                "smollm": {
                    "reading": "default",
                    "label": text("SmolLM"),
                    "descriptions": [text("an AI assistant"), "a bot"],
                },
                "jfk": {"side": "human", "label": "JFK", "descriptions": [text("a president"), "John F. Kennedy"]},
            }
        },
        "battery": {
            "define": {
                "who": {
                    "question": text("Who are you?"),
                    "prefill": text("I am a"),
                    "answers": who,
                    "perspective": "in_character",
                },
                "weak": {"question": "Really?", "prefill": "I am", "answers": who, "perspective": "spectator"},
            }
        },
        "separation": {"item": "who"},
        "transfer": {"pairs": [["smollm", "jfk"]], "items": ["who"], "sweeps": [{"site": "resid_pre"}]},
    }


def provenance(text: Callable[[str], str] = str) -> dict[str, Any]:
    return {
        "model": text("org/tiny-model"),
        "weights_hash": "b179c9523d0e",
        "n_layers": 2,
        "device": "cpu",
        "chat_template": {"name": "model", "text": text("{% for m in messages %}…{% endfor %}"), "system_role": True},
        "seed": 0,
        "versions": {"selfrep": "0.1.0", "torch": "2.13.0"},
        "git_commit": None,
        "seconds": 262.4,
    }


def findings(text: Callable[[str], str] = str) -> list[Finding]:
    return [
        Finding(
            text("The sides differ by"), 5.83, (4.9, 6.8), text("the user is X: 4 nats"), text("p < .01"), unit="nats"
        ),
        Finding("S at layer 22", -0.012, (-0.03, 0.008), "floor 0.01", "16 personas"),
        Finding("Which layer", "layer 22", None, "", ""),
        Finding(text("Transfer is"), 0.77, None, "", "", identified=False, reason=text("the effect is too small")),
    ]


def items(text: Callable[[str], str] = str) -> xr.Dataset:
    numbers = {
        name: ("item", np.array([7.25, 0.71, 7.25]))
        for name in ("shift", "ci_low", "ci_high", "p", "user_shift", "kept", "all_words_shift")
    }
    return xr.Dataset(
        numbers
        | {"paraphrase_sd": ("item", [0.5, 0.9, 0.5]), "answer_mass": ("item", [0.4, 0.3, 0.4])}
        | {
            "identified": ("item", [True, False, True]),
            "reason": ("item", ["", text("under three times the noise"), ""]),
            "shift_reason": ("item", ["", text("under three times the noise"), ""]),
        },
        coords={"item": ["who", "weak", "all in character"], "n_items": ("item", [1, 1, 1])},
        attrs={"permuted": text("the side labels of personas"), "smallest_p": 0.0002},
    )


def effects(site: str, missed: float) -> xr.Dataset:
    return xr.Dataset(
        {"patched": (("pair", "layer"), np.zeros((1, 2), np.float32))},
        attrs={
            "site": site,
            "selfcheck": json.dumps({LAW: missed, "a replayed cell equals the plain forward pass": 2.4e-5}),
        },
    )


def pictures(text: Callable[[str], str] = str) -> list[Drawing]:
    heat = go.Figure(go.Heatmap(z=[[0.0, 1.0], [1.0, 0.0]], x=["a", text("b").replace("<", "&lt;")], y=["0", "1"]))
    heat.update_layout(
        title={"text": "<b>inside</b>", "subtitle": {"text": "<i>2 &lt; 3</i>"}},
        height=400,
        width=528,
        margin={"t": 80},
    )
    line = go.Figure(go.Scatter(x=[0, 1], y=[0, 1]))
    return [
        Drawing("separation", text("Where the sides part"), text("Each cell is a layer."), heat, xr.Dataset()),
        Drawing("profile", "Layer by layer", "The line is S.", line, xr.Dataset()),
    ]


Make = Callable[..., RunDirectory]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """make(text): a run directory with everything in it, `text` around every foreign word, and simple figures."""

    def made(text: Callable[[str], str] = str) -> RunDirectory:
        run = RunDirectory(tmp_path / f"run with {text('')[:9]}")
        run.create_or_resume(yaml.safe_dump(study(text), sort_keys=False, allow_unicode=True), "abc123")
        run.provenance(**provenance(text))
        run.write_findings(findings(text))
        run.write("items", items(text))
        run.write("effects/resid_pre", effects("resid_pre", 9.5e-7))
        run.write("segments/resid_pre", effects("resid_pre", 0.0))
        run.write("effects/attn_out", effects("attn_out", 0.0))
        monkeypatch.setattr(report, "drawings", lambda run: iter(pictures(text)))
        return run

    return made


# ---- reading a page -------------------------------------------------------------------------------------------------


@dataclass
class Element:
    tag: str
    attrs: dict[str, str | None]
    text: str = ""
    inside: tuple[str, ...] = ()


@dataclass
class Page(HTMLParser):
    """Every element of a page in order, each with all the text within it."""

    source: str
    elements: list[Element] = field(default_factory=list)

    VOID = frozenset({"meta", "br", "img", "link", "input", "wbr", "hr"})

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[Element] = []
        self.feed(self.source)
        assert not self.open, f"never closed: {[e.tag for e in self.open]}"

    INLINE = frozenset({"span", "b", "em", "i", "code", "a"})

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_data("" if tag in self.INLINE else " ")
        self.elements.append(Element(tag, dict(attrs), inside=tuple(e.tag for e in self.open)))
        if tag not in self.VOID:
            self.open.append(self.elements[-1])

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, dict(attrs), inside=tuple(e.tag for e in self.open)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()
        self.handle_data("" if tag in self.INLINE else " ")

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.text += data

    def all(self, *tags: str) -> Iterator[Element]:
        return (element for element in self.elements if element.tag in tags)

    def section(self, name: str) -> str:
        """The words of a section, white space as a reader sees it."""
        (found,) = (element for element in self.all("section") if element.attrs["id"] == name)
        return " ".join(re.sub(r"\{\"data\".*", "", found.text).split())


def page(run: RunDirectory) -> Page:
    return Page(write_report(run).read_text("utf-8"))


# ---- what it says ---------------------------------------------------------------------------------------------------


def test_every_part_is_there(make: Make) -> None:
    got = page(make())
    asked, found, sure = got.section("asked"), got.section("found"), got.section("sure")
    assert "2 personas (1 of the model’s own self, 1 human), each in 2 paraphrases, and was asked 2 questions" in asked
    for words in (
        "You are a president.",
        "Who are you?",
        "machine, model",
        "“The user is X.”",
        "SmolLM → JFK",
        "{% for m in",
    ):
        assert words in asked
    for words in (
        "The sides differ by",
        "5.8 nats",
        "95 % interval 4.9 to 6.8 nats",
        "the user is X: 4 nats",
        "layer 22",
    ):
        assert words in found
    assert "Where the sides part" in got.section("figures")
    assert "Each cell is a layer." in got.section("figures")
    assert "The largest miss was 2.4 × 10⁻⁵ nats, patching what attention adds" in sure
    assert "smallest p possible items the side labels of personas 0.0002".lower() in sure.lower()
    for words in ("org/tiny-model", "b179c9523d0e", "abc123", "torch 2.13.0", "4 minutes", "effects/resid_pre, items"):
        assert words in got.section("origin")
    assert "None" not in got.section("origin")
    assert "Present is not used" in got.section("limits")


@pytest.fixture
def many() -> Iterator[list[Analysis]]:
    """Thirty analyses from elsewhere, each with a chapter and a figure of the items."""

    def draw(data: xr.Dataset) -> go.Figure:
        return go.Figure(go.Bar(y=data["shift"])).update_layout(meta={"title": "A picture", "caption": "Bars."})

    added = []
    for i in range(30):
        chapter = Chapter(f"Question {i}?", f"What {i} asks.", f"How {i} misleads.")
        report_of = Report(chapter, figures=(Figure(f"new_{i}", ("items",), draw),))
        added.append(register(Analysis(f"new{i}", f"question {i}", report=report_of)))
    yield added
    for analysis in added:
        unregister(analysis.name)


def test_a_page_has_room_for_any_number_of_chapters(tmp_path: Path, many: list[Analysis]) -> None:
    run = RunDirectory(tmp_path / "many")
    run.create_or_resume(yaml.safe_dump(study()), "abc123")
    run.write("items", GROUPS["items"])
    got = Page(write_report(run, [one for one in drawings(run) if one.about]).read_text("utf-8"))
    numbers = [re.match(r"Figure ([A-Z]+)1\.", element.text.strip()) for element in got.all("h3")]
    letters = [number[1] for number in numbers if number]
    assert letters == [*ascii_uppercase, "AA", "AB", "AC", "AD"]
    for i, analysis in enumerate(many):
        words = got.section(analysis.name)
        assert f"Question {i}? What {i} asks." in words
        assert f"How {i} misleads." in words


def test_a_run_without_the_first_figure_still_says_why(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make()
    assert 'id="answer"' not in write_report(run).read_text("utf-8"), "the control: nothing was asked of it"
    monkeypatch.setattr(report, "sentences", lambda run: ["No pair has the self at one end."])
    assert '<p class="answer">No pair has the self at one end.</p>' in write_report(run).read_text("utf-8")


def test_what_is_not_identified_stands_apart_with_its_reason_and_without_a_number(make: Make) -> None:
    got = page(make())
    unsaid = got.section("unsaid")
    assert "Transfer is Not identified: the effect is too small" in unsaid
    assert "Really? → “I am …” Not identified: under three times the noise" in unsaid
    assert "Transfer is" not in got.section("found")
    assert not re.search(r"0\.77|0\.71", " ".join(got.section(s) for s in ("found", "unsaid", "sure")))
    assert "Really? → “I am …” not identified 0.9 0.3" in got.section("sure")
    assert "all in character" not in got.section("sure")


def test_a_law_is_shown_once_with_its_worst_miss_at_each_site(make: Make) -> None:
    rows = [" ".join(row.text.split()) for row in page(make()).all("tr")]
    assert "Law attn_out resid_pre" in rows
    assert f"{LAW} 0 9.5 × 10⁻⁷" in rows


@pytest.mark.parametrize(
    ("chat", "words"),
    [
        (
            {"name": "plain", "text": None, "system_role": False},
            ["no chat template", "head of the user’s first message"],
        ),
        ({"name": "custom", "text": "x", "system_role": True}, ["that the study gives", "are the system text"]),
        (
            {"name": "model", "text": "x", "system_role": False},
            ["came with the model", "head of the user’s first message"],
        ),
    ],
)
def test_how_the_words_reached_the_model(make: Make, chat: dict[str, Any], words: list[str]) -> None:
    run = make()
    run.provenance(chat_template=chat)
    asked = page(run).section("asked")
    assert all(part in asked for part in words)


def test_a_run_that_has_only_begun_says_so(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "begun")
    run.create_or_resume("name: begun\n", "abc123")
    got = page(run)
    assert "this run has not come so far" in got.section("found")
    assert "this run holds no results to draw" in got.section("figures")
    assert "patched nothing" in got.section("sure")
    assert "Present is not used" not in got.section("limits")
    assert "Silence is not separation" in got.section("limits"), "what concerns the items concerns every study"
    assert not any(element.attrs.get("id") == "unsaid" for element in got.elements)
    assert len(list(got.all("script"))) == 0


def test_a_patching_run_without_a_record_of_its_self_tests_admits_it(make: Make) -> None:
    run = make()
    for group in ("effects/resid_pre", "segments/resid_pre", "effects/attn_out"):
        run.write(group, effects("resid_pre", 0.0).drop_attrs())
    assert "No record of the self-tests" in page(run).section("sure")


def test_the_same_run_gives_the_same_report(make: Make) -> None:
    run = make()
    first = write_report(run).read_bytes()
    assert write_report(run) == run.report
    assert run.report.read_bytes() == first


def test_a_study_that_is_no_longer_yaml_is_named(make: Make) -> None:
    run = make()
    (run.path / "study.yaml").write_text("name: [unclosed")
    with pytest.raises(SelfrepError, match=r"study\.yaml: 1 mistake\n.*line 2, column 1: not valid YAML"):
        write_report(run)


def test_real_results_are_drawn(tmp_path: Path) -> None:
    """Nothing replaced: the items of a battery, computed, drawn and reported."""
    from selfrep.analyses.items.estimate import items as estimate

    rng = np.random.default_rng(0)
    rows = [
        (v, f"p{i}", "ai" if i < 5 else "human", k)
        for v in ("you", "user", "neutral")
        for i in range(10)
        for k in (0, 1)
    ]
    condition, persona, side, paraphrase = (list(column) for column in zip(*rows, strict=True))
    effect = np.array([{"you": 4.0, "user": 2.0, "neutral": 0.0}[v] * (1 if s == "ai" else -1) for v, _, s, _ in rows])
    behaviour = xr.Dataset(
        {"log_odds": ("prompt", effect + rng.normal(0, 0.3, len(rows))), "answer_mass": ("prompt", effect * 0 + 0.5)},
        coords={
            "condition": ("prompt", condition), "persona": ("prompt", persona), "side": ("prompt", side),
            "paraphrase": ("prompt", paraphrase), "item": ("prompt", ["who"] * len(rows)),
        },
    )  # fmt: skip
    run = RunDirectory(tmp_path / "run")
    run.create_or_resume(yaml.safe_dump(study(), sort_keys=False), "abc123")
    run.write("items", estimate(behaviour, n_permutations=200, n_bootstrap=200))
    got = page(run)
    (drawing,) = (element for element in got.all("script") if element.attrs.get("type") == "application/json")
    assert json.loads(drawing.text)["data"]
    assert "figures/items.csv" in got.section("figures")


# ---- whose words ----------------------------------------------------------------------------------------------------


def test_foreign_words_are_shown_as_text(make: Make) -> None:
    hostile, tame = page(make(lambda text: text + HOSTILE)), page(make())
    shape = [(element.tag, sorted(element.attrs)) for element in hostile.elements]
    assert shape == [(element.tag, sorted(element.attrs)) for element in tame.elements]
    for name, times in (("asked", 8), ("found", 3), ("unsaid", 3), ("figures", 2), ("sure", 2), ("origin", 1)):
        assert hostile.section(name).count(HOSTILE) >= times, name
    assert "49" not in hostile.section("asked")


def test_the_page_asks_nothing_of_the_network(make: Make) -> None:
    got = page(make())
    for element in got.elements:
        assert element.tag not in {
            "link",
            "img",
            "iframe",
            "object",
            "embed",
            "base",
            "form",
            "video",
            "audio",
            "source",
        }
        for name in ("src", "href", "srcset", "action", "data", "poster", "ping", "background"):
            assert (element.attrs.get(name) or "#").startswith("#"), (element.tag, name)
        assert not any(name.startswith("on") for name in element.attrs)
    for style in got.all("style"):
        assert "url(" not in style.text
        assert "@import" not in style.text
    (policy,) = (e.attrs["content"] for e in got.all("meta") if e.attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none';")
    assert "http" not in policy
    assert sum("Plotly" in script.text and len(script.text) > 1e6 for script in got.all("script")) == 1


# ---- who can read it ------------------------------------------------------------------------------------------------


def test_the_page_is_built_for_everybody(make: Make) -> None:
    got = page(make())
    assert next(got.all("html")).attrs["lang"] == "en"
    for landmark in ("header", "main", "footer", "nav", "h1", "title"):
        assert len(list(got.all(landmark))) == 1, landmark
    levels = [int(heading.tag[1]) for heading in got.all("h1", "h2", "h3", "h4")]
    assert all(after <= before + 1 for before, after in pairwise(levels))
    names = [element.attrs["id"] for element in got.elements if "id" in element.attrs]
    assert len(names) == len(set(names))
    for section in got.all("section"):
        assert section.attrs["aria-labelledby"] in names
    for link in got.all("a"):
        assert (link.attrs["href"] or "").removeprefix("#") in names
    for element in got.elements:
        assert element.tag != "th" or "scope" in element.attrs
        assert element.tag != "svg" or element.attrs["aria-hidden"] == "true"
        assert element.attrs.get("role") not in {"img", "region", "group"} or element.attrs["aria-label"]
        assert "tabindex" not in element.attrs or element.attrs.get("aria-label")
    tables, heads = list(got.all("table")), [e for e in got.all("th") if "table" in e.inside]
    assert tables
    assert len(heads) > len(tables)
    assert len(list(got.all("figcaption"))) == len(list(got.all("figure"))) == 2


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb (WCAG 2)."""
    channels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return float(
        np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]
    )


def test_every_text_colour_stands_out_by_day_and_by_night(make: Make) -> None:
    (style,) = page(make()).all("style")
    pairs = re.findall(r"--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)", style.text)
    for colours in ({name: day for name, day, _ in pairs}, {name: night for name, _, night in pairs}):
        for ink in ("ink", "soft", "accent", "doubt"):
            for ground in ("paper", "wash", "doubt-wash"):
                light, dark = sorted((luminance(colours[ink]), luminance(colours[ground])), reverse=True)
                assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, ground)


# ---- in a browser ---------------------------------------------------------------------------------------------------

PROBE = """<script>
addEventListener("load", () => setTimeout(() => {
  document.body.dataset.wide = document.documentElement.scrollWidth - innerWidth;
}, 500));
</script></body>"""


def opened(chromium: str, file: Path, tmp_path: Path, width: int = 1200) -> tuple[Page, list[str]]:
    """The page after its scripts have run, and the errors it had."""
    command = [
        chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
        "--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},900",
        "--virtual-time-budget=5000", "--dump-dom", file.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    said = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    return Page(done.stdout), [line for line in said if re.search(r"Uncaught|Error|Refused|Failed|violates|ERR_", line)]


@pytest.mark.parametrize("width", [1200, 400])
def test_the_figures_appear_and_nothing_goes_wrong(chromium: str, make: Make, tmp_path: Path, width: int) -> None:
    file = write_report(make(lambda text: text + HOSTILE + "w" * 300))
    file.write_text(file.read_text("utf-8").replace("</body>", PROBE), "utf-8")
    got, errors = opened(chromium, file, tmp_path, width)
    assert errors == []
    drawings = [element for element in got.all("div") if "data-drawing" in element.attrs]
    assert len(drawings) == 2
    assert all("drawn" in (element.attrs["class"] or "").split() for element in drawings)
    assert sum("main-svg" in (element.attrs.get("class") or "") for element in got.all("svg")) >= 2
    (body,) = got.all("body")
    assert "data-pwned" not in body.attrs
    assert int(body.attrs["data-wide"] or 0) <= 0, "the page scrolls sideways"


def test_the_browser_check_can_fail_and_the_policy_holds(chromium: str, make: Make, tmp_path: Path) -> None:
    """The control: an error is seen, and whatever reached for the network would be stopped by the page's own policy."""
    harm = (
        "<script>undefinedFunction()</script><script>fetch('https://example.org/fetched')</script>"
        "<img src='https://example.org/seen.png'><script src='https://example.org/run.js'></script>"
    )
    file = write_report(make())
    file.write_text(
        re.sub(r"<script>.{1000000,}?</script>", "", file.read_text("utf-8"), flags=re.S).replace(
            "</body>", harm + "</body>"
        )
    )
    _, errors = opened(chromium, file, tmp_path)
    assert any("undefinedFunction" in error for error in errors)
    stopped = [error for error in errors if "Content Security Policy" in error]
    for address in ("fetched", "seen.png", "run.js"):
        assert any(address in error for error in stopped), errors


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4.2, "4 seconds"), (89.0, "89 seconds"), (262.4, "4 minutes"), (5400.0, "1.5 hours"), (1e5, "27.8 hours")],
)
def test_a_time_is_said_as_people_say_it(seconds: float, text: str) -> None:
    assert report._duration(seconds).replace("\N{NO-BREAK SPACE}", " ") == text
