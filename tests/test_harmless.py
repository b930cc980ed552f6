"""What a terminal or a spreadsheet would obey is shown, not obeyed."""

from __future__ import annotations

import csv
import io
import sys
import unicodedata

import pytest
from rich.console import Console

from selfrep import harmless
from selfrep.cli import progress
from selfrep.errors import SelfrepError

CONTROLS = [chr(n) for n in range(0x20) if chr(n) not in "\n\t"] + [chr(n) for n in range(0x7F, 0xA0)]
EMBEDDING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
BIDIRECTIONAL = [c for c in map(chr, range(sys.maxunicode)) if unicodedata.bidirectional(c) in EMBEDDING]
BIDIRECTIONAL += ["\u200e", "\u200f", "\u061c"]


@pytest.mark.parametrize("show", [harmless.for_terminal, harmless.escape])
def test_no_character_that_a_terminal_obeys_is_left_and_none_is_lost(show: type) -> None:
    for character in [*CONTROLS, *BIDIRECTIONAL, "\ud800", "\u2028"]:
        said = show(f"a{character}b")
        assert character not in said
        assert said.isprintable()
        assert said[0] + said[-1] == "ab"
        assert len(said) > 3
    plain = "Ada, “naïve” 日本 👩‍🚀 ≥ 3 nats\n\tשלום"
    assert show(plain) == plain, "the control: what is only read stays as it is"


def test_neither_errors_nor_warnings_nor_stages_reach_the_terminal_as_they_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from selfrep import cli

    def fail(**_: object) -> None:
        raise SelfrepError("no persona 'a\x1b]0;title\x07\u202eb'")

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(SystemExit):
        cli.main()
    progress.warn("\x1b[2Jgone")
    with progress.progress() as on_progress:
        on_progress("capture \x1b[1A", 0, 1)
    said = capsys.readouterr().err
    assert said.replace("\n", "").isprintable()
    assert r"\x1b]0;title\x07\u202eb" in said
    assert r"\x1b[2Jgone" in said
    assert r"capture \x1b[1A" in said


def test_rich_prints_it_as_it_is_written() -> None:
    out = io.StringIO()
    Console(file=out, force_terminal=True, highlight=False, width=80).print(harmless.escape("[red]x[/]\x1b[31m"))
    assert out.getvalue() == "[red]x[/]\\x1b[31m\n"


@pytest.mark.parametrize("text", ["=1+1", "@SUM(1)", "+cmd|' /C calc'!A0", "-2+3", "\t=1", "\r=1", "-x", "+", "\t1"])
def test_a_cell_that_would_be_computed_begins_with_an_apostrophe(text: str) -> None:
    assert harmless.for_cell(text) == f"'{text}"


@pytest.mark.parametrize("value", ["-1.5", "+3", "-1e-9", "jfk", "a=b", "", " =1", -1.5, 3, None, True])
def test_other_cells_stay_as_they_are(value: object) -> None:
    assert harmless.for_cell(value) is value


def test_the_tables_of_figures_are_read_back_with_numbers_as_numbers() -> None:
    import pandas as pd
    import xarray as xr

    from selfrep.report.figures import _table

    data = xr.Dataset({"shift": ("who", [-1.5, 2.0]), "=n": ("who", [1, -2])}, {"who": ["=HYPERLINK(1)", "-jfk"]})
    written = _table(data)
    cells = [cell for row in csv.reader(io.StringIO(written)) for cell in row]
    assert "'=HYPERLINK(1)" in cells
    assert "'-jfk" in cells
    assert "'=n" in cells
    assert pd.read_csv(io.StringIO(written))["shift"].tolist() == [-1.5, 2.0]
