"""To transformers and to the rest of selfrep, an organism is a model like any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.models.organisms.planted import prompt, run

import selfrep as sr
from selfrep.errors import SelfrepError
from selfrep.models import organisms
from selfrep.models.layouts import layout_of
from selfrep.models.loading import load_model
from selfrep.models.organisms.lexicon import ANSWERS, token_ids
from selfrep.models.sites import SITES

NAME = "organism:bleed?noise=0.3&seed=1"


@pytest.fixture(scope="module")
def hf() -> organisms.OrganismForCausalLM:
    return organisms.grow(organisms.parse(NAME))


IDS = [prompt("nurse", q="who"), prompt("robot", q="what"), prompt("cyborg", q="whose")]


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_every_attention_gives_the_same_logits(hf: organisms.OrganismForCausalLM, attention: str) -> None:
    other = organisms.grow(organisms.parse(NAME))
    other.set_attn_implementation(attention)
    torch.testing.assert_close(run(other, IDS), run(hf, IDS), rtol=1e-5, atol=1e-5)


def test_padding_and_cache_change_nothing(hf: organisms.OrganismForCausalLM) -> None:
    padded = torch.tensor([[0, 0, 0, *IDS[0]], [0, 0, 0, *IDS[1]]])
    mask = torch.ones_like(padded)
    mask[:, :3] = 0
    with torch.no_grad():
        torch.testing.assert_close(
            hf(padded, attention_mask=mask).logits[:, -1], run(hf, IDS[:2]), rtol=1e-5, atol=1e-5
        )
        ids = torch.tensor(IDS)
        first = hf(ids[:, :9], use_cache=True)
        then = hf(ids[:, 9:], past_key_values=first.past_key_values, use_cache=True)
    torch.testing.assert_close(then.logits[:, -1], run(hf, IDS), rtol=1e-5, atol=1e-5)


def test_it_generates_and_says_who_it_plays(hf: organisms.OrganismForCausalLM) -> None:
    settings = {"max_new_tokens": 3, "do_sample": False}
    ids = torch.tensor(IDS[:1])
    fast = hf.generate(ids, attention_mask=torch.ones_like(ids), **settings)
    assert fast.tolist() == hf.generate(ids, attention_mask=torch.ones_like(ids), use_cache=False, **settings).tolist()
    said = organisms.tokenizer().decode(fast[0, len(IDS[0])])
    assert said in ("nurse", "medic", "carer", "paramedic", *ANSWERS["human"])


def test_it_survives_a_folder(hf: organisms.OrganismForCausalLM, tmp_path: Path) -> None:
    hf.save_pretrained(tmp_path)
    again = organisms.OrganismForCausalLM.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(run(again, IDS), run(hf, IDS), rtol=0, atol=0)
    assert organisms.truth(again).bleed == organisms.truth(hf).bleed


def test_a_name_is_loaded_like_any_other() -> None:
    lm = load_model(NAME, device="cpu")
    assert (lm.name, lm.n_layers, lm.d_model, lm.device.type) == (NAME, 6, 128, "cpu")
    assert lm.tokenizer.chat_template
    assert set(lm.layout.taps) == set(SITES)
    assert lm.weights_hash == load_model(NAME, device="cpu").weights_hash
    assert lm.weights_hash != load_model(NAME.replace("seed=1", "seed=2"), device="cpu").weights_hash
    assert load_model(NAME, device="cpu", dtype="bfloat16").dtype == torch.bfloat16
    with pytest.raises(SelfrepError, match="did you mean 'beta'"):
        load_model("organism:bleed?bet=1")


def test_it_brings_its_own_layout_and_cannot_be_bridged() -> None:
    lm = load_model(NAME, device="cpu")
    assert layout_of(lm.hf) == lm.layout == lm.hf.selfrep_layout
    with pytest.raises(SelfrepError, match="TransformerLens knows"):
        _ = lm.bridge


def test_noise_moves_every_weight_a_little_and_nothing_else() -> None:
    quiet, loud = (organisms.grow(organisms.Plan(noise=noise, seed=3)) for noise in (0.0, 0.3))
    for (name, a), (_, b) in zip(quiet.named_parameters(), loud.named_parameters(), strict=True):
        if name.endswith("bias"):
            torch.testing.assert_close(a, b, rtol=0, atol=0)
        else:
            assert float((a - b).detach().std()) == pytest.approx(0.3 / 128, rel=0.1)


def test_capture_sees_the_planted_persona() -> None:
    lm = load_model("organism:separate?seed=4", device="cpu")
    personas, battery = sr.personas.load(organisms.PERSONAS), sr.battery.load(organisms.BATTERY)
    prompts = sr.make_prompts(personas, battery.select(["who_are_you"]), conditions=("you", "user"))
    acts = sr.capture(lm, prompts, sites=["resid_pre"], tokens="position", positions=[-12, -10, -1])
    assert set(acts.token.sel(position=-10).values) == {"<end>"}
    rows = organisms.truth(lm.hf).subspaces["END.persona"]
    read = acts.activations.sel(site="resid_pre", layer=1, position=-10).values @ rows.T
    side = np.where(acts.side == "human", -1.0, 1.0)  # readings of the self are of the AI side
    bound = acts.condition.values == "you"
    assert abs(read[:, 0] - side * bound).max() < 1e-4
    assert token_ids()["<end>"] == 3
