"""What is written once, in the code, and shown on a page.

`{chapter} binding`: what the report says of an analysis. `{drawings}`: the drawings of all analyses.
"""

from __future__ import annotations

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from selfrep.analyses import ANALYSES

KNOWN = {analysis.name: analysis for analysis in ANALYSES}


class Chapter(SphinxDirective):
    """What was done, and how it fools a reader; of an analysis without a chapter of its own, its objections."""

    required_arguments = 1
    option_spec = {"part": lambda argument: argument}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        """The paragraphs of one part, `asks` or `misleads`."""
        report = KNOWN[self.arguments[0]].load_report()
        texts = []
        if report.chapter is not None:
            texts.append(getattr(report.chapter, self.options["part"]))
        if self.options["part"] == "misleads":
            texts += [f"**{limit.title}** {limit.text}" for limit in report.limits]
        if not texts:
            raise self.error(f"The report has no such words of {self.arguments[0]}: write them here.")
        return self.parse_text_to_nodes("\n\n".join(texts))


class Drawings(SphinxDirective):
    """Every drawing of an analysis, by the name it has in `sr.plot`."""

    def run(self) -> list[nodes.Node]:
        """An entry each, in the order of the report."""
        names = dict.fromkeys(
            figure.draw.__name__ for analysis in ANALYSES for figure in analysis.load_report().figures
        )
        lines = [f".. autofunction:: selfrep.plot.{name}" for name in names]
        return self.parse_text_to_nodes("\n".join(["```{eval-rst}", *lines, "```"]))


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("chapter", Chapter)
    app.add_directive("drawings", Drawings)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
