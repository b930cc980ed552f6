"""An analysis defined outside the package goes all the way from a study file to the report and the command's help."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import ClassVar

import plotly.graph_objects as go
import pytest
import xarray as xr
from typer.testing import CliRunner

from selfrep import analyses
from selfrep.analyses.analysis import Analysis, Context, Reading, Stage
from selfrep.analyses.parts import ItemPart, Part
from selfrep.analyses.report import Chapter, Figure, Report, Table, Text
from selfrep.cli import app
from selfrep.errors import SelfrepError
from selfrep.models.organisms import BATTERY, PERSONAS
from selfrep.plots.theme import finish
from selfrep.prompts.battery import Battery
from selfrep.store.findings import Finding
from selfrep.store.run_directory import RunDirectory
from selfrep.study.run import run
from selfrep.study.study import Study, loads

HOSTILE = "<script>alert(1)</script>"


class ConfidencePart(ItemPart):
    """How probable the offered answers are: a toy that uses scores, activations and a field of its own."""

    rule: ClassVar[str] = "confidence is read on spectator items"
    scale: float = 1.0

    @staticmethod
    def fitting(battery: Battery) -> Battery:
        return battery.spectator()


def runs(context: Context, part: ConfidencePart) -> Iterator[Stage | Reading]:
    items = part.chosen(context.items)
    mean = lambda: part.scale * context.scores("behaviour", items).answer_mass.mean()  # noqa: E731
    yield context.estimating("confidence", "confidence", lambda: xr.Dataset({"estimate": mean(), "share": 0.5}))

    def norm(acts: xr.Dataset) -> None:
        size = float((acts.activations**2).sum("d_model").mean() ** 0.5)
        context.directory.write("size", xr.Dataset({"estimate": size}))

    yield Reading("size", "who_are_you", ("you",), "resid_post", (2,), "position", (-1,), ("size",), norm)


def findings(directory: RunDirectory) -> Iterator[Finding]:
    if directory.has("confidence"):
        mass = float(directory.read("confidence").estimate)
        yield Finding(
            "The answers that are offered have a probability of", mass, None, "1 is all.", "", about="confidence"
        )


def drawing(estimate: xr.Dataset) -> go.Figure:
    figure = go.Figure(go.Bar(x=["mass"], y=[float(estimate.estimate)]))
    return finish(figure, title="How sure", subtitle="", caption="One bar.", height=200.0, margin={})


TOY = Analysis(
    "confidence",
    "how probable the offered answers are",
    ConfidencePart,
    runs,
    Report(
        Chapter("How sure is the model?", "Its answers were weighed.", "A toy says little."),
        findings,
        (Figure("confidence", ("confidence",), drawing),),
        lambda study: [
            Text("What was weighed.", HOSTILE),
            Table("Weights, word for word", ("Item", "Mass"), [("a", HOSTILE)]),
        ],
        (Text("Toys are toys.", "This one weighs, and no more."),),
    ),
)

STUDY = f"""
name: toy
model: "organism:bleed?beta=0.4"
personas: {{file: "{PERSONAS}"}}
battery: {{file: "{BATTERY}", names: [who_are_you, what_writes]}}
confidence: {{scale: 2.0}}
"""


@pytest.fixture
def toy() -> Iterator[Analysis]:
    yield analyses.register(TOY)
    analyses.unregister("confidence")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunDirectory]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("selfrep.report.figures.ENDINGS", (".html",))
        analyses.register(TOY)
        yield run(loads(STUDY), tmp_path_factory.mktemp("toy"), device="cpu", warn=lambda message: None).directory
        analyses.unregister("confidence")


def test_without_it_the_study_is_refused_and_with_it_read() -> None:
    with pytest.raises(SelfrepError, match=r"line 6, confidence: is not a known field"):
        loads(STUDY)
    analyses.register(TOY)
    try:
        study = loads(STUDY)
        assert study.parts == {"confidence": ConfidencePart(scale=2.0)}
        assert loads(study.to_yaml()) == study
        assert Study(name="x", confidence={}).hash != Study(name="x").hash
    finally:
        analyses.unregister("confidence")


def test_its_mistakes_are_shown_with_all_others_each_with_its_line(toy: Analysis) -> None:
    with pytest.raises(SelfrepError) as caught:
        loads("name: x\nsed: 1\nconfidence:\n  scal: 3\n  scale: much\nbinding: {items: [sum_up]}\n", "mine.yaml")
    message = str(caught.value)
    assert message.startswith("mine.yaml: 4 mistakes")
    for part in (
        "line 2, sed: is not a known field (did you mean 'seed'?)",
        "line 4, confidence › scal: is not a known field (did you mean 'scale'?)",
        "line 5, confidence › scale:",
        "line 6, binding: items:",
    ):
        assert part in message
    with pytest.raises(SelfrepError, match="confidence is read on spectator items; not so: who_are_you"):
        loads("name: x\nconfidence: {items: [who_are_you]}\n")


def test_its_numbers_are_kept_found_drawn_and_told(done: RunDirectory) -> None:
    mass = float(done.read("behaviour").answer_mass.where(done.read("behaviour").item == "what_writes").mean())
    assert float(done.read("confidence").estimate) == pytest.approx(2 * mass)
    assert float(done.read("size").estimate) > 0
    (finding,) = [one for one in done.findings() if one.about == "confidence"]
    assert finding.value == pytest.approx(2 * mass)
    assert (done.figures / "confidence.csv").is_file()
    page = done.report.read_text("utf-8")
    for words in (
        '<section id="confidence"', "How sure is the model?", "A toy says little.", "Toys are toys.",
        'data-drawing="drawing-confidence"', "Weights, word for word", "&lt;script&gt;alert(1)",
    ):  # fmt: skip
        assert words in page
    assert HOSTILE not in page


def test_what_is_done_is_not_done_again(done: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("loaded the model again")

    monkeypatch.setattr("selfrep.study.job.load_model", never)
    again = run(loads(STUDY), done.path, device="cpu", warn=lambda message: None).directory
    assert again.groups() == done.groups()


def test_help_names_every_analysis(toy: Analysis) -> None:
    text = " ".join(CliRunner().invoke(app, ["--help"], terminal_width=200).output.split())
    for analysis in analyses.analyses():
        assert f"{analysis.name}: {analysis.summary}"[:60] in text
    assert "confidence: how probable the offered answers are" in text


def test_thirty_chapters_have_letters_of_their_own() -> None:
    from selfrep.report.page import _letter

    letters = [_letter(i) for i in range(60)]
    assert letters[:3] == ["A", "B", "C"]
    assert letters[25:28] == ["Z", "AA", "AB"]
    assert len(set(letters)) == 60


def test_a_distribution_brings_one_by_its_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("confidence", f"{__name__}:TOY", "selfrep.analyses")
    monkeypatch.setattr(EntryPoint, "load", lambda self: TOY)
    monkeypatch.setattr(analyses, "entry_points", lambda group: [entry] if group == "selfrep.analyses" else [])
    analyses._installed.cache_clear()
    try:
        assert TOY in analyses.analyses()
        assert loads("name: x\nconfidence: {}\n").parts
        monkeypatch.setattr(EntryPoint, "load", lambda self: "no analysis")
        analyses._installed.cache_clear()
        with pytest.raises(SelfrepError, match="entry point 'confidence'"):
            analyses.analyses()
    finally:
        monkeypatch.undo()
        analyses._installed.cache_clear()


def test_names_that_are_taken_or_no_keys_are_refused() -> None:
    with pytest.raises(SelfrepError, match="built-in analysis 'bleed'"):
        analyses.register(Analysis("bleed", "another"))
    with pytest.raises(SelfrepError, match="'two words'"):
        Analysis("two words", "is no key")


def test_registering_again_replaces(toy: Analysis) -> None:
    other = Analysis("confidence", "another", Part)
    analyses.register(other)
    assert [one for one in analyses.analyses() if one.name == "confidence"] == [other]


def test_the_list_is_read_without_torch_xarray_or_plotly() -> None:
    code = """
        import json, sys
        import selfrep.analyses
        names = [a.name for a in selfrep.analyses.analyses()]
        print(json.dumps([names, sorted({"torch", "xarray", "plotly", "pandas", "scipy"} & set(sys.modules))]))
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    names, heavy = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert "bleed" in names
    assert heavy == []
