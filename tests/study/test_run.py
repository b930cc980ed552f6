"""Study → run directory, end to end, on a hand-wired model: every number can be computed again from the file."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from tests.analyses import planted
from tests.forbidden import forbidden

from selfrep.engine.misses import from_attrs
from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.models.loading import load_model
from selfrep.models.organisms import BATTERY, PERSONAS
from selfrep.store.run import open_run
from selfrep.store.run_directory import RunDirectory
from selfrep.study import run as running
from selfrep.study import study

MODEL = "organism:bleed?beta=0.4"
ATTENTION = "    - {site: attn_out, directions: [denoise], layers: [0, 2]}\n"
STUDY = f"""
name: organism
model: "{MODEL}"
personas: {{file: "{PERSONAS}"{planted.TEN}}}
battery: {{file: "{BATTERY}", names: [who_are_you, what_writes]}}
separation: {{item: who_are_you}}
transfer:
  pairs: [[network, nurse], [chatbot, sailor], [robot, farmer]]
  items: [who_are_you, what_writes]
  paraphrases: [0, 2]
  sweeps:
    - {{site: resid_pre}}
{ATTENTION}    - {{site: resid_pre, by: segment, layers: [2, 5], controls: [paraphrase, persona, random]}}
"""
PATCHED = ("effects/attn_out", "effects/resid_pre", "segments/resid_pre")
SWEEPS = STUDY.replace("separation: {item: who_are_you}\n", "")


@pytest.fixture(scope="module")
def described() -> study.Study:
    return study.loads(STUDY)


@pytest.fixture(scope="module")
def done(described: study.Study, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("selfrep.report.figures.ENDINGS", (".html",))
        made = running.run(described, tmp_path_factory.mktemp("run") / "out", device="cpu", warn=lambda message: None)
    return made.directory


def test_the_directory_holds_what_it_promises(done: RunDirectory) -> None:
    assert set(done.groups()) == {
        "activations/separation",
        "activations_summary",
        "behaviour",
        "controls/segments/resid_pre",
        "effects/attn_out",
        "effects/resid_pre",
        "items",
        "persona_shifts",
        "segments/resid_pre",
        "separation",
        *(f"transfer/{group}{ends}" for group in PATCHED for ends in ("", "_source_target")),
    }
    assert done.report.is_file()
    assert len(done.findings()) == 7
    assert {p.suffix for p in done.figures.iterdir()} >= {".html", ".csv"}
    known = done.provenance()
    assert known["model"] == MODEL
    assert known["device"] == "cpu"
    assert len(known["weights_hash"]) == 64


def _log_odds(lm: LanguageModel, ids: np.ndarray, answers: np.ndarray) -> float:
    logits = lm.hf(torch.as_tensor(ids[ids >= 0])[None]).logits[0, -1].double()
    first, second = (logits[torch.as_tensor(side[side >= 0])].logsumexp(0) for side in answers)
    return float(first - second)


def _recomputed(lm: LanguageModel, group: xr.Dataset, pair: int, layer: int, position: int) -> float:
    """A cell by plain Hugging Face hooks, from what the file says and nothing else."""
    block = lm.blocks[layer]
    module, kept = (block if group.attrs["site"] == "resid_pre" else block.get_submodule("self_attn"), [])

    def keep(x: torch.Tensor) -> torch.Tensor:
        kept.append(x[0, position].clone())
        return x

    def put(x: torch.Tensor) -> torch.Tensor:
        x = x.clone()
        x[0, position] = kept[0]
        return x

    answers = group.answer_ids.sel(item_name=str(group["item"].values[pair])).to_numpy()
    for change, ids in ((keep, group.source_ids), (put, group.target_ids)):
        if group.attrs["site"] == "resid_pre":
            hook = module.register_forward_pre_hook(lambda m, a, f=change: (f(a[0]), *a[1:]))
        else:
            hook = module.register_forward_hook(
                lambda m, a, o, f=change: (f(o[0]), *o[1:]) if isinstance(o, tuple) else f(o)
            )
        value = _log_odds(lm, ids.to_numpy()[pair], answers)
        hook.remove()
    return value


@pytest.mark.parametrize("name", ["effects/resid_pre", "effects/attn_out"])
def test_any_cell_can_be_computed_again_from_the_file_alone(done: RunDirectory, name: str) -> None:
    lm = load_model(MODEL)
    group = xr.open_zarr(done.store, group=name, consolidated=False).load()
    rng = np.random.default_rng(0)
    stored = group.patched.transpose("pair", "layer", "position").to_numpy()
    moved = np.abs(stored - group.target_metric.to_numpy()[:, None, None])
    for cells in (np.argwhere(moved > 0.1), np.argwhere(np.isfinite(stored))):  # where nothing happens proves little
        for pair, layer, position in rng.choice(cells, 12, replace=False):
            place = int(group.layer[layer]), int(group.position[position])
            expected = _recomputed(lm, group, int(pair), *place)
            assert stored[pair, layer, position] == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_every_sweep_kept_its_selfcheck(done: RunDirectory) -> None:
    for name in ("effects/resid_pre", "effects/attn_out", "segments/resid_pre"):
        misses = from_attrs(done.read(name).attrs)
        assert len(misses) == 4
        assert max(misses.values()) < 1e-3


def test_the_planted_truth_is_found(done: RunDirectory) -> None:
    items, moved = done.read("items"), done.read("transfer/segments/resid_pre")
    assert float(items["shift"].sel(item="who_are_you")) > 1
    full = moved.estimate.sel(direction="denoise", segment="all", layer=5)
    assert float(full) == pytest.approx(1, abs=0.05), "all tokens before the last block carry everything"
    for control in ("control_paraphrase", "control_random"):
        assert abs(float(moved[control].sel(direction="denoise", segment="all", layer=5))) < 0.5


@pytest.mark.usefixtures("pageless")
def test_a_second_run_changes_nothing(described: study.Study, done: RunDirectory) -> None:
    def fingerprint() -> dict[str, str]:
        files = (p for p in done.store.rglob("*") if p.is_file())
        return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}

    before = fingerprint()
    stages: list[str] = []
    again = running.run(
        described, done.path, on_progress=lambda stage, at, total: stages.append(stage), warn=lambda m: None
    )
    assert again == open_run(done.path), "what a run returns is what is opened"
    assert fingerprint() == before
    assert set(stages) == {"figures and report", "done"}


def test_another_study_is_refused_with_the_difference(described: study.Study, done: RunDirectory) -> None:
    other = study.loads(STUDY + "seed: 5\n")
    with pytest.raises(SelfrepError, match="seed: 5"):
        running.run(other, done.path)


@pytest.mark.slow
@pytest.mark.usefixtures("pageless")
def test_a_killed_run_goes_on_and_ends_with_the_same_numbers(done: RunDirectory, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(SWEEPS.replace(ATTENTION, ""))
    out = tmp_path / "out"
    code = f"""
import os, signal
from selfrep.study import run
from selfrep.study import study
from selfrep.analyses.transfer import runs as patching
sound, batches = patching.patch_sweep, []
def patch_sweep(*args, **kwargs):
    batches.append(1)
    if len(batches) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return sound(*args, **kwargs)
patching.patch_sweep = patch_sweep
run.run(study.load({str(tmp_path / "study.yaml")!r}), {str(out)!r}, device="cpu", warn=lambda m: None)
"""
    killed = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONWARNINGS": "ignore"}, check=False)
    assert killed.returncode == -signal.SIGKILL
    left = RunDirectory(out).pending("segments/resid_pre")
    assert 0 < len(left) < 24, "killed in the middle of a sweep"
    finished = running.run(study.load(tmp_path / "study.yaml"), out, device="cpu", warn=lambda message: None).directory
    for group in ("effects/resid_pre", "segments/resid_pre", "controls/segments/resid_pre", "behaviour"):
        xr.testing.assert_allclose(finished.read(group), done.read(group), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: x\nmodel: /nowhere/at/all\n", "nowhere"),
        (SWEEPS.replace("layers: [0, 2]", "layers: [0, 30]"), r"layers are 0 to 5"),
        pytest.param(
            SWEEPS.replace("{site: resid_pre}", "{site: resid_pre, positions: [-60]}", 1), "-60", marks=pytest.mark.slow
        ),  # seen when prompts are aligned, after all of them have been asked
        (SWEEPS.replace("paraphrases: [0, 2]", "paraphrases: [9]"), "paraphrases"),
    ],
    ids=["model", "layer", "position", "paraphrase"],
)
def test_bad_studies_end_in_one_clear_error(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(SelfrepError, match=words):
        running.run(study.loads(text), tmp_path / "out", warn=lambda message: None)


def test_a_folder_that_is_not_writable_is_refused_before_any_work(
    described: study.Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "Job", lambda *_: pytest.fail("work was begun that cannot be kept"))
    with forbidden(tmp_path), pytest.raises(SelfrepError, match=r"out is not writable.*--out"):
        running.run(described, tmp_path / "out")


FOLDING = """
{%- for m in messages -%}
{%- if m['role'] == 'system' -%}{{ raise_exception('no system role') }}{%- endif -%}
{{ m['role'] + ' : ' + m['content'] + ' ' }}
{%- endfor -%}
"""


def test_a_template_without_a_system_role_is_said_aloud(tmp_path: Path) -> None:
    folding = planted.described(MODEL, "").model_copy(update={"chat_template": FOLDING})
    heard: list[str] = []
    done = running.run(folding, tmp_path / "out", device="cpu", warn=heard.append).directory
    assert any("no system role" in message for message in heard)
    assert done.provenance()["chat_template"]["system_role"] is False


@pytest.mark.slow
def test_the_report_opens_early_and_the_run_goes_on(tmp_path: Path) -> None:
    asked = study.loads(
        f'name: early\nmodel: "organism:separate"\npersonas: {{file: "{PERSONAS}"{planted.TEN}}}\n'
        f'battery: {{file: "{BATTERY}", names: [who_are_you, what_writes]}}\n'
        "divergence: {item: who_are_you, positions: [-1]}\n"
    )
    seen: list[tuple[set[str], bool, bool]] = []

    def opened(directory: RunDirectory) -> None:
        page = directory.report.read_text("utf-8")
        early = {path.name for path in directory.figures.iterdir() if path.suffix != ".js"}
        assert early == {"self_and_persona.html", "self_and_persona.csv"}
        seen.append((set(directory.groups()), bool(directory.findings()), "still running" in page))

    done = running.run(asked, tmp_path / "out", device="cpu", warn=lambda m: None, on_opening=opened).directory
    ((groups, found, said),) = seen
    assert "divergence" in groups
    assert "items" not in groups, "the rest is still to come"
    assert found
    assert said
    assert "items" in done.groups()
    assert "still running" not in done.report.read_text("utf-8")
    running.run(asked, done.path, device="cpu", warn=lambda m: None, on_opening=opened)
    assert len(seen) == 1, "what was told is not told again"
