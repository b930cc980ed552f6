"""The picture of the answer in text, for a terminal: what the first figure of a report shows, a line of blocks each."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int
from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table

from selfrep.harmless import escape
from selfrep.report.opening import lines, parts
from selfrep.stats.depth import reported_layer
from selfrep.stats.numbers import told
from selfrep.store.run_directory import RunDirectory

BLOCKS = "▁▂▃▄▅▆▇█"
WIDEST = 32
"""Layers in a line; of a deeper model the layers next to as many evenly spaced places."""
_QUANTITIES = {
    "Δ": "How far personas lie from the self (Δ)",
    "T": "What is carried over between self and persona (T)",
}


def sparkline(values: Float[np.ndarray, " layer"], top: float) -> str:
    """A line of blocks from 0 (lowest) to `top` (highest); a blank where there is no number.

    >>> sparkline(np.array([-0.1, 0.0, 0.5, np.nan, 1.0]), 1.0)
    '▁▁▅ █'
    """
    steps = np.clip(np.nan_to_num(values) / top, 0, 1) * (len(BLOCKS) - 1)
    return "".join(
        BLOCKS[round(float(step))] if there else " " for step, there in zip(steps, np.isfinite(values), strict=True)
    )


def picture(run: RunDirectory) -> Iterator[RenderableType]:
    """Δ of each kind of personas, and T both ways, over the layers, each with its scale; for rich. Nothing where
    neither was measured."""
    divergence, transfer = parts(run)
    if divergence is None and transfer is None:
        return
    drawn = lines(divergence, transfer)
    drawn = drawn.isel(line=[not str(name).startswith("“the user is") for name in drawn.line.to_numpy()])
    layers = drawn.layer.to_numpy()
    shown = _evenly(layers)
    for quantity, title in _QUANTITIES.items():
        mine = drawn.estimate.isel(line=drawn["quantity"].to_numpy() == quantity)
        if not np.isfinite(mine.to_numpy()).any():
            continue
        top = max(1.0 if quantity == "T" else 0.0, float(mine.max()))
        reported = reported_layer(layers[np.isfinite(mine.to_numpy()).any(axis=mine.get_axis_num("line"))])
        yield f"[bold]{title}[/], layer {layers.min()} to {layers.max()}; {BLOCKS[0]} is 0, {BLOCKS[-1]} is {told(top)}"
        table = Table.grid(padding=(0, 1))
        table.add_column(overflow="fold")
        table.add_column(no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        table.add_row("", "", f"[dim]at {reported}[/]")
        for values in mine.transpose("line", "layer"):
            line = sparkline(values.sel(layer=shown).to_numpy(), top or 1.0)
            name = Padding(escape(str(values.line.item())), (0, 0, 0, 2))
            table.add_row(name, line, told(float(values.sel(layer=reported))))
        yield table


def _evenly(layers: Int[np.ndarray, " layer"]) -> list[int]:
    """All layers, or as many of them as a line has room for, the first and the last among them."""
    places = np.linspace(0, len(layers) - 1, min(len(layers), WIDEST)).round().astype(int)
    return [int(layers[place]) for place in places]
