"""Run directory → one HTML file that explains itself.

The report is what a reader opens who was not there: what was asked, what was found and how surely, what the study
cannot say, and where every number comes from. It needs no network (a content security policy holds it to that), and
whatever people wrote in personas, items or findings is shown as text. Words and layout live in `templates/`; here they
get their data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from plotly.offline import get_plotlyjs

from selfrep.analyses import analyses
from selfrep.analyses.report import Chapter, Table
from selfrep.files import write_file
from selfrep.models.sites import IN_WORDS
from selfrep.prompts import yaml_errors
from selfrep.report.checks import chance, checks_of, laws, patched
from selfrep.report.explore.data import explored
from selfrep.report.figures import OPENING, Drawing, drawings
from selfrep.report.lacking import NOTHING, lacking
from selfrep.report.opening import sentences
from selfrep.report.picture import Picture, Whisker
from selfrep.report.templating import environment, inert
from selfrep.stats.numbers import number, with_unit
from selfrep.store.findings import Finding
from selfrep.store.run_directory import RunDirectory

READINGS = {"default": "the self: what the model is tuned to be", "reductionist": "the self: what it is made of"}
CONDITIONS = {
    "you": "“You are X.”",
    "user": "“The user is X.”: the same words, said of somebody else",
    "book": "“Here is a book about X.”: the same words, said of nobody present",
    "neutral": "no persona at all",
}


def write_report(run: RunDirectory, figures: Sequence[Drawing] | None = None, *, unfinished: bool = False) -> Path:
    """Write `report.html` from whatever the run directory holds, replacing an older one.

    Args:
        figures: those of the run, where they are drawn already (None: they are drawn anew).
        unfinished: whether the study still runs, which the page then says.

    Returns:
        Its path.

    Raises:
        SelfrepError: study.yaml can no longer be read, the disk is full, or the directory is not writable.
    """
    plain, findings = _plain_study(run), run.findings()
    study = _study(plain, run.path.name)
    pictures = [
        Picture.of(one.name, one.title, one.caption, one.figure, one.about)
        for one in (drawings(run) if figures is None else figures)
    ]
    checks = list(checks_of(run))
    with_chapter = {analysis.name for analysis in analyses() if analysis.load_report().chapter}
    present = [analysis for analysis in analyses() if analysis.part is None or analysis.name in plain]
    explorer = explored(run)
    page = _template().render(
        study=study,
        unfinished=unfinished,
        limits=[limit for analysis in present for limit in analysis.load_report().limits],
        patched=bool(list(patched(run))),
        design=[piece for analysis in analyses() for piece in analysis.load_report().design(plain)],
        provenance=run.provenance(),
        lacking=list(lacking(run.provenance().get("answers") or NOTHING)),
        study_hash=run.study_hash,
        groups=run.groups(),
        answered=[finding for finding in findings if finding.identified and finding.about not in with_chapter],
        sections=list(_sections(findings, pictures)),
        unanswered=[finding for finding in findings if not finding.identified],
        figures=[picture for picture in pictures if not picture.about],
        opening={"sentences": sentences(run), "pictures": [one for one in pictures if one.about == OPENING]},
        checks=checks,
        laws=laws(checks),
        chance=chance(run),
        details=[table for analysis in analyses() for table in analysis.load_report().details(run, plain)],
        unclear=[text for analysis in analyses() for text in analysis.load_report().unclear(run, plain)],
        explorer=explorer,
        data=inert(explorer),
        plotlyjs=get_plotlyjs(),
    )
    return write_file(run.report, page)


@dataclass(frozen=True)
class Section:
    """The chapter of an analysis of which there is something to say, with its findings, identified or not."""

    name: str
    letter: str
    chapter: Chapter
    findings: Sequence[Finding]
    pictures: Sequence[Picture]


def _sections(findings: Sequence[Finding], pictures: Sequence[Picture]) -> Iterator[Section]:
    letters = map(_letter, count())
    for analysis in analyses():
        sentences = [finding for finding in findings if finding.about == analysis.name]
        its_pictures = [picture for picture in pictures if picture.about == analysis.name]
        chapter = analysis.load_report().chapter
        if chapter and (sentences or its_pictures):
            yield Section(analysis.name, next(letters), chapter, sentences, its_pictures)


def _letter(i: int) -> str:
    """A, B, … Z, AA, AB, …: what the figures of section i are counted under."""
    return (_letter(i // 26 - 1) if i >= 26 else "") + chr(ord("A") + i % 26)


def _template() -> Any:
    templates = environment("selfrep.report", "selfrep.report.explore")
    templates.filters |= {"number": number, "with_unit": with_unit, "duration": _duration}
    templates.globals |= {
        "conditions": CONDITIONS,
        "sites": IN_WORDS,
        "whisker": Whisker.of,
        "is_table": lambda piece: isinstance(piece, Table),
    }
    return templates.get_template("report.html")


def _plain_study(run: RunDirectory) -> dict[str, Any]:
    """The study as plain YAML data."""
    study = yaml_errors.plain(run.study_yaml, str(run.path / "study.yaml"))
    return study if isinstance(study, dict) else {}


def _study(plain: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The study as it is shown: everything the template asks for is there, though the file left defaults out."""
    personas, items = (_defined(plain, part) for part in ("personas", "battery"))
    labels = plain.get("sides") or {}
    return {
        "name": plain.get("name", name),
        "personas": [_persona(name, persona) for name, persona in personas.items()],
        "groups": Counter(_group(persona, labels) for persona in personas.values()),
        "words": {persona["side"]: _group(persona, labels) for persona in personas.values() if persona.get("side")},
        "items": {name: _DEFAULTS | {"question": name} | item for name, item in items.items()},
        "conditions": plain.get("conditions", ["you", "user", "neutral"]),
        "scenarios": _defined(plain, "scenarios").get("scenarios", {}),
    }


_DEFAULTS = {"prefill": "", "answers": {}, "perspective": "in_character", "framing": "third_person"}
"""What an item of a study means by saying nothing."""


def _persona(name: str, persona: Mapping[str, Any]) -> dict[str, Any]:
    descriptions = list(persona.get("descriptions", ()))
    return {
        "label": persona.get("label") or name,
        "who": READINGS.get(persona.get("reading", "")) or persona.get("kind_label") or persona.get("kind", ""),
        "descriptions": descriptions,
        "told": next(iter([*persona.get("you", ()), *(f"You are {text}." for text in descriptions)]), name),
    }


def _group(persona: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    """What the side of a persona is called, by the study if it says so, or that it is a reading of the self."""
    if persona.get("reading"):
        return "of the model’s own self"
    side = str(persona.get("side") or "on no side")
    return str(labels.get(side) or persona.get("side_label") or side.replace("_", " "))


def _defined(study: Mapping[str, Any], part: str) -> dict[str, Any]:
    return dict((study.get(part) or {}).get("define") or {})


def _duration(seconds: float) -> str:
    """A time as one says it."""
    unit, length = next((u, n) for u, n, upto in _UNITS if seconds < upto)
    return with_unit(number(round(seconds / length, 1 if unit == "hours" else 0)), unit)


_UNITS = (("seconds", 1, 90), ("minutes", 60, 5400), ("hours", 3600, float("inf")))
