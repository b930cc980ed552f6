"""A damaged file of the Hugging Face cache is known by its name, which says what should be in it."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from selfrep.errors import SelfrepError
from selfrep.models import folders
from selfrep.models.published import published_hash, require_as_published

CONFIG = b'{"model_type": "llama"}'


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    """A snapshot as the hub's library makes it: links to blobs that are named after their content."""
    snapshot, blobs = tmp_path / "models--org--tiny" / "snapshots" / ("0" * 40), tmp_path / "models--org--tiny/blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    weights = save({"a": np.arange(64, dtype=np.float32)})
    git = subprocess.run(["git", "hash-object", "--stdin"], input=CONFIG, capture_output=True, check=True)
    files = {"config.json": (git.stdout.decode().strip(), CONFIG)}
    files["model.safetensors"] = (hashlib.sha256(weights).hexdigest(), weights)
    for name, (blob, content) in files.items():
        (blobs / blob).write_bytes(content)
        (snapshot / name).symlink_to(f"../../blobs/{blob}")
    return snapshot


def flip(file: Path) -> None:
    """Change a bit of the last byte."""
    content = file.read_bytes()
    file.resolve().write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_one_bit_is_noticed_and_how_to_mend_it_is_said(snapshot: Path, name: str) -> None:
    assert folders.check(snapshot) == snapshot, "the control: whole, it is taken"
    flip(snapshot / name)
    with pytest.raises(SelfrepError, match=rf"{name}\. Delete .*blobs/{published_hash(snapshot / name)}, and run"):
        folders.check(snapshot)


def test_all_damaged_files_are_named(snapshot: Path) -> None:
    for file in snapshot.iterdir():
        flip(file)
    with pytest.raises(SelfrepError, match=r"config\.json, model\.safetensors\. Delete .* and the others"):
        require_as_published(sorted(snapshot.iterdir()))


def test_files_that_are_named_otherwise_are_not_compared(snapshot: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    blob = (snapshot / "config.json").resolve()
    (own / blob.name).write_text("a link of somebody's own, to a name that looks like a hash")
    (own / "config.json").symlink_to(own / blob.name)
    etag = blob.with_name("d41d8cd98f00b204e9800998ecf8427e")  # what another server than the hub calls it
    etag.write_text("{}")
    (own / "generation_config.json").symlink_to(etag)
    assert [published_hash(file) for file in own.iterdir()] == [None] * 3
    require_as_published(own.iterdir())
