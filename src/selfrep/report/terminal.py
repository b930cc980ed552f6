"""Results as tables for a terminal: numbers in columns, and below them, in words, what could not be read and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import xarray as xr
from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table

from selfrep.harmless import escape
from selfrep.stats.numbers import number, told, with_unit

LEGEND = (
    "shift: between the two sides of personas, in nats, by answers that no description says; all: by all. equal: at "
    "equal surprise. kept: the share that “the user is X” keeps. truth: how far a changed truth moves the answer, "
    "beyond its words. mass: how probable any of the answers is. noise: SD between paraphrases, in nats. order: how "
    "far the order of the options moves the answer; – where there is nothing to measure."
)

MOVED = {
    "readable": "identified", "shift": "shift", "95 %": "ci_low", "all": "all_words_shift", "equal": "controlled_shift",
}  # fmt: skip
"""Columns of what moves the answer to an item → what they are called in the Dataset."""
READ = {
    "AUC": "auc", "kept": "kept", "truth": "truth_shift", "mass": "answer_mass", "noise": "paraphrase_sd",
    "order": "order_effect",
}  # fmt: skip
"""Columns of what else tells whether it can be read."""


def steps_table(steps: Sequence[tuple[str, int, int]]) -> Table:
    """The steps of a study that was not run, each with its prompts and patched runs; for rich."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("step", overflow="fold")
    for name in ("prompts", "patched runs"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, *counts in (step for step in steps if any(step[1:])):
        table.add_row(escape(name), *(f"{count:,}" if count else "" for count in counts))
    return table


def comparison(table: pd.DataFrame) -> Iterator[RenderableType]:
    """What `selfrep.compare` returns, for rich: a block a finding, which fits any width; and what else differs."""
    for name, (a, b) in table.attrs["apart"].items():
        yield f"[dim]{escape(name)}:[/] a {escape(_shortened(a))}, b {escape(_shortened(b))}"
    for analysis, rows in table.groupby("analysis", sort=False):
        yield f"\n[bold]{escape(str(analysis))}[/]"
        for _, row in rows.iterrows():
            colour = {"differs": "yellow", "may be equal": "green"}.get(row["verdict"], "dim")
            yield Padding(f"{escape(row['label'])}: [{colour}]{escape(row['verdict'])}[/]", (0, 0, 0, 2))
            sides = [f"{name} {_bounded(row, name, row['unit'])}" for name in ("a", "b")]
            if np.isfinite(row["difference_ci_low"]):
                test = f", p = {told(row['p'])}" if np.isfinite(row["p"]) else ""
                sides.append(f"a − b {_bounded(row, 'difference', row['unit'])}{test}")
            yield Padding(escape("; ".join(sides)), (0, 0, 0, 4))
    yield f"\n[dim]{COMPARED}[/]"


COMPARED = (
    "In brackets: 95 % intervals. no test: the data tell no interval of the difference, and that two intervals overlap "
    "or not is none. Onsets are shares of the depth."
)


def _bounded(row: pd.Series, name: str, unit: str) -> str:
    value, low, high = (float(row[column]) for column in (name, f"{name}_ci_low", f"{name}_ci_high"))
    if not np.isfinite(value):
        return "–"
    return with_unit(told(value), unit) + (f" [{told(low)}, {told(high)}]" if np.isfinite([low, high]).all() else "")


def _shortened(text: str) -> str:
    """A hash is known by its beginning."""
    return text[:12] if len(text) == 64 and text.isalnum() else text or "–"


def check_table(checked: xr.Dataset) -> Iterator[RenderableType]:
    """What `check_battery` found, for rich: two tables, how to read them, and the items that cannot be read."""
    for columns in (MOVED, READ):
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("item", overflow="fold", min_width=10)
        for name in columns:
            table.add_column(name, justify="left" if name == "readable" else "right", no_wrap=True)
        for i, item in enumerate(map(str, checked.item.to_numpy())):
            table.add_row(escape(item), *(_cell(checked.isel(item=i), name) for name in columns))
        yield table
        yield ""
    yield f"[dim]{LEGEND}[/]"
    for name, unit in (("surprise", "nats a token"), ("length", "tokens")):
        if name in checked:
            yield Padding(escape(_described(checked, name, unit)), (1 if name == "surprise" else 0, 0, 0, 0))
    for name, words in zip(checked.item.to_numpy(), checked.left_out.to_numpy(), strict=True):
        if words:
            yield Padding(escape(f"{name}: left out, since this tokenizer has no token for them:{words}"), (0, 0, 0, 2))
    readable = int(checked.identified.sum())
    yield Padding(f"[bold]{readable} of {checked.sizes['item']} items can be read on this model.[/]", (1, 0, 0, 0))
    for name, gate, reason in zip(*(checked[k].to_numpy() for k in ("item", "identified", "reason")), strict=True):
        if not gate:
            yield Padding(f"[bold]{escape(str(name))}[/]: {escape(str(reason))}", (0, 0, 0, 2))


def _cell(one: xr.Dataset, column: str) -> str:
    """What stands in a column for one item."""
    if column == "readable":
        return "[green]yes[/]" if bool(one.identified) else "[red]no[/]"
    if column == "95 %":
        low, high = float(one.ci_low), float(one.ci_high)
        return f"{_short(low)} to {_short(high)}" if np.isfinite([low, high]).all() else "–"
    return _short(float(one[(MOVED | READ)[column]]))


def _described(checked: xr.Dataset, name: str, unit: str) -> str:
    """How the descriptions of the two sides differ in surprise or length, as a sentence."""
    means = (
        f"{label} {_short(float(mean))}"
        for label, mean in zip(checked.attrs["side_labels"], checked[name], strict=True)
    )
    difference, low, high, p = (float(checked[f"{name}_{k}"]) for k in ("difference", "ci_low", "ci_high", "p"))
    bounds = f"95 % interval {_short(low)} to {_short(high)}" if np.isfinite(low) else str(checked.attrs["unbounded"])
    test = f"p = {p:.2g}" if np.isfinite(p) else "no p"
    return f"{name} of the descriptions, {unit}: {', '.join(means)}; difference {_short(difference)} ({bounds}; {test})"


def _short(value: float) -> str:
    """At most two decimals, and no −0."""
    return number(round(value, 2) + 0.0) if np.isfinite(value) else "–"
