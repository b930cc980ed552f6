"""Every finding of a run follows from what its directory keeps: made again without the model, it is the same number."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from tests.analyses.planted import RICH, finish, with_subscales
from tests.analyses.posterior.test_runs import TEXTS
from tests.analyses.spectator.test_runs import PART as SPECTATOR

from selfrep.analyses import ANALYSES
from selfrep.analyses.analysis import Reading
from selfrep.errors import SelfrepError
from selfrep.models.organisms import ANOMALIES, SCENARIOS
from selfrep.store.findings import Finding
from selfrep.store.run import open_run
from selfrep.store.run_directory import RunDirectory
from selfrep.study import job
from selfrep.study.recompute import Measured, recompute
from selfrep.study.study import loads

pytestmark = pytest.mark.slow  # one run of everything
NUMBER = re.compile(r"[−-]?\d+(?:\.\d+)?(?:e[−-]?\d+)?")
EVERYTHING = f"""
scenarios: {{file: "{SCENARIOS}"}}
mediation: {{n_random: 20}}
directness: {{shares: [0, 0.5, 1]}}
anomaly: {{file: "{ANOMALIES}"}}
identification: {{}}
{SPECTATOR}
posterior:
  define:
{TEXTS}"""


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("loaded a model")

    monkeypatch.setattr(job, "load_model", never)


def numbers(found: Finding) -> tuple[list[float], list[float]]:
    """All that a finding says in numbers: those that are kept, and those within its sentences, of three digits."""
    told = [found.value, *(found.interval or ())]
    exact = [float(number) for number in told if isinstance(number, float | int)]
    words = " ".join((found.title, found.control, found.how_sure, found.reason))
    return exact, [float(number.replace("−", "-")) for number in NUMBER.findall(words)]


def close(first: list[float], second: list[float], share: float) -> bool:
    return len(first) == len(second) and all(
        math.isclose(a, b, rel_tol=share, abs_tol=1e-6) for a, b in zip(first, second, strict=True)
    )


def differing(first: RunDirectory, second: RunDirectory) -> Iterator[str]:
    """The titles of findings that differ by more than 1e-5 of the larger number, or in words.

    A number in a sentence may be rounded up in the one and down in the other.
    """
    for old, new in zip(first.findings(), second.findings(), strict=True):
        (one, told), (two, retold) = numbers(old), numbers(new)
        alike = close(one, two, 1e-5) and close(told, retold, 0.01)
        if not alike or old.identified != new.identified or NUMBER.sub("", old.title) != NUMBER.sub("", new.title):
            yield old.title


def test_every_finding_and_every_estimate_comes_out_again(rich: RunDirectory, tmp_path: Path, no_model: None) -> None:
    again = recompute(rich.path, tmp_path / "again").directory
    assert not list(differing(rich, again))
    told = {"items", "binding", "bleed", "separation", "divergence", "default_axis", "transfer"}
    assert {finding.about for finding in rich.findings()} == told
    assert again.groups() == rich.groups()
    study = loads(rich.study_yaml)
    made = {name for step in Measured(study, rich, "cpu", print).steps() for name in step.makes}
    assert {"separation", "separation_chosen", "divergence", "default_axis", "transfer/segments/resid_pre"} <= made
    assert not made & {"behaviour", "segments/resid_pre", "controls/segments/resid_pre", "activations/separation"}
    for name in made:
        old, new = xr.align(rich.read(name), again.read(name), join="inner")
        xr.testing.assert_allclose(old, new, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_study_of_everything_comes_out_again(tmp_path: Path) -> None:
    asked = with_subscales("organism:mimicry?w=0.5&beta=0.4&noise=0.2", RICH + EVERYTHING)
    first = finish(asked, tmp_path / "first")
    assert set(asked.parts) == {one.name for one in ANALYSES if one.part}, "an analysis is missing: add its part"
    again = recompute(first.path, tmp_path / "again").directory
    assert again.groups() == first.groups()
    assert not list(differing(first, again))
    assert {finding.about for finding in first.findings()} >= {"identification", "anomaly", "mediation", "directness"}


def rounded(run: RunDirectory, folder: Path, size: float) -> RunDirectory:
    """All estimates once more, of measurements that are off by a share of the largest of their kind, up or down."""
    off, rng = RunDirectory(folder / "off"), np.random.default_rng(0)
    shutil.copytree(run.path, off.path)
    made = {name for step in Measured(loads(run.study_yaml), run, "cpu", print).steps() for name in step.makes}
    for group in sorted(set(run.groups()) - made):  # in one order, so that the draws are the same each time
        data = run.read(group)
        floats = {name: v for name, v in data.data_vars.items() if v.dtype.kind == "f" and v.size}
        moved = {name: v + size * rng.choice([-1, 1], v.shape) * float(abs(v).max()) for name, v in floats.items()}
        off.write(group, data.assign(moved))
    return recompute(off.path, folder / "again").directory


def decided(run: RunDirectory) -> dict[str, np.ndarray]:
    """What ranks and thresholds decide: p-values and what is identified, by group and variable."""
    return {
        f"{group}: {name}": v.to_numpy().astype(float)
        for group in run.groups()
        for name, v in run.read(group).data_vars.items()
        if v.dtype.kind == "b" or str(name).split("_")[0] == "p"
    }


def test_rounding_decides_nothing(tmp_path: Path, pageless: None) -> None:
    """Without noise the same prompts answer alike, so that rearrangements tie by the hundred."""
    run = finish(with_subscales("organism:mimicry?w=0.5&beta=0.4", RICH + EVERYTHING), tmp_path / "run")
    exact = decided(recompute(run.path, tmp_path / "exact").directory)
    assert len(exact) > 30
    for name, values in decided(rounded(run, tmp_path / "rounded", 1e-7)).items():
        np.testing.assert_allclose(
            values, exact[name], atol=1e-6, err_msg=name
        )  # Δ's p is of Student's t, not of ranks
    coarse = decided(rounded(run, tmp_path / "coarse", 1e-2))
    moved = {name.split(":")[0] for name, v in coarse.items() if not np.allclose(v, exact[name], equal_nan=True)}
    assert "separation" in moved, "the control"
    assert len(moved) >= 4, moved


def test_what_is_kept_is_what_findings_hang_on(rich: RunDirectory, tmp_path: Path, no_model: None) -> None:
    steps = Measured(loads(rich.study_yaml), rich, "cpu", print).steps()
    groups = [step.group for step in steps if isinstance(step, Reading)]
    assert groups == [f"activations/{name}" for name in ("divergence", "default_axis", "separation")]
    damaged = RunDirectory(tmp_path / "damaged")
    shutil.copytree(rich.path, damaged.path)
    for group in groups:
        kept = rich.read(group)
        noise = np.random.default_rng(0).normal(size=kept.factor.shape) * float(kept.factor.std())
        damaged.write(group, kept.assign(factor=kept.factor + noise))
    wrong = set(differing(rich, recompute(damaged.path, tmp_path / "again").directory))
    hanging = {finding.about for finding in rich.findings() if finding.title in wrong}
    assert hanging == {"divergence", "default_axis", "separation"}, "and nothing that is made of answers"


def test_a_run_without_its_measurements_is_refused(rich: RunDirectory, tmp_path: Path, no_model: None) -> None:
    poor = RunDirectory(tmp_path / "poor")
    shutil.copytree(rich.path, poor.path)
    shutil.rmtree(poor.store / "activations" / "divergence")
    with pytest.raises(SelfrepError, match="no group 'activations/divergence'"):
        recompute(poor.path, tmp_path / "again")
    shutil.rmtree(poor.store / "behaviour")
    with pytest.raises(SelfrepError, match="stopped before 'answers to every item'"):
        recompute(open_run(poor.path), tmp_path / "once_more")


def test_other_studies_and_folders_in_use_are_refused(rich: RunDirectory, tmp_path: Path) -> None:
    with pytest.raises(SelfrepError, match="exists"):
        recompute(rich.path, tmp_path)
    edited = RunDirectory(tmp_path / "edited")
    shutil.copytree(rich.path, edited.path)
    file = edited.path / "study.yaml"
    file.write_text(file.read_text("utf-8").replace("default:\n  - network", "default:\n  - nurse"), "utf-8")
    with pytest.raises(SelfrepError, match="not the study that ran there"):
        recompute(edited.path, tmp_path / "again")


def test_a_step_that_asks_for_the_model_is_told_that_there_is_none(rich: RunDirectory) -> None:
    with pytest.raises(SelfrepError, match="asked for it"):
        Measured(loads(rich.study_yaml), rich, "cpu", print).lm  # noqa: B018
