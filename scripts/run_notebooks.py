"""Run notebooks and write them back with what they show, so that a second run of the same code changes little.

Figures are kept twice: as plotly's own data, which Jupyter draws, and as a PNG, which GitHub, the documentation and an
exported page show without a network. So this needs a Chrome or Chromium; whoever only runs the notebooks does not.
Cells are numbered, and of the metadata only the kernel is kept.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

ROOT = Path(__file__).parents[1]
LARGEST = 1.5e6
"""Bytes of a notebook that a browser still opens at once."""
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
WIDGET = "application/vnd.jupyter.widget-view+json"
IDENTIFIER = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
"""What xarray's tables, and plotly's, draw anew each time."""


def main() -> None:
    """Run what is named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="*", type=Path, default=sorted((ROOT / "notebooks").glob("*.ipynb")))
    parser.add_argument("--timeout", type=int, default=600, help="seconds that a cell may take")
    chosen = parser.parse_args()
    os.environ["PLOTLY_RENDERER"] = "plotly_mimetype+png"
    too_large = []
    for path in chosen.notebooks:
        began = time.monotonic()
        notebook = nbformat.read(path, as_version=4)
        NotebookClient(
            notebook, timeout=chosen.timeout, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}
        ).execute()
        tidy(notebook)
        nbformat.write(notebook, path)
        size = path.stat().st_size
        print(f"{path.name}: {time.monotonic() - began:.0f} s, {size / 1e6:.2f} MB")
        if size > LARGEST:
            too_large.append(path.name)
    if too_large:
        sys.exit(f"Larger than {LARGEST / 1e6:g} MB: {', '.join(too_large)}. Show less in them.")


def tidy(notebook: NotebookNode) -> None:
    """Leave nothing in a notebook that changes though its code and its numbers do not."""
    notebook.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    notebook.nbformat_minor = 5
    count = 0
    for number, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"c{number}", {}
        if cell.cell_type != "code":
            continue
        count += 1
        cell.execution_count, names = count, dict[str, str]()
        cell.outputs = [
            output
            for output in cell.outputs
            if output.get("name") != "stderr" and WIDGET not in output.get("data", {})  # bars of progress
        ]
        for output in cell.outputs:
            output.metadata = {} if "metadata" in output else output.get("metadata")
            if output.metadata is None:
                del output["metadata"]
            if "execution_count" in output:
                output.execution_count = count
            for kind, content in output.get("data", {}).items():
                if isinstance(content, str) and kind.startswith("text/"):
                    for found in IDENTIFIER.findall(content):
                        names.setdefault(found, f"c{number}-{len(names)}")
                    output.data[kind] = IDENTIFIER.sub(lambda match, known=names: known[match.group()], content)


if __name__ == "__main__":
    main()
