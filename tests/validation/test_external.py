"""The score finds the circuit of compiled models, and none that is not there."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.models.external.compiled import (
    CIRCUIT,
    VIA,
    arrays,
    config,
    hooked,
    write_interpbench,
    write_tracr,
)

from selfrep.errors import SelfrepError
from selfrep.models.external import Component, KnownCircuit, interpbench, tracr
from selfrep.validation import external
from selfrep.validation.card import ExternalExamination
from selfrep.validation.external import differing, examine, marks, output, rows, transfer_sizes

Examined = Callable[[str], tuple[KnownCircuit, ExternalExamination]]


def compiled(folder: Path, kind: str) -> KnownCircuit:
    if kind == "trained":
        return interpbench(write_interpbench(folder, *hooked(arrays(), noise=0.01)))
    both = kind == "both ways"
    return tracr(write_tracr(folder, arrays(via=both, number=kind == "number"), config(causal=not both)))


@pytest.fixture(scope="module")
def examined(tmp_path_factory: pytest.TempPathFactory) -> Examined:
    """A compiled model, and what is found in it; each is looked at once."""

    @cache
    def look(kind: str) -> tuple[KnownCircuit, ExternalExamination]:
        known = compiled(tmp_path_factory.mktemp("compiled") / kind, kind)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return known, examine(known)

    return look


@pytest.mark.parametrize("kind", ["causal", pytest.param("both ways", marks=pytest.mark.slow), "number", "trained"])
def test_it_finds_the_circuit(examined: Examined, kind: str) -> None:
    known, found = examined(kind)
    assert found.pairs == 32
    assert known.circuit == {Component(*one) for one in (VIA if kind == "both ways" else CIRCUIT)}
    assert tuple(found.scores) == known.components
    by_name = {mark.estimator: mark for mark in found.marks}
    assert by_name.keys() == {"T", "attribution alone"}
    assert (by_name["T"].auroc, by_name["T"].precision) == (1.0, 1.0)
    last = Component(2, 0) if kind == "both ways" else Component(1, 1)
    assert found.scores[last]["T"] == pytest.approx(1, abs=0.1 if kind == "trained" else 1e-3)
    if kind != "trained":
        assert {one for one, scores in found.scores.items() if scores["T"]} == known.circuit, "all else is exactly 0"


def test_a_wrong_circuit_scores_badly(examined: Examined) -> None:
    found = examined("causal")[1]
    exact = {"T": {one: scores["T"] for one, scores in found.scores.items()}}
    wrong = frozenset({Component(1), Component(0, 0)})
    (mark,) = marks(exact, wrong)
    assert mark.auroc == pytest.approx(2.5 / 7), "behind the two of the circuit, level with the other five"
    assert mark.precision < 0.3
    for nothing in (frozenset(), frozenset(found.scores)):
        assert list(marks(exact, nothing)) == []


def test_where_t_says_nothing_nothing_is_ranked() -> None:
    nothing, a, b = float("nan"), Component(0, 0), Component(0)
    assert list(marks({"T": {a: nothing, b: nothing}}, frozenset({a}))) == []
    (mark,) = marks({"T": {a: 1.0, b: 0.0, Component(1): nothing}}, frozenset({a}))
    assert mark.auroc == 1.0
    silent = ExternalExamination("Tracr x", "Tracr", 32, {one: {"T": nothing} for one in (a, b)}, frozenset({a}), ())
    (row,) = rows([silent])
    assert (row.what, row.n) == ("T is not identified", 0)


def test_the_share_is_that_of_the_pairs_that_have_the_position(tmp_path: Path) -> None:
    """Of prompts of one length MLP 0 carries all at the first word. Of two lengths, first words are not aligned: BOS
    falls on that of the longer one, and says that it is no a; the shorter one's gets no news."""
    same = tracr(write_tracr(tmp_path / "same", arrays(), config(lengths=[4, 4])))
    assert examine(same).scores[Component(0)]["T"] == pytest.approx(1, abs=1e-3)
    a, b = ("BOS", "a", "c", "b"), ("BOS", "b", "c")
    apart = tracr(write_tracr(tmp_path / "apart", arrays(), config(pairs=[[a, b], [b, a]])))
    found = examine(apart)
    assert found.pairs == 2
    assert found.scores[Component(0)]["T"] == pytest.approx(0.5, abs=1e-3)
    assert found.scores[Component(1, 1)]["T"] == pytest.approx(1, abs=1e-3)


def test_pairs_are_those_whose_outputs_differ(tmp_path: Path) -> None:
    a, b, c = ("BOS", "a", "c"), ("BOS", "b", "c"), ("BOS", "c", "c")
    known = tracr(write_tracr(tmp_path / "named", arrays(), config(pairs=[[a, b], [b, c], [c, a]])))
    assert differing(known) == [known.inputs.pairs[0], known.inputs.pairs[2]]
    assert output(known, (0, 2, 4)).numpy() == pytest.approx([1, 0], abs=1e-4)
    drawn = differing(tracr(write_tracr(tmp_path / "drawn", arrays(), config())), seed=3)
    assert len(drawn) == 32
    assert all((2 in (x[1], y[1])) and x[1] != y[1] for x, y in drawn)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"pairs": [[["BOS", "b"], ["BOS", "c"]]]}, 'the 1 pairs it names differently. Name "pairs" that it does'),
        ({"lengths": [2, 2], "vocabulary": ["a", "PAD", "BOS", "b", "c"]}, "160 pairs that were drawn differently"),
    ],
)
def test_a_model_that_always_says_the_same(
    tmp_path: Path, said: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(external, "TRIES", 5)
    with pytest.raises(SelfrepError, match=f"Tracr same answers none of .*{message}"):
        examine(tracr(write_tracr(tmp_path / "same", arrays(), config(**said))))


def test_rows_are_of_each_model_and_of_several_together(examined: Examined, tmp_path: Path) -> None:
    found = [examined(kind)[1] for kind in ("causal", "number", "trained")]
    whole = arrays(layers=2)
    name = "transformer/layer_1/mlp/linear_2/w"
    whole[name] = np.ones_like(whole[name])
    for layer in (0, 1):
        for end in ("value", "linear"):
            name = f"transformer/layer_{layer}/attn/{end}/w"
            whole[name] = np.where(whole[name] == 0, 1e-9, whole[name]).astype(np.float32)
    found.append(examine(tracr(write_tracr(tmp_path / "whole", whole, config()))))
    made = list(rows(found))
    assert {row.part for row in made} == {"External truth"}
    assert all(row.passed is None and row.requirement == "" for row in made)
    assert [(row.what, row.model, row.truth, row.n) for row in made] == [
        ("AUROC of |T|", "Tracr, 2 models", "their circuits", 2),
        ("average precision of |T|", "Tracr, 2 models", "their circuits", 2),
        ("AUROC of |T|", "Tracr causal, 32 pairs", "2 of 9 heads and MLPs", 1),
        ("average precision of |T|", "Tracr causal, 32 pairs", "2 of 9 heads and MLPs", 1),
        ("AUROC of |T|", "Tracr number, 32 pairs", "2 of 9 heads and MLPs", 1),
        ("average precision of |T|", "Tracr number, 32 pairs", "2 of 9 heads and MLPs", 1),
        ("nothing to rank", "Tracr whole, 32 pairs", "6 of 6 heads and MLPs", 0),
        ("AUROC of |T|", "InterpBench trained, 32 pairs", "2 of 9 heads and MLPs", 1),
        ("average precision of |T|", "InterpBench trained, 32 pairs", "2 of 9 heads and MLPs", 1),
    ]
    assert (made[0].score, made[0].low, made[0].high) == (1.0, 1.0, 1.0)
    assert made[0].common.startswith("attribution alone 1.00, worst 1.00")
    assert np.isnan(made[6].score)


def test_noise_is_no_transfer(tmp_path: Path) -> None:
    """What floating-point numbers leave behind ranks nothing."""
    import selfrep as sr

    known = compiled(tmp_path / "first", "causal")
    source, target = np.array([[0, 2, 3]]), np.array([[0, 3, 3]])
    plan, metric = sr.grid("z") | sr.grid("mlp_out"), sr.logit_difference(0, 1)
    effects = sr.patch_tokens(known.lm, source, target, plan, metric)
    for site in ("z", "mlp_out"):
        effects[site]["patched"] = effects[site]["patched"] + 1e-6
    found = transfer_sizes(effects)
    assert {one for one, score in found.items() if score} == {Component(*one) for one in CIRCUIT}
