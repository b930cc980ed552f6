"""Models whose weights are spread: they say what the same model says in one place."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import accelerate
import numpy as np
import pytest
import torch
from tests.prompts.conftest import CHATML, make_tokenizer
from tests.tiny import ragged, tiny, tiny_hf
from transformers.utils import logging

from selfrep.engine.capture import capture, score
from selfrep.engine.metrics import kl_divergence, logit_difference
from selfrep.engine.patch import patch_tokens
from selfrep.engine.plan import grid, prefix_patch
from selfrep.engine.replay import schedule
from selfrep.errors import SelfrepError
from selfrep.models import devices
from selfrep.models.loading import load_model
from selfrep.prompts.prompt import Prompt

SOURCE, TARGET = ragged([9, 9, 9], seed=1), ragged([9, 9, 9], seed=2)
METRICS = [logit_difference(7, 9), kl_divergence()]  # some rows of the unembedding, and all of them
ASKED = [
    Prompt(system, (question,), "I am a", answers=((" robot", " machine"), (" nurse", " person")))
    for system in ("You are a nurse.", "You are a robot. I was born.")
    for question in ("Who are you?", "Hello!")
]
MAP = {
    "model.embed_tokens": "cpu", "model.rotary_emb": "cpu", "model.layers.0": "disk", "model.layers.1": "cpu",
    "model.layers.2": "disk", "model.norm": "cpu", "lm_head": "disk",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable_progress_bar()
    yield
    logging.enable_progress_bar()


def _on_disk(hf: Any, folder: Path) -> None:
    accelerate.disk_offload(hf, str(folder), execution_device=torch.device("cpu"))


def _in_memory(hf: Any, folder: Path) -> None:
    accelerate.cpu_offload(hf, execution_device=torch.device("cpu"))


def _dispatched(hf: Any, folder: Path) -> None:
    accelerate.dispatch_model(hf, MAP, offload_dir=str(folder), main_device="cpu")


Spread = Callable[[Any, Path], None]
EVERY = [("llama", _in_memory), ("llama", _dispatched)] + [
    (family, _on_disk) for family in ("llama", "gemma2", "gpt2", "gpt_neox", "gpt_oss", "phi")
]
IDS = [f"{family}{how.__name__}" for family, how in EVERY]


@pytest.mark.parametrize(("family", "how"), EVERY, ids=IDS)
def test_a_spread_model_is_the_same_model(family: str, how: Spread, tmp_path: Path) -> None:
    hf, whole = tiny_hf(family), tiny(family)
    how(hf, tmp_path)
    assert any(p.is_meta for p in hf.parameters())  # its weights are elsewhere, and are fetched
    lm = load_model(hf)
    assert devices.is_spread(lm.hf)
    assert not devices.is_spread(whole.hf)
    assert lm.device == whole.device == torch.device("cpu")
    assert (lm.d_model, lm.d_vocab, lm.dtype) == (whole.d_model, whole.d_vocab, whole.dtype)
    assert lm.weights_hash == whole.weights_hash
    assert schedule.workers(lm) == 1  # two walks would take each other's weights away
    residual, some = torch.randn(2, 3, lm.d_model), torch.tensor([5, 1])
    torch.testing.assert_close(lm.logits(residual), whole.logits(residual), rtol=0, atol=0)
    torch.testing.assert_close(lm.logits(residual, some), whole.logits(residual, some), rtol=0, atol=0)
    assert all(p.is_meta for p in hf.get_submodule(lm.layout.unembed).parameters())  # what was fetched is gone again


@pytest.mark.parametrize(
    ("family", "how"),
    [
        pytest.param(family, how, id=name, marks=[] if family == "llama" else pytest.mark.slow)
        for (family, how), name in zip(EVERY, IDS, strict=True)
    ],
)
def test_a_spread_model_is_patched_alike(family: str, how: Spread, tmp_path: Path) -> None:
    hf, whole = tiny_hf(family), tiny(family)
    how(hf, tmp_path)
    lm = load_model(hf)
    positions = {"positions": [-6, -1]}
    plans = [grid("resid_pre", **positions), grid("attn_out", **positions), prefix_patch()]
    plans += [grid(site, **positions) for site in ("z", "k") if site in lm.layout.taps]
    plan = plans[0] | plans[1]
    for more in plans[2:]:
        plan = plan | more
    ours, wanted = (patch_tokens(m, SOURCE, TARGET, plan, METRICS, suffix=6) for m in (lm, whole))
    for name in plan.names:
        assert ours[name].attrs["engine"] == "replay"
        np.testing.assert_allclose(ours[name].patched, wanted[name].patched, atol=1e-5)
        assert np.abs(wanted[name].transfer.sel(metric="logit_difference")).max() > 0.01


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path, tokenizer = tmp_path_factory.mktemp("model") / "toy", make_tokenizer(CHATML)
    tiny_hf(vocabulary=len(tokenizer)).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.mark.parametrize("device_map", [MAP, "auto", {"": "cpu"}], ids=["disk", "auto", "one"])
def test_a_device_map_reads_files_where_they_go(
    device_map: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELFREP_CACHE", str(tmp_path))
    lm, whole = load_model(folder, device_map=device_map), load_model(folder, device="cpu")
    assert any(p.is_meta for p in lm.hf.parameters()) == (device_map is MAP)
    assert lm.weights_hash == whole.weights_hash
    for run in (score, capture):
        ours, wanted = run(lm, ASKED), run(whole, ASKED)
        for name in wanted.data_vars:
            np.testing.assert_allclose(ours[name], wanted[name], atol=1e-5)


def test_a_spread_model_has_no_bridge(tmp_path: Path) -> None:
    hf = tiny_hf()
    _on_disk(hf, tmp_path)
    with pytest.raises(SelfrepError, match=r"one device; LlamaForCausalLM is spread.*without device_map"):
        _ = load_model(hf).bridge


# What is refused.


def test_what_cannot_be_spread_is_refused(folder: Path, tmp_path: Path) -> None:
    hf = tiny_hf()
    _on_disk(hf, tmp_path)
    with pytest.raises(SelfrepError, match=r"stays where it is; got device='cpu'"):
        load_model(hf, device="cpu")
    with pytest.raises(SelfrepError, match=r"one device or by a device_map, not both; got device='cpu'"):
        load_model(folder, device="cpu", device_map="auto")
    with pytest.raises(SelfrepError, match=r"read from files; got LlamaForCausalLM.*dispatch_model"):
        load_model(tiny_hf(), device_map="auto")
    with pytest.raises(SelfrepError, match=r"read from files; organism:bleed.* is not"):
        load_model("organism:bleed?beta=0.4&seed=1", device_map="auto")
    with pytest.raises(SelfrepError, match=r"A device is auto, cpu.*got 'tpu'"):
        load_model(folder, device_map=MAP | {"lm_head": "tpu"})


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
@pytest.mark.parametrize("place", [1, "cuda:1", torch.device("cuda:1")])
def test_devices_that_are_not_there_are_refused(place: Any, folder: Path) -> None:
    with pytest.raises(SelfrepError, match="'cuda:1' does not exist"):
        load_model(folder, device_map=MAP | {"lm_head": place})


def test_without_accelerate_the_fix_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = importlib.util.find_spec
    monkeypatch.setattr(devices, "find_spec", lambda name: None if name == "accelerate" else sound(name))
    with pytest.raises(SelfrepError, match=r"pip install 'selfrep\[big\]'"):
        load_model(folder, device_map="auto")


# TF32.


@pytest.fixture
def _precision_as_before() -> Iterator[None]:
    matmul, convolution = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    yield
    torch.set_float32_matmul_precision(matmul)
    torch.backends.cudnn.allow_tf32 = convolution


@pytest.mark.usefixtures("_precision_as_before")
def test_tf32_is_off_unless_asked() -> None:
    def allowed() -> tuple[bool, bool, bool]:
        return (torch.get_float32_matmul_precision() != "highest", torch.backends.cuda.matmul.allow_tf32,
                torch.backends.cudnn.allow_tf32)  # fmt: skip

    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    load_model(tiny_hf())
    assert allowed() == (False, False, False)
    load_model(tiny_hf(), tf32=True)
    assert allowed() == (True, True, True)
    load_model(tiny_hf())
    assert allowed() == (False, False, False)


@pytest.mark.gpu
@pytest.mark.usefixtures("_precision_as_before")
def test_tf32_is_seen_in_the_numbers() -> None:
    if torch.cuda.get_device_capability()[0] < 8:
        pytest.skip("needs a GPU that has TF32")
    a, b = (torch.randn(512, 512, generator=torch.Generator().manual_seed(k)).cuda() for k in (0, 1))
    exact = a.double() @ b.double()
    off: dict[bool, float] = {}
    for tf32 in (False, True):
        load_model(tiny_hf(), tf32=tf32)
        off[tf32] = float(((a @ b).double() - exact).abs().max() / exact.abs().max())
    assert off[False] < 1e-5 < off[True]


@pytest.mark.gpu
def test_blocks_on_the_gpu_and_in_memory(tmp_path: Path) -> None:
    """One GPU, whose model is partly kept in main memory: it is fetched, and the numbers stay."""
    hf, whole = tiny_hf(), tiny()
    places = {"model.layers.1": "cpu", "lm_head": "cpu"}
    accelerate.dispatch_model(hf, {name: places.get(name, 0) for name in MAP})
    lm = load_model(hf)
    assert lm.device == torch.device("cuda:0")
    ours, wanted = (patch_tokens(m, SOURCE, TARGET, grid("resid_pre"), METRICS[0]) for m in (lm, whole))
    np.testing.assert_allclose(ours.patched, wanted.patched, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "words",
    [
        "MPS backend out of memory (MPS allocated: 9.06 GB, other allocations: 1 KB, max allowed: 9.07 GB).",
        "Invalid buffer size: 19.45 GB",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "[enforce fail at alloc_cpu.cpp:118] . DefaultCPUAllocator: can't allocate memory: you tried to use 1 byte",
    ],
)
def test_every_lack_of_memory_is_one_error(words: str) -> None:
    with pytest.raises(torch.OutOfMemoryError), devices.memory_errors():
        raise RuntimeError(words)
    with pytest.raises(torch.OutOfMemoryError, match="as it is"), devices.memory_errors():
        raise torch.OutOfMemoryError("as it is")
    with pytest.raises(RuntimeError, match="sizes") as other, devices.memory_errors():
        raise RuntimeError("sizes do not match")
    assert not isinstance(other.value, torch.OutOfMemoryError)


def test_mps_is_taken_where_there_is_no_cuda_waited_for_and_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a torch.mps that only notes what it is asked for."""
    asked: list[str] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "synchronize", lambda: asked.append("synchronize"))
    monkeypatch.setattr(torch.mps, "empty_cache", lambda: asked.append("empty_cache"))
    mps = torch.device("mps")
    assert devices.device("auto") == devices.device("mps") == mps
    for place in (torch.device("cpu"), mps):
        devices.synchronize(place)
        devices.release(place)
        assert asked == ([] if place.type == "cpu" else ["synchronize", "empty_cache"])


def test_what_cannot_be_compiled_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    spread = accelerate.dispatch_model(tiny_hf(), {"": "cpu"}, force_hooks=True)
    with pytest.raises(SelfrepError, match=r"on one device.*leave out compile"):
        load_model(spread, compile=True)

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("No working C++ compiler found.\nset CXX")

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(SelfrepError, match=r"a compiler for cpu.*No working C\+\+ compiler found.\).*Leave it out"):
        load_model(tiny_hf(), compile=True)
    assert not load_model(tiny_hf()).compile
