"""A sweep is bound once, and a part of it is what it would have been alone, donors included."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.prompts.conftest import TEMPLATES, make_tokenizer
from tests.tiny import N_LAYERS, ragged, tiny, tiny_hf, token_pair

import selfrep as sr
from selfrep.engine import sweep as sweeping
from selfrep.engine.metrics import answer_log_odds, logit_difference
from selfrep.engine.patch import blank_effects, patch, patch_sweep
from selfrep.engine.plan import grid
from selfrep.engine.sweep import PatchSweep, bind, token_batch
from selfrep.errors import SelfrepError
from selfrep.models.loading import load_model
from selfrep.prompts import chat
from selfrep.prompts.alignment import PromptPair
from selfrep.prompts.battery import Item
from selfrep.prompts.persona import Persona
from selfrep.prompts.prompt import prompt

WHOLE = token_batch(tiny(), ragged([14, 11, 9], seed=1), ragged([12, 12, 8], seed=2))
PLAN = grid("resid_pre", layers=[0], positions=[-2, -1])
ANSWERS = np.arange(6).reshape(3, 2, 1)
SWEEP = PatchSweep(WHOLE, (PLAN,), (logit_difference(0, 1),), (ANSWERS,), WHOLE.source_ids, WHOLE.suffix, seed=7)


def test_rows_keep_what_belongs_to_them() -> None:
    part = SWEEP.rows([2, 0])
    assert part.reach.tolist() == part.batch.suffix.tolist() == WHOLE.suffix[[2, 0]].tolist()
    np.testing.assert_array_equal(part.answers[0], ANSWERS[[2, 0]])
    assert (part.plans, part.seed) == (SWEEP.plans, 7)
    assert part.donor_ids is part.batch.source_ids, "what needs recording once is seen to be one"


def test_donors_of_others_come_along_without_the_padding_of_the_rest() -> None:
    donors = SWEEP.donor_ids[[1, 2, 0]]
    part = replace(SWEEP, donor_ids=donors, reach=np.array([3, 4, 5])).rows([1, 0])
    assert part.donor_ids is not part.batch.source_ids
    assert part.donor_ids.shape == (2, 11), "the longest prompt is the donor of the row that is left out"
    np.testing.assert_array_equal(part.donor_ids, donors[[1, 0], -11:])
    assert part.reach.tolist() == [4, 3]


# Bound once.

PAIRS = [token_pair(k, suffix=(2, 3 + k, 2)) for k in range(4)]
VERBS = {
    "patch": lambda pairs: sr.patch(tiny(), pairs, grid("resid_pre") | grid("attn_out"), batch_size=1),
    "attribute": lambda pairs: sr.attribute(tiny(), pairs, grid("resid_pre"), batch_size=1),
    "screen": lambda pairs: sr.screen(tiny(), pairs, grid("resid_pre"), batch_size=1),
}


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
def test_pairs_are_aligned_once_a_call(verb: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sound, calls = sweeping.align, list[int]()

    def align(pairs: Any) -> Any:
        calls.append(len(pairs))
        return sound(pairs)

    monkeypatch.setattr(sweeping, "align", align)
    verb(PAIRS)
    assert calls == [len(PAIRS)]
    verb(PAIRS[:2])
    assert calls == [len(PAIRS), 2], "the control: another call is counted"


def test_a_template_is_probed_once_a_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    sound, probes = chat._probe, list[object]()

    def probe(tokenizer: object, *rest: Any) -> Any:
        probes.append(tokenizer)
        return sound(tokenizer, *rest)

    monkeypatch.setattr(chat, "_probe", probe)
    people = [Persona(name=name, kind="human", descriptions=(f"a {name}",)) for name in ("nurse", "person")]
    who = Item(name="who", question="Who are you?", prefill="I am a", perspective="in_character",
               answers={"ai": (" robot",), "human": (" nurse",)})  # fmt: skip

    def study() -> None:
        tokenizer = make_tokenizer(TEMPLATES["chatml"])
        lm = load_model(tiny_hf(vocabulary=len(tokenizer)), tokenizer=tokenizer)
        pairs = sr.pair(lm, *people, [who])
        pairs += sr.pair(lm, *reversed(people), [who])
        sr.patch(lm, pairs, grid("resid_pre", layers=[0], positions=[-1]))
        prompts = [prompt(person, who, "you", 0) for person in people]
        sr.score(lm, prompts)
        sr.capture(lm, prompts)

    study()
    assert len(probes) == 1
    study()
    assert len(probes) == 2, "the control: another tokenizer is another probe"


def test_rows_of_a_bound_sweep_give_the_numbers_of_the_whole() -> None:
    """Also where none of the rows has as long an end as the longest pair."""
    lm, pairs = tiny(), [token_pair(1, suffix=(2, 6, 3)), *PAIRS[:2]]
    plan = grid("resid_pre")
    whole = patch(lm, pairs, plan, seed=3)
    bound = bind(lm, pairs, plan, answer_log_odds, seed=3)
    (part,) = patch_sweep(lm, bound.rows([2, 1]))
    assert part.sizes["position"] == whole.sizes["position"] == 11
    np.testing.assert_allclose(part.patched, whole.patched[[2, 1]], atol=1e-5)
    assert np.isnan(part.patched).any()
    assert np.isfinite(whole.patched[0]).all(), "the control: the longest pair has them all"


def test_a_blank_is_what_will_come_back_without_its_numbers() -> None:
    lm = tiny()
    for metric in (answer_log_odds, [answer_log_odds, logit_difference(7, 9)]):
        sweep = bind(lm, PAIRS, grid("resid_pre") | grid("z", positions=[-1]), metric)
        for blank, effects in zip(blank_effects(lm, sweep), patch_sweep(lm, sweep), strict=True):
            assert blank.sizes == effects.sizes
            assert set(blank.variables) == set(effects.variables)
            assert np.isnan(blank.patched).all()
            for name in (*blank.coords, "source_ids", "answer_ids"):
                np.testing.assert_array_equal(blank[name], effects[name])


def test_binding_says_what_is_wrong() -> None:
    twice = [logit_difference(7, 9), logit_difference(7, 9)]
    with pytest.raises(SelfrepError, match="names of their own"):
        bind(tiny(), PAIRS, grid("resid_pre"), twice)
    with pytest.raises(SelfrepError, match="asks for"):
        bind(tiny(), PAIRS, grid("resid_pre", layers=[N_LAYERS]), answer_log_odds)
    nobody: list[PromptPair] = []
    with pytest.raises(SelfrepError, match="nothing to align"):
        bind(tiny(), nobody, grid("resid_pre"), answer_log_odds)


@pytest.mark.parametrize("suffix", [None, 1, 5, 7])
def test_token_ids_share_what_both_have_and_no_more_than_the_suffix(suffix: int | None) -> None:
    source, target = ragged([9, 4, 6], seed=1), ragged([7, 9, 2], seed=2)
    batch = token_batch(tiny(), source, target, suffix)
    wanted = [min(n, 7 if suffix is None else suffix) for n in (7, 4, 2)]
    assert batch.suffix.tolist() == wanted
    for i, n in enumerate(wanted):
        assert batch.tokens[i].tolist() == [""] * (max(wanted) - n) + [str(int(t)) for t in target[i, -n:]]
        assert batch.segments[i].tolist() == [""] * (max(wanted) - n) + ["prompt"] * n


@pytest.mark.parametrize("suffix", [0, 8])
def test_a_suffix_that_no_pair_has_is_refused(suffix: int) -> None:
    with pytest.raises(SelfrepError, match=rf"A suffix has 1 … 7 tokens here.*got {suffix}"):
        token_batch(tiny(), ragged([9, 4], seed=1), ragged([7, 9], seed=2), suffix)
