"""Studies: what is written is what runs, and every mistake is shown at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfrep.analyses.separation import SeparationPart
from selfrep.errors import SelfrepError
from selfrep.models.organisms import PERSONAS
from selfrep.study import study
from selfrep.study.study import Study

SMALL = """
name: small
personas: {names: [smollm, chatgpt, jfk, nurse]}
battery: {names: [who_are_you]}
separation: {item: who_are_you}
transfer: {pairs: [[smollm, jfk]], items: [who_are_you]}
"""


def test_a_study_survives_being_written_and_read() -> None:
    read = study.loads(SMALL)
    again = study.loads(read.to_yaml())
    assert again == read
    assert again.hash == read.hash
    assert "John F. Kennedy" in read.to_yaml(), "the copy spells out what the names stood for"


def test_the_hash_tells_studies_apart_by_what_they_say() -> None:
    read = study.loads(SMALL)
    assert study.loads("# a comment\n" + SMALL).hash == read.hash
    assert study.loads(SMALL + "seed: 1\n").hash != read.hash
    one_word = read.to_yaml().replace("a nurse", "the nurse", 1)
    assert study.loads(one_word).hash != read.hash


def test_files_are_looked_for_beside_the_study(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("personas: {ada: {kind: human, descriptions: [Ada Lovelace]}}")
    (tmp_path / "study.yaml").write_text("name: x\npersonas: {file: mine.yaml}\n")
    assert study.load(tmp_path / "study.yaml").people.names() == ("ada",)


def test_a_file_and_definitions_join() -> None:
    defined = "{define: {ada: {kind: human, descriptions: [Ada Lovelace]}}}"
    assert study.loads(f"name: x\npersonas: {defined}\n").people.names() == ("ada",)


def test_all_mistakes_are_shown_at_once_each_with_its_place() -> None:
    with pytest.raises(SelfrepError) as caught:
        study.loads(
            "name: x\nmodle: y\nseed: -1\npersonas: {names: [smolm]}\n"
            "separation: {item: who_are_yu, site: resid}\n"
            "transfer: {pairs: [[jfk, smollm]], items: [], sweeps: [{site: attn_out, segments: [foo]}]}\n",
            "mine.yaml",
        )
    message = str(caught.value)
    assert message.startswith("mine.yaml: 6 mistakes")
    for part in ("line 2, modle", "line 3, seed", "'smollm'", "line 5, separation › site", "transfer › items", "foo"):
        assert part in message


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("separation: {item: who_are_yu}", "who_are_you"),
        ("transfer: {pairs: [[jfk, smolm]], items: [who_are_you]}", "smollm"),
        ("transfer: {pairs: [[jfk, nurse]], items: [who]}", "who_are_you"),
        ("conditions: [you]", "user"),
        ("transfer: {pairs: [[jfk, nurse]], items: [sum], sweeps: [{site: resid_pre}, {site: resid_pre}]}", "once"),
        ("transfer: {pairs: [[jfk, nurse]], items: [sum], sweeps: [{site: resid_pre, layers: []}]}", "empty"),
        (
            "transfer: {pairs: [[jfk, nurse]], items: [sum], sweeps: [{site: resid_pre, segments: [all]}]}",
            "by: segment",
        ),
        (
            "battery: {define: {a: {question: q, prefill: p, answers: {x: [], y: [b]}, perspective: spectator}}}",
            "empty",
        ),
    ],
)
def test_names_that_are_not_there_are_refused_with_the_fix(part: str, words: str) -> None:
    with pytest.raises(SelfrepError, match=words):
        study.loads(f"name: x\n{part}\n")


@pytest.mark.parametrize("name", study.presets())
def test_presets_load(name: str) -> None:
    read = study.preset(name)
    assert read.name == name
    assert study.loads(read.to_yaml()) == read


def test_a_study_is_found_by_name_or_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"demo", "identity", "self-vs-persona"} <= set(study.presets())
    assert study.named("demo") == study.preset("demo")
    monkeypatch.chdir(tmp_path)
    Path("demo").write_text("name: mine", encoding="utf-8")
    assert study.named("demo").name == "mine"
    assert study.named(str(tmp_path / "demo")).name == "mine"
    with pytest.raises(SelfrepError, match=r"Cannot read demos\.yaml"):
        study.named("demos.yaml")


def test_an_unknown_preset_names_those_there_are() -> None:
    with pytest.raises(SelfrepError, match="demo"):
        study.preset("demmo")


def test_studies_can_be_made_in_python() -> None:
    made = Study(name="x", separation=SeparationPart(item="who_are_you"))
    assert made.parts == {"separation": SeparationPart(item="who_are_you")}
    assert Study(name="x", separation={"item": "who_are_you"}) == made
    assert len(made.people) >= 16
    with pytest.raises(SelfrepError, match="dtype"):
        Study(name="x", dtype="float8")  # type: ignore[arg-type]


def test_a_study_needs_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys; from selfrep.study.study import preset; preset('demo'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_preset_of_motives_brings_its_material_and_spells_it_out() -> None:
    read = study.preset("mimicry")
    assert {"anomaly", "mediation", "directness", "posterior"} <= set(read.parts)
    assert len(read.scenes.scenarios) >= 8
    written = read.to_yaml()
    again = study.loads(written)
    assert again == read
    assert again.hash == read.hash
    for words in ("a Python interpreter", "VEGA", "HAL 9000, the computer", "We weigh anchor"):
        assert words in written
    assert study.loads("name: x\n").scenarios is None, "a study that needs no scenarios has none"
    other = written.replace("a Python interpreter", "a Python prompter")
    assert study.loads(other).hash != read.hash


def test_a_study_calls_sides_and_who_has_no_kind_of_its_own_by_its_own_words() -> None:
    people = "{a: {side: honest, descriptions: [a judge]}, b: {side: con, kind: forger, descriptions: [a forger]}}"
    read = study.loads(f"name: mine\nsides: {{honest: honest people, con: cheats}}\npersonas: {{define: {people}}}\n")
    a, b = read.people
    assert (a.side_label, a.kind_label) == ("honest people", "honest people")
    assert (b.side_label, b.kind_label) == ("cheats", "forger")


@pytest.mark.parametrize(
    "name",
    ["../../x", "/tmp/x", "", ".", "..", ".x", "a b", "x" * 81, "a/b", "a\\b", "a\nb\x1b[31m", "a\x00b", "é", "-x"],
)
def test_a_name_is_no_path_and_writes_nothing_to_a_terminal(name: str) -> None:
    with pytest.raises(SelfrepError, match="name: is a name") as caught:
        Study(name=name)
    assert str(caught.value).replace("\n", "").isprintable()


def test_other_names_are_taken() -> None:
    for name in ("demo", "self-vs-persona", "run_3.b", "x" * 80, "3"):
        assert Study(name=name).name == name


def _named_outside(tmp_path: Path) -> list[Path]:
    """Studies that name, each in another way, a file of personas that lies beside their folder."""
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "mine.yaml").write_text("personas: {ada: {kind: human, descriptions: [Ada Lovelace]}}")
    (home / "link.yaml").symlink_to(tmp_path / "mine.yaml")
    (home / "folder").symlink_to(tmp_path)
    out = []
    for number, file in enumerate(("../mine.yaml", str(tmp_path / "mine.yaml"), "link.yaml", "folder/mine.yaml")):
        out.append(home / f"{number}.yaml")
        out[-1].write_text(f'name: x\npersonas: {{file: "{file}"}}\n')
    return out


def test_a_study_read_from_a_file_names_no_file_outside_its_folder_unless_it_may(tmp_path: Path) -> None:
    for file in _named_outside(tmp_path):
        with pytest.raises(
            SelfrepError, match=r"(?s)line 2, personas › file: a study names files in its own folder.*--allow-"
        ):
            study.load(file)
        assert study.load(file, allow_outside=True).people.names() == ("ada",), "the control"


@pytest.mark.parametrize(
    "part", ["battery: {file: F}", "scenarios: {file: F}", "anomaly: {file: F}", "posterior: {file: F}",
             "transfer: {pairs: [[smollm, jfk]], items: [who_are_you], facts: {file: F}}"],
)  # fmt: skip
def test_nor_in_any_other_part_of_it(part: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret.yaml"
    secret.write_text("password: 1234")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "x.yaml").write_text(f"name: x\n{part.replace('F', str(secret))}\n")
    with pytest.raises(SelfrepError, match="lies outside") as caught:
        study.load(tmp_path / "home" / "x.yaml")
    assert "password" not in str(caught.value), "it was not opened"


def test_what_selfrep_brings_may_be_named_from_anywhere(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(f'name: x\npersonas: {{file: "{PERSONAS}"}}\n')
    assert study.load(tmp_path / "x.yaml").people.names()
