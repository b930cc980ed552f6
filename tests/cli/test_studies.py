"""Studies from the command line: run, resumed, refused, told of before."""

from __future__ import annotations

import re
import shutil
import signal
from pathlib import Path

import pytest
import torch
from tests.cli.command import TINY, process, refused, selfrep
from tests.prompts.conftest import CHATML, make_tokenizer
from tests.tiny import tiny_hf

from selfrep.cli import main
from selfrep.errors import SelfrepError
from selfrep.store.run_directory import RunDirectory


@pytest.mark.usefixtures("pageless")
def test_the_same_command_goes_on_and_has_nothing_left_to_do(run_once: Path) -> None:
    done = selfrep("run", "../study.yaml", "--out", ".", cwd=run_once)
    assert done.returncode == 0, done.stderr
    stages = re.findall(r"^ *\d+:\d\d +\d+% (.+)$", done.stderr, re.MULTILINE)
    assert stages == ["figures and report", "done"], "nothing is done again"
    assert "Nothing is left to measure" in done.stdout


def test_check_tells_all_that_speaks_against_a_study(tmp_path: Path) -> None:
    (tmp_path / "fine.yaml").write_text(TINY)
    assert "tiny: nothing speaks against it." in selfrep("check", "fine.yaml", cwd=tmp_path).stdout
    (tmp_path / "far.yaml").write_text(TINY.replace("{item: who_are_you}", "{item: who_are_you, layers: [7, 9]}"))
    refused(selfrep("check", "far.yaml", cwd=tmp_path), "separation: layers are 0 to 5 in this model; got 7, 9")
    assert {path.name for path in tmp_path.iterdir()} == {"fine.yaml", "far.yaml"}, "nothing is written"


@pytest.mark.usefixtures("pageless")
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


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.usefixtures("pageless")
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


@pytest.mark.slow
def test_a_study_is_checked_without_torch_and_foretold_without_a_class_of_models(stranger: Path) -> None:
    code = (
        "import sys; from selfrep.cli import main\ntry: main()\n"
        "finally: print([n for n in ('torch', 'transformers.modeling_utils') if n in sys.modules])"
    )
    asked = (str(stranger / "study.yaml"), "--model", str(stranger / "model"))
    checked, foretold = process("-c", code, "check", *asked), process("-c", code, "run", *asked, "--dry-run")
    assert checked.stdout.splitlines() == ["stranger: nothing speaks against the rest.", "[]"]
    assert foretold.stdout.splitlines()[-1] == "['torch']", "the speed of the device is timed"


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


@pytest.mark.slow
@pytest.mark.usefixtures("pageless")
def test_mistakes_are_told_at_the_door_and_the_corrected_command_runs(tmp_path: Path) -> None:
    (tmp_path / "far.yaml").write_text(
        TINY[: TINY.index("transfer")].replace("who_are_you}", "who_are_you, layers: [9]}")
    )
    (tmp_path / "brief.yaml").write_text(TINY[: TINY.index("separation")])
    flags = ("--attn", "spda", "--device-map", "auto", "--device", "tpu", "--dtype", "float8")
    told = (
        "5 mistakes",
        "attn: ",
        "(did you mean 'sdpa'?)",
        "device_map: ",
        "device: ",
        "dtype: ",
        "separation: layers",
    )
    for command in (("run",), ("run", "--dry-run"), ("check",)):
        refused(selfrep(*command, "far.yaml", *flags, cwd=tmp_path), *told)
    wrong = ("run", "brief.yaml", "--attn", "no_such", "--device", "cpu")
    refused(selfrep(*wrong, cwd=tmp_path), "attn: There is no attention 'no_such'")
    assert not (tmp_path / "out").exists()
    done = selfrep(*wrong[:2], "--attn", "sdpa", *wrong[4:], cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("pageless")
def test_what_fails_as_the_model_is_loaded_leaves_the_directory_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise SelfrepError("no room")

    (tmp_path / "brief.yaml").write_text(TINY[: TINY.index("separation")])
    with monkeypatch.context() as patched:
        patched.setattr("selfrep.study.job.load_model", fail)
        refused(selfrep("run", "brief.yaml", "--device", "cpu", cwd=tmp_path), "no room")
    assert (tmp_path / "out" / "tiny" / "study.yaml").exists()
    done = selfrep("run", "brief.yaml", "--dtype", "bfloat16", "--device", "cpu", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    other = selfrep("run", "brief.yaml", "--dry-run", "--device", "cpu", cwd=tmp_path)
    refused(other, "holds another study", "-dtype: bfloat16")


@pytest.mark.usefixtures("pageless")
def test_fresh_starts_over_where_another_study_was(run_once: Path, tmp_path: Path) -> None:
    (tmp_path / "brief.yaml").write_text(TINY[: TINY.index("separation")])
    copy = tmp_path / "out"
    shutil.copytree(run_once, copy)
    (copy / "notes.txt").write_text("mine")
    refused(selfrep("run", "brief.yaml", "--out", "out", cwd=tmp_path), "another study", "--fresh")
    assert selfrep("run", "brief.yaml", "--out", "out", "--fresh", cwd=tmp_path).returncode == 0
    assert set(RunDirectory.open(copy).groups()) == {"behaviour", "items", "persona_shifts"}
    assert (copy / "notes.txt").read_text() == "mine"


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
        signal.raise_signal(signal.SIGINT)

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


@pytest.mark.usefixtures("pageless")
def test_workers_fill_what_was_prepared_and_the_task_of_an_array_is_one(tmp_path: Path) -> None:
    (tmp_path / "brief.yaml").write_text(TINY[: TINY.index("separation")])
    asked = ("run", "brief.yaml", "--out", "out", "--device", "cpu")
    done = selfrep(*asked, "--prepare", cwd=tmp_path)
    assert (done.returncode, "out is ready" in done.stdout) == (0, True), done.stderr
    assert not RunDirectory.open(tmp_path / "out").begun
    task = {"SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_TASK_COUNT": "1"}
    done = selfrep(*asked, "--shard", cwd=tmp_path, **task)
    assert (done.returncode, "Shard 0/1 of tiny is done" in done.stdout) == (0, True), done.stderr
    assert RunDirectory.open(tmp_path / "out").groups() == ("behaviour",)
    assert selfrep(*asked, cwd=tmp_path).returncode == 0
    refused(selfrep(*asked, "--shard", "1/1", cwd=tmp_path), "counted from 0", "1/1")
    refused(selfrep(*asked, "--shard", "0/2", "--fresh", cwd=tmp_path), "--fresh", "for the whole")


def test_a_run_whose_time_is_over_ends_with_75_and_says_that_it_goes_on(tmp_path: Path) -> None:
    (tmp_path / "brief.yaml").write_text(TINY[: TINY.index("separation")])
    done = selfrep("run", "brief.yaml", "--out", "out", "--device", "cpu", "--time-limit", "0s", cwd=tmp_path)
    assert done.returncode == 75
    assert "The time limit was reached" in done.stderr
    assert "same command goes on" in done.stderr
    refused(selfrep("run", "brief.yaml", "--time-limit", "soon", cwd=tmp_path), "A time is given as", "'soon'")


def test_a_study_is_submitted_as_it_would_be_run(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    done = selfrep("slurm", "tiny.yaml", "--shards", "4", "--out", "my out", "--dtype", "bfloat16", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "--array=0-3" in done.stdout
    assert done.stdout.count("--dtype bfloat16") == 3
    assert "my out" in done.stdout
    assert selfrep("slurm", "tiny.yaml", "--shards", "4", "--otu", "x", cwd=tmp_path).returncode == 2
    refused(selfrep("slurm", "none.yaml", "--shards", "4", cwd=tmp_path), "none.yaml")
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"], "nothing is run or written"


def test_a_sweep_is_refused_before_anything_is_begun(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    (tmp_path / "tiny.yaml").write_text(TINY)
    refused(selfrep("sweep", "tiny.yaml", "none.yaml", cwd=tmp_path), "none.yaml")
    refused(selfrep("sweep", "tiny.yaml", "--models", "no/such", "--out", "out", cwd=tmp_path), "no/such")
    refused(selfrep("sweep", "tiny.yaml", "tiny.yaml", "--out", "out", cwd=tmp_path), "folder of its own")
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]
