"""Hub models come from the Hugging Face cache when they are whole there; otherwise the reason is told."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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
    assert list(hub.cached_models()) == [("org/tiny", hub_cache)]


def test_a_model_half_in_the_cache_is_not_used(hub_cache: Path) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (hub_cache / "model.safetensors.index.json").write_text(json.dumps(index))
    assert list(hub.cached_models()) == []
    with pytest.raises(hub.NotOnHub, match=r"only a part of it.*HF_HUB_OFFLINE"):
        hub.fetch("org/tiny")


def test_offline_an_absent_model_fails_at_once(hub_cache: Path) -> None:
    with pytest.raises(hub.NotOnHub, match=r"not in the Hugging Face cache.*HF_HUB_OFFLINE"):
        hub.fetch("org/other")


def test_a_machine_without_a_cache_has_no_models(hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(hub_cache / "nowhere"))
    assert list(hub.cached_models()) == []


def fetch_in_another_process(repo: str, **environment: str) -> str:
    """What `hub.fetch` gives, or its error, with settings that the hub's library reads only when it is imported."""
    code = f"from selfrep.models import hub; print(hub.fetch({repo!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment}, check=False
    )
    return (done.stdout or done.stderr).splitlines()[-1]


def test_a_hub_out_of_reach_is_explained(tmp_path: Path) -> None:
    error = fetch_in_another_process(
        "org/tiny", HF_HUB_OFFLINE="0", HF_ENDPOINT="http://127.0.0.1:9", HF_HUB_CACHE=str(tmp_path)
    )
    assert error.startswith("selfrep.errors.SelfrepError: org/tiny is neither a folder here nor complete")
    assert "Check the network and HF_ENDPOINT" in error


@pytest.fixture
def local_hub(tmp_path: Path) -> Iterator[str]:
    """A hub on this machine: org/tiny, whose weights exist twice, org/gated, which is gated, and nothing else."""
    commit = "1" * 40
    save_file({"a": np.ones(2, np.float32)}, tmp_path / "weights")
    weights = (tmp_path / "weights").read_bytes()
    files = {"config.json": b"{}", "model.safetensors": weights, "pytorch_model.bin": b"", "onnx/model.json": b"{}"}
    tree = [{"type": "file", "path": path, "size": len(data), "oid": "0"} for path, data in files.items()]
    listings = {
        "/api/models/org/tiny/revision/main": {"id": "org/tiny", "sha": commit, "siblings": []},
        f"/api/models/org/tiny/tree/{commit}": tree,
    }

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            file = path.removeprefix(f"/org/tiny/resolve/{commit}/")
            if path in listings:
                self.answer(200, json.dumps(listings[path]).encode())
            elif file in files:
                etag = hashlib.sha256(files[file]).hexdigest()
                self.answer(200, files[file], ETag=f'"{etag}"', **{"X-Repo-Commit": commit})
            elif "org/gated" in path:
                self.answer(403, b"{}", **{"X-Error-Code": "GatedRepo"})
            else:
                self.answer(404, b"{}", **{"X-Error-Code": "RepoNotFound"})

        do_HEAD = do_GET

        def answer(self, status: int, body: bytes, **headers: str) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_model_is_fetched_once_without_what_is_not_needed(local_hub: str, tmp_path: Path) -> None:
    cache = str(tmp_path / "hub")
    online = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": local_hub, "HF_HUB_CACHE": cache, "HF_HUB_DISABLE_XET": "1"}
    folder = Path(fetch_in_another_process("org/tiny", **online))
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors"}
    assert (folder / "model.safetensors").read_bytes() == (tmp_path / "weights").read_bytes()
    assert Path(fetch_in_another_process("org/tiny", HF_HUB_CACHE=cache)) == folder  # offline from now on


def test_the_hub_s_refusals_are_told_apart(local_hub: str, tmp_path: Path) -> None:
    online = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": local_hub, "HF_HUB_CACHE": str(tmp_path / "hub")}
    unknown = fetch_in_another_process("org/other", **online)
    assert unknown.startswith("selfrep.models.hub.NotOnHub: the Hugging Face hub has no such model")
    assert "org/gated is gated: its licence must be accepted" in fetch_in_another_process("org/gated", **online)
