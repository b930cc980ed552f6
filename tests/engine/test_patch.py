"""Patched runs against plain Hugging Face hooks, and the laws that hold without any oracle."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tiny import (
    FAMILIES,
    N_LAYERS,
    by_risk,
    log_odds,
    logits,
    patched_differences,
    patched_logits,
    ragged,
    sites_of,
    tiny,
    token_pair,
    values_at,
)

from selfrep.engine.metrics import answer_log_odds, logit_difference
from selfrep.engine.misses import from_attrs
from selfrep.engine.patch import patch, patch_tokens
from selfrep.engine.plan import SEGMENT_CELLS, grid
from selfrep.engine.replay import schedule
from selfrep.errors import SelfrepError
from selfrep.models.sites import RESIDUAL_SITES
from selfrep.prompts.alignment import PromptPair, swapped

METRIC = logit_difference(7, 9)
STREAM = ("resid_pre", "resid_mid", "resid_post")

few = settings(max_examples=6, deadline=None)


def close(got: object, wanted: object, tolerance: float = 1e-4) -> None:
    """Equal to a tolerance relative to max(1, |wanted|), absent where absent."""
    got, wanted = np.asarray(got, dtype=float), np.asarray(wanted, dtype=float)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(wanted))
    off = np.abs(got - wanted) / np.maximum(1, np.abs(wanted))
    assert np.nanmax(off) <= tolerance


# Against plain hooks: two directions, rows of unequal length, positions that not every row has.

SOURCE, TARGET = ragged([14, 11, 9], seed=1), ragged([12, 12, 8], seed=2)


@pytest.mark.parametrize("family", by_risk(FAMILIES))
def test_every_cell_equals_a_plain_hooked_pass(family: str) -> None:
    lm = tiny(family)
    for site in sites_of(family, RESIDUAL_SITES):
        for source, target, positions in ((SOURCE, TARGET, (-10, -6, -1)), (TARGET, SOURCE, (-2,))):
            plan = grid(site, positions=positions)
            effects = patch_tokens(lm, source, target, plan, METRIC, check=site == "resid_pre")
            wanted = patched_differences(lm.hf, family, site, source, target, positions)
            assert np.isnan(wanted).any() == (-10 in positions)
            close(effects.patched, wanted)
            moved = np.abs(wanted - effects.target_metric.values[:, None, None])
            assert np.nanmax(moved) > 0.005  # a patch that changes nothing would prove nothing


@pytest.mark.parametrize("site", ["resid_mid", "mlp_out"])
def test_flattened_activations_are_refused(site: str) -> None:
    with pytest.raises(SelfrepError, match=r"\[row, token, feature\].*another site"):
        patch_tokens(tiny("opt"), SOURCE, TARGET, grid(site), METRIC)


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "gpt2"])
@pytest.mark.parametrize("site", ["resid_pre", "resid_mid", "attn_out"])
def test_segments_equal_a_plain_pass_that_patches_all_their_tokens(family: str, site: str) -> None:
    lm = tiny(family)
    # One pair's shared end is longer than another's whole prompt: padding lies inside what is replayed.
    pairs = [token_pair(1), token_pair(2, systems=(2, 7)), token_pair(3, systems=(9, 9), suffix=(9, 6, 4))]
    pairs.append(token_pair(4, suffix=(3, 2, 0)))
    effects = patch(lm, pairs, grid(site, by="segment"), check=False)
    for i, pair in enumerate(pairs):
        n = len(pair.target.segments) - max(t for t, s in enumerate(pair.target.segments) if s == "system") - 1
        ends = {p: pair.target.segments[p] for p in range(-n, 0)}
        cells = {"all": list(ends), "last": [-1]}
        cells |= {name: [p for p, s in ends.items() if s == name] for name in ("template", "question", "prefill")}
        for layer in range(N_LAYERS):
            values = values_at(lm.hf, family, site, layer, pair.source.ids)
            for name in SEGMENT_CELLS:
                got = effects.patched.sel(layer=layer, segment=name).values[i]
                if not cells[name]:
                    assert np.isnan(got)
                    continue
                last = patched_logits(lm.hf, family, site, layer, values, pair.target.ids, cells[name])
                close(got, log_odds(last, pair.answers))


@pytest.mark.parametrize("site", ["resid_pre", "resid_mid", "attn_out", "mlp_out"])
def test_transformer_lens_agrees(site: str) -> None:
    from transformer_lens import patching

    lm = tiny()
    source, target = ragged([9, 9], seed=3), ragged([9, 9], seed=4)
    _, cache = lm.bridge.run_with_cache(source)

    def metric(logits: torch.Tensor) -> torch.Tensor:
        return (logits[:, -1, 7] - logits[:, -1, 9]).mean()

    theirs = patching.generic_activation_patch(
        lm.bridge, target, cache, metric, patching.layer_pos_patch_setter, site, index_axis_names=("layer", "pos")
    )
    ours = patch_tokens(lm, source, target, grid(site), METRIC)
    assert ours.sizes == {**ours.sizes, "layer": N_LAYERS, "position": 9}
    close(ours.patched.mean("pair"), theirs)


# Laws.


@few
@given(
    seed=st.integers(0, 10**6),
    family=st.sampled_from(["llama", "gemma2", "gpt2", "mistral", "qwen3"]),
    site=st.sampled_from(RESIDUAL_SITES),
)
def test_patching_a_prompt_with_itself_changes_nothing(seed: int, family: str, site: str) -> None:
    pair = token_pair(seed)
    effects = patch(tiny(family), [replace(pair, source=pair.target)], grid(site))
    close(effects.patched, np.broadcast_to(effects.target_metric.item(), effects.patched.shape))
    assert effects.transfer.isnull().all()  # there is nothing to transfer


@few
@given(seed=st.integers(0, 10**6), family=st.sampled_from(["llama", "gemma2", "gpt2", "olmo2", "granite"]))
def test_patching_all_that_is_left_of_the_stream_gives_the_source(seed: int, family: str) -> None:
    lm = tiny(family)
    pair = token_pair(seed)
    for site in ("resid_mid", "resid_post"):  # after the last attention, the last token is all that counts
        effects = patch(lm, [pair], grid(site, layers=[N_LAYERS - 1], segments=["all", "last"]))
        assert abs(effects.source_metric - effects.target_metric).item() > 1e-4
        close(effects.patched, np.broadcast_to(effects.source_metric.item(), effects.patched.shape))
    alone = (
        ragged([1, 1], seed=seed),
        ragged([1, 1], seed=seed + 1),
    )  # in a prompt of one token, all the stream there is
    for site in STREAM:
        effects = patch_tokens(lm, *alone, grid(site), METRIC)
        close(effects.patched, np.broadcast_to(effects.source_metric.values[:, None, None], effects.patched.shape))


def test_one_part_of_the_stream_is_not_the_stream() -> None:
    pair = token_pair(0)
    for site in ("attn_out", "mlp_out", "resid_pre"):
        effects = patch(tiny(), [pair], grid(site, layers=[N_LAYERS - 1], segments=["last"]))
        assert abs(effects.patched.item() - effects.source_metric.item()) > 0.01


@few
@given(seed=st.integers(0, 10**6))
def test_the_same_words_are_the_same_before_the_first_block(seed: int) -> None:
    """Rotary positions are not in the residual stream; learned ones are."""
    pair = token_pair(seed, systems=(5, 3))
    for family, same in {"llama": True, "gpt2": False}.items():
        effects = patch(tiny(family), [pair], grid("resid_pre", layers=[0]))
        moved = np.abs(effects.patched - effects.target_metric.item()).max()
        assert (moved < 1e-4) == same


def mixed_pairs() -> list[PromptPair]:
    """Five pairs of different lengths, in both directions, two of them random controls."""
    made = [token_pair(k, systems=(3 + k, 8 - k), suffix=(1 + k % 3, 2, 1 + k % 2)) for k in range(4)]
    made[1] = swapped(made[1])
    return [*made, *(replace(p, control="random", reference=p.source) for p in made[:2])]


CHUNKS = [
    schedule.CostModel((1, 2), (1.0, 2.0)),  # a token at a time
    schedule.CostModel((1, 37), (1.0, 1.1)),  # calls are dear: small chunks, few walks
    schedule.CostModel((1, 5000), (1.0, 1.0)),  # tokens cost nothing: one walk for all
]
PLANS = {
    "resid_pre": grid("resid_pre"),
    "attn_out": grid("attn_out", layers=[1]),
    "mlp_out": grid("mlp_out", by="segment"),
    "z": grid("z", layers=[1], heads=[0, 3]),
    "k": grid("k", layers=[0]),
}


@pytest.mark.parametrize("name", by_risk(PLANS, ("resid_pre", "mlp_out", "z", "k")))
def test_neither_batches_nor_chunks_nor_order_nor_company_matter(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lm, pairs, plan = tiny("gemma2"), mixed_pairs(), PLANS[name]
    reference = patch(lm, pairs, plan).patched.values
    assert np.isnan(reference).any() or plan.by == "segment"
    close(patch(lm, pairs, plan, batch_size=2).patched, reference, 1e-5)
    for model in CHUNKS:
        monkeypatch.setattr(schedule, "cost_model", lambda *_, model=model: model)
        budget = 1e-9 if model is CHUNKS[1] else None  # each place on its own
        close(patch(lm, pairs, plan, budget_gb=budget).patched, reference, 1e-5)
    order = [4, 2, 0, 5, 3, 1]
    close(patch(lm, [pairs[i] for i in order], plan).patched, reference[order], 1e-5)
    for i in (0, 3, 5):  # as after a resume: the rows that were missing, on their own
        alone = patch(lm, [pairs[i]], plan).patched.values[0]
        shared = alone.shape[1]
        close(alone, reference[i, :, -shared:], 1e-5)


def test_cells_do_not_depend_on_the_rest_of_the_plan() -> None:
    lm, pairs = tiny(), mixed_pairs()
    whole = patch(lm, pairs, grid("resid_mid"))
    for layer, position in ((0, -1), (2, -4), (1, -3)):
        alone = patch(lm, pairs, grid("resid_mid", layers=[layer], positions=[position]))
        close(alone.patched.values[:, 0, 0], whole.patched.sel(layer=layer, position=position), 1e-5)


def test_tokens_and_prompts_are_patched_alike() -> None:
    lm, pairs = tiny(), [token_pair(k, systems=(4, 6), item="one") for k in (1, 3)]
    first, second = pairs[0].answers
    assert len(first) > 1
    pairs = [replace(p, answers=(first[:1], second)) for p in pairs]
    plan = grid("resid_pre", positions=range(-7, 0))
    prompts = patch(lm, pairs, plan)
    ids = [torch.tensor([getattr(p, end).ids for p in pairs]) for end in ("source", "target")]
    tokens = patch_tokens(lm, *ids, plan, logit_difference(first[0], second[0]))
    close(tokens.patched, prompts.patched, 1e-6)
    np.testing.assert_array_equal(tokens.source_ids, prompts.source_ids)
    assert tokens.attrs["metric"] == "logit_difference"


def test_a_metric_may_differ_from_pair_to_pair() -> None:
    lm, plan = tiny(), grid("resid_pre", positions=[-1])
    each = patch_tokens(lm, SOURCE, TARGET, plan, logit_difference(torch.tensor([7, 8, 9]), 5))
    for b, token in enumerate((7, 8, 9)):
        alone = patch_tokens(lm, SOURCE, TARGET, plan, logit_difference(token, 5))
        close(each.patched[b], alone.patched[b], 1e-6)
        ids = TARGET[b][TARGET[b] >= 0]
        close(each.target_metric[b], (logits(lm.hf, ids)[-1, token] - logits(lm.hf, ids)[-1, 5]).item())
    with pytest.raises(SelfrepError, match="one for each of the 3 pairs"):
        patch_tokens(lm, SOURCE, TARGET, plan, logit_difference(torch.tensor([7, 8]), 5))


def test_random_controls_move_as_far_as_the_source_and_elsewhere() -> None:
    lm, pair = tiny(), token_pair(5)
    control = replace(pair, control="random", reference=pair.source)
    effects = patch(lm, [pair, control], grid("resid_post", layers=[0, N_LAYERS - 1]))
    assert np.abs(effects.patched[0] - effects.patched[1]).max() > 0.01
    close(effects.total_effect[1], effects.total_effect[0], 1e-6)
    other = patch(lm, [control], grid("resid_post", layers=[0, N_LAYERS - 1]), seed=1)
    assert np.abs(other.patched[0] - effects.patched[1]).max() > 0.01
    # Where source and target are the same there is no distance to go.
    nothing = patch(lm, [replace(control, source=pair.target)], grid("resid_post"))
    close(nothing.patched, np.broadcast_to(nothing.target_metric.item(), nothing.patched.shape))


# What is refused.


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (lambda: grid("resid_pre", layers=[0, N_LAYERS]), r"0 … 2; the plan asks for \[3\]"),
        (lambda: grid("resid_pre", layers=[-1]), r"0 … 2; the plan asks for \[-1\]"),
        (lambda: grid("resid_pre", positions=[-8]), r"−7 … −1. The plan asks for \[-8\]"),
        (lambda: grid("resid_pre", positions=[0]), r"The plan asks for \[0\]"),
    ],
)
def test_cells_that_are_not_there_are_refused(plan: object, message: str) -> None:
    with pytest.raises(SelfrepError, match=message):
        patch(tiny(), [token_pair(1)], plan())


def test_pairs_that_differ_after_the_system_text_are_refused() -> None:
    pair = token_pair(1)
    other = replace(pair.source, ids=(*pair.source.ids[:-2], 63, pair.source.ids[-1]))
    with pytest.raises(SelfrepError, match="at position -2"):
        patch(tiny(), [replace(pair, source=other)], grid("resid_pre"))


def test_sites_that_an_architecture_lacks_are_refused() -> None:
    with pytest.raises(SelfrepError, match=r"CohereForCausalLM has no site 'resid_mid'.*attn_out"):
        patch(tiny("cohere"), [token_pair(1)], grid("resid_mid"))


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ([[5, 6]], [[5, 6], [7, 8]], "one pair a row"),
        ([5, 6], [5, 6], "one pair a row"),
        ([[5, 64]], [[5, 6]], "0 … 63"),
        ([[5, -1]], [[5, 6]], "right-aligned"),
        ([[5, -1, 6]], [[4, 5, 6]], "right-aligned"),
        (np.empty((0, 3)), np.empty((0, 3)), "one pair a row"),
    ],
)
def test_token_ids_that_are_no_prompts_are_refused(source: object, target: object, message: str) -> None:
    with pytest.raises(SelfrepError, match=message):
        patch_tokens(tiny(), source, target, grid("resid_pre"), METRIC)


def test_token_ids_have_no_segments() -> None:
    with pytest.raises(SelfrepError, match="no segments"):
        patch_tokens(tiny(), SOURCE, TARGET, grid("resid_pre", by="segment"), METRIC)


def test_token_ids_carry_no_answers() -> None:
    with pytest.raises(SelfrepError, match="logit_difference"):
        patch_tokens(tiny(), SOURCE, TARGET, grid("resid_pre"), answer_log_odds)


# What is told.


def test_progress_counts_every_cell_once() -> None:
    told: list[tuple[int, int]] = []
    patch(tiny(), mixed_pairs(), grid("resid_pre"), batch_size=4, progress=lambda *at: told.append(at))
    done, totals = zip(*told, strict=True)
    assert list(done) == sorted(done)
    assert len(set(totals)) == 1
    assert done[-1] == totals[0]


def test_the_selfcheck_is_kept_with_the_numbers() -> None:
    misses = from_attrs(patch(tiny(), [token_pair(1)], grid("resid_pre")).attrs)
    assert set(misses) == {
        "patching nothing leaves the target",
        "patching a prompt with itself leaves the target",
        "patching the whole last residual stream gives the source",
        "a replayed cell equals the plain forward pass",
    }
    assert max(misses.values()) < 1e-4
