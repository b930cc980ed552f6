"""The page of a sweep: each run with its numbers and its report, and what was not done."""

from __future__ import annotations

from pathlib import Path

from selfrep.report.index import write_index
from selfrep.store.findings import Finding
from selfrep.store.run_directory import RunDirectory


def left(folder: Path, model: str, *findings: Finding) -> RunDirectory:
    run = RunDirectory(folder)
    run.create_or_resume("name: mine", "0" * 64)
    run.provenance(model=model)
    run.write_findings(list(findings))
    return run


def test_runs_stand_side_by_side(tmp_path: Path) -> None:
    share = Finding("The share", 0.25, (0.1, 0.4), "", "", name="share", about="bleed")
    other = Finding("Another", None, None, "", "", name="another", about="binding", identified=False, reason="too few")
    runs = [
        left(tmp_path / "a", "<script>alert(1)</script>", share),
        left(tmp_path / "b", "org/two", other),
    ]
    page = write_index(tmp_path, runs, {"c": "<b>no memory</b>"}).read_text("utf-8")
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "&lt;b&gt;no memory" in page
    assert 'href="a/report.html"' in page
    table = page[page.index("<table") :]
    first, second = table.index("The share"), table.index("Another")
    assert first < second
    row = table[first:second]
    assert share.value_text in row
    assert share.interval_text in row
    assert "not asked" in row
    assert "not identified" in table[second:]
