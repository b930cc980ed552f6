"""The documentation lacks nothing that there is: analyses, public names, drawings; and keeps nothing that is gone."""

from __future__ import annotations

import json
import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

import selfrep as sr
from selfrep.analyses import ANALYSES
from selfrep.analyses.analysis import Analysis
from selfrep.plot import figures
from selfrep.study.study import loads

DOCS = Path(__file__).parents[1] / "docs"
PAGES = [path for path in sorted(DOCS.glob("**/*.md")) if "_build" not in path.parts]
NOTEBOOKS = sorted((DOCS.parent / "notebooks").glob("*.ipynb"))
SECTIONS = ("What was done", "The number", "How to read it", "How it looks", "When it is not told", "How it fools you")
LARGEST = 1.5e6


def text(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def reference() -> set[str]:
    """Every name that a page of the reference describes, "selfrep." left out."""
    pages = "\n".join(path.read_text(encoding="utf-8") for path in (DOCS / "reference").glob("*.md"))
    return set(re.findall(r"^\.\. (?:auto\w+|py:data):: selfrep\.([\w.]+)", pages, re.MULTILINE))


@pytest.mark.parametrize("analysis", ANALYSES, ids=lambda analysis: analysis.name)
def test_every_analysis_has_a_page_that_says_what_it_means_and_how_it_fools(analysis: Analysis) -> None:
    page = text(f"analyses/{analysis.name}.md")
    assert [part for part in SECTIONS if f"\n## {part}\n" not in page] == []
    assert re.search(rf"^{analysis.name}$", text("analyses/index.md"), re.MULTILINE), "it is in the list of pages"
    drawn = {figure.draw.__name__ for figure in analysis.load_report().figures}
    assert drawn <= set(re.findall(r"images/gallery/(\w+)\.svg", page)), "each of its figures is shown"


def test_no_page_is_of_an_analysis_that_is_gone() -> None:
    pages = {path.stem for path in (DOCS / "analyses").glob("*.md")}
    assert pages == {"index", *(analysis.name for analysis in ANALYSES)}


@pytest.mark.parametrize("analysis", [a.name for a in ANALYSES])
def test_what_a_page_writes_into_a_study_is_part_of_a_study(analysis: str) -> None:
    (block,) = re.findall(r"^```yaml\n(.*?)^```$", text(f"analyses/{analysis}.md"), re.MULTILINE | re.DOTALL)
    study = loads(f"name: shown\n{block}")
    assert analysis == "items" or analysis in study.parts


def test_every_public_name_is_in_the_reference_and_no_other() -> None:
    known = reference()
    here = f"Add it to a page of {DOCS / 'reference'}"
    assert sorted(set(sr.__all__) - known - {"plot", "battery", "personas", "scenarios"}) == [], here
    assert sorted(f"plot.{name}" for name in sr.plot.__all__ if f"plot.{name}" not in known) == [], here
    modules = {name for name in known if name.startswith(("analyses.", "interop."))}
    assert sorted(name for name in known - modules if not named(name)) == [], "these are gone"


def named(name: str) -> bool:
    """Whether `sr.NAME` is there; nothing is imported for it but modules that are public themselves."""
    home, _, inner = name.partition(".")
    return home in sr.__all__ and (not inner or hasattr(getattr(sr, home), inner))


def test_a_name_that_is_not_there_is_seen() -> None:
    assert named("plot.heatmap")
    assert not named("plot.no_such_drawing")
    assert not named("no_such_verb")


def test_every_drawing_is_in_the_gallery_with_its_code_and_its_picture() -> None:
    page = text("gallery.md")
    drawn = {*figures(), "heatmap", "self_and_persona"}
    assert set(re.findall(r"^## (\w+)$", page, re.MULTILINE)) == drawn, "run scripts/docs --figures"
    spec = spec_from_file_location("gallery", DOCS / "gallery.py")
    assert spec is not None
    assert spec.loader is not None
    script = module_from_spec(spec)
    spec.loader.exec_module(script)
    assert page.startswith(script.HEAD), "run scripts/docs --figures"
    for name, (study, code, _) in script.drawings().items():
        assert f"## {name}\n\n```python\n{code}  # of out/{study}\n" in page, "run scripts/docs --figures"
    assert {path.stem for path in (DOCS / "images" / "gallery").glob("*.svg")} == drawn


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(DOCS)))
def test_links_and_pictures_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", path.read_text(encoding="utf-8")):
        assert re.match(r"https?:|mailto:", target) or (path.parent / target).exists(), target


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_with_what_it_shows(path: Path) -> None:
    assert path.stat().st_size < LARGEST
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert [cell["id"] for cell in cells] == [f"c{i}" for i in range(len(cells))], "run scripts/notebooks"
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert outputs
    assert not [output for output in outputs if output["output_type"] == "error" or output.get("name") == "stderr"]
    for output in outputs:
        data = output.get("data", {})
        assert ("application/vnd.plotly.v1+json" not in data) or "image/png" in data, "a picture that needs no script"
        assert "<script src=" not in "".join(data.get("text/html", "")), "nothing from the net"


def test_the_readme_is_read_in_a_minute() -> None:
    assert len((DOCS.parent / "README.md").read_text(encoding="utf-8").splitlines()) < 120
