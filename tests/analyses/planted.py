"""Whole runs of single analyses on models whose truth is planted."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from selfrep.models.organisms import BATTERY, PERSONAS
from selfrep.store.run_directory import RunDirectory
from selfrep.study import run as running
from selfrep.study import study

TEN = ", names: [assistant, network, chatbot, robot, autopilot, overlord, nurse, sailor, farmer, poet]"
"""Both readings of the self, and one persona each of four families a side: enough for everything but halves of them."""
SERIES = ("this chat", "another chat", "an earlier version", "the user")
_OWN = "answers: {ai: [machine, computer], human: [human, person]}"
_ASKED = 'question: "In peace, who are you?", prefill: "", perspective: in_character'
_SCALED = "".join(
    f"    s{i}: {{{_ASKED}, subscale: {scale}, {_OWN}}}\n"
    for i, scale in enumerate(["kind", *(f"series, referent: {name}" for name in SERIES)])
)


def described(
    model: str,
    parts: str,
    *,
    battery: str = f'{{file: "{BATTERY}", names: [who_are_you]}}',
    personas: str = TEN,
    file: Path = PERSONAS,
) -> study.Study:
    """A study of planted personas, by default of ten with the one question that every organism understands."""
    return study.loads(
        f'name: planted\nmodel: "{model}"\npersonas: {{file: "{file}"{personas}}}\nbattery: {battery}\n{parts}'
    )


def alone(folder: Path) -> Path:
    """A file of all planted personas, each a family of its own: eight a side, of whom half may choose for the rest."""
    lines = PERSONAS.read_text("utf-8").splitlines()
    file = folder / "personas.yaml"
    file.write_text("\n".join(line for line in lines if not line.strip().startswith("family:")), "utf-8")
    return file


def with_subscales(model: str, parts: str) -> study.Study:
    """A study of all planted personas, who are asked who they are, what writes and how to act, and five items of
    subscales: s0 of "kind", the others of `SERIES`.
    """
    names = "who_are_you, who_in_danger, name, what_writes, what_writes_in_danger, act_in_peace, s0, s1, s2, s3, s4"
    return described(
        model, parts, battery=f'\n  file: "{BATTERY}"\n  names: [{names}]\n  define:\n{_SCALED}', personas=""
    )


RICH = """
binding: {}
bleed: {}
divergence: {item: who_are_you, layers: [1, 3, 5]}
separation: {item: who_are_you, layers: [1, 4]}
default_axis: {item: who_are_you, default: [network]}
transfer:
  pairs: [[unprompted, nurse], [network, sailor], [chatbot, farmer]]
  items: [who_are_you]
  paraphrases: [0]
  sweeps:
    - {site: resid_pre, by: segment, layers: [2, 4], controls: [paraphrase, persona, random]}
"""
"""What is asked of the run that `rich` gives."""


@pytest.fixture(scope="session")
def rich(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """One run of all that is read from answers, activations and patches, with halves of the personas; only read."""

    def make(folder: Path) -> None:
        asked = f'{{file: "{BATTERY}", names: [who_are_you, what_writes]}}'
        model = "organism:bleed?beta=0.4&noise=0.3"
        finish(described(model, RICH, battery=asked, personas="", file=alone(folder.parent)), folder)

    return RunDirectory(once("rich", make, tmp_path_factory))


SWEPT = """
transfer:
  pairs: [[unprompted, nurse], [unprompted, poet], [robot, nurse]]
  items: [who_are_you]
  paraphrases: [0, 1]
  sweeps:
    - {site: resid_pre, layers: [1, 2, 3], controls: [paraphrase, persona, random]}
    - {site: attn_out, by: segment, layers: [2], directions: [denoise]}
"""
"""What is asked of the run that `swept` gives: pairs of two kinds, by token and by segment."""


@pytest.fixture(scope="session")
def swept(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """One run of patching sweeps alone, without figures or a page; only read."""

    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("selfrep.study.run.drawings", lambda directory: ())
            for name in ("write_figures", "write_report"):
                patched.setattr(f"selfrep.study.run.{name}", lambda *_, **__: None)
            finish(described("organism:separate?noise=0.3", SWEPT), folder)

    return RunDirectory(once("swept", make, tmp_path_factory))


def finish(asked: study.Study, folder: Path) -> RunDirectory:
    """The study, run to its end on the CPU, without a word."""
    return running.run(asked, folder, device="cpu", warn=lambda message: None).directory


def once(name: str, make: Callable[[Path], object], factory: pytest.TempPathFactory) -> Path:
    """A folder that the first of the test processes makes, without a browser, and all others only read."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with FileLock(folder.with_suffix(".lock")), pytest.MonkeyPatch.context() as patched:
        patched.setattr("selfrep.report.figures.ENDINGS", (".html",))
        if not folder.with_suffix(".made").exists():
            make(folder)
            folder.with_suffix(".made").touch()
    return folder


def chapter(done: RunDirectory, name: str, *figures: str) -> str:
    """The report, in which the analysis has a chapter with these figures, beside a finding and its control."""
    page = done.report.read_text("utf-8")
    assert f'<section id="{name}"' in page
    for figure in figures:
        assert f'data-drawing="drawing-{figure}"' in page
    findings = [finding for finding in done.findings() if finding.about == name]
    assert findings
    for finding in findings:
        assert finding.control or not finding.identified
        if finding.value is not None and not isinstance(finding.value, str):
            assert math.isfinite(finding.value)
    return page
