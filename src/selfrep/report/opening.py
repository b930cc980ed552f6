"""What a report opens with: one figure that answers the question, and a sentence for each of its parts.

Where does self part from persona, and what is carried over between them? The distance of personas from the unprompted
self stands above what its activations carry into a persona's run and back, over the same layers. It joins what two
analyses draw, and so it stands above both.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from selfrep.analyses import analyses
from selfrep.analyses.divergence.figures import draw_kinds
from selfrep.analyses.transfer.figures import arrows, both_ways, draw_controls
from selfrep.errors import SelfrepError
from selfrep.plots.profiles import Pen, finish_stack, stack
from selfrep.plots.text import plain
from selfrep.stats.cells import place_axis
from selfrep.store.run_directory import RunDirectory

NAME = "self_and_persona"
"""Of the figure, and of its files."""

_DISTANCE = "distance from the self, Δ"
_SHARE = "share carried over, T"
_APART = (
    "The squared distance of each kind of persona from the model that is told nothing about itself, at the last token, "
    "as a share of the mean squared norm, with its 95 % interval where there are families enough for one. Dotted: the "
    "same words said of the user. Grey: two personas of one side from each other, which is how far personas lie apart "
    "anyway. "
)
_CARRIED = (
    "What the self’s activations carry into a persona’s run (solid), and a persona’s into the self’s (dashed), put "
    "there layer by layer over all tokens after the system text, with 95 % intervals over personas: 0, nothing; 1, the "
    "whole answer. "
)
_FACT = "Grey: a fact about no persona, on a scale of its own; what carries that carries whatever was said. "


def sentences(run: RunDirectory) -> list[str]:
    """What a run says of self and persona in a few sentences, each with its numbers or the reason why there are none.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> run = RunDirectory(Path(tempfile.mkdtemp()))
        >>> run.create()
        >>> sentences(run)
        []
    """
    return [sentence for analysis in analyses() for sentence in analysis.load_report().opening(run)]


def figure(run: RunDirectory) -> tuple[go.Figure, xr.Dataset] | None:
    """The figure of a run and the numbers it shows; None where nothing of it was measured."""
    divergence, transfer = parts(run)
    if divergence is None and transfer is None:
        return None
    known_as = {"model": str(run.provenance().get("model", ""))}
    divergence, transfer = (part if part is None else part.assign_attrs(known_as) for part in (divergence, transfer))
    return self_and_persona(divergence, transfer), lines(divergence, transfer)


def parts(run: RunDirectory) -> tuple[xr.Dataset | None, xr.Dataset | None]:
    """Δ, and T of pairs of the self and a persona, as far as a run holds them and T is identified in some direction."""
    divergence = run.read("divergence") if run.has("divergence") else None
    sweeps = (run.read(group) for group in run.groups() if group.startswith("transfer/segments/"))
    return divergence, next((one for one in sweeps if "self" in one.attrs.get("ends", ()) and _identified(one)), None)


def self_and_persona(divergence: xr.Dataset | None = None, transfer: xr.Dataset | None = None) -> go.Figure:
    """How far personas lie from the self, above what is carried over between the two, layer by layer.

    Args:
        divergence: from `selfrep.divergence`; the first site and the last place are drawn.
        transfer: from `selfrep.transfer`, over segments, of pairs of the self and a persona; "all" is drawn, where it
            is among the segments. Denoise goes from the self into the persona.

    Raises:
        SelfrepError: neither of the two, or a transfer over positions.

    Example:
        >>> from selfrep.analyses.divergence.estimate import divergence
        >>> import selfrep as sr
        >>> from selfrep.models import organisms
        >>> lm = sr.load_model("organism:separate")
        >>> people, battery = sr.personas.load(organisms.PERSONAS), sr.battery.load(organisms.BATTERY)
        >>> prompts = sr.make_prompts(people, battery["who_are_you"], ["you", "user", "neutral"])
        >>> far = divergence(sr.capture(lm, prompts, tokens="position", positions=[-1]), n_bootstrap=20)
        >>> self_and_persona(far).layout.yaxis.title.text
        'distance from the self, Δ'
    """
    column, moved = _column(divergence), _moved(transfer)
    parts = [part for part in (column, moved) if part is not None]
    if not parts:
        raise SelfrepError(_NEITHER)
    layers = np.unique(np.concatenate([part.layer.to_numpy() for part in parts])).tolist()
    frame, panels = stack(len(parts)), []
    for panel, part in zip(frame.panels, parts, strict=True):
        pen = Pen(frame.fig, panel, part.layer.to_numpy().tolist(), stacked=True, first=min(layers))
        if part is column:
            draw_kinds(pen, part)
            panels.append((_DISTANCE, 240.0, _APART))
        else:
            for level in (0.0, 1.0):
                pen.rule(level)
            draw_controls(pen, part, ["fact"] if "control_fact" in part else [])
            both_ways(pen, part)
            panels.append((_SHARE, 170.0, _CARRIED + (_FACT if "control_fact" in part else "")))
    names, heights, captions = zip(*panels, strict=True)
    where = ("Above: ", "Below: ") if len(parts) > 1 else ("",)
    return finish_stack(
        frame,
        layers,
        names=names,
        heights=heights,
        columns=2,
        title="Where self and persona part, and what is carried over" if len(parts) > 1 else _TITLES[names[0]],
        subtitle=plain(next((part.attrs["model"] for part in parts if part.attrs.get("model")), "")),
        caption="".join(f"{at}{words[0].lower() if at else words[0]}{words[1:]}"
                        for at, words in zip(where, captions, strict=True)).strip(),
    )  # fmt: skip


_NEITHER = "Self and persona are drawn from divergence(...), transfer(...), or both; got neither."
_TITLES = {_DISTANCE: "How far personas lie from the self", _SHARE: "What is carried over between self and persona"}


def lines(divergence: xr.Dataset | None = None, transfer: xr.Dataset | None = None) -> xr.Dataset:
    """The numbers that `self_and_persona` shows: a line each, over the layers of both; NaN at those without a number.

    Returns:
        `estimate`, `ci_low` and `ci_high` over (line, layer), with the coordinate `quantity` on line.

    Raises:
        SelfrepError: as `self_and_persona`.
    """
    column, moved = _column(divergence), _moved(transfer)
    if column is None and moved is None:
        raise SelfrepError(_NEITHER)
    drawn = [*([] if column is None else _distances(column)), *([] if moved is None else _shares(moved))]
    joined: xr.Dataset = xr.concat([line for *_, line in drawn], "line", join="outer")
    return joined.sortby("layer").assign_coords(
        line=[name for _, name, _ in drawn], quantity=("line", [quantity for quantity, *_ in drawn])
    )


Line = tuple[str, str, xr.Dataset]


def _distances(column: xr.Dataset) -> Iterator[Line]:
    for kind in map(str, column.kind.to_numpy()):
        one, label = column.sel(kind=kind), str(column.kind_label.sel(kind=kind).item())
        yield "Δ", label, _line(*(one[f"kind_{name}"] for name in ("estimate", "ci_low", "ci_high")))
        yield "Δ", f"“the user is …” ({label})", _line(one.kind_user_is)
    for side in map(str, column.side.to_numpy()):
        one = column.sel(side=side)
        yield "Δ", f"one from another: {one.side_label.item()}", _line(one.within)


def _shares(moved: xr.Dataset) -> Iterator[Line]:
    for direction, arrow in arrows(moved).items():
        one = moved.sel(direction=direction)
        yield "T", arrow, _line(one.estimate, one.ci_low, one.ci_high)
        if "control_fact" in one:
            yield "T", f"a fact about no persona ({arrow})", _line(one.control_fact)


def _line(estimate: xr.DataArray, low: xr.DataArray | None = None, high: xr.DataArray | None = None) -> xr.Dataset:
    """One line over layers, without any other coordinate."""
    nothing = xr.full_like(estimate, np.nan)
    ends = {
        "estimate": estimate,
        "ci_low": nothing if low is None else low,
        "ci_high": nothing if high is None else high,
    }
    return xr.Dataset(
        {name: ("layer", values.to_numpy()) for name, values in ends.items()}, {"layer": estimate.layer.values}
    )


def _column(divergence: xr.Dataset | None) -> xr.Dataset | None:
    """Δ from the unprompted self at the first site and the last place."""
    if divergence is None:
        return None
    axis = place_axis(divergence)
    return divergence.sel(reference="unprompted").isel({"site": 0, axis: -1})


def _identified(transfer: xr.Dataset) -> list[str]:
    """The directions in which T is identified."""
    return [str(one) for one in transfer.direction.to_numpy() if not str(transfer.reason.sel(direction=one).item())]


def _moved(transfer: xr.Dataset | None) -> xr.Dataset | None:
    """T over all tokens after the system text, in the directions in which it is identified; of a study it says itself
    which end is the self."""
    if transfer is None:
        return None
    if "segment" not in transfer.dims:
        raise SelfrepError(
            "What is carried over is drawn for whole segments; this transfer is over "
            f"{', '.join(map(str, transfer.dims))}. Patch with grid(..., by='segment')."
        )
    segments = transfer.segment.to_numpy().tolist()
    at = transfer.sel(segment="all" if "all" in segments else segments[0], direction=_identified(transfer))
    return at.assign_attrs({"ends": ["self", "persona"]} | transfer.attrs)
