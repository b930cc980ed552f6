"""From the groups of a run to the few sentences a reader should know, each with its interval and its control.

Nothing is picked because it came out large: the cell that a sentence reports is fixed beforehand, at three quarters of the
model's depth, at the last token. Where a number is not identified, the sentence says so and why.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr

from selfrep.results.findings import Finding, number
from selfrep.results.store import RunDirectory

IN_CHARACTER, SPECTATOR = "all in character", "all spectator, third person"
"""Rows of the group "items" that average several items."""

DEPTH = 0.75
"""The layer that is reported, as a share of the depth."""


def reported_layer(layers: np.ndarray) -> int:
    """The layer nearest to three quarters of the depth, of those that were computed."""
    return int(layers[np.abs(layers - DEPTH * layers.max()).argmin()])


def headlines(run: RunDirectory) -> list[Finding]:
    """The findings of a run, of whatever groups it holds."""
    found: list[Finding] = []
    if run.has("items"):
        found += _behaviour(run.read("items"))
    if run.has("separation"):
        found += _separation(run.read("separation"))
    if group := next((g for g in run.groups() if g.startswith("transfer/segments/")), None):
        found += _transfer(run.read(group))
    return found


def _behaviour(items: xr.Dataset) -> Iterator[Finding]:
    first, second = items.attrs["sides"]
    n = " and ".join(map(str, items.attrs["n_personas"]))
    sure = f"Bootstrap over {n} personas and their wordings; p = {{:.2g}} by permuting {items.attrs['permuted']} ({items.attrs['n_labelings']:,} labelings)."
    for name, title in (
        (IN_CHARACTER, f"Asked who is speaking, the {first} personas answer more like an {_noun(first)} than the {second} personas do, by"),
        (SPECTATOR, "Asked from outside what produces the text, the persona still moves the answer by"),
    ):
        if name not in items.item:
            continue
        row = items.sel(item=name)
        kept = (
            f"“the user is X” keeps {number(100 * float(row.kept))} % of it (95 % interval {number(100 * float(row.kept_low))} to "
            f"{number(100 * float(row.kept_high))} %): that part is the words, not the role"
            if bool(row.gate)
            else f"“the user is X” moves it by {number(float(row.user_shift))} nats (95 % interval {number(float(row.user_low))} to {number(float(row.user_high))})"
        )
        yield Finding(
            title=f"{title} (mean of {int(row.n_items)} items)",
            value=float(row["shift"]),
            interval=(float(row.low), float(row.high)),
            control=kept + ".",
            how_sure=sure.format(float(row.p)),
            unit="nats",
        )


def _noun(side: str) -> str:
    return side.upper() if side == "ai" else side


def _separation(sep: xr.Dataset) -> Iterator[Finding]:
    axis = "position" if "position" in sep.dims else "segment"
    layer = reported_layer(sep.layer.to_numpy())
    cell = sep.isel(site=0).sel(layer=layer).isel({axis: -1})
    place = f"layer {layer}, at the last {'token' if axis == 'position' else 'segment'}"
    sure = (
        f"p = {float(cell.p):.2g} at this cell and {float(cell.p_max):.2g} over the whole map, permuting {sep.attrs['permuted']} "
        f"({sep.attrs['n_labelings']:,} labelings). The cell was fixed beforehand: three quarters of the depth."
    )
    reason = "" if np.isfinite(float(cell.estimate)) else "some prompt has no token there"
    yield Finding(
        title=f"At {place}, the two sides of personas lie this far apart (share of the mean squared norm)",
        value=float(cell.estimate),
        interval=(float(cell.low), float(cell.high)),
        control=f"Two wordings of the same persona lie {number(float(cell.floor))} apart; by chance, S would stay under {number(float(cell.null_high))} in 95 % of labelings.",
        how_sure=sure,
        identified=not reason,
        reason=reason,
    )
    yield Finding(
        title=f"Of that, this much is bound to the speaker: S for “you are X” minus S for “the user is X”",
        value=float(cell.bound),
        interval=(float(cell.bound_low), float(cell.bound_high)),
        control=f"“The user is X” alone separates the sides by {number(float(cell.user_is))} (95 % interval {number(float(cell.user_is_low))} to {number(float(cell.user_is_high))}).",
        how_sure="The same words stand in both prompts; only whom they are about differs. Bootstrap over personas, then wordings.",
        identified=not reason,
        reason=reason,
    )


def _transfer(transfer: xr.Dataset) -> Iterator[Finding]:
    layer = reported_layer(transfer.layer.to_numpy())
    early = int(transfer.layer.values[np.abs(transfer.layer.values - 0.25 * transfer.layer.values.max()).argmin()])
    direction = "denoise" if "denoise" in transfer.direction else str(transfer.direction.values[0])
    where = "all" if "all" in transfer.segment else str(transfer.segment.values[0])
    cell = transfer.sel(direction=direction, segment=where)
    late, before = cell.sel(layer=layer), cell.sel(layer=early)
    names = {"paraphrase": "another wording of the target's own persona", "persona": "another persona of its side", "random": "a random direction of the same size"}
    controls = [f"{words} {number(float(late[f'control_{k}']))}" for k, words in names.items() if f"control_{k}" in late and np.isfinite(float(late[f"control_{k}"]))]
    n = int(late.n_pairs)
    reason = str(transfer.attrs["reason"])
    if not reason and not np.isfinite(float(late.estimate)):
        reason = f"no pair of personas has an effect to carry over in the direction {direction}"
    interval = (float(late.low), float(late.high)) if np.isfinite(float(late.low)) else None
    yield Finding(
        title=f"Putting one persona's activations into another's run, at layer {layer} over {'all tokens after the system text' if where == 'all' else f'its tokens “{where}”'}, carries over this share of its answers",
        value=float(late.estimate),
        interval=interval,
        control=f"{'; '.join(controls) or 'no controls were run'}. At layer {early} the same patch carries {number(float(before.estimate))}: there the persona is still read again from the system text.",
        how_sure=f"{n} pairs of personas, bootstrap over pairs; p = {float(late.p):.2g} by flipping signs (the smallest {n} pairs can give is {transfer.attrs['smallest_p']:.2g}).",
        identified=not reason,
        reason=reason,
    )
