"""The README and the pages with examples are run: Python in order, commands looked up, links followed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from selfrep import analyses

ROOT = Path(__file__).parents[1]
RUN = (
    "README.md",
    "docs/start.md",
    "docs/models.md",
    "docs/coming_from.md",
    "docs/howto/personas.md",
    "docs/howto/patching.md",
    "docs/howto/figures.md",
    "docs/howto/analysis.md",
)
"""Pages whose examples are run."""
PAGES = {name: (ROOT / name).read_text(encoding="utf-8") for name in RUN}
README = PAGES["README.md"]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


SHOWN = re.compile(r"^```python\n((?:(?!```)[^\n]*\n)*)```\n\n```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"-?\d+\.?\d*")


def blocks(language: str, text: str = README) -> list[str]:
    return [code for kind, code in BLOCK.findall(text) if kind == language]


def differs(printed: str, shown: str) -> str:
    """What differs between a print and what the README shows of it; the last digit of a number may."""
    if NUMBER.sub("0", printed).split() != NUMBER.sub("0", shown).split():
        return f"printed:\n{printed}\nshown:\n{shown}"
    pairs = zip(NUMBER.findall(printed), NUMBER.findall(shown), strict=True)
    wrong = [f"{a}, not {b}" for a, b in pairs if abs(float(a) - float(b)) > 1.01 * _last_digit(b)]
    return "; ".join(wrong)


def _last_digit(number: str) -> float:
    """What one more in the last digit is; nothing for a whole number, which is a count."""
    decimals = len(number.partition(".")[2])
    return 10.0**-decimals if decimals else 0.0


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_the_python_examples_run_in_order_and_print_what_is_shown(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(analyses, "_registered", [])  # what an example registers goes with it
    namespace: dict[str, object] = {"__name__": "readme"}
    examples, shown = blocks("python", PAGES[page]), dict(SHOWN.findall(PAGES[page]))
    assert examples
    assert shown or "```text" not in PAGES[page]
    for number, code in enumerate(examples, start=1):
        capsys.readouterr()
        exec(compile(code, f"{page}, Python example {number}", "exec"), namespace)
        printed = capsys.readouterr().out
        if code in shown:
            assert not differs(printed, shown[code])


def test_another_number_or_word_is_no_print_of_this_one() -> None:
    shown = "layer  8   15\njfk  0.02 0.10"
    assert not differs("layer 8 15\njfk 0.03 0.1", shown)
    assert differs("layer 8 15\njfk 0.04 0.10", shown) == "0.04, not 0.02"
    assert differs("layer 8 16\njfk 0.02 0.10", shown)
    assert differs("layer 8 15\nnurse 0.02 0.10", shown)


def test_the_commands_exist() -> None:
    shell = "\n".join(
        code for page in PAGES.values() for kind in ("bash", "sh", "console") for code in blocks(kind, page)
    )
    for script in set(re.findall(r"\bscripts/\w+", shell)):
        assert (ROOT / script).is_file(), script
    help_text = [sys.executable, "-c", "from selfrep.cli import main; main()", "--help"]
    known = subprocess.run(help_text, capture_output=True, text=True, check=True)
    for command in set(re.findall(r"^(?:\$ )?selfrep (\w+)", shell, re.MULTILINE)):
        assert re.search(rf"\b{command}\b", known.stdout), command


@pytest.mark.parametrize("page", PAGES)
def test_the_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", PAGES[page]) + re.findall(r'(?:src|href)="([^"#]+)"', PAGES[page]):
        if not re.match(r"https?:|mailto:", target):
            assert (ROOT / page).parent.joinpath(target).exists(), target


def test_blocks_are_found() -> None:
    assert blocks("python", "text\n```python\na = 1\n```\n```bash\nls\n```\n") == ["a = 1\n"]
