"""Hub models come from the Hugging Face cache when they are whole there; otherwise the reason is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
from safetensors.numpy import save_file

from selfrep.models import hub


@pytest.fixture
def hub_cache(own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Hugging Face cache that holds one whole model, org/tiny."""
    root = tmp_path / "hub"
    snapshot = root / "models--org--tiny" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (root / "models--org--tiny" / "refs").mkdir()
    (root / "models--org--tiny" / "refs" / "main").write_text("0" * 40)
    (snapshot / "config.json").write_text("{}")
    save_file({"a": np.ones(2, np.float32)}, snapshot / "model.safetensors")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(root))
    return snapshot


def test_a_model_in_the_cache_needs_no_network(hub_cache: Path) -> None:
    assert hub.fetch("org/tiny") == hub_cache
    assert list(hub.cached()) == [("org/tiny", hub_cache)]


def test_a_model_half_in_the_cache_is_not_used(hub_cache: Path) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (hub_cache / "model.safetensors.index.json").write_text(json.dumps(index))
    assert list(hub.cached()) == []
    with pytest.raises(hub.NotOnHub, match=r"only a part of it.*HF_HUB_OFFLINE"):
        hub.fetch("org/tiny")


def test_offline_an_absent_model_fails_at_once(hub_cache: Path) -> None:
    with pytest.raises(hub.NotOnHub, match=r"not in the Hugging Face cache.*HF_HUB_OFFLINE"):
        hub.fetch("org/other")


def test_a_machine_without_a_cache_has_no_models(hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(hub_cache / "nowhere"))
    assert list(hub.cached()) == []


def fetch_in_another_process(repo: str, **environment: str) -> str:
    """The error of `hub.fetch` with other settings, which the hub's library reads only once, when imported."""
    code = f"from selfrep.models import hub; hub.fetch({repo!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment}, check=False
    )
    return done.stderr.splitlines()[-1]


def test_a_hub_out_of_reach_is_explained(tmp_path: Path) -> None:
    error = fetch_in_another_process(
        "org/tiny", HF_HUB_OFFLINE="0", HF_ENDPOINT="http://127.0.0.1:9", HF_HUB_CACHE=str(tmp_path)
    )
    assert error.startswith("selfrep.errors.SelfrepError: org/tiny is neither a folder here nor complete")
    assert "Check the network and HF_ENDPOINT" in error
