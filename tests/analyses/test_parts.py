"""Parts refuse what could not be measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from selfrep.analyses.anomaly import AnomalyPart
from selfrep.analyses.directness import DirectnessPart
from selfrep.analyses.mediation import MediationPart
from selfrep.analyses.posterior import PosteriorPart
from selfrep.errors import SelfrepError
from selfrep.models.organisms import ANOMALIES


@pytest.mark.parametrize(
    ("part", "fields", "words"),
    [
        (DirectnessPart, {"shares": (0.5, 1.0)}, r"rise from 0 .* to 1"),
        (DirectnessPart, {"shares": (0.0, 1.0, 0.5)}, r"rise from 0 .* to 1"),
        (DirectnessPart, {"max_tokens": 0}, "greater than or equal to 1"),
        (MediationPart, {"n_random": 5}, "greater than or equal to 19"),
        (MediationPart, {"layer": -1}, "greater than or equal to 0"),
        (PosteriorPart, {"prior": "mine"}, "must be one of 'model' or 'uniform'"),
    ],
)
def test_bad_values_are_refused(part: Any, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(SelfrepError, match=words):
        part(**fields)


def test_everything_may_be_left_out() -> None:
    assert DirectnessPart().shares == (0.0, 0.25, 0.5, 0.75, 1.0)
    assert MediationPart().n_random == 19
    assert PosteriorPart().prior == "model"


def test_material_is_cut_to_the_named_ones_and_spelled_out() -> None:
    anomalies = AnomalyPart(names=("jfk", "mozart")).spelled_out(Path())
    assert anomalies.define is not None
    assert not anomalies.define.shared
    assert list(anomalies.define.anomalies) == ["jfk", "mozart"]
    texts = PosteriorPart(names=("jfk_today", "farmer_today")).spelled_out(Path())
    assert list(texts.define or ()) == ["jfk_today", "farmer_today"]
    for part in (anomalies, texts):
        assert part.names is None
        assert part.spelled_out(Path()) == part


def test_files_are_read_from_the_folder(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(ANOMALIES.read_text("utf-8"), "utf-8")
    part = AnomalyPart(file="mine.yaml").spelled_out(tmp_path)
    assert part.file is None
    assert part.load() == AnomalyPart(file=str(ANOMALIES)).load().model_copy(update={"shared": {}})
    with pytest.raises(SelfrepError, match="Cannot read"):
        PosteriorPart(file="nowhere.yaml").spelled_out(tmp_path)
