"""Parts refuse what could not be measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from selfrep.analyses.anomaly import AnomalyPart
from selfrep.analyses.directness import DirectnessPart
from selfrep.analyses.mediation import MediationPart
from selfrep.analyses.parts import ActivationsPart
from selfrep.analyses.posterior import PosteriorPart
from selfrep.analyses.separation import SeparationPart
from selfrep.analyses.transfer import Sweep, TransferPart
from selfrep.errors import SelfrepError
from selfrep.models.organisms import ANOMALIES
from selfrep.study import study


@pytest.mark.parametrize(
    ("part", "fields", "words"),
    [
        (DirectnessPart, {"shares": (0.5, 1.0)}, r"rise from 0 .* to 1"),
        (DirectnessPart, {"shares": (0.0, 1.0, 0.5)}, r"rise from 0 .* to 1"),
        (DirectnessPart, {"max_tokens": 0}, "greater than or equal to 1"),
        (MediationPart, {"n_random": 5}, "greater than or equal to 19"),
        (MediationPart, {"layer": -1}, "greater than or equal to 0"),
        (PosteriorPart, {"prior": "mine"}, "must be one of 'model' or 'uniform'"),
        (Sweep, {"site": "resid_pre", "layers": [3], "depths": [0.5]}, "not both"),
        (Sweep, {"site": "resid_pre", "depths": [16]}, "less than or equal to 1, got 16"),
        (Sweep, {"site": "resid_pre", "depths": []}, "may not be empty"),
        (Sweep, {"site": "resid_pre", "controls": ["fact"]}, "patch it by: segment"),
        (SeparationPart, {"item": "who", "layers": [3], "depths": [0.5]}, "not both"),
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


def test_depths_fit_models_of_any_size() -> None:
    sweep = Sweep(site="resid_pre", by="segment", depths=[0, 0.5, 0.75, 1])
    assert (sweep.plan(30).layers, sweep.plan(5).layers) == ((0, 15, 22, 29), (0, 2, 3, 4))
    assert Sweep(site="resid_pre", layers=[2, 7]).plan(30).layers == (2, 7)
    assert Sweep(site="resid_pre").plan(30).layers is None, "all"
    assert ActivationsPart(item="who", depths=[0.5]).layers_of(5) == (2,)


def transfer(pairs: str, more: str = "") -> study.Study:
    return study.loads(f"name: mine\ntransfer: {{pairs: {pairs}, items: [who_are_you]{more}}}")


def test_pairs_name_speakers_as_results_do_and_survive_a_copy() -> None:
    written = transfer("[[unprompted, jfk], [{persona: jfk, condition: user}, jfk], [reductionist, {persona: nurse}]]")
    part = written.parts["transfer"]
    assert isinstance(part, TransferPart)
    assert part.pairs == (("unprompted", "jfk"), ("jfk (user)", "jfk"), ("reductionist", "nurse"))
    copy = study.loads(written.to_yaml())
    assert (copy.hash, copy.parts["transfer"]) == (written.hash, part)
    assert written.hash != transfer("[[default, jfk], [{persona: jfk, condition: user}, jfk], [default, nurse]]").hash
    assert [one.name for one in part.speakers(written.people)[2]] == ["language_model", "nurse"]


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ("[[unpromted, jfk]]", r"pairs: .*'unpromted' \(did you mean 'unprompted'\?\)"),
        ("[[jfk, {persona: jkf, condition: user}]]", r"'jkf' \(did you mean 'jfk'\?\)"),
        ("[[jfk, {persona: jfk, condition: usr}]]", r"got 'usr' \(did you mean 'user'\?\)"),
        ("[[jfk, jfk]]", "'jfk' is paired with itself"),
        ("[[default, smollm]]", "'smollm' is paired with itself"),
        ("[[unprompted, {persona: jfk, condition: neutral}]]", "'unprompted' is paired with itself"),
        ("[[unpromted, jfk], [jfk, jfk]]", "(?s)unpromted.*'jfk' is paired with itself"),
    ],
)
def test_speakers_that_cannot_be_paired_are_refused_when_the_study_is_read(pairs: str, words: str) -> None:
    with pytest.raises(SelfrepError, match=words):
        transfer(pairs)


def test_a_study_without_a_reading_of_the_self_says_so() -> None:
    alone = "name: mine\npersonas: {names: [jfk, nurse]}\ntransfer: {pairs: [[WHO, jfk]], items: [who_are_you]}"
    with pytest.raises(SelfrepError, match=r"'default' is a reading of the model's own self.*`reading: default`"):
        study.loads(alone.replace("WHO", "default"))
    assert study.loads(alone.replace("WHO", "unprompted")).name == "mine", "the control: nobody plays the unprompted"


def test_paraphrases_that_an_end_lacks_are_refused_when_the_study_is_read() -> None:
    with pytest.raises(SelfrepError, match="'jfk' has the paraphrases 0 to 3"):
        transfer("[[unprompted, jfk]]", ", paraphrases: [0, 6]")


def test_facts_are_spelled_out_where_a_sweep_states_them() -> None:
    stated = transfer("[[unprompted, jfk]]", ", sweeps: [{site: resid_pre, by: segment, controls: [fact]}]")
    part = stated.parts["transfer"]
    assert isinstance(part, TransferPart)
    assert part.facts is not None
    assert "place" in (part.facts.define or {})
    assert study.loads(stated.to_yaml()).hash == stated.hash
    silent = transfer("[[unprompted, jfk]]").parts["transfer"]
    assert isinstance(silent, TransferPart)
    assert silent.facts is None
    with pytest.raises(SelfrepError, match="there are none"):
        transfer(
            "[[unprompted, jfk]]",
            ", facts: {define: {}}, sweeps: [{site: resid_pre, by: segment, controls: [fact]}]",
        )
