"""How the documentation is built: `scripts/docs`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent / "src")]

from sphinx.application import Sphinx  # noqa: E402

import selfrep  # noqa: E402

for name in selfrep.__all__:
    getattr(selfrep, name)  # imported here, since autodoc imports as a type checker does, which pydantic does not bear

# The notebooks are pages, too: as they were kept, with what they show. They are run by scripts/notebooks, not here.
(HERE / "tutorials").mkdir(exist_ok=True)
for notebook in (HERE.parent / "notebooks").glob("*.ipynb"):
    text = notebook.read_text(encoding="utf-8").replace("](../docs/", "](../")
    (HERE / "tutorials" / notebook.name).write_text(text, encoding="utf-8")

project = "selfrep"
copyright = "the selfrep contributors"
release = version = selfrep.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "chapters",
    "mathml",
]
exclude_patterns = ["_build", "_ext", "_static"]
nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["colon_fence", "dollarmath", "deflist"]
myst_heading_anchors = 3
html_math_renderer = "mathml"

suppress_warnings = ["mystnb.unknown_mime_type"]  # plotly's own data: its PNG is shown
default_role = "py:obj"  # `selfrep.capture` in a docstring is a link where there is something to link to
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_default_options = {"show-inheritance": False}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_custom_sections = ["Source", ("Fields", "params_style"), "Example"]
copybutton_exclude = ".linenos, .gp, .go"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_theme = "furo"
html_title = f"selfrep {release}"
html_static_path = ["_static"]
html_css_files = ["selfrep.css"]
html_show_sphinx = False
html_copy_source = False
html_show_search_summary = False  # excerpts are fetched, which browsers refuse to pages opened from a disk
html_theme_options = {"navigation_with_keys": True}

# Links to other sites are looked at by `scripts/docs --links`, where there is a network.
linkcheck_timeout = 20
linkcheck_retries = 2


def plain_bars(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """|T| in a docstring is the size of T, and no substitution of reStructuredText."""
    lines[:] = [line if ">>>" in line else re.sub(r"\|(?=[^|]*\|)|(?<=[^|])\|", r"\\|", line) for line in lines]


def to_tutorials(app: Sphinx, page: str, source: list[str]) -> None:
    """Links to notebooks, which pages write as they are on GitHub, lead to the tutorials."""
    source[0] = source[0].replace("](../notebooks/", "](tutorials/").replace("](../../notebooks/", "](../tutorials/")


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", to_tutorials)
    app.connect("autodoc-process-docstring", plain_bars)
