"""Whatever comes, a command ends with 0 or 2 and one message: never a traceback, never a deed outside its directory.

What was once found to break this rule lies in corpus/, a folder for each kind of file, and is tried at every run.
"""

from __future__ import annotations

import json
import os
import subprocess
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
import xarray as xr
import yaml
from hypothesis import HealthCheck, given, settings
from tests.cli.command import selfrep
from tests.fuzz.hostile import json_files, yaml_files
from tests.fuzz.watching import watching

from selfrep import cli, digests
from selfrep.models.organisms import PERSONAS
from selfrep.store.findings import Finding
from selfrep.store.records import write_sealed
from selfrep.store.run_directory import RunDirectory

QUICK = {"personas": 70, "battery": 70, "study": 20, "findings": 20, "provenance": 20}
SLOW = 640
"""How many examples of each kind: 200 in all, and 3,200."""
CORPUS = Path(__file__).with_name("corpus")

_PEOPLE: dict[str, Any] = {
    "ada": {"side": "human", "family": "f", "label": "Ada", "descriptions": ["a nurse", "a sailor"], "setting": "1843"},
    "hal": {"side": "ai", "kind": "fictional_ai", "descriptions": ["an old robot"], "you": ["You are an old robot."]},
    "self": {"reading": "default", "descriptions": ["an assistant"], "neutral": ["Here is a message."]},
}
_ITEMS: dict[str, Any] = {
    "who": {
        "question": "In peace, who are you?", "prefill": "", "perspective": "in_character", "names": False,
        "answers": {"ai": ["machine", "computer"], "human": ["human", "person"]},
    },
    "name": {
        "question": "In calm, who is this really?", "prefill": "", "perspective": "in_character",
        "answers": {"ai": ["robot"], "human": ["nurse"]},
    },
}  # fmt: skip
_STUDY: dict[str, Any] = {
    "name": "tiny",
    "model": "organism:separate",
    "dtype": "float32",
    "seed": 0,
    "template_vars": {},
    "identity": {"name": "northwind", "maker": "Contoso"},
    "personas": {"file": str(PERSONAS), "names": ["assistant", "network", "robot", "nurse", "farmer"]},
    "sides": {"ai": "machines", "human": "people"},
    "conditions": ["you", "user", "neutral"],
    "battery": {"define": {"who_are_you": _ITEMS["who"], "name": _ITEMS["name"]}},
    "binding": {"items": ["who_are_you"]},
    "divergence": {"item": "who_are_you", "positions": [-1]},
    "separation": {"item": "who_are_you", "site": "resid_post", "layers": [0, 1]},
    "transfer": {
        "pairs": [["network", "nurse"], ["robot", "farmer"]], "items": ["who_are_you"], "paraphrases": [0],
        "sweeps": [{"site": "resid_pre", "by": "segment", "layers": [0], "controls": ["random"]}],
    },
}  # fmt: skip


def _findings() -> list[Any]:
    numbers: dict[str, Any] = {
        "unit": "nats",
        "about": "binding",
        "name": "binding",
        "p": 0.01,
        "n": 8,
        "n_of": "families of personas",
    }
    told = Finding("The sides differ by", 5.8, (4.9, 6.8), "0.1 nats", "8 personas", **numbers, beside=0.1)
    dark = Finding("The share", None, None, "", "", identified=False, reason="nothing moves", about="transfer")
    return [json.loads(json.dumps(one.record())) for one in (told, dark)]


_PROVENANCE: dict[str, Any] = {
    "model": "organism:separate", "weights_hash": "ab" * 32, "architecture": "Planted", "n_layers": 6, "device": "cpu",
    "dtype": "float32", "seed": 0, "study_hash": "0" * 64, "versions": {"torch": "2.0", "selfrep": "0.1"},
}  # fmt: skip

FILES = {
    "personas": yaml_files({"personas": _PEOPLE}),
    "battery": yaml_files({"items": _ITEMS}),
    "study": yaml_files(_STUDY),
    "findings": json_files(_findings()),
    "provenance": json_files(_PROVENANCE),
}


def _ask(kind: str, content: bytes, folder: Path) -> tuple[str, ...]:
    """Put the file where the command finds it. Returns the command."""
    if kind in ("findings", "provenance"):
        _sealed(kind, content, folder / "run")
        return "compare", "run", "whole"
    (folder / "file.yaml").write_bytes(content)
    return {"personas": ("personas",), "battery": ("battery", "list"), "study": ("check",)}[kind] + ("file.yaml",)


def _sealed(kind: str, content: bytes, run: Path) -> None:
    """Put a file into a run with a checksum that is right, if it can have one: so it is read beyond that."""
    file = run / f"{kind}.json"
    try:
        text = content.decode("utf-8")
        record = json.loads(text)
    except (ValueError, RecursionError):
        file.write_bytes(content)
        return
    if kind == "findings":
        file.write_bytes(content)
        RunDirectory(run).provenance(findings_sha256=digests.of_text(text))
    elif isinstance(record, dict):
        record["findings_sha256"] = digests.of_text((run / "findings.json").read_text("utf-8"))
        write_sealed(file, record)
    else:
        file.write_bytes(content)


def _harmless(kind: str, content: bytes, folder: Path) -> int:
    """The code that the command ends with, which must be 0 or 2; nothing but an answer comes of it."""
    command = _ask(kind, content, folder)
    before = _listing(folder)
    with watching(folder) as deeds:
        done = selfrep(*command, cwd=folder)
    assert done.returncode in (0, 2), done
    assert deeds == []
    assert _listing(folder) == before
    said = done.stdout + done.stderr
    assert "Traceback" not in said
    assert [c for c in said if unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t"] == []
    assert (done.returncode == 2) == ("selfrep: " in done.stderr and done.stdout == ""), said
    return done.returncode


def _listing(folder: Path) -> dict[str, int]:
    return {
        place.path: place.stat().st_mtime_ns
        for root in (folder.parent, folder)
        for place in os.scandir(root)
        if place.is_file()
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs in which little was measured."""
    room = tmp_path_factory.mktemp("fuzz") / "room"
    for name in ("run", "whole"):
        run = RunDirectory(room / name)
        run.create_or_resume(yaml.safe_dump(_STUDY), "0" * 64)
        run.write("binding", xr.Dataset({"estimate": 0.5}))
        run.write_findings([Finding.from_record(record) for record in _findings()])
        run.provenance(**_PROVENANCE)
    return room


@pytest.fixture(params=FILES)
def kind(request: pytest.FixtureRequest, folder: Path) -> Any:
    """A kind of file; in a run, it is whole again afterwards."""
    yield request.param
    for name in ("findings.json", "provenance.json"):
        (folder / "run" / name).write_bytes((folder / "whole" / name).read_bytes())


@pytest.fixture(scope="module", autouse=True)
def _parsed_once() -> Iterator[None]:
    """Typer builds all commands anew at each call, which takes longer than most of them."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(cli, "app", typer.main.get_command(cli.app))
        yield


def _tried(kind: str, examples: int, folder: Path) -> list[int]:
    """The codes that commands end with, of so many examples of a kind."""
    codes = []

    @settings(max_examples=examples, suppress_health_check=list(HealthCheck))
    @given(content=FILES[kind])
    def ask(content: bytes) -> None:
        codes.append(_harmless(kind, content, folder))

    ask()
    return codes


def test_whatever_comes_a_command_ends(kind: str, folder: Path) -> None:
    _tried(kind, QUICK[kind], folder)


@pytest.mark.slow
def test_whatever_else_comes_a_command_ends(kind: str, folder: Path) -> None:
    codes = _tried(kind, SLOW, folder)
    assert len(codes) >= SLOW
    assert set(codes) == {0, 2}, "the control: some are refused, and some are so nearly right that they are taken"


def test_what_once_went_wrong_does_not(kind: str, folder: Path) -> None:
    for file in sorted((CORPUS / kind).iterdir()):
        assert _harmless(kind, file.read_bytes(), folder) == 2, file.name


def test_a_deed_outside_would_be_heard(tmp_path: Path) -> None:
    room = tmp_path / "room"
    room.mkdir()
    with watching(room) as deeds:
        (room / "inside").write_text("x")
        (tmp_path / "outside").write_text("x")
        (room / "inside").rename(tmp_path / "moved")
        subprocess.run(["true"], check=True)
        exec(compile("x = 1", str(room / "file.py"), "exec"))
    assert [deed.split(" ", 1)[0] for deed in deeds] == ["open", "os.rename", "subprocess.Popen", "ran"]
