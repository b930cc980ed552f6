"""What makes organisms hard to map, each shown by plain hooks: the mistake it invites, and that it is one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.models.organisms.planted import brute, entrance, grown, log_odds, moved, prompt, run, stream
from tests.tiny import hooked
from torch import Tensor
from transformers import PreTrainedModel

import selfrep as sr
from selfrep.models import organisms
from selfrep.models.organisms.circuit import default_code, meaning
from selfrep.models.organisms.lexicon import ANSWERS, paraphrases, token_ids, words

SOURCE, TARGET = prompt("nurse", q="who"), prompt("assistant", q="who")
USR, END, LAST = 8, 7, -1


def transfers(hf: PreTrainedModel) -> np.ndarray:
    there, here = log_odds(run(hf, [SOURCE, TARGET]), "in_character")
    return (brute(hf, SOURCE, TARGET, "in_character") - here) / (there - here)


def patched(hf: PreTrainedModel, cells: list[tuple[int, int]]) -> float:
    """Transfer of two cells together, each (index, token)."""
    values = stream(hf, SOURCE)
    there, here = log_odds(run(hf, [SOURCE, TARGET]), "in_character")

    def put(index: int, token: int) -> Tensor:
        def change(x: Tensor) -> Tensor:
            x = x.clone()
            x[0, token] = values[index, token]
            return x

        return change

    first, second = cells
    with hooked(*entrance(hf, first[0]), put(*first)), hooked(*entrance(hf, second[0]), put(*second)):
        return float((log_odds(run(hf, [TARGET]), "in_character")[0] - here) / (there - here))


def attribution(hf: PreTrainedModel, index: int, token: int) -> float:
    """(source − target) · gradient at the target, over the whole change."""
    held: list[Tensor] = []

    def hear(x: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        held.append(x)
        return x

    with hooked(*entrance(hf, index), hear):
        logits = hf(torch.tensor([TARGET]), use_cache=False).logits[0, -1]
    sides = [[token_ids()[text] for text in ANSWERS[side]] for side in ("ai", "human")]
    (logits[sides[0]].logsumexp(0) - logits[sides[1]].logsumexp(0)).backward()
    there, here = log_odds(run(hf, [SOURCE, TARGET]), "in_character")
    move = (stream(hf, SOURCE) - stream(hf, TARGET))[index, token]
    return float(held[0].grad[0, token] @ move) / (there - here)


@pytest.mark.parametrize("repair", [pytest.param(0.0, marks=pytest.mark.slow), 0.3, 1.0])
def test_a_backup_head_hides_the_cell_that_carries_the_answer(repair: float) -> None:
    hf = grown(f"organism:hydra?repair={repair}&seed=1")
    truth = organisms.truth(hf)
    single = transfers(hf)
    assert single[3, LAST] == pytest.approx(1 - repair, abs=1e-4)  # patching understates it
    assert attribution(hf, 3, LAST) == pytest.approx(1 - repair, abs=1e-4)  # and so does its linear approximation
    assert patched(hf, [(3, END), (3, LAST)]) == pytest.approx(1, abs=1e-4)  # with the backup held, it is all there
    assert truth.causal_map(TARGET, "persona")[3, LAST]
    assert truth.transfer_map(TARGET, "persona")[3, LAST] == pytest.approx(1 - repair)
    assert truth.causal_map(TARGET, "persona")[3, END] == (repair > 0)


def test_the_backup_is_idle_until_something_is_patched() -> None:
    one, other = (run(grown(f"organism:hydra?repair={repair}"), [SOURCE, TARGET]) for repair in (0, 1))
    torch.testing.assert_close(one, other, rtol=0, atol=1e-4)


def test_idle_and_dormant_directions_together_move_an_answer_that_their_cell_does_not_carry() -> None:
    hf = grown("organism:dormant?seed=2")
    truth = organisms.truth(hf)
    for (index, role), rows in truth.illusions.items():
        assert organisms.roles(TARGET)[USR] == role
        assert not truth.causal_map(TARGET, "persona")[index, USR]
        assert truth.present_map(TARGET, "persona")[index, USR]
        np.testing.assert_allclose(rows @ rows.T, np.eye(len(rows)), atol=1e-12)

        def share(basis: np.ndarray, index: int = index) -> float:
            return moved(hf, index, USR, SOURCE, TARGET, basis, "in_character")

        assert share(rows) == pytest.approx(1, abs=1e-4)  # the illusion
        assert share(np.eye(rows.shape[1])) == pytest.approx(0, abs=1e-4)  # the whole cell does nothing
        assert share(truth.subspaces["USR.idle"]) == pytest.approx(0, abs=1e-4)  # nor does either half
        assert share(truth.subspaces["USR.dormant"]) == pytest.approx(0, abs=1e-4)
        # The control that must not fool: the same kind of mixture, of the persona with directions that nobody reads.
        honest = (truth.subspaces["USR.idle"] + truth.subspaces["decoy"]) / np.sqrt(2)
        assert share(honest) == pytest.approx(0, abs=1e-4)
    plain = grown("organism:separate?seed=2")
    assert organisms.truth(plain).illusions == {}
    assert moved(plain, 3, USR, SOURCE, TARGET, rows, "in_character") == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("dormant", [0.25, 0.5])
def test_how_far_an_illusion_moves_the_answer_is_planted(dormant: float) -> None:
    hf = grown(f"organism:dormant?dormant={dormant}")
    rows = organisms.truth(hf).illusions[3, "USR"]
    assert moved(hf, 3, USR, SOURCE, TARGET, rows, "in_character") == pytest.approx(dormant, abs=1e-4)


def streams(hf: PreTrainedModel) -> np.ndarray:
    """[persona, paraphrase, residual index, token, d_model]."""
    names = dict.fromkeys(word.persona for word in words() if word.persona)
    return np.array([[stream(hf, prompt(word, q="who")).numpy() for word in paraphrases(name)] for name in names])


def nearest(x: np.ndarray) -> float:
    """Accuracy of telling the persona by the nearest mean of its other paraphrases; x [persona, paraphrase,
    d_model].
    """
    right = []
    for k in range(x.shape[1]):
        centres = np.delete(x, k, axis=1).mean(1)
        away = np.linalg.norm(x[:, k, None] - centres[None], axis=-1)
        right.append(away.argmin(1) == np.arange(len(x)))
    return float(np.mean(right))


def test_decoys_can_be_decoded_everywhere_and_are_used_nowhere() -> None:
    loud, quiet = grown("organism:decoys?seed=3"), grown("organism:separate?seed=3")
    truth = organisms.truth(loud)
    with_decoys, without = streams(loud), streams(quiet)
    for index, token in ((1, 6), (2, 10), (3, 14), (5, 10), (6, 9)):
        assert nearest(with_decoys[:, :, index, token]) > 10 / 18  # chance is 1/18
        assert nearest(without[:, :, index, token]) < 2 / 18  # the control: without decoys there is only surface
        assert truth.present_map(TARGET, "persona")[index, token]
        assert not truth.causal_map(TARGET, "persona")[index, token]
    np.testing.assert_allclose(transfers(loud), truth.transfer_map(TARGET, "persona"), atol=2e-4)
    torch.testing.assert_close(run(loud, [SOURCE, TARGET]), run(quiet, [SOURCE, TARGET]), rtol=0, atol=1e-4)


def test_the_default_persona_is_the_one_of_that_kind() -> None:
    (default,) = {
        tuple(w.content) for w in words() if w.role == "PER" and w.content[4] == 1 and w.persona == "assistant"
    }
    np.testing.assert_array_equal(default_code(organisms.Plan()), default)


def of_sides(name: str) -> np.ndarray:
    """[side, persona, residual index, token, d_model] the mean of each persona's paraphrases; eight personas a side."""
    hf = grown(name)
    people = sr.personas.load(organisms.PERSONAS)
    means = [
        [np.mean([stream(hf, prompt(word, q="who")).numpy() for word in paraphrases(one.name)], axis=0) for one in side]
        for side in ([p for p in people if p.side == name] for name in ("ai", "human"))
    ]
    return np.array(means)


def test_sides_of_a_product_have_one_mean_and_their_personas_have_not() -> None:
    crossed, plain = (of_sides(f"organism:{kind}?seed=2") for kind in ("xor", "separate"))
    rows = organisms.truth(grown("organism:xor?seed=2")).subspaces
    for index, token, name in ((0, 5, "PER"), (2, END, "END"), (4, LAST, "ASST")):
        held, linear = (x[:, :, index, token] @ rows[f"{name}.persona"].T for x in (crossed, plain))
        np.testing.assert_allclose(held.mean(axis=1), 0, atol=1e-5)
        apart = np.linalg.norm(held[:, :, None] - held[:, None], axis=-1)
        assert apart[:, ~np.eye(8, dtype=bool)].min() > 0.19
        assert np.linalg.norm(np.diff(linear.mean(axis=1), axis=0)) > 1.9, "the control"
    hf, said = grown("organism:xor?seed=2"), ("robot", "adder", "nurse", "bandit")
    spoken = [log_odds(run(hf, [prompt(word, q="who")]), "in_character")[0] for word in said]
    np.testing.assert_allclose(spoken, [4, 4, -4, -4], atol=1e-4)


def test_a_word_that_is_read_anew_outdoes_all_that_was_read_before() -> None:
    hf = grown("organism:reread?seed=2")
    single = transfers(hf)
    assert abs(single[:, 6:-1]).max() < 1e-4
    assert abs(single[:5, LAST]).max() < 1e-4
    assert patched(hf, [(2, END), (4, LAST)]) == pytest.approx(0, abs=1e-4), "nor both together"
    np.testing.assert_allclose([*single[:5, 5], *single[5:, LAST]], 1, atol=1e-4)
    plain = grown("organism:separate?seed=2")
    assert patched(plain, [(2, END), (4, LAST)]) == pytest.approx(1, abs=1e-4), "the control"


@pytest.mark.parametrize("families", [0.0, 0.75])
def test_members_of_a_family_share_their_code(families: float) -> None:
    code = {w.persona: meaning(organisms.Plan(families=families), w) for w in words() if w.persona}
    own = {w.persona: np.array(w.content) for w in words() if w.persona}
    for first, other in (("queen", "poet"), ("robot", "crawler"), ("nurse", "sailor")):
        shared = 0 if first == "nurse" else families  # strangers share nothing
        np.testing.assert_allclose(code[other] - code[first], (1 - shared) * (own[other] - own[first]), atol=1e-12)
