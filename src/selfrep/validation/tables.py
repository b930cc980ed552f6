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
from selfrep.stats.numbers import counted
from selfrep.validation.card import Card, Row

COLUMNS = ("score", "of which organisms", "truth", "ours", "range or 95 %", "n", "beside it", "wanted", "")
LEGEND = (
    "On the right: the median over organisms, or a rate. Below: from the smallest to the largest over organisms (seeds "
    "and noise), or the 95 % interval of a rate. A row passes when its worst organism does; a rate, when what is "
    "wanted lies within its interval. beside it: what common practice gives."
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
    marked = f"{counted(len(card.organisms), 'organism')}{seeds}{others}"
    return f"{judged - len(card.misses)} of {judged} thresholds reached, on {marked}, in {card.seconds:.0f} s."


def terminal(card: Card) -> Iterator[RenderableType]:
    """The rows as blocks, which fit any width, how to read them, and what was missed; for rich."""
    for part, members in groupby(card.rows, key=lambda row: row.part):
        block = Table.grid(padding=(0, 1), expand=True)
        block.add_column(ratio=1)
        block.add_column(justify="right", no_wrap=True)
        block.add_column(justify="right", no_wrap=True, min_width=4)
        block.add_row(f"[bold]{escape(part)}[/]", "", "")
        for row in members:
            what, model, truth, ours, between, n, common, wanted, outcome = (escape(text) for text in cells(row))
            colour = {"pass": "green", "MISS": "red"}.get(outcome, "dim")
            block.add_row(Padding(f"{what} ({model})", (0, 0, 0, 2)), ours, f"[{colour}]{outcome or '–'}[/]")
            beside = [
                f"{between} over {n}",
                *([f"wanted {wanted}"] if wanted else []),
                *([f"truth: {truth}"] if truth else []),
            ]
            block.add_row(Padding(f"[dim]{'; '.join(beside)}[/]", (0, 0, 0, 4)), "", "")
            if common:
                block.add_row(Padding(f"[dim]beside it: {common}[/]", (0, 0, 0, 4)), "", "")
        yield block
        yield ""
    yield f"[dim]{LEGEND}[/]"
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
