"""A card for the terminal and for the documentation: the same rows, in the same words."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import asdict
from itertools import groupby

import numpy as np
from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table

from selfrep.harmless import escape, for_cell
from selfrep.validation.card import Card, Row

COLUMNS = ("score", "of which organisms", "truth", "ours", "range or 95 %", "n", "beside it", "wanted", "")
LEGEND = (
    "ours: median over organisms, or a rate. range: from the smallest to the largest over organisms (seeds and noise); "
    "of rates the 95 % interval. A row passes when its worst organism does; a rate, when what is wanted lies within "
    "its interval. beside it: what common practice gives."
)


def verdict(row: Row) -> str:
    """Whether a row reached its threshold, in a word."""
    return "" if row.passed is None else "pass" if row.passed else "MISS"


def cells(row: Row) -> tuple[str, ...]:
    """A row as texts, one a column."""
    return (
        row.what,
        row.model,
        row.truth,
        _number(row.score),
        f"{_number(row.low)} to {_number(row.high)}" if np.isfinite(row.score) else "–",
        str(row.n),
        row.common,
        row.requirement,
        verdict(row),
    )


def _number(value: float) -> str:
    if not np.isfinite(value):
        return "–"
    text = f"{value:.0f}" if value == round(value) and abs(value) > 1 else f"{value:.3f}"
    return text.replace("-0.000", "0.000").replace("-", "−")


def summary(card: Card) -> str:
    """How many thresholds were reached, and in what time."""
    judged = sum(row.passed is not None for row in card.rows)
    seeds = f" of seeds from {card.seed}" if card.seed else ""
    others = f" and {len(card.external)} from elsewhere" if card.external else ""
    marked = f"{len(card.organisms)} organisms{seeds}{others}"
    return f"{judged - len(card.misses)} of {judged} thresholds reached, on {marked}, in {card.seconds:.0f} s."


def terminal(card: Card) -> Iterator[RenderableType]:
    """The table, how to read it, and what was missed; for rich."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in COLUMNS:
        right = name in ("ours", "range or 95 %", "n", "wanted")
        table.add_column(name, justify="right" if right else "left", no_wrap=right)
    for part, members in groupby(card.rows, key=lambda row: row.part):
        table.add_row(f"[bold]{escape(part)}[/]")
        for row in members:
            *texts, outcome = (escape(text) for text in cells(row))
            colour = {"pass": "green", "MISS": "red"}.get(outcome, "dim")
            table.add_row(*texts, f"[{colour}]{outcome}[/]")
    yield table
    yield Padding(f"[dim]{LEGEND}[/]", (1, 0, 0, 0))
    for row in card.misses:
        yield Padding(
            f"[red]missed[/]: {escape(row.what)} ({escape(row.model)}), wanted {escape(row.requirement)}", (0, 0, 0, 2)
        )
    yield Padding(f"[bold]{summary(card)}[/]", (1, 0, 0, 0))


def markdown(card: Card) -> str:
    """The tables, part by part, as Markdown."""
    out = []
    for part, members in groupby(card.rows, key=lambda row: row.part):
        out += [f"### {part}", "", f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
        out += [f"| {' | '.join(_escaped(text) for text in cells(row))} |" for row in members]
        out.append("")
    return "\n".join([*out, summary(card), ""])


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def table(card: Card) -> str:
    """The rows as CSV, numbers in full."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(Row.__dataclass_fields__), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: for_cell(value) for name, value in asdict(row).items()} for row in card.rows)
    return text.getvalue()
