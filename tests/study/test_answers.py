"""R, B and I from answers, on a model whose truth is planted, through a whole run into its report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from selfrep.errors import SelfrepError
from selfrep.models.organisms import BATTERY, PERSONAS
from selfrep.store.run_directory import RunDirectory
from selfrep.study import run as running
from selfrep.study import study

SERIES = ("this chat", "another chat", "an earlier version", "the user")
OWN = "answers: {ai: [machine, computer], human: [human, person]}"
ASKED = 'question: "In peace, who are you?", prefill: "", perspective: in_character'
SCALED = "".join(
    f"    s{i}: {{{ASKED}, subscale: {scale}, {OWN}}}\n"
    for i, scale in enumerate(["kind", *(f"series, referent: {name}" for name in SERIES)])
)
PARTS = "binding: {}\nbleed: {}\nidentification: {}\n"


def described(model: str, parts: str = PARTS) -> study.Study:
    asked = f'battery:\n  file: "{BATTERY}"\n  define:\n{SCALED}'
    return study.loads(f'name: planted\nmodel: "{model}"\npersonas: {{file: "{PERSONAS}"}}\n{asked}{parts}')


def run(model: str, folder: Path) -> RunDirectory:
    return running.run(described(model), folder / "out", device="cpu", warn=lambda message: None)


@pytest.fixture(scope="module")
def leaky(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return run("organism:bleed?beta=0.4", tmp_path_factory.mktemp("leaky"))


def test_the_planted_bleed_is_found_and_none_where_none_is_planted(leaky: RunDirectory, tmp_path: Path) -> None:
    share = leaky.read("bleed").sel(item="all third_person")
    assert float(share.estimate) == pytest.approx(0.4, abs=0.02)
    separate = run("organism:separate", tmp_path).read("bleed").sel(item="all third_person")
    assert bool(separate.identified)
    assert float(separate.estimate) == pytest.approx(0, abs=0.02)


def test_what_is_bound_to_the_speaker_is_found(leaky: RunDirectory) -> None:
    bound = leaky.read("binding").sel(contrast="between sides")
    assert float(bound.estimate.sel(item="all in_character")) == pytest.approx(1, abs=0.01)
    assert not bool(bound.identified.sel(item="act_in_peace")), (
        "the control: an item that personas hardly move has no R"
    )


def test_items_of_subscales_are_read_apart(leaky: RunDirectory) -> None:
    assert set(leaky.read("items").item.values).isdisjoint({"s0", "s1"})
    found = leaky.read("identification")
    assert found.subscale.values.tolist() == ["kind", *(f"series: {name}" for name in SERIES)]
    assert set(found.kind.values) > {"human"}
    assert leaky.read("referents").series.values.tolist() == ["series"]


def test_what_was_observed_is_shared_and_no_more_is_run_than_needed(leaky: RunDirectory) -> None:
    assert set(leaky.groups()) == {"behaviour", "binding", "bleed", "identification", "items", "referents", "truth"}
    told = leaky.read("truth")
    assert set(told.condition.values) == {"truth"}
    assert set(told.item.values) == {"what_writes", "what_writes_in_danger"}


def test_each_has_a_chapter_with_its_question_and_its_control(leaky: RunDirectory) -> None:
    page = leaky.report.read_text("utf-8")
    for name in ("binding", "bleed", "identification"):
        assert f'<section id="{name}"' in page
        assert f'data-drawing="drawing-{name}"' in page
    assert page.count("How this could mislead.") == 3
    assert {f.about for f in leaky.findings()} >= {"binding", "bleed", "identification"}
    for finding in leaky.findings():
        assert finding.control or not finding.identified
        if finding.value is not None and not isinstance(finding.value, str):
            assert np.isfinite(finding.value)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ("identification: {items: [what_writes]}\n", "items with a subscale; not so: what_writes"),
        ("bleed: {items: [who_are_you]}\n", "truth_change; not so: who_are_you"),
        ("binding: {items: [s0]}\n", "no subscale; not so: s0"),
        ("binding: {items: [who_are_yu]}\n", "did you mean 'who_are_you'"),
    ],
)
def test_a_part_without_its_material_is_refused_when_the_study_is_read(parts: str, words: str) -> None:
    with pytest.raises(SelfrepError, match=words):
        described("organism:separate", parts)


def test_the_standard_battery_has_no_subscales() -> None:
    with pytest.raises(SelfrepError, match=r"has none that is asked.*builtin: \[battery, identity\]"):
        study.loads("name: x\nidentification: {}\n")
    both = study.loads("name: x\nbattery: {builtin: [battery, identity]}\nidentification: {}\n")
    assert study.loads(both.to_yaml()) == both
