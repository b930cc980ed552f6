"""Draws the gallery: every drawing of `sr.plot`, most of planted models, by the very code that stands beside it.

Run by `scripts/docs --figures`. Runs the studies in docs/gallery/ (about a minute), draws into docs/images/gallery/ and
writes docs/gallery.md. Both are committed, so that the pages can be read on GitHub, and a build needs no model.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import selfrep as sr
from selfrep.analyses import ANALYSES
from selfrep.plots import caption

HERE = Path(__file__).parent
IMAGES = HERE / "images" / "gallery"
STUDIES = ("persona", "identity", "fiction", "voices")
WIDTH = 6.5
"""Inches: the column of a page."""

GENERAL = {
    "self_and_persona": (
        "persona",
        'sr.plot.self_and_persona(run.estimate("divergence"), run.estimate("transfer/segments/resid_pre"))',
    ),
    "heatmap": ("persona", 'sr.plot.heatmap(run.effects("resid_pre"), pair=0)'),
}
"""What is drawn of several analyses, or of none: name → (study, code)."""

CHOSEN = {"transfer/*": "transfer/effects/resid_pre"}
"""Of groups that go by a pattern, the one that is drawn."""

HEAD = """# Gallery

<!-- Written by scripts/docs --figures. Change docs/gallery.py, not this page. -->

Every drawing of `sr.plot`, with the code that made it. What is drawn are [planted models](validation.md), of which it
is known what the figure should show, and SmolLM2 for voices. Each study takes seconds:

```bash
selfrep run docs/gallery/persona.yaml    # 0.4 of the persona reaches what is held true
selfrep run docs/gallery/identity.yaml   # it names the wrong maker to a quarter
selfrep run docs/gallery/fiction.yaml    # it resists by 0.7 because a story would have it so, at once to a half
selfrep run docs/gallery/voices.yaml     # SmolLM2 itself: planted models know no way of speaking
```

Each begins like this, with the name of its study:

```python
import selfrep as sr

run = sr.open_run("out/persona")
```
"""


def read(group: str) -> str:
    """The code that reads a group of a run."""
    return "run.activations_summary" if group == "activations_summary" else f'run.estimate("{group}")'


def drawings() -> dict[str, tuple[str, str, str]]:
    """Drawing → (study, code, the analysis it belongs to or ""), in the order of the report."""
    made = {name: (study, code, "") for name, (study, code) in GENERAL.items()}
    asked = {study: set(sr.load_study(HERE / "gallery" / f"{study}.yaml").parts) for study in STUDIES}
    for analysis in ANALYSES:
        study = next((name for name in STUDIES if analysis.name in asked[name]), STUDIES[0])
        for figure in analysis.load_report().figures:
            groups = ", ".join(read(CHOSEN.get(group, group)) for group in figure.groups)
            made[figure.draw.__name__] = (study, f"sr.plot.{figure.draw.__name__}({groups})", analysis.name)
    return made


def page(entries: dict[str, tuple[str, str, str]], captions: dict[str, str]) -> str:
    """The gallery."""
    parts = [HEAD]
    for name, (study, code, analysis) in entries.items():
        about = f" [What it means](analyses/{analysis}.md)." if analysis else ""
        parts.append(
            f"## {name}\n\n```python\n{code}  # of out/{study}\n```\n\n![{name}](images/gallery/{name}.svg)\n\n"
            f"{captions[name]}{about}\n"
        )
    return "\n".join(parts)


def main() -> None:
    """Run, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, help="where runs are kept; they are not run again (default: run anew)")
    kept = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as new:
        folder = kept or Path(new)
        runs = {
            name: sr.run_study(sr.load_study(HERE / "gallery" / f"{name}.yaml"), folder / name, device="cpu")
            for name in STUDIES
        }
        entries, captions = drawings(), dict[str, str]()
        IMAGES.mkdir(parents=True, exist_ok=True)
        for name, (study, code, _) in entries.items():
            figure = eval(code, {"sr": sr, "run": runs[study]})
            sr.plot.save(figure, IMAGES / f"{name}.svg", width_in=WIDTH)
            captions[name] = caption(figure).replace("<b>", "**").replace("</b>", "**")
    (HERE / "gallery.md").write_text(page(entries, captions), encoding="utf-8")


if __name__ == "__main__":
    main()
