"""From the groups of a run to the few sentences a reader should know, each with its interval and its control.

Nothing is picked because it came out large: the cell that a sentence reports is fixed beforehand, at three quarters
of the model's depth, at the last token. Where a number is not identified, the sentence says so and why.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr

from selfrep.analyses.depth import reported_layer
from selfrep.results.motives import motives
from selfrep.results.selfhood import selfhood
from selfrep.store.findings import Finding, interval_of, number
from selfrep.store.run_directory import RunDirectory

IN_CHARACTER, SPECTATOR = "all in character", "all spectator, third person"
"""Rows of the group "items" that average several items."""


def headlines(run: RunDirectory) -> list[Finding]:
    """The findings of a run, of whatever groups it holds."""
    found: list[Finding] = []
    if run.has("items"):
        found += _behaviour(run.read("items"))
    found += selfhood(run)
    if run.has("separation"):
        found += _separation(run.read("separation"))
    if run.has("separation_chosen"):
        found += _chosen(run.read("separation_chosen"))
    if group := next((g for g in run.groups() if g.startswith("transfer/segments/")), None):
        found += _transfer(run.read(group))
    found += motives(run)
    return found


def _behaviour(items: xr.Dataset) -> Iterator[Finding]:
    first, second = (side.upper() if side == "ai" else side for side in items.attrs["sides"])
    n = " and ".join(map(str, items.attrs["n_personas"]))
    titles = {
        IN_CHARACTER: f"Asked who is speaking, {first} personas answer more like {first} than {second} personas do, by",
        SPECTATOR: "Asked from outside what produces the text, the persona that is played still moves the answer by",
    }
    for name, title in titles.items():
        if name not in items.item:
            continue
        row = items.sel(item=name)
        if bool(row.identified):
            share = [number(100 * float(row[k])) for k in ("kept", "kept_ci_low", "kept_ci_high")]
            control = (
                f"“The user is X” keeps {share[0]} % of it (95 % interval {share[1]} to {share[2]} %): the words alone."
            )
        else:
            control = (
                f"“The user is X” moves it by {interval_of(row, 'user_shift', 'user_ci_low', 'user_ci_high')} nats."
            )
        yield Finding(
            title=f"{title} (mean of {int(row.n_items)} items)",
            value=float(row["shift"]),
            interval=(float(row.ci_low), float(row.ci_high)),
            control=control,
            how_sure=(
                f"Bootstrap over {n} personas and their paraphrases; p = {float(row.p):.2g} by permuting "
                f"{items.attrs['permuted']} ({items.attrs['n_labelings']:,} labelings)."
            ),
            identified=bool(row.identified),
            reason=str(row.reason.item()),
            unit="nats",
        )


def _separation(sep: xr.Dataset) -> Iterator[Finding]:
    axis = "position" if "position" in sep.dims else "segment"
    layer = reported_layer(sep.layer.to_numpy())
    cell = sep.isel(site=0).sel(layer=layer).isel({axis: -1})
    reason = "" if np.isfinite(float(cell.estimate)) else "some prompt has no token at the place that is reported"
    yield Finding(
        title=(
            f"At layer {layer} and the last {'token' if axis == 'position' else 'segment'}, the two sides of personas "
            "lie this far apart (squared distance, as a share of the mean squared norm)"
        ),
        value=float(cell.estimate),
        interval=(float(cell.ci_low), float(cell.ci_high)),
        control=(
            f"Two paraphrases of the same persona lie {number(float(cell.noise_floor))} apart; were the sides mere labels, it "
            f"would stay under {number(float(cell.null_high))} in 95 % of labelings."
        ),
        how_sure=(
            f"p = {float(cell.p):.2g} at this cell, {float(cell.p_max):.2g} over the whole map, permuting "
            f"{sep.attrs['permuted']} ({sep.attrs['n_labelings']:,} labelings). The cell was fixed beforehand: three "
            "quarters of the depth."
        ),
        identified=not reason,
        reason=reason,
    )
    yield Finding(
        title="Of that, this much is bound to the speaker: “you are X” minus “the user is X”",
        value=float(cell.bound),
        interval=(float(cell.bound_ci_low), float(cell.bound_ci_high)),
        control=(
            f"“The user is X” alone sets the sides {interval_of(cell, 'user_is', 'user_is_ci_low', 'user_is_ci_high')} "
            "apart: the same words, about somebody else."
        ),
        how_sure="Bootstrap over personas, then paraphrases, the same draws for both conditions.",
        identified=not reason,
        reason=reason,
    )


def _chosen(cell: xr.Dataset) -> Iterator[Finding]:
    at_token = "position" in cell.coords
    place = f"position {int(cell.position)}".replace("-", "−") if at_token else f"the segment “{cell.segment.item()}”"
    choosing, testing = (", ".join(cell.attrs[half]) for half in ("choosing", "testing"))
    finite = bool(np.isfinite(float(cell.estimate)))
    yield Finding(
        title=(
            f"Chosen on half of the personas as the place where the sides lie furthest apart, layer {int(cell.layer)} "
            f"and {place} set the sides of the other half apart by"
        ),
        value=float(cell.estimate),
        interval=(float(cell.ci_low), float(cell.ci_high)),
        control=(
            f"On the half that chose it was {number(float(cell.chosen_on))}, luck included. Two paraphrases of the same "
            f"persona lie {number(float(cell.noise_floor))} apart; “the user is X” sets the sides "
            f"{interval_of(cell, 'user_is', 'user_is_ci_low', 'user_is_ci_high')} apart."
        ),
        how_sure=(
            f"p = {float(cell.p):.2g} by permuting {cell.attrs['permuted']} of the testing half "
            f"({cell.attrs['n_labelings']:,} labelings); maps of the halves agree with a reliability of "
            f"{number(float(cell.reliability))}. Chosen on: {choosing}. Tested on: {testing}."
        ),
        identified=finite,
        reason="" if finite else "some prompt of the testing half has no token at the chosen place",
    )


def _transfer(transfer: xr.Dataset) -> Iterator[Finding]:
    layers = transfer.layer.to_numpy()
    layer, early = reported_layer(layers), int(layers[np.abs(layers - 0.25 * layers.max()).argmin()])
    direction = "denoise" if "denoise" in transfer.direction else str(transfer.direction.values[0])
    segment = "all" if "all" in transfer.segment else str(transfer.segment.values[0])
    cell = transfer.sel(direction=direction, segment=segment)
    late, before = cell.sel(layer=layer), cell.sel(layer=early)
    controls = [
        f"{words} {number(float(late[name]))}"
        for name, words in CONTROLS.items()
        if name in late and np.isfinite(float(late[name]))
    ]
    place = "all tokens after the system text" if segment == "all" else f"the tokens of “{segment}”"
    reason = str(transfer.attrs["reason"])
    if not reason and not np.isfinite(float(late.estimate)):
        reason = f"no pair of personas has an effect to carry over in the direction “{direction}”"
    n = int(late.n_pairs)
    yield Finding(
        title=(
            f"Put into another persona's run at layer {layer}, over {place}, a persona's activations carry over this "
            "share of its answers"
        ),
        value=float(late.estimate),
        interval=(float(late.ci_low), float(late.ci_high)) if np.isfinite(float(late.ci_low)) else None,
        control=(
            f"The same from sources that should do nothing: {'; '.join(controls) or 'not run'}. At layer {early} the "
            f"patch carries {number(float(before.estimate))}: there the persona is still read again from the system "
            "text."
        ),
        how_sure=(
            f"Bootstrap over {n} pairs of personas; p = {float(late.p):.2g} by flipping signs (the smallest that {n} "
            f"pairs can give is {transfer.attrs['smallest_p']:.2g})."
        ),
        identified=not reason,
        reason=reason,
    )


CONTROLS = {
    "control_paraphrase": "another paraphrase of the target's persona",
    "control_persona": "another persona of its side",
    "control_random": "a random direction of the same size",
}
