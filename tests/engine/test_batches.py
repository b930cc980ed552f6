"""Pairs in batches: each pair keeps what is its own, in whatever order and company it is run."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from selfrep.engine.batches import Options, token_batch
from tests.tiny import log_odds, logits, ragged, tiny, token_pair

from selfrep.engine.metrics import logit_difference
from selfrep.engine.patch import patch, patch_tokens
from selfrep.engine.plan import grid, prefix_swap
from selfrep.errors import SelfrepError
from selfrep.prompts.alignment import PromptPair


def of_lengths(suffixes: tuple[int, ...]) -> list[PromptPair]:
    """Pairs of ten tokens each, so many of which are the suffix."""
    return [token_pair(k, systems=(10 - n, 10 - n), suffix=(n - 1, 1, 0)) for k, n in enumerate(suffixes)]


@pytest.mark.parametrize(("suffixes", "batch_size"), [((2, 1, 1), None), ((3, 1, 2, 1), 1)])
def test_what_is_said_of_a_pair_is_of_that_pair(suffixes: tuple[int, ...], batch_size: int | None) -> None:
    """In a prefix swap pairs are run by the length of their suffix, and not in the order they were given in."""
    lm, pairs = tiny(), of_lengths(suffixes)
    effects = patch(lm, pairs, prefix_swap(layers=[0]), batch_size=batch_size)
    for i, pair in enumerate(pairs):
        last = {"source": logits(lm.hf, pair.source.ids)[-1], "target": logits(lm.hf, pair.target.ids)[-1]}
        odds = {end: log_odds(x, pair.answers) for end, x in last.items()}
        answers = [token for side in pair.answers for token in side]
        for end in ("source", "target"):
            assert float(effects[f"{end}_metric"][i]) == pytest.approx(odds[end], abs=1e-4)
            mass = float(last[end].softmax(-1)[answers].sum())
            assert float(effects[f"answer_mass_{end}"][i]) == pytest.approx(mass, abs=1e-5)
        assert float(effects.total_effect[i]) == pytest.approx(odds["source"] - odds["target"], abs=1e-4)
        moved = (effects.patched[i] - odds["target"]) / (odds["source"] - odds["target"])
        np.testing.assert_allclose(effects.transfer[i], moved, atol=1e-3)
    assert len(np.unique(effects.target_metric.to_numpy().round(3))) == len(pairs), "the control: pairs differ"


def test_a_batch_that_does_not_fit_is_halved_and_every_pair_keeps_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    from selfrep.engine import batches

    lm, pairs = tiny(), of_lengths((1, 2, 1, 2, 1))
    whole = patch(lm, pairs, prefix_swap(layers=[0]))
    sound, sizes = batches._numbers, []

    def small(parts: object, batch: list[int], *rest: object) -> object:
        sizes.append(len(batch))
        if len(batch) > 1:
            raise torch.OutOfMemoryError("no room")
        return sound(parts, batch, *rest)

    monkeypatch.setattr(batches, "_numbers", small)
    monkeypatch.setattr("selfrep.engine.cost.remember_room", lambda *_: None)
    halved = patch(lm, pairs, prefix_swap(layers=[0]))
    assert max(sizes) > 1
    for name in ("patched", "source_metric", "target_metric", "total_effect", "answer_mass_target"):
        np.testing.assert_allclose(halved[name], whole[name], atol=1e-4, err_msg=name)


@pytest.mark.parametrize("most", [None, 1, 5, 9])
def test_token_ids_share_what_both_have_and_no_more_than_is_asked(most: int | None) -> None:
    source, target = ragged([9, 4, 6], seed=1), ragged([7, 9, 2], seed=2)
    batch = token_batch(tiny(), source, target, most=None if most is None else min(most, 7))
    wanted = [min(n, 7 if most is None else most) for n in (7, 4, 2)]
    assert batch.suffix.tolist() == wanted
    for i, n in enumerate(wanted):
        assert batch.tokens[i].tolist() == [""] * (max(wanted) - n) + [str(int(t)) for t in target[i, -n:]]
        assert batch.segments[i].tolist() == [""] * (max(wanted) - n) + ["prompt"] * n


@pytest.mark.parametrize("most", [0, 8])
def test_a_suffix_that_no_pair_has_is_refused(most: int) -> None:
    with pytest.raises(SelfrepError, match=rf"A suffix has 1 … 7 tokens here.*got {most}"):
        token_batch(tiny(), ragged([9, 4], seed=1), ragged([7, 9], seed=2), most=most)


def test_metrics_have_names_of_their_own() -> None:
    twice = [logit_difference(7, 9), logit_difference(7, 9)]
    with pytest.raises(SelfrepError, match="names of their own"):
        patch_tokens(tiny(), ragged([5], seed=1), ragged([5], seed=2), grid("resid_pre"), twice)
    with pytest.raises(SelfrepError, match="at least one pair; got batch_size=0"):
        Options(batch_size=0)
