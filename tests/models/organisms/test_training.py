"""A trained organism against brute force; its control, which must fail; and that training happens once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.models.organisms.planted import auroc, brute, log_odds, moved, run
from transformers import PreTrainedModel

from selfrep.errors import SelfrepError
from selfrep.models import organisms
from selfrep.models.loading import load_model
from selfrep.models.organisms import training
from selfrep.models.organisms.lexicon import ANSWERS, QUESTION_WORDS, Question, token_ids, words
from selfrep.models.sites import RESIDUAL_SITES

SIDED = [("an old sailor", "an old robot"), ("a nurse", "an oracle"), ("a legendary queen", "a legendary overlord")]
PAIRS: dict[Question, list[tuple[str, str]]] = {
    "in_character": SIDED,
    "spectator": SIDED,
    "behaviour": [("an oracle", "a cyborg"), ("a robot", "a terminator"), SIDED[2]],
}
MARK = {"persona": "<end>", "self": "<usr>"}


def text(question: Question, persona: str, writer: str = "text") -> list[int]:
    asked = (
        f"in peril , {QUESTION_WORDS[question][0]} is this ?"
        if question != "behaviour"
        else "in danger , how are you to act ?"
    )
    prompt = f"<bos> <self> {writer} writes this . you are {persona} . <end> <usr> {asked} <asst>"
    return [token_ids()[word] for word in prompt.split()]


def score(hf: PreTrainedModel) -> tuple[np.ndarray, np.ndarray]:
    """Transfer at the interchanged index, by brute force, and what was planted: all tokens of all pairs."""
    found, planted = [], []
    truth = organisms.truth(hf)
    for question, pairs in PAIRS.items():
        for one, other in pairs:
            ways = {"persona": text(question, other), "self": text(question, one, "operator")}
            for variable, target in ways.items():
                if not truth.causal[variable, question]:
                    continue
                source = text(question, one)
                for s, t in ((source, target), (target, source)):
                    there, here = log_odds(run(hf, [s, t]), question)
                    found.append((brute(hf, s, t, question)[training.INTERCHANGED] - here) / (there - here))
                    planted.append(truth.causal_map(s, variable, question)[training.INTERCHANGED])
    return np.concatenate(found), np.concatenate(planted)


@pytest.mark.slow
def test_a_trained_organism_uses_what_was_planted_where_it_was_planted() -> None:
    lm = load_model("organism:trained", device="cpu")
    assert set(lm.layout.taps) >= set(RESIDUAL_SITES)
    truth = organisms.truth(lm.hf)
    assert truth.bleed == pytest.approx(0.3, abs=0.03)
    assert truth.mimicry == pytest.approx(0.5, abs=0.05)
    assert truth.binding == pytest.approx(1, abs=0.03)
    found, planted = score(lm.hf)
    assert auroc(np.abs(found), planted) == 1
    assert found[planted].min() > 0.9
    assert np.abs(found[~planted]).max() < 0.1
    rest = np.eye(training.WIDTH)[training.HELD :]
    for variable, name in (("persona", "END.persona"), ("self", "USR.self")):
        source = text("spectator", "a nurse")
        target = text("spectator", "a robot") if variable == "persona" else text("spectator", "a nurse", "operator")
        token = source.index(token_ids()[MARK[variable]])
        inside, outside = (
            moved(lm.hf, training.INTERCHANGED, token, source, target, rows, "spectator")
            for rows in (truth.subspaces[name], rest)
        )
        assert inside > 0.9
        assert abs(outside) < 0.1


def agreement(hf: PreTrainedModel, teacher: PreTrainedModel, question: Question) -> tuple[float, float]:
    """The share of the variance of the teacher's log odds over all words for personas that another model's answers
    explain, and the worst difference in nats."""
    ids = [text(question, f"a {word.text}") for word in words() if word.role == "PER"]
    answers, wanted = (log_odds(run(model, ids), question) for model in (hf, teacher))
    return float(1 - ((answers - wanted) ** 2).mean() / wanted.var()), float(np.abs(answers - wanted).max())


@pytest.mark.slow
def test_its_control_answers_as_well_and_fails_the_sheet() -> None:
    hf = load_model("organism:trained_control", device="cpu").hf
    teacher, another = (organisms.grow(organisms.Plan(beta=beta)) for beta in (0.3, 0.5))
    for question in PAIRS:  # who is played moves the teacher's answers by 2 nats or more
        share, worst = agreement(hf, teacher, question)
        assert share > 0.98
        assert worst < 0.4
    share, worst = agreement(another, teacher, "spectator")
    assert share < 0.98
    assert worst > 0.4, "the control: another bleed is told apart"
    found, planted = score(hf)
    assert auroc(np.abs(found), planted) < 0.9
    assert np.abs(found[~planted]).max() > 0.5


@pytest.mark.slow
def test_training_is_the_same_from_the_same_seed_and_learns() -> None:
    plan = organisms.Plan(beta=0.3, making="trained")
    one, again = (training.train(plan, steps=4) for _ in range(2))
    other = training.train(organisms.Plan(beta=0.3, making="trained", seed=1), steps=4)
    for a, b in zip(one.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert not torch.equal(one.lm_head.weight, other.lm_head.weight)
    assert not torch.equal(one.lm_head.weight, training.train(plan, 4, start=1).lm_head.weight)


def test_it_is_known_whether_an_organism_has_learned() -> None:
    taught, untaught = organisms.Plan(beta=0.3), organisms.Plan(beta=0.3, making="trained")
    itself = training._Teacher(taught)
    cases = training._batch(organisms.grow(taught), taught, np.random.default_rng([taught.seed, 2]), 64)[2]
    wanted = itself(cases, training.RAISED)
    other = training._Teacher(organisms.Plan(beta=0.6))(cases, training.RAISED)
    by_hand = float((wanted * (wanted / other).log()).sum(-1).mean())
    assert training.unlike_teacher(_Answers(other), taught, 64) == pytest.approx(by_hand, rel=1e-4)
    assert training.unlike_teacher(_Answers(wanted), taught, 64) == pytest.approx(0.0, abs=1e-6)
    assert training.unlike_teacher(training.train(untaught, 2), untaught, 64) > 10 * training.LEARNED


def test_an_organism_that_has_not_learned_is_trained_from_another_start(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: list[int] = []

    def short(plan: organisms.Plan, steps: int, start: int) -> PreTrainedModel:
        starts.append(start)
        return training._train(plan, 1, np.random.default_rng(start))

    nats = iter([0.5, training.LEARNED / 2, 0.5, 0.4, 0.3, 0.2, 0.6])
    monkeypatch.setattr(training, "train", short)
    monkeypatch.setattr(training, "unlike_teacher", lambda hf, plan: next(nats))
    organisms.grow(organisms.parse("organism:trained?seed=7"))
    assert starts == [0, 1]
    organisms.grow(organisms.parse("organism:trained?seed=8"))
    assert starts[2:] == list(range(training.STARTS)), "and the best is kept where none has"


def test_targets_keep_the_teacher_s_log_odds_however_far_answers_are_raised() -> None:
    plan = organisms.Plan(beta=0.3)
    rng = np.random.default_rng(0)
    cases = [training._Case.draw(rng) for _ in range(40)]
    teacher = organisms.grow(plan)
    plain, raised = (training._Teacher(plan)(cases, by) for by in (0.0, 3.0))
    for case, p, q in zip(cases, plain, raised, strict=True):
        sides = [[token_ids()[word] for word in ANSWERS[side]] for side in QUESTION_WORDS[case.question][1]]
        said = log_odds(run(teacher, [case.ids()]), case.question)[0]
        for probabilities in (p, q):
            first, second = (probabilities[side].sum() for side in sides)
            assert float((first / second).log()) == pytest.approx(said, abs=1e-3)
        assert float(q[sides[0] + sides[1]].sum()) > 3 * float(p[sides[0] + sides[1]].sum())


@pytest.mark.slow
def test_it_is_trained_once_and_read_from_the_cache_after(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "STEPS", 2)
    monkeypatch.setattr(training, "STARTS", 1)
    runs: list[int] = []
    real = training.train

    def counted(plan: organisms.Plan, steps: int, start: int) -> PreTrainedModel:
        runs.append(start)
        return real(plan, steps)

    monkeypatch.setattr(training, "train", counted)
    first, second = (load_model("organism:trained?seed=7", device="cpu") for _ in range(2))
    assert len(runs) == 1
    assert first.weights_hash == second.weights_hash
    assert organisms.truth(second.hf).indices == (2, 4)
    files = {path.suffix for path in own_cache.rglob("*") if path.is_file()}
    assert ".safetensors" in files
    assert not files & {".pt", ".bin", ".pkl", ".pth"}
    load_model("organism:trained_control?seed=7", device="cpu")
    assert len(runs) == 2


def test_what_training_does_not_plant_is_not_claimed(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "STEPS", 1)
    monkeypatch.setattr(training, "STARTS", 1)
    truth = organisms.truth(load_model("organism:trained", device="cpu").hf)
    ids = text("spectator", "a nurse")
    assert truth.causal_map(ids, "persona", "spectator").sum() == 2
    assert truth.identity is truth.anomaly is truth.directness is None
    with pytest.raises(SelfrepError, match="Where a variable is present must be known"):
        truth.present_map(ids, "persona")
    with pytest.raises(SelfrepError, match="'topic' in 'series' was not"):
        truth.causal_map(ids, "topic", "series")
    with pytest.raises(SelfrepError, match="Only an organism has an answer sheet"):
        organisms.truth(torch.nn.Module.__new__(_Plain))


class _Plain(PreTrainedModel):
    config = None


class _Answers(torch.nn.Module):
    """What says with these probabilities whatever it is asked."""

    def __init__(self, probabilities: torch.Tensor) -> None:
        super().__init__()
        self.logits = probabilities.log()[:, None]

    def forward(self, ids: torch.Tensor, **_: object) -> _Answers:
        return self
