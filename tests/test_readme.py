"""The README is run: its Python examples in order, its commands looked up, its links followed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language: str, text: str = README) -> list[str]:
    return [code for kind, code in BLOCK.findall(text) if kind == language]


@pytest.mark.slow
def test_the_python_examples_run_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "readme"}
    examples = blocks("python")
    assert examples
    for number, code in enumerate(examples, start=1):
        exec(compile(code, f"README.md, Python example {number}", "exec"), namespace)


def test_the_commands_exist() -> None:
    shell = "\n".join(blocks("bash") + blocks("sh") + blocks("console"))
    for script in set(re.findall(r"\bscripts/\w+", shell)):
        assert (ROOT / script).is_file(), script
    help_text = [sys.executable, "-c", "from selfrep.cli import main; main()", "--help"]
    known = subprocess.run(help_text, capture_output=True, text=True, check=True)
    for command in set(re.findall(r"^(?:\$ )?selfrep (\w+)", shell, re.MULTILINE)):
        assert re.search(rf"\b{command}\b", known.stdout), command


def test_the_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", README) + re.findall(r'(?:src|href)="([^"#]+)"', README):
        if not re.match(r"https?:|mailto:", target):
            assert (ROOT / target).exists(), target


def test_blocks_are_found() -> None:
    assert blocks("python", "text\n```python\na = 1\n```\n```bash\nls\n```\n") == ["a = 1\n"]
