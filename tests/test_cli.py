"""The command: quick to answer, and one clear message with exit code 2 for what a user can get wrong."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
import torch
from tests.forbidden import forbidden
from tests.prompts.conftest import CHATML, make_tokenizer
from tests.report.groups import GROUPS
from tests.tiny import tiny_hf
from tests.validation.cards import card, examination
from typer.testing import CliRunner

from selfrep.cli import STUDY, app, main
from selfrep.models.organisms import BATTERY, PERSONAS
from selfrep.store.run_directory import RunDirectory
from selfrep.study import study

TINY = f"""
name: tiny
model: "organism:separate"
personas: {{file: "{PERSONAS}"}}
battery: {{file: "{BATTERY}", names: [who_are_you, what_writes]}}
separation: {{item: who_are_you}}
transfer:
  pairs: [[network, nurse], [oracle, farmer]]
  items: [who_are_you]
  sweeps: [{{site: resid_pre, by: segment}}]
"""


def selfrep(*arguments: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    """The command, run in this process: what it said, and the code that it ended with."""
    said, told, code = StringIO(), StringIO(), 0
    with pytest.MonkeyPatch.context() as patched, redirect_stdout(said), redirect_stderr(told):
        patched.setattr("sys.argv", ["selfrep", *arguments])
        patched.setattr("selfrep.plots.browser", lambda: None)
        for name, value in env.items():
            patched.setenv(name, value)
        if cwd:
            patched.chdir(cwd)
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
    return subprocess.CompletedProcess(arguments, code, said.getvalue(), told.getvalue())


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    message = done.stderr[done.stderr.index("selfrep: ") :]
    for word in words:
        assert word in message


@pytest.fixture(scope="module")
def run_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    (folder / "study.yaml").write_text(TINY)
    done = selfrep("run", "study.yaml", "--out", "out", "--device", "cpu", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "report:" in done.stdout
    shares = [int(share) for share in re.findall(r"^ *\d+:\d\d +(\d+)% \w", done.stderr, re.MULTILINE)]
    assert shares == sorted(shares), "a log has a line for each stage"
    assert (shares[0], shares[-1]) == (0, 100)
    assert "95 % interval" in done.stdout.replace("\N{NO-BREAK SPACE}", " ")
    return folder / "out"


def process(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)


def test_help_answers_at_once_without_torch() -> None:
    code = (
        "import sys; from selfrep.cli import main\ntry: main()\nfinally: print('torch there:', 'torch' in sys.modules)"
    )
    done = process("-c", code, "--help")
    assert done.returncode == 0
    assert done.stdout.endswith("torch there: False\n")
    for command in ("run", "demo", "report", "figures", "models", "personas", "battery", "new"):
        assert command in done.stdout


def test_the_package_runs_as_the_command() -> None:
    assert process("-m", "selfrep", "personas").stdout == selfrep("personas").stdout != ""
    refused(process("-m", "selfrep", "run", "nothing.yaml"), "nothing.yaml")


def test_a_run_can_be_drawn_and_reported_again(run_once: Path) -> None:
    (run_once / "report.html").unlink()
    assert selfrep("report", str(run_once)).returncode == 0
    assert (run_once / "report.html").stat().st_size > 100_000
    done = selfrep("figures", str(run_once))
    assert done.returncode == 0
    assert "separation.html" in done.stdout


def test_the_same_command_goes_on_and_has_nothing_left_to_do(run_once: Path) -> None:
    done = selfrep("run", "../study.yaml", "--out", ".", cwd=run_once)
    assert done.returncode == 0, done.stderr
    stages = re.findall(r"^ *\d+:\d\d +\d+% (.+)$", done.stderr, re.MULTILINE)
    assert stages == ["figures and report", "done"], "nothing is done again"


def test_new_writes_files_that_load_and_leaves_files_alone(tmp_path: Path) -> None:
    from selfrep.prompts import battery, personas

    assert selfrep("new", "mine.yaml", cwd=tmp_path).returncode == 0
    assert study.load(tmp_path / "mine.yaml").name == "my-study"
    for what in ("personas", "items"):
        assert f"name it in a study: `{'battery' if what == 'items' else what}:" in (
            selfrep("new", "--what", what, cwd=tmp_path).stdout
        )
    people = personas.load(tmp_path / "personas.yaml")
    assert people.sides() == {"honest": "honest advisors", "con": "con artists"}
    assert people.readings()["default"].name == "tuned_default"
    assert battery.load(tmp_path / "items.yaml").names() == ("your_work", "who_writes")
    refused(selfrep("new", "mine.yaml", cwd=tmp_path), "mine.yaml is there already")
    refused(selfrep("new", "no/such/place.yaml", cwd=tmp_path), "Cannot write")


def test_check_tells_all_that_speaks_against_a_study(tmp_path: Path) -> None:
    (tmp_path / "fine.yaml").write_text(TINY)
    assert "tiny: nothing speaks against it." in selfrep("check", "fine.yaml", cwd=tmp_path).stdout
    (tmp_path / "far.yaml").write_text(TINY.replace("{item: who_are_you}", "{item: who_are_you, layers: [7, 9]}"))
    refused(selfrep("check", "far.yaml", cwd=tmp_path), "separation: layers are 0 to 5 in this model; got 7, 9")
    assert {path.name for path in tmp_path.iterdir()} == {"fine.yaml", "far.yaml"}, "nothing is written"


def test_a_study_is_asked_of_the_model_that_the_command_names(tmp_path: Path) -> None:
    (tmp_path / "brief.yaml").write_text(TINY[: TINY.index("separation")])
    model = ("--model", "organism:bleed?beta=0.4", "--dtype", "bfloat16", "--device", "cpu")
    done = selfrep("run", "brief.yaml", *model, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    directory = RunDirectory.open(tmp_path / "out" / "tiny-organism-bleed-beta-0.4")
    assert directory.provenance()["model"] == "organism:bleed?beta=0.4"
    assert directory.provenance()["dtype"] == "bfloat16"
    other = selfrep("run", "brief.yaml", "--out", str(directory.path), *model[:2], cwd=tmp_path)
    refused(other, "holds another study", "-dtype: bfloat16", "--fresh")


STRANGER = """
name: stranger
personas: {names: [smollm, language_model, chatgpt, hal_9000, jfk, nurse]}
battery:
  define:
    who:
      question: Who are you?
      prefill: I am a
      perspective: in_character
      answers: {ai: [" robot"], human: [" person"]}
divergence: {item: who, positions: [-1]}
default_axis: {item: who}
"""


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study, and a model of random weights that nobody knows, with a chat template."""
    folder = tmp_path_factory.mktemp("stranger")
    (folder / "study.yaml").write_text(STRANGER)
    tokenizer = make_tokenizer(CHATML)
    tiny_hf("llama", vocabulary=len(tokenizer)).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return folder


def test_a_model_that_nobody_knows_runs_without_a_reading_of_its_own(stranger: Path) -> None:
    done = selfrep("run", "study.yaml", "--model", "model", "--device", "cpu", cwd=stranger)
    assert done.returncode == 0, done.stderr
    assert "Left out: persona smollm (what model is tuned to call itself is not known" in done.stderr
    assert "default_axis (all of it reads what is left out)" in done.stderr
    out = RunDirectory.open(stranger / "out" / "stranger-model")
    (unknown,) = [finding for finding in out.findings() if finding.title.startswith("The default reading")]
    assert not unknown.identified
    assert "--identity NAME MAKER" in unknown.reason
    page = out.report.read_text("utf-8")
    assert "is tuned to call itself is not known" in page
    assert "SmolLM" not in page + out.study_yaml
    assert "default" not in out.read("divergence").reference.values


def test_a_model_speaks_as_whom_its_user_says_it_is(stranger: Path) -> None:
    flags = ("--model", "model", "--identity", "Zed", "the firm Zeta", "--out", "zed", "--device", "cpu")
    done = selfrep("run", "study.yaml", *flags, cwd=stranger)
    assert done.returncode == 0, done.stderr
    out = RunDirectory.open(stranger / "zed")
    assert out.provenance()["itself"]["name"] == "Zed"
    assert "Zed, an AI assistant trained by the firm Zeta" in out.study_yaml
    assert {"unprompted", "default", "reductionist"} == set(out.read("divergence").reference.values)
    assert out.has("default_axis")


def test_a_dry_run_tells_and_writes_nothing(stranger: Path) -> None:
    before = {path for path in stranger.rglob("*") if path.name != "model"}
    done = selfrep(
        "run", "study.yaml", "--model", "model", "--out", "dry", "--dry-run", "--device", "cpu", cwd=stranger
    )
    assert done.returncode == 0, done.stderr
    assert "stranger, asked of model in float32. Nothing was run." in done.stdout
    assert re.search(r"answers to every item +\d+", done.stdout)
    assert "default_axis (all of it reads what is left out)" in done.stderr
    assert {path for path in stranger.rglob("*") if path.name != "model"} == before
    refused(selfrep("run", "study.yaml", "--model", "no/such", "--dry-run", cwd=stranger), "no/such")


def test_what_a_model_or_its_template_does_not_take_is_refused(tmp_path: Path) -> None:
    (tmp_path / "brief.yaml").write_text(TINY[: TINY.index("separation")])
    for words, *flags in (
        ("does not read 'date_string'", "--template-var", "date_string=26 Jul 2024"),
        ("name=value", "--template-var", "date_string"),
        ("dtype: must be one of", "--dtype", "float8"),
        ("no/such/model", "--model", "no/such/model"),
    ):
        refused(selfrep("run", "brief.yaml", *flags, cwd=tmp_path), words)
        refused(selfrep("check", "brief.yaml", *flags, cwd=tmp_path), words)
    refused(selfrep("run", "brief.yaml", "--attn", "no_such", "--device", "cpu", cwd=tmp_path), "attention 'no_such'")


def test_fresh_starts_over_where_another_study_was(run_once: Path, tmp_path: Path) -> None:
    (tmp_path / "brief.yaml").write_text(TINY[: TINY.index("separation")])
    copy = tmp_path / "out"
    shutil.copytree(run_once, copy)
    (copy / "notes.txt").write_text("mine")
    refused(selfrep("run", "brief.yaml", "--out", "out", cwd=tmp_path), "another study", "--fresh")
    assert selfrep("run", "brief.yaml", "--out", "out", "--fresh", cwd=tmp_path).returncode == 0
    assert set(RunDirectory.open(copy).groups()) == {"behaviour", "items", "persona_shifts"}
    assert (copy / "notes.txt").read_text() == "mine"


def test_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "John F. Kennedy" in selfrep("personas").stdout
    assert "I am a" in selfrep("battery").stdout
    assert "I am a" in selfrep("battery", "list").stdout
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "none"))  # read when it is imported
    empty = selfrep("models", SELFREP_CACHE=str(tmp_path))
    assert "No model is cached yet" in empty.stdout


def test_a_battery_is_checked_on_a_model() -> None:
    arguments = ("battery", "check", BATTERY, "--model", "organism:separate", "--personas", PERSONAS)
    done = selfrep(*map(str, arguments), "--device", "cpu", COLUMNS="120")
    assert done.returncode == 0, done.stderr
    assert "items can be read on this model" in done.stdout
    assert "act_in_peace:" in done.stdout, "what cannot be read is named, with its reason"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("battery", "check", "nothing.yaml"), ("nothing.yaml",)),
        (("battery", "check", "--model", "no/such/folder"), ("model",)),
        (("run", "nothing.yaml"), ("nothing.yaml",)),
        (("report", "."), ("holds no run",)),
        (("personas", "nothing.yaml"), ("nothing.yaml",)),
        (("run", "bad.yaml"), ("4 mistakes", "line 1", "line 2", "line 3")),
        (("run", "unknown.yaml"), ("model",)),
        (("run", "study.yaml", "--device", "tpu"), ("tpu", "cpu")),
    ],
)
def test_bad_input_ends_with_one_message_and_code_2(
    arguments: tuple[str, ...], words: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "bad.yaml").write_text("nam: x\nseed: -3\npersonas: {names: [jkf]}\n")
    (tmp_path / "unknown.yaml").write_text("name: x\nmodel: ./no-such-folder\n")
    (tmp_path / "study.yaml").write_text(TINY)
    refused(selfrep(*arguments, cwd=tmp_path), *words)


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is there")
def test_cuda_without_cuda(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(TINY)
    refused(selfrep("run", "study.yaml", "--device", "cuda", cwd=tmp_path), "cuda", "--device cpu")


def test_a_directory_of_another_study_is_refused(run_once: Path, tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text(TINY + "seed: 9\n")
    refused(selfrep("run", "other.yaml", "--out", str(run_once), cwd=tmp_path), "another study", "seed: 9")


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(TINY)
    (tmp_path / "file").write_text("in the way")
    refused(selfrep("run", "study.yaml", "--out", "file/out", cwd=tmp_path), "file")


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        (["run", "study.yaml"], "out/tiny"),
        (["run", "study.yaml", "--out", "elsewhere"], "elsewhere"),
        (["run", "mimicry"], "out/mimicry"),
        (["demo"], "out/demo"),
        (["demo", "--out", "elsewhere"], "elsewhere"),
        (["demo", "--full"], "out/demo-full"),
    ],
)
def test_a_run_goes_to_the_folder_of_its_study_and_ends_with_130_when_it_is_stopped(
    arguments: list[str],
    place: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    asked: dict[str, object] = {}

    def stopped(study: object, out: Path, **given: object) -> None:
        asked.update(given, out=out)
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    Path("study.yaml").write_text(TINY)
    monkeypatch.setattr("selfrep.study.run.run", stopped)
    monkeypatch.setattr("sys.argv", ["selfrep", *arguments, "--device", "cpu"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
    assert (asked["out"], asked["device"]) == (Path(place), "cpu")
    said = capsys.readouterr().err
    assert "stopped; run the same command again to go on from here" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "study.yaml", "--out", "closed/out"), "closed/out is not writable"),
        (("run", "study.yaml", "--out", "closed"), "closed is not writable"),
        (("demo", "--out", "closed/out"), "closed/out is not writable"),
        (("report", "closed/done"), "report.html is not writable"),
        (("figures", "closed/done"), "items.csv is not writable"),
        (("validate", "--quick", "--out", "closed/out"), "closed/out is not writable"),
        (("validate", "--quick", "--out", "closed"), "closed is not writable"),
        (("new", "closed/mine.yaml"), "Cannot write closed/mine.yaml: Permission denied"),
    ],
)
def test_a_folder_that_is_not_writable_is_refused_before_any_work(
    arguments: tuple[str, ...],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("study.yaml").write_text(TINY)
    done = RunDirectory(tmp_path / "closed" / "done")
    done.create_or_resume(TINY, "abc123")
    done.write("items", GROUPS["items"])

    def work(*_: object, **__: object) -> None:
        raise AssertionError("work was begun that cannot be kept")

    monkeypatch.setattr("selfrep.plots.browser", lambda: "chromium")  # without one, figures say so first
    monkeypatch.setattr("selfrep.validation.validate.validate", work)
    monkeypatch.setattr("selfrep.models.loading.load_model", work)
    monkeypatch.setattr("sys.argv", ["selfrep", *arguments])
    with forbidden(tmp_path / "closed"), pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("selfrep: ")]
    assert len(said) == 1
    assert words in said[0].replace(f"{tmp_path}/", "")


def test_validate_ends_with_1_when_a_threshold_is_missed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = {True: card(), False: card(examination(t=0.5))}
    for passed, code in ((True, 0), (False, 1)):
        monkeypatch.setattr("selfrep.validation.validate.validate", lambda passed=passed, **_: made[passed])
        done = CliRunner().invoke(app, ["validate", "--quick", "--out", str(tmp_path / "out")])
        assert done.exit_code == code, done.output
        assert "thresholds reached" in done.output
        assert (tmp_path / "out" / "validation.html").exists()


def test_validate_ends_with_2_on_bad_input(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    monkeypatch.setattr("sys.argv", ["selfrep", "validate", "--quick", "--out", str(tmp_path / "taken")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2


def test_validate_takes_folders_of_models_from_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: dict[str, object] = {}
    monkeypatch.setattr("selfrep.validation.validate.validate", lambda **given: asked.update(given) or card())
    out = ["--quick", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, ["validate", *out, "--tracr", "a", "--tracr", "b", "--interpbench", "c"])
    assert done.exit_code == 0, done.output
    assert (asked["tracr"], asked["interpbench"]) == ([Path("a"), Path("b")], [Path("c")])
    CliRunner().invoke(app, ["validate", *out])
    assert (asked["tracr"], asked["interpbench"]) == ((), ())


def test_validate_ends_with_2_on_a_bad_folder(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    earlier = tmp_path / "out" / "validation.html"
    earlier.parent.mkdir()
    earlier.write_text("mine")
    monkeypatch.setattr("sys.argv", ["selfrep", "validate", "--out", str(tmp_path / "out"), "--tracr", "nowhere"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert [line for line in said if line.startswith("selfrep: ")] == [
        "selfrep: A model from elsewhere is a folder; nowhere is none."
    ]
    assert earlier.read_text() == "mine"


def test_the_help_names_every_built_in_study() -> None:
    assert all(name in STUDY for name in study.presets()), "written out there, since --help reads no files"
