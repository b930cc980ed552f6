"""Files hold text as text, in fonts that publishers take."""

from __future__ import annotations

import re
import zlib

import matplotlib as mpl
import plotly.graph_objects as go
import pytest
from tests.plots.on_paper.hard import CHINESE, effects

from selfrep.plots.effects import heatmap
from selfrep.plots.on_paper import on_page
from selfrep.plots.on_paper.files import content


def unpacked(pdf: bytes) -> bytes:
    """A PDF with its streams uncompressed beside it."""
    out = [pdf]
    for stream in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.S):
        try:
            out.append(zlib.decompress(stream))
        except zlib.error:
            out.append(stream)
    return b"\n".join(out)


def test_no_font_is_of_type_three() -> None:
    figure = on_page(heatmap(effects(12, CHINESE, layers=3)), 3.25)[0]
    pdf = unpacked(content(figure, "pdf"))
    assert b"/Type3" not in pdf
    assert b"/FontFile2" in pdf, "they are embedded"
    with mpl.rc_context({"pdf.fonttype": 3}):
        figure.savefig(path := __import__("io").BytesIO(), format="pdf")
        assert b"/Type3" not in unpacked(path.getvalue()), "nor where somebody saves it by matplotlib alone"
        plain = mpl.figure.Figure()
        plain.text(0.5, 0.5, "text")
        plain.savefig(other := __import__("io").BytesIO(), format="pdf")
        assert b"/Type3" in unpacked(other.getvalue()), "the control: this way of looking finds them"


def test_text_stays_text_and_the_same_figure_is_the_same_file() -> None:
    fig = go.Figure(go.Scatter(x=[1, 2], y=[1, 2])).update_layout(title_text="<b>100 % $x_1$ &amp; more</b>")
    svg = content(on_page(fig, 3.25)[0], "svg").decode()
    assert ">100 % $x_1$ &amp; more<" in svg
    for kind in ("pdf", "svg", "png", "pgf"):
        first, second = (content(on_page(fig, 3.25)[0], kind) for _ in range(2))
        assert first == second, kind


def test_pgf_is_written_without_a_latex(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    fig = go.Figure(go.Scatter(x=[1, 2], y=[1, 2])).update_layout(title_text="<b>100 % $x_1$</b>")
    pgf = content(on_page(fig, 3.25)[0], "pgf").decode()
    assert pgf.count("\\begin{pgfpicture}") == pgf.count("\\end{pgfpicture}") == 1
    assert r"100 % \$x\_1\$" in pgf, "escaped for LaTeX"
