"""T through whole runs: every sweep keeps its self-check, and goes on where it stopped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from tests.analyses.planted import described

from selfrep.analyses.transfer import TransferPart, runs
from selfrep.analyses.transfer.report import findings, opening
from selfrep.engine.misses import from_attrs, to_attrs
from selfrep.engine.pairs import pair
from selfrep.engine.patch import patch
from selfrep.engine.plan import grid
from selfrep.prompts.battery import Battery
from selfrep.prompts.persona import Persona
from selfrep.prompts.personas import PersonaSet
from selfrep.prompts.prompt import prompts
from selfrep.prompts.speaker import Speaker
from selfrep.store.run_directory import RunDirectory
from selfrep.study.job import Job

PARTS = """
transfer:
  pairs: [[network, nurse], [chatbot, sailor], [robot, farmer]]
  items: [who_are_you]
  paraphrases: [0, 1]
  sweeps: [{site: resid_pre, by: segment, layers: [2, 5], controls: [persona]}]
"""
CONTROLLED = "controls/segments/resid_pre"


def swept(model: str, part: str, path: Path) -> tuple[Job, RunDirectory]:
    """A study of whose stages only the answers and those of T are run."""
    asked = described(model, part)
    directory = RunDirectory(path / "out")
    directory.create_or_resume(asked.to_yaml(), asked.hash)
    job = Job(asked, directory, "cpu", lambda message: None)
    own = asked.parts["transfer"]
    assert isinstance(own, TransferPart)
    answers = job.scoring("answers", "behaviour", prompts(asked.people, asked.items, asked.conditions))
    for stage in [answers, *runs.runs(job, own)]:
        if not stage.done():
            stage.work(lambda share: None)
        assert stage.done()
    return job, directory


def test_the_selfcheck_that_is_kept_is_the_worst_of_all_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound, misses, rows = runs.patch_sweep, iter([1e-6, 9e-6, *[2e-6] * 50]), list[int]()

    def patch_sweep(*args: object, **how: object) -> list[xr.Dataset]:
        effects = sound(*args, **how)  # type: ignore[arg-type]
        rows.append(effects[0].sizes["pair"])
        return [one.assign_attrs(to_attrs({"law": next(misses)})) for one in effects]

    monkeypatch.setattr(runs, "patch_sweep", patch_sweep)
    _, done = swept("organism:separate", PARTS, tmp_path)
    assert rows[:2] == [8, 4], "three pairs, two paraphrases, two directions, eight at once"
    assert from_attrs(done.read("segments/resid_pre").attrs) == {"law": 9e-6}
    assert from_attrs(done.read(CONTROLLED).attrs) == {"law": 2e-6}, "each sweep keeps its own"


def test_a_stopped_sweep_patches_only_what_is_left_and_controls_are_of_the_same_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound, batches = runs.patch_sweep, list[int]()

    def patch_sweep(lm: object, sweep: object, **how: object) -> list[xr.Dataset]:
        if len(batches) == 1:
            raise KeyboardInterrupt
        batches.append(1)
        return sound(lm, sweep, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(runs, "patch_sweep", patch_sweep)
    with pytest.raises(KeyboardInterrupt):
        swept("organism:separate", PARTS, tmp_path)
    monkeypatch.setattr(runs, "patch_sweep", lambda *a, **k: batches.append(1) or sound(*a, **k))
    job, done = swept("organism:separate", PARTS, tmp_path)
    assert len(batches) == 2 + 2, "two batches of the sweep, two of its control"
    whole, controlled = done.read("segments/resid_pre"), done.read(CONTROLLED)
    assert whole.patched.notnull().any(["layer", "segment"]).all()
    assert set(controlled.control.values) == {"persona"}
    side = {str(p.name): p.side for p in job.people}
    for source, target in zip(controlled.source.values, controlled.target.values, strict=True):
        assert source != target
        assert side[str(source)] == side[str(target)], "a control should do nothing"
    assert any(side[str(s)] != side[str(t)] for s, t in zip(whole.source.values, whole.target.values, strict=True))


FROM_SELF = """
transfer:
  pairs: [[unprompted, nurse], [unprompted, sailor], [unprompted, farmer]]
  items: [who_are_you]
  paraphrases: [0, 1]
  facts:
    define:
      calling:
        statement: you are a {}
        question: In peace, who are you?
        prefill: ""
        answers: {robot: [machine, computer], nurse: [human, person]}
  sweeps:
  - site: resid_pre
    by: segment
    segments: [all]
    depths: [0.4, 0.8, 1]
    controls: [paraphrase, persona, random, fact]
"""


def test_the_self_is_patched_both_ways_beside_a_fact_with_a_scale_of_its_own(tmp_path: Path) -> None:
    job, done = swept("organism:separate", FROM_SELF, tmp_path)
    moved, controlled, shares = (
        done.read(name) for name in ("segments/resid_pre", CONTROLLED, "transfer/segments/resid_pre")
    )
    assert moved.layer.values.tolist() == [2, 4, 5], "shares of five blocks after the first"
    ends = set(zip(*(moved[name].values.tolist() for name in ("source", "target", "direction")), strict=True))
    names = ("nurse", "sailor", "farmer")
    assert ends == {("unprompted", name, "denoise") for name in names} | {
        (name, "unprompted", "noise") for name in names
    }
    assert set(controlled.control.values) == {"paraphrase", "persona", "random", "fact"}
    facts = controlled.isel(pair=np.flatnonzero(controlled.control.to_numpy() == "fact"))
    assert set(facts.item.values) == {"fact: calling"}
    assert facts.sizes["pair"] == 2 * 2, "paraphrases by directions, however many pairs"
    robot, nurse = (Persona(name=name, descriptions=(f"a {name}", f"a {name} again")) for name in ("robot", "nurse"))
    item = job.study.parts["transfer"].facts.define["calling"]  # type: ignore[union-attr]
    asked = job.items["who_are_you"].model_copy(update={"answers": item.answers})
    same = patch(
        job.lm,
        pair(job.lm, robot, nurse, Battery((asked,)), paraphrases=0),
        grid("resid_pre", layers=[2, 4, 5], segments="all"),
    )
    for direction in ("denoise", "noise"):
        of_fact = facts.transfer.isel(pair=np.flatnonzero(facts.direction.to_numpy() == direction)[:1])
        alone = same.transfer.isel(pair=np.flatnonzero(same.direction.to_numpy() == direction))
        np.testing.assert_allclose(of_fact, alone, atol=1e-4)  # as if patched by hand, on its own scale
    assert "control_fact" in shares
    assert list(shares.attrs["ends"]) == ["self", "persona"]
    assert shares.attrs["pairs"][0].startswith("no persona → ")
    (found,) = findings(done)
    for text in (found.title, found.control, found.how_sure, found.reason):
        assert "–" not in text
        assert "nan" not in text.lower()


BOTH = FROM_SELF.replace("pairs: [", "pairs: [[robot, nurse], [chatbot, farmer], ")


@pytest.mark.slow
def test_what_goes_between_personas_is_not_averaged_with_what_comes_from_the_self(tmp_path: Path) -> None:
    alone, both = (
        swept("organism:separate?noise=0.5", part.replace("0.4, 0.8, 1", "0.8"), tmp_path / str(len(part)))[1]
        for part in (FROM_SELF, BOTH)
    )
    name = "transfer/segments/resid_pre"
    of_self, expected = both.read(f"{name}_self_persona"), alone.read(name)
    for variable in ("estimate", "control_persona", "control_fact"):  # random directions are drawn run by run
        np.testing.assert_allclose(of_self[variable], expected[variable], atol=1e-5)
    between = both.read(name)
    assert (list(between.attrs["ends"]), list(of_self.attrs["ends"])) == (["source", "target"], ["self", "persona"])
    assert (between.attrs["pairs"], len(of_self.attrs["pairs"])) == (["robot → nurse", "chatbot → farmer"], 3)
    assert between.n_pairs.values.tolist() == [2, 2]
    assert not np.allclose(between.estimate, expected.estimate, atol=1e-3), "the control: other pairs, another T"
    assert [("self" in found.title) for found in findings(both)] == [False, True]
    assert "is not identified: no pair" not in " ".join(opening(both))


def test_the_other_speaker_stands_where_this_one_does() -> None:
    people = PersonaSet(
        (
            Persona(name="toy", reading="default", descriptions=("Toy",)),
            Persona(name="model", reading="reductionist", descriptions=("a model",)),
            *(Persona(name=name, side=name[0], descriptions=(name,)) for name in ("a1", "b1", "a2", "c1")),
            *(Persona(name=name, descriptions=(name,)) for name in ("loose", "free")),
        )
    )
    names = {
        "unprompted": "toy", "toy": "unprompted", "model": "toy", "a1": "a2", "a2": "a1", "b1": None, "c1": None,
        "loose": "free", "a1 (user)": "a2 (user)", "toy (user)": None,
    }  # fmt: skip
    assert {name: runs.other_than(Speaker.named(name, people), people) for name in names} == names
    alone = PersonaSet(tuple(people.select(["a1", "model"])))
    assert runs.other_than(Speaker.of(None), alone) is None, "the reductionist reading is no stand-in for the default"
