"""What is said of A, M, D and π: identified beside its control, or why not and what would identify it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from selfrep.report.findings import findings
from selfrep.store.run_directory import RunDirectory

TESTED = {"permuted": "the signs", "n_labelings": 128, "smallest_p": 1 / 128}
NAN = float("nan")


def noticed(gate: bool) -> xr.Dataset:
    estimate = 1.5 if gate else NAN
    numbers = {"estimate": estimate, "ci_low": estimate, "ci_high": estimate, "p": 0.01 if gate else NAN}
    numbers |= {"raw": 1.5, "raw_ci_low": 1.0, "raw_ci_high": 2.0}
    numbers |= {"capability": 2.5, "capability_ci_low": 2.0, "capability_ci_high": 3.0}
    return xr.Dataset(
        {name: ("form", [value]) for name, value in numbers.items()}
        | {"identified": ("form", [gate]), "reason": ("form", ["" if gate else "it notices nothing"])},
        coords={"form": ["persona"]},
        attrs=TESTED | {"n_personas": 8},
    )


def mediated(gate: bool) -> xr.Dataset:
    n = 0.25 if gate else NAN
    one = {"estimate": n, "ci_low": n, "ci_high": n, "p": n, "total": 4.0}
    raw = {"cue_by_stakes": 0.7, "cue_by_stakes_ci_low": 0.1, "cue_by_stakes_ci_high": 1.3, "cue_by_stakes_p": 0.03}
    ends = ("", "_ci_low", "_ci_high")
    return xr.Dataset(
        {name: (("order", "donor"), [[value]]) for name, value in one.items()}
        | {"identified": (("order", "donor"), [[gate]])}
        | {"reason": (("order", "donor"), [["" if gate else "too small"]])}
        | {"phi": (("order", "donor", "path"), [[[1.0, 3.0, 0.0]]])}
        | {"random": (("order", "donor", "mediator"), [[[0.2, 0.3]]])}
        | {name: ((), value) for name, value in raw.items()}
        | {f"cue_effect{end}": ("stakes", [0.5, 1.2]) for end in ends}
        | {f"stakes_effect{end}": ("cue", [0.4, 1.1]) for end in ends},
        coords={"order": ["P first"], "donor": ["both"], "path": ["P", "S", "direct"], "mediator": ["P", "S"],
                "cue": [0, 1], "stakes": [0, 1]},
        attrs=TESTED | {"n_scenarios": 8, "proven": ["P"]},
    )  # fmt: skip


def direct(gate: bool) -> xr.Dataset:
    n = 0.8 if gate else NAN
    numbers = {"estimate": n, "ci_low": n, "ci_high": n, "p": n, "p_reasoning": n, "paraphrase_sd": 0.2}
    return xr.Dataset(
        {name: ((), value) for name, value in numbers.items()}
        | {"identified": ((), gate), "reason": ((), "" if gate else "too small")}
        | {name: ("share", [3.2, 4.0]) for name in ("shift", "shift_ci_low", "shift_ci_high")},
        coords={"share": [0.0, 1.0]},
        attrs=TESTED | {"n_scenarios": 8},
    )


def recognised(gate: bool) -> xr.Dataset:
    n = 0.9 if gate else NAN
    numbers = {"estimate": n, "ci_low": n, "ci_high": n, "p": n, "null": n, "chance": 0.125, "shuffled": 0.3}
    return xr.Dataset(
        {name: ((), value) for name, value in numbers.items()}
        | {"identified": ((), gate), "reason": ((), "" if gate else "words betray the author")},
        attrs=TESTED | {"n_authors": 8, "n_texts": 16},
    )


GROUPS = {"anomaly": noticed, "mediation": mediated, "directness": direct, "recognition": recognised}
CHAPTER = {"recognition": "posterior"}


@pytest.mark.parametrize("group", GROUPS)
def test_what_is_identified_stands_beside_its_control(group: str, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.write(group, GROUPS[group](True))
    first, *rest = findings(run)
    assert first.about == CHAPTER.get(group, group)
    assert first.identified
    assert first.value == pytest.approx(float(GROUPS[group](True).estimate.squeeze()))
    assert first.control
    assert "nan" not in first.control + first.how_sure + first.title
    assert len(rest) == (group == "mediation")


@pytest.mark.parametrize("group", GROUPS)
def test_what_is_not_is_not_printed_and_says_what_would_identify_it(group: str, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.write(group, GROUPS[group](False))
    first, *rest = findings(run)
    assert not first.identified
    assert first.value is None
    assert first.reason.startswith(str(GROUPS[group](False).reason.values.squeeze()))
    assert "It takes" in first.reason
    if group == "anomaly":
        assert "raw interaction, 1.5 (95 % interval 1 to 2)" in first.reason
    if group == "mediation":
        assert rest[0].identified
        assert rest[0].value == pytest.approx(0.7)
        assert rest[0].unit == "nats"


def test_scenes_that_gave_no_numbers_tell_none(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.write("anomaly", noticed(False).assign(raw=("form", [np.nan])))
    (finding,) = findings(run)
    assert finding.reason == "it notices nothing"
    assert not list(findings(RunDirectory(tmp_path / "empty")))
