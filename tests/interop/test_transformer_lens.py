"""The drop-ins, against TransformerLens's own functions on the same bridge, cache and metrics."""

from __future__ import annotations

import gc
import inspect
import weakref
from collections.abc import Iterator
from functools import cache, partial
from typing import Any

import pytest
import torch
from tests.tiny import tiny, tiny_hf
from torch import Tensor
from transformer_lens import patching as theirs

from selfrep.engine.reference import Mismatch
from selfrep.errors import SelfrepError
from selfrep.interop import bridges, caches
from selfrep.interop import transformer_lens as ours
from selfrep.models.loading import load_model

FAMILIES = ("llama", "gpt2", "gemma2", "qwen3", "gpt_neox")
T = 5
EVERY = [name for name in dir(ours) if name.startswith("get_act") and name.endswith("_every")]
SINGLE = [name for name in dir(ours) if name.startswith("get_act") and name not in EVERY and "direct" not in name]


@pytest.fixture(autouse=True)
def _no_grad() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.no_grad():
        yield
    torch.set_num_threads(before)


@cache
def ids(seed: int, rows: int = 2, tokens: int = T) -> Tensor:
    return torch.randint(4, 64, (rows, tokens), generator=torch.Generator().manual_seed(seed))


@cache
def bridge(family: str) -> Any:
    return tiny(family).bridge


@cache
def clean(family: str, tokens: int = T) -> Any:
    return bridge(family).run_with_cache(ids(1, tokens=tokens))[1]


def last(logits: Tensor) -> Tensor:
    """[batch] from the last position."""
    return logits[:, -1, 5] - logits[:, -1, 6]


def everywhere(logits: Tensor) -> Tensor:
    """[batch] from all positions, no two alike."""
    weights = torch.arange(1.0, logits.shape[1] + 1).to(logits)
    return (logits.log_softmax(-1)[..., 7] * weights).sum(1)


def summed(logits: Tensor) -> Tensor:
    """A scalar from the last position."""
    return last(logits).sum()


BOTH = {"last": last, "everywhere": everywhere}


def its_own(name: str) -> Any:
    """TransformerLens's function of that name; it has none for resid_post, but says how to make one."""
    if name == "get_act_patch_resid_post":
        setter = theirs.layer_pos_patch_setter
        return partial(theirs.generic_activation_patch, patch_setter=setter, activation_name="resid_post",
                       index_axis_names=("layer", "pos"))  # fmt: skip
    return getattr(theirs, name)


def agree(own: Any, expected: Any) -> None:
    """Two PatchingResults say the same, in all their parts."""
    for name in ("values", "baseline"):
        a, b = getattr(own, name), getattr(expected, name)
        assert (a is None) == (b is None)
        if b is not None:
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert own.index_df.equals(expected.index_df)
    for name in ("axis_names", "metric_names", "reduced", "has_metric_axis", "patch_type_names"):
        assert getattr(own, name) == getattr(expected, name), name


ANY_RUN = ("resid_pre", "attn_head_out_by_pos", "attn_head_k_by_pos", "attn_head_pattern_by_pos")


def in_any_run(family: str, name: str) -> bool:
    """Queries and keys that are normalised set qwen3 apart from llama, and nothing else does."""
    return name.endswith("attn_head_k_by_pos" if family == "qwen3" else ANY_RUN)


SERVED = [
    pytest.param(family, name, marks=[] if family == "llama" or in_any_run(family, name) else pytest.mark.slow)
    for family in FAMILIES
    for name in SINGLE
    if (family, name) != ("gpt_neox", "get_act_patch_resid_mid")  # parallel blocks have none
    and (family == "llama" or not name.endswith("dest_src_pos"))  # as the other patterns, 300 cells each
]


@pytest.mark.parametrize(("family", "name"), SERVED)
def test_every_function_says_what_transformer_lens_says(family: str, name: str) -> None:
    tokens = 3 if name.endswith("dest_src_pos") else T  # a run for each pair of tokens, at each head
    function, arguments = getattr(ours, name), (bridge(family), ids(0, tokens=tokens), clean(family, tokens))
    expected = its_own(name)(*arguments, BOTH, reduce="none", baseline=True)
    agree(function(*arguments, BOTH, reduce="none", baseline=True), expected)
    # a metric of the last position, the others not computed
    part = function(*arguments, last, reduce="none", baseline=True, reads=(-1,))
    torch.testing.assert_close(part.values, expected["last"].values, rtol=1e-4, atol=1e-5)
    moved = expected.effect().abs().amax(dim=tuple(range(1, expected.values.ndim)))
    assert (moved > 0.01).all(), "the control: patches do something here"


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("family", ["llama", pytest.param("gpt2", marks=pytest.mark.slow)])
def test_the_bundles_are_stacked_as_transformer_lens_stacks_them(family: str, name: str) -> None:
    arguments = bridge(family), ids(0, tokens=3), clean(family, 3)
    expected = its_own(name)(*arguments, BOTH, reduce="none", baseline=True)
    agree(getattr(ours, name)(*arguments, BOTH, reduce="none", baseline=True), expected)
    tensor = getattr(ours, name)(*arguments, summed, reads=[-1])
    assert isinstance(tensor, Tensor)
    torch.testing.assert_close(tensor, expected["last"].values.sum(-1), rtol=1e-4, atol=1e-5)
    result = getattr(ours, name)(*arguments, summed, baseline=True, reads=[-1])
    torch.testing.assert_close(result.values, tensor, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(result.baseline, expected["last"].baseline.sum(), rtol=1e-4, atol=1e-5)
    assert result.index_df.equals(expected.index_df)
    assert (result.axis_names, result.patch_type_names) == (expected.axis_names, expected.patch_type_names)
    with pytest.raises(SelfrepError, match=r"\['index_df'\]"):
        getattr(ours, name)(*arguments, summed, index_df=None)


@pytest.mark.parametrize("baseline", [False, True])
@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("reduce", ["scalar", "mean", "none"])
def test_every_form_of_return(reduce: str, several: bool, baseline: bool) -> None:
    one = summed if reduce == "scalar" else last
    other = (lambda logits: everywhere(logits).mean()) if reduce == "scalar" else everywhere
    metric = {"one": one, "other": other} if several else one
    options: dict[str, Any] = {"reduce": reduce, "baseline": baseline}
    for name in ("get_act_patch_resid_pre", "get_act_patch_attn_head_out_all_pos"):
        arguments = bridge("llama"), ids(0), clean("llama"), metric
        own, expected = getattr(ours, name)(*arguments, **options), its_own(name)(*arguments, **options)
        assert type(own) is type(expected)
        if isinstance(expected, Tensor):
            assert own.dtype == expected.dtype
            torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-5)
            assert own.max() - own.min() > 0.01
        else:
            agree(own, expected)


def test_chosen_cells_and_the_index_that_is_returned() -> None:
    arguments = bridge("qwen3"), ids(0), clean("qwen3"), summed
    setter = theirs.layer_pos_head_vector_patch_setter
    rows = theirs.make_df_from_ranges([3, T, 2], ["layer", "pos", "head"]).iloc[[3, 17, 4, 29, 3]]
    rows.loc[rows.index[2], "pos"] = -1
    options: dict[str, Any] = {"patch_setter": setter, "activation_name": "k", "index_df": rows}
    own = ours.generic_activation_patch(*arguments, **options)
    torch.testing.assert_close(own, theirs.generic_activation_patch(*arguments, **options), rtol=1e-4, atol=1e-5)
    assert own[0] == own[4] != own[1]
    values, index = ours.get_act_patch_mlp_out(*arguments, return_index_df=True)
    assert index.equals(theirs.make_df_from_ranges([3, T], ["layer", "pos"]))
    torch.testing.assert_close(values, theirs.get_act_patch_mlp_out(*arguments), rtol=1e-4, atol=1e-5)


def test_the_arguments_are_transformer_lens_s_and_three_more() -> None:
    own = inspect.signature(ours.generic_activation_patch).parameters
    expected = inspect.signature(theirs.generic_activation_patch).parameters
    assert list(own) == [*expected, "reads", "budget_gb", "progress"]
    for name, parameter in expected.items():
        assert (own[name].kind, own[name].default) == (parameter.kind, parameter.default), name
    there = {n for n in dir(theirs) if n.startswith("get_act") or n.endswith("patch_setter")}
    assert there <= set(dir(ours)), "what is imported from there can be imported from here"


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_is_seen_as_transformer_lens_sees_it_in_a_tensor(family: str, side: str) -> None:
    padded = [ids(seed).clone() for seed in (0, 1)]
    for tokens in padded:
        tokens[0, slice(0, 2) if side == "left" else slice(-2, None)] = 0  # the id of padding in these models
    cache = bridge(family).run_with_cache(padded[1])[1]
    arguments = bridge(family), padded[0], cache, BOTH
    own, expected = (m.get_act_patch_resid_pre(*arguments, reduce="none", baseline=True) for m in (ours, theirs))
    agree(own, expected)


def test_caches_of_one_prompt_of_longer_prompts_and_plain_dictionaries() -> None:
    model, target = bridge("llama"), ids(0)
    one = model.run_with_cache(ids(1)[:1])[1]
    longer = model.run_with_cache(ids(3, 2, T + 2))[1]
    plain = model.run_with_cache(ids(1), return_cache_object=False)[1]
    for given in (one, longer, plain):
        for name in ("get_act_patch_attn_out", "get_act_patch_attn_head_v_by_pos"):
            own, expected = (getattr(m, name)(model, target, given, summed) for m in (ours, theirs))
            torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(SelfrepError, match=r"hook_z.*\[2, 5, 4, 8\].*got \[2, 7, 4, 8\]"):
        ours.get_act_patch_attn_head_out_all_pos(model, target, longer, summed)
    with pytest.raises(SelfrepError, match="keep the batch dimension"):
        ours.get_act_patch_resid_pre(model, target, one.remove_batch_dim(), summed)


def test_one_prompt_without_a_batch_dimension() -> None:
    cache = bridge("llama").run_with_cache(ids(1)[:1])[1]
    own, expected = (
        m.get_act_patch_resid_pre(bridge("llama"), ids(0)[0], cache, lambda logits: logits[0, -1, 5])
        for m in (ours, theirs)
    )
    torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-5)


def test_a_prompt_patched_with_itself_stays_as_it_is() -> None:
    own = bridge("gemma2").run_with_cache(ids(0))[1]
    result = ours.get_act_patch_block_every(bridge("gemma2"), ids(0), own, BOTH, reduce="none", baseline=True)
    assert result.effect().abs().max() < 1e-4
    other = ours.get_act_patch_block_every(
        bridge("gemma2"), ids(0), clean("gemma2"), last, reduce="none", baseline=True
    )
    assert other.effect().abs().max() > 0.1, "the control"


# What a metric reads.


def test_a_metric_that_reads_more_than_it_says_is_found_out() -> None:
    arguments = bridge("llama"), ids(0), clean("llama")
    with pytest.raises(SelfrepError, match=r"reads=\(-1,\).*where the others are NaN"):
        ours.get_act_patch_resid_pre(*arguments, everywhere, reduce="mean", reads=(-1,))
    with pytest.raises(SelfrepError, match=r"reads=\(-1,\)"):  # one that passes over NaN
        ours.get_act_patch_resid_pre(*arguments, lambda logits: logits[..., 5].nanmean(), reads=(-1,))
    all_of_them = ours.get_act_patch_resid_pre(*arguments, everywhere, reduce="mean", reads=range(T))
    torch.testing.assert_close(all_of_them, theirs.get_act_patch_resid_pre(*arguments, everywhere, reduce="mean"))


@pytest.mark.parametrize("reads", [(-1, 1), (1, T - 1), (-4, -1)])
def test_positions_count_from_either_end_and_others_are_nan(reads: tuple[int, ...]) -> None:
    seen = []

    def metric(logits: Tensor) -> Tensor:
        seen.append(logits.isnan().all(-1).any(0).tolist())
        return (logits[:, 1, 5] - logits[:, -1, 6]).sum()

    arguments = bridge("llama"), ids(0), clean("llama"), metric
    own = ours.get_act_patch_attn_out(*arguments, reads=reads)
    assert [True, False, True, True, False] in seen
    torch.testing.assert_close(own, theirs.get_act_patch_attn_out(*arguments), rtol=1e-4, atol=1e-5)


def test_a_metric_may_write_to_what_it_is_handed() -> None:
    def careless(logits: Tensor) -> Tensor:
        value = last(logits).sum() + (0 if logits[:, 0].isnan().all() else logits[:, 0].sum() * 0)
        logits[:] = 1e3
        return value

    arguments = bridge("llama"), ids(0), clean("llama")
    own = ours.get_act_patch_resid_pre(*arguments, careless, reads=(-1,))
    torch.testing.assert_close(own, theirs.get_act_patch_resid_pre(*arguments, summed), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.enable_grad])
def test_walks_side_by_side_and_the_modes_of_torch(mode: Any) -> None:
    arguments = bridge("llama"), ids(0), clean("llama"), summed
    expected = theirs.get_act_patch_resid_pre(*arguments)
    torch.set_num_threads(2)
    with mode():
        for reads in ((-1,), None):
            own = ours.get_act_patch_resid_pre(*arguments, reads=reads)
            torch.testing.assert_close(own.clone(), expected, rtol=1e-4, atol=1e-5)


# Which model it is.


def test_a_bridge_is_taken_apart_once_and_let_go_with_its_owner() -> None:
    model = load_model(tiny_hf("llama", seed=3)).bridge
    first = bridges.twin_of(model)
    assert bridges.twin_of(model) is first
    shared = {p.data_ptr() for p in model.original_model.parameters()}
    assert {p.data_ptr() for p in first.lm.hf.parameters()} <= shared
    gone = weakref.ref(first.lm.hf)
    del model, first
    gc.collect()
    assert gone() is None


def test_weights_that_are_edited_are_seen() -> None:
    model = load_model(tiny_hf("llama", seed=4)).bridge
    cache = model.run_with_cache(ids(1))[1]
    before = ours.get_act_patch_resid_pre(model, ids(0), cache, summed)
    model.blocks[1].mlp.out.weight.data.mul_(2.0)
    after = ours.get_act_patch_resid_pre(model, ids(0), cache, summed)
    assert (after - before).abs().max() > 0.01
    torch.testing.assert_close(
        after, theirs.get_act_patch_resid_pre(model, ids(0), cache, summed), rtol=1e-4, atol=1e-5
    )


def test_a_replay_that_disagrees_is_an_error_that_names_the_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model(tiny_hf("llama", seed=5)).bridge
    cache = model.run_with_cache(ids(1))[1]
    right = caches._cached
    with monkeypatch.context() as patched:
        patched.setattr(caches, "_cached", lambda *args: right(*args).flip(1))  # values of the wrong positions
        with pytest.raises(Mismatch, match=r"attn_out at layer \d, pos \d, it gives .*run_with_hooks"):
            ours.get_act_patch_attn_out(model, ids(0), cache, last, reduce="mean")
    ours.get_act_patch_attn_out(model, ids(0), cache, last, reduce="mean")  # the control; it did not count as checked
    runs: list[int] = []
    monkeypatch.setattr(model, "run_with_hooks", lambda *args, **kwargs: runs.append(1))
    ours.get_act_patch_attn_out(model, ids(0), cache, last, reduce="mean")
    assert not runs, "checked once"


def test_what_the_bridge_alone_computes_is_found_out() -> None:
    model = load_model(tiny_hf("llama", seed=6)).bridge
    model.blocks[1].mlp.register_forward_hook(lambda module, args, out: 2 * out)  # torch's, of which nobody knows
    cache = model.run_with_cache(ids(1))[1]
    with pytest.raises(Mismatch, match="resid_pre unpatched"):
        ours.get_act_patch_resid_pre(model, ids(0), cache, summed)


# What the engine does not serve.


def doubled(corrupted: Tensor, index: Any, clean: Tensor) -> Tensor:
    corrupted[:, index[1]] = 2 * clean[:, index[1]]
    return corrupted


def test_what_cannot_be_replayed_is_left_to_transformer_lens_with_a_warning() -> None:
    model = load_model(tiny_hf("llama", seed=7)).bridge
    cache = model.run_with_cache(ids(1))[1]
    own: dict[str, Any] = {
        "patch_setter": doubled,
        "activation_name": "resid_pre",
        "index_axis_names": ("layer", "pos"),
    }
    with pytest.warns(UserWarning, match=r"does not serve 'resid_pre' with the patch setter doubled.*slow"):
        values = ours.generic_activation_patch(model, ids(0), cache, summed, **own)
    assert torch.equal(values, theirs.generic_activation_patch(model, ids(0), cache, summed, **own))

    def hook(x: Tensor, hook: Any) -> Tensor:
        return 2 * x

    model.add_hook("blocks.1.hook_mlp_out", hook)
    with pytest.warns(UserWarning, match="hooks of its own at"):
        values = ours.get_act_patch_resid_pre(model, ids(0), cache, BOTH, reduce="none", baseline=True)
    agree(values, theirs.get_act_patch_resid_pre(model, ids(0), cache, BOTH, reduce="none", baseline=True))
    model.reset_hooks()
    assert not torch.equal(
        values["last"].mean(), ours.get_act_patch_resid_pre(model, ids(0), cache, last, reduce="mean")
    )

    model.enable_compatibility_mode()
    with pytest.warns(UserWarning, match="enable_compatibility_mode"):
        values = ours.get_act_patch_resid_pre(model, ids(0), cache, summed)
    assert torch.equal(values, theirs.get_act_patch_resid_pre(model, ids(0), cache, summed))


def test_resid_mid_with_gradients_on_says_that_transformer_lens_differs() -> None:
    model = load_model(tiny_hf("llama")).bridge
    model.original_model.requires_grad_(True)
    cache = model.run_with_cache(ids(1))[1]
    expected = theirs.get_act_patch_resid_mid(model, ids(0), cache, summed)
    with torch.enable_grad():
        with pytest.warns(UserWarning, match="whole residual stream"):
            own = ours.get_act_patch_resid_mid(model, ids(0), cache, summed)
        otherwise = theirs.get_act_patch_resid_mid(model, ids(0), cache, summed)
    torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-5)
    assert (otherwise - expected).abs().max() > 0.01, "the reason for the warning"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reduce": "sum"}, "'scalar', 'mean' or 'none'; got 'sum'"),
        ({"reads": ()}, "one position or more"),
        ({"reads": (T,)}, r"−5 … 4; got reads=\(5,\)"),
        ({"reduce": "mean"}, r"\[2\], under reduce='mean'; 'metric' returned \[\]"),
        ({"patching_metric": last}, r"scalar under reduce='scalar'; 'metric' returned \[2\]"),
        ({"patching_metric": {}}, "mapping is empty"),
        ({"baseline": True, "return_index_df": True}, "carries its index_df"),
        ({"corrupted_tokens": torch.zeros(2, 5)}, "float32"),
        ({"corrupted_tokens": torch.full((2, 5), 64)}, "0 … 63"),
        ({"index_axis_names": None}, "one of the two"),
        ({"index_axis_names": ("layer", "row")}, r"got \['row'\]"),
        ({"index_axis_names": ("layer",)}, r"\(layer, pos\)"),
        ({"index_axis_names": None, "index_df": theirs.make_df_from_ranges([1, 7], ["layer", "pos"])}, r"has \[5, 6\]"),
        ({"index_axis_names": None, "index_df": theirs.make_df_from_ranges([4, 2], ["layer", "pos"])}, r"for \[3\]"),
    ],
)
def test_what_is_wrong_is_said(change: dict[str, Any], message: str) -> None:
    given = {
        "corrupted_tokens": ids(0),
        "clean_cache": clean("llama"),
        "patching_metric": summed,
        "patch_setter": theirs.layer_pos_patch_setter,
        "activation_name": "resid_pre",
        "index_axis_names": ("layer", "pos"),
    }
    with pytest.raises(SelfrepError, match=message):
        ours.generic_activation_patch(bridge("llama"), **given | change)


def test_a_model_in_training_is_refused() -> None:
    model = load_model(tiny_hf("llama")).bridge
    cache = model.run_with_cache(ids(1))[1]
    model.train()
    with pytest.raises(SelfrepError, match="evaluation mode"):
        ours.get_act_patch_resid_pre(model, ids(0), cache, summed)


def test_progress_counts_cells() -> None:
    heard: list[tuple[int, int]] = []
    arguments = bridge("llama"), ids(0), clean("llama"), summed
    ours.get_act_patch_attn_head_out_by_pos(*arguments, progress=lambda done, total: heard.append((done, total)))
    assert heard[-1] == (60, 60)
    assert sorted(heard) == heard


@pytest.mark.slow
def test_the_real_model_says_the_same_on_a_left_padded_batch() -> None:
    model = load_model().bridge
    model.tokenizer.padding_side = "left"
    texts = ["When Mary and John went to the store, John gave a drink to", "Then John gave it to"]
    corrupted = model.to_tokens(texts)
    tokens = model.to_tokens([text.replace("John gave", "Mary gave") for text in texts])
    cache = model.run_with_cache(tokens)[1]
    for name, setter, activation, axes in (
        ("resid_pre", theirs.layer_pos_patch_setter, "resid_pre", ("layer", "pos")),
        ("heads", theirs.layer_pos_head_vector_patch_setter, "z", ("layer", "pos", "head")),
    ):
        n = corrupted.shape[1]
        rows = [(layer, pos) for layer in (0, 13, 29) for pos in (0, n - 6, n - 1)]
        frame = theirs.make_df_from_ranges([len(rows), *[1] * (len(axes) - 1)], list(axes))
        frame[["layer", "pos"]] = rows
        options: dict[str, Any] = {"patch_setter": setter, "activation_name": activation, "index_df": frame}
        metric = {"last": lambda logits: logits[:, -1, 1] - logits[:, -1, 2], "all": everywhere}
        own, expected = (
            m.generic_activation_patch(model, corrupted, cache, metric, reduce="none", baseline=True, **options)
            for m in (ours, theirs)
        )
        torch.testing.assert_close(own.values, expected.values, rtol=1e-4, atol=1e-4)
        assert expected.effect().abs().max() > 0.1, name
