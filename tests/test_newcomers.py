"""What a newcomer writes on the first day: it works, or one sentence says what was passed and what to pass."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
import torch
import xarray as xr

import selfrep as sr
from selfrep.models.organisms import BATTERY, PERSONAS
from selfrep.prompts import battery, personas

PEOPLE, ITEMS = personas.load(PERSONAS), battery.load(BATTERY)
NETWORK, NURSE, WHO = PEOPLE["network"], PEOPLE["nurse"], ITEMS["who_are_you"]
TWO = sr.grid("resid_pre", layers=[1, 3], positions=[-2, -1])


@pytest.fixture(scope="module")
def lm() -> sr.LanguageModel:
    return sr.load_model("organism:bleed?beta=0.4")


@pytest.fixture(scope="module")
def pairs(lm: sr.LanguageModel) -> list[sr.PromptPair]:
    return sr.pair(lm, NETWORK, NURSE, [WHO], paraphrases=[0, 1])


@pytest.fixture(scope="module")
def effects(lm: sr.LanguageModel, pairs: list[sr.PromptPair]) -> xr.Dataset:
    return sr.patch(lm, pairs, TWO)


@pytest.fixture(scope="module")
def tree(lm: sr.LanguageModel, pairs: list[sr.PromptPair]) -> xr.DataTree:
    return sr.patch(lm, pairs, TWO | sr.grid("z", layers=3, positions=-1))


@pytest.fixture(scope="module")
def metrics(lm: sr.LanguageModel, pairs: list[sr.PromptPair]) -> xr.Dataset:
    return sr.patch(lm, pairs, TWO, [sr.answer_log_odds, sr.kl_divergence()])


# ---- one where several are expected ----------------------------------------------------------------------------------


def test_one_persona_item_or_condition_is_a_list_of_one() -> None:
    listed = sr.make_prompts([NURSE], [WHO], conditions=["you"], paraphrases=[0])
    assert sr.make_prompts(NURSE, WHO, conditions="you", paraphrases=0) == listed
    assert sr.make_prompts(PEOPLE, ITEMS, conditions="you") == sr.make_prompts(list(PEOPLE), list(ITEMS))


def test_one_item_or_a_whole_battery_is_paired(lm: sr.LanguageModel) -> None:
    listed = sr.pair(lm, NETWORK, NURSE, [WHO], paraphrases=[0], directions=["denoise"])
    assert sr.pair(lm, NETWORK, NURSE, WHO, paraphrases=0, directions="denoise") == listed
    assert {one.item for one in sr.pair(lm, NETWORK, NURSE, ITEMS, paraphrases=0)} == set(ITEMS.names())


def test_one_pair_is_patched_and_costed(lm: sr.LanguageModel, pairs: list[sr.PromptPair], effects: xr.Dataset) -> None:
    alone = sr.patch(lm, pairs[0], TWO)
    np.testing.assert_allclose(alone.patched, effects.patched[:1], rtol=1e-5)
    assert sr.cost(lm, "resid_pre", pairs[0]).cells == sr.cost(lm, sr.grid("resid_pre"), [pairs[0]]).cells
    assert sr.equal_lengths(pairs[0]) == [pairs[0]]


def test_controls_of_one_pair(lm: sr.LanguageModel, pairs: list[sr.PromptPair]) -> None:
    others = {"nurse": "sailor"}
    (listed,) = sr.controls(lm, [pairs[0]], PEOPLE, ITEMS, others, kinds=["persona"])
    assert sr.controls(lm, pairs[0], list(PEOPLE), WHO, others, kinds="persona") == [listed]


def test_one_prompt_site_or_layer_is_captured(lm: sr.LanguageModel) -> None:
    (prompt,) = sr.make_prompts(NURSE, WHO, paraphrases=0)
    listed = sr.capture(lm, [prompt], ["resid_pre"], layers=[3], tokens="position", positions=[-1])
    xr.testing.assert_identical(sr.capture(lm, prompt, "resid_pre", layers=3, tokens="position", positions=-1), listed)
    xr.testing.assert_identical(sr.score(lm, prompt), sr.score(lm, [prompt]))


# ---- sites, plans and metrics by name --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "plan"),
    [
        ("hook_resid_pre", sr.grid("resid_pre")),
        ("blocks.3.hook_resid_pre", sr.grid("resid_pre", layers=[3])),
        ("blocks.3.attn.hook_z", sr.grid("z", layers=[3])),
        ("attn.hook_q", sr.grid("q")),
    ],
)
def test_hook_names_of_transformer_lens_are_sites(name: str, plan: sr.PatchPlan) -> None:
    assert sr.grid(name) == plan


def test_one_number_or_segment_in_a_grid() -> None:
    assert sr.grid("resid_pre", layers=3, positions=-1) == sr.grid("resid_pre", layers=[3], positions=[-1])
    assert sr.grid("resid_pre", layers=np.int64(3)) == sr.grid("resid_pre", layers=[3])
    assert sr.grid("resid_pre", segments="question") == sr.grid("resid_pre", segments=["question"])
    assert sr.grid("mlp_post", neurons=5) == sr.grid("mlp.hook_post", neurons=[5])
    assert sr.prefix_patch(layers=2) == sr.prefix_patch(layers=[2])


def test_hooks_are_captured(lm: sr.LanguageModel) -> None:
    prompts = sr.make_prompts(NURSE, WHO, paraphrases=0)
    listed = sr.capture(lm, prompts, ["resid_pre", "attn_out"], layers=[3])
    both = ["blocks.3.hook_resid_pre", "blocks.3.hook_attn_out"]
    xr.testing.assert_identical(sr.capture(lm, prompts, both), listed)
    with pytest.raises(sr.SelfrepError, match="at the same layers"):
        sr.capture(lm, prompts, ["blocks.3.hook_resid_pre", "blocks.4.hook_attn_out"])


def test_the_name_of_a_site_is_a_plan(lm: sr.LanguageModel, pairs: list[sr.PromptPair], effects: xr.Dataset) -> None:
    everything = sr.patch(lm, pairs[:1], "resid_pre")
    assert everything.sizes["layer"] == lm.n_layers
    chosen = everything.sel(layer=[1, 3], position=[-2, -1])
    np.testing.assert_allclose(chosen.patched, effects.patched[:1], rtol=1e-4, atol=1e-5)


def test_a_plain_function_is_a_metric(lm: sr.LanguageModel, pairs: list[sr.PromptPair]) -> None:
    def first_against_second(logits: torch.Tensor) -> torch.Tensor:
        assert logits.ndim == 3, "logits [row, token, vocabulary]"
        return logits[:, -1, 7] - logits[:, -1, 9]

    by_hand = sr.patch(lm, pairs, TWO, sr.logit_difference(7, 9))
    plain = sr.patch(lm, pairs, TWO, first_against_second)
    np.testing.assert_allclose(plain.patched, by_hand.patched, rtol=1e-4, atol=1e-5)
    assert plain.attrs["metric"] == "first_against_second"
    both = sr.patch(lm, pairs, TWO, [sr.answer_log_odds, lambda logits: logits[:, -1, 7]])
    assert both.metric.values.tolist() == ["answer_log_odds", "function"]


def test_a_metric_that_was_not_called(lm: sr.LanguageModel, pairs: list[sr.PromptPair], metrics: xr.Dataset) -> None:
    effects = sr.patch(lm, pairs, TWO, sr.kl_divergence)
    np.testing.assert_allclose(effects.patched, metrics.patched[..., 1], rtol=1e-5)
    with pytest.raises(sr.SelfrepError, match=r"when it is called: sr\.logit_difference\(first, second\)"):
        sr.patch(lm, pairs, TWO, sr.logit_difference)


# ---- what cannot work ------------------------------------------------------------------------------------------------

# The functions themselves, as users have them: without the checks of annotations that these tests add.
PAIR, GRID = inspect.unwrap(sr.pair), inspect.unwrap(sr.grid)
Call = Callable[[sr.LanguageModel, list[sr.PromptPair]], Any]


def _without_a_model(function: Any, lm: sr.LanguageModel, pairs: list[sr.PromptPair]) -> Any:
    return function("gpt2", pairs, TWO, *([WHO] if function is PAIR else []))


REFUSALS: list[tuple[Call, str]] = [
    (lambda lm, pairs: sr.capture(lm, ["hello"]), r"got 'hello'.*sr\.make_prompts"),
    (lambda lm, pairs: sr.capture(lm, "hello"), r"got 'hello'.*sr\.make_prompts"),
    (lambda lm, pairs: sr.score(lm, NURSE), r"got Persona\(name='nurse'.*sr\.make_prompts"),
    (lambda lm, pairs: sr.capture(lm, [], layers="3"), r"layers are whole numbers.*got '3'"),
    (
        lambda lm, pairs: sr.capture(lm, sr.make_prompts(NURSE, WHO), "resid"),
        r"A site is one of resid_pre.*got 'resid'",
    ),
    (lambda lm, pairs: sr.make_prompts("nurse", WHO), r"One Persona or several.*got 'nurse'.*sr\.personas"),
    (lambda lm, pairs: sr.make_prompts(NURSE, "who_are_you"), r"One Item or several.*'who_are_you'.*sr\.battery"),
    (lambda lm, pairs: sr.make_prompts(NURSE, WHO, conditions="yuo"), r"got 'yuo' \(did you mean 'you'"),
    (lambda lm, pairs: sr.make_prompts(NURSE, WHO, paraphrases=0.5), r"paraphrases are whole numbers.*float 0\.5"),
    (lambda lm, pairs: PAIR(lm, "network", NURSE, WHO), r"The source is one Persona; got 'network'"),
    (lambda lm, pairs: PAIR(lm, NETWORK, PEOPLE, WHO), r"The target is one Persona; got a PersonaSet"),
    (
        lambda lm, pairs: sr.pair(lm, NETWORK, NURSE, WHO, directions="forwards"),
        r"A direction is one of denoise, noise",
    ),
    *(
        (partial(_without_a_model, inspect.unwrap(call)), r"The model is one LanguageModel; got 'gpt2'\. Load it")
        for call in (sr.patch, sr.attribute, sr.screen, sr.capture, sr.cost, PAIR)
    ),
    (lambda lm, pairs: sr.patch(lm, 5, TWO), r"One PromptPair or several are expected; got the int 5.*sr\.pair"),
    (lambda lm, pairs: sr.patch(lm, pairs, 3), r"A plan is made by sr\.grid.*got the int 3"),
    (lambda lm, pairs: sr.patch(lm, pairs, "resid"), r"A site is one of.*got 'resid'"),
    (lambda lm, pairs: sr.patch(lm, pairs, TWO, "kl"), r"A metric is sr\.answer_log_odds.*got 'kl'"),
    (lambda lm, pairs: sr.patch(lm, pairs, TWO, lambda x: x[0, -1, 0]), r"a number for each row.*returned \[\]"),
    (lambda lm, pairs: sr.patch(lm, pairs, TWO, lambda x: x[:, -2, 0]), r"other positions use sr\.logit_metric"),
    (lambda lm, pairs: sr.attribute(lm, pairs, None), r"A plan is made by sr\.grid.*NoneType"),
    (lambda lm, pairs: sr.grid("blocks.3.hook_resid_pre", layers=[4]), r"says layer 3.*leave one out"),
    (lambda lm, pairs: sr.grid("attn.hook_resid_pre"), r"A site is one of"),
    (lambda lm, pairs: GRID(["resid_pre", "z"]), r"A site is one of.*got \['resid_pre', 'z'\]"),
    (lambda lm, pairs: sr.grid("resid_pre", segments="answer"), r"A segment is one of.*got 'answer'"),
]


@pytest.mark.parametrize(("call", "message"), REFUSALS, ids=range(len(REFUSALS)))
def test_what_cannot_work_says_what_to_pass(
    call: Call, message: str, lm: sr.LanguageModel, pairs: list[sr.PromptPair]
) -> None:
    with pytest.raises(sr.SelfrepError, match=message):
        call(lm, pairs)


# ---- what `patch` returns goes on ------------------------------------------------------------------------------------


def test_transfer_takes_several_metrics(metrics: xr.Dataset, effects: xr.Dataset) -> None:
    both, alone = sr.transfer(metrics), sr.transfer(effects)
    assert both.estimate.dims == ("direction", "layer", "position", "metric")
    np.testing.assert_allclose(both.estimate.sel(metric="answer_log_odds"), alone.estimate, rtol=1e-5)
    with pytest.raises(sr.SelfrepError, match=r"Choose one first: effects\.sel\(metric='answer_log_odds'\)"):
        sr.transfer(metrics, paraphrase_sd=0.1)


def test_transfer_takes_heads_and_trees(tree: xr.DataTree, effects: xr.Dataset) -> None:
    by_plan = sr.transfer(tree)
    np.testing.assert_allclose(by_plan["resid_pre"].estimate, sr.transfer(effects).estimate, rtol=1e-5)
    heads = sr.transfer(tree["z"].to_dataset())
    assert heads.estimate.dims == ("direction", "layer", "position", "head")
    xr.testing.assert_identical(by_plan["z"].to_dataset(), heads)
    xr.testing.assert_identical(sr.transfer(tree["z"]), heads)
    denoised = tree["z"].to_dataset().isel(pair=tree["z"].direction.values == "denoise")
    by_hand = (denoised.patched - denoised.target_metric).sum("pair") / denoised.total_effect.sum()
    np.testing.assert_allclose(heads.estimate.sel(direction="denoise"), by_hand, rtol=1e-4, atol=1e-6)


def test_transfer_of_something_else_is_refused(lm: sr.LanguageModel, effects: xr.Dataset) -> None:
    with pytest.raises(sr.SelfrepError, match="has no patched, it holds estimate"):
        sr.transfer(sr.transfer(effects))
    bare = sr.patch_tokens(lm, [[5, 6, 7]], [[5, 8, 7]], sr.grid("resid_pre", layers=1), sr.logit_difference(7, 9))
    with pytest.raises(sr.SelfrepError, match=r"pairs of personas, from sr\.pair"):
        sr.transfer(bare)


def test_a_heat_map_of_whatever_comes(tree: xr.DataTree, metrics: xr.Dataset, effects: xr.Dataset) -> None:
    heads = sr.plot.heatmap(tree["z"], pair=0)
    drawn = np.array(next(one for one in heads.data if isinstance(one, go.Heatmap)).z)
    np.testing.assert_allclose(drawn, tree["z"].transfer.isel(pair=0, position=0).values, rtol=1e-6)
    assert "head 3" in "".join(heads.layout.xaxis.ticktext)
    with pytest.raises(sr.SelfrepError, match=r"drawn by sr\.plot\.transfer_maps"):
        sr.plot.heatmap(sr.transfer(effects))
    assert isinstance(sr.plot.transfer_maps(sr.transfer(effects)), go.Figure)
    assert isinstance(sr.plot.heatmap(metrics.sel(metric=["answer_log_odds"])), go.Figure)
    with pytest.raises(sr.SelfrepError, match=r"Choose one, e\.g\. sr\.plot\.heatmap\(effects\['resid_pre'\]\)"):
        sr.plot.heatmap(tree)
    with pytest.raises(sr.SelfrepError, match=r"effects\.sel\(metric='answer_log_odds'\)"):
        sr.plot.heatmap(metrics)
    with pytest.raises(sr.SelfrepError, match=r"\.sel\(metric="):
        sr.plot.transfer_maps(sr.transfer(metrics))
    with pytest.raises(sr.SelfrepError, match=r"the effects that sr\.patch returns; this Dataset holds nothing"):
        sr.plot.heatmap(xr.Dataset())


def test_calls_one_by_one_are_one_call(lm: sr.LanguageModel) -> None:
    """Two items, whose prompts differ in length: patched together, and patched apart and joined."""
    items = [WHO, ITEMS["act_in_danger"]]
    together = sr.patch(lm, sr.pair(lm, PEOPLE["overlord"], NURSE, items, paraphrases=0), "resid_pre")
    apart = [sr.patch(lm, sr.pair(lm, PEOPLE["overlord"], NURSE, item, paraphrases=0), "resid_pre") for item in items]
    assert apart[0].sizes["position"] != apart[1].sizes["position"], "the control: they do differ in width"
    joined = sr.concat(apart)
    assert dict(joined.sizes) == dict(together.sizes)
    for name in together.variables:
        if together[name].dtype.kind == "f":
            np.testing.assert_allclose(joined[name], together[name], rtol=1e-4, atol=1e-4, err_msg=str(name))
        else:
            np.testing.assert_array_equal(joined[name], together[name], err_msg=str(name))
    np.testing.assert_allclose(sr.transfer(joined).estimate, sr.transfer(together).estimate, rtol=1e-4, atol=1e-4)


# ---- how nouns show themselves ---------------------------------------------------------------------------------------


class Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags, self.said = set[str](), ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.said += data


def test_every_noun_is_one_line_and_a_small_table(lm: sr.LanguageModel, pairs: list[sr.PromptPair]) -> None:
    nouns = {
        "bleed": lm,
        "nurse": NURSE,
        "who_are_you": WHO,
        "robot": PEOPLE,
        "act_in_peace": ITEMS,
        "You are": sr.make_prompts(NURSE, WHO)[0],
        "denoise": pairs[0],
        "resid_pre": TWO,
        "z": TWO | sr.grid("z"),
        "log_odds": sr.answer_log_odds,
        "mine": sr.Study(name="mine", binding={}),
    }
    for word, noun in nouns.items():
        line = repr(noun)
        assert line.startswith(f"{type(noun).__name__}("), line
        assert word in line, line
        assert len(line) < 120, line
        assert "\n" not in line
        assert str(noun) == line
        html = noun._repr_html_()
        assert word in html, html
        assert len(html) < 3000, html


def test_what_nouns_hold_is_escaped() -> None:
    evil = "<script>alert(1)</script>"
    for noun in (sr.Prompt(system=evil, turns=(evil,)), sr.logit_metric(evil, lambda x: x[..., 0, 0])):
        page = Text()
        page.feed(noun._repr_html_())
        assert "script" not in page.tags
        assert evil in page.said


def test_what_was_captured_and_patched_is_saved_without_a_warning_and_read_back(
    lm: sr.LanguageModel, effects: xr.Dataset, tmp_path: Path
) -> None:
    people, items = personas.load(PERSONAS), battery.load(BATTERY)
    prompts = sr.make_prompts(people, items["who_are_you"], ["you", "user", "neutral"])
    acts = sr.capture(lm, prompts, layers=[2], tokens="position", positions=[-1])
    for k, made in enumerate((acts, effects, sr.score(lm, prompts[:2]))):
        made.to_zarr(tmp_path / f"{k}.zarr", zarr_format=2)  # a warning is an error here
        back = xr.open_zarr(tmp_path / f"{k}.zarr").load()
        xr.testing.assert_equal(back, made)
        back.to_netcdf(tmp_path / f"{k}.nc", engine="scipy")
    again = xr.open_zarr(tmp_path / "0.zarr").load()
    np.testing.assert_array_equal(
        sr.divergence(again, n_bootstrap=9).estimate, sr.divergence(acts, n_bootstrap=9).estimate
    )
    with pytest.warns(Warning, match="Zarr V3"):  # the control
        effects.to_zarr(tmp_path / "third.zarr", consolidated=False)
