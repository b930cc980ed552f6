"""What S tells a reader: at the cell that was fixed beforehand, and at one that half of the personas chose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr

from selfrep.analyses.report import Figure, Report, Text
from selfrep.analyses.sentences import all_families, finding, with_interval
from selfrep.analyses.separation import atlas, figures, plane
from selfrep.analyses.separation.summary import at_reported_layer
from selfrep.models.sites import IN_WORDS
from selfrep.stats.cells import place_axis
from selfrep.stats.depth import reported_layer
from selfrep.stats.numbers import counted, told
from selfrep.store.findings import Finding
from selfrep.store.run_directory import RunDirectory


def findings(run: RunDirectory) -> Iterator[Finding]:
    """The reported cell: sides, personas, and what is bound to the speaker; and the cell chosen on one half."""
    if run.has("separation"):
        yield from _reported(run.read("separation"))
    if run.has("separation_chosen"):
        yield _chosen(run.read("separation_chosen"))


def _reported(sep: xr.Dataset) -> Iterator[Finding]:
    axis = place_axis(sep)
    layer = reported_layer(sep.layer.to_numpy())
    cell = sep.isel(site=0).sel(layer=layer).isel({axis: -1})
    place = f"At layer {layer} and the last {'token' if axis == 'position' else 'segment'}"
    reason = str(cell.reason.item()) or str(sep.attrs["unbounded"])
    yield finding(
        cell,
        f"{place}, {_between(sep)} lie this far apart (squared distance of their means, as a share of the mean squared "
        "norm)",
        control=f"{_same_side(cell)}{_shuffled(cell)}",
        how_sure=f"{_tested(cell, 'at this cell')} The cell was fixed beforehand: three quarters of the depth.",
        reason=reason,
        name="distance of the sides",
        label=f"S, {_between(sep)}",
        p=float(cell.p),
        **all_families(sep),
        beside=float(cell.null_high),
        beside_what="were the sides mere labels, in 95 % of labelings",
        gate=GATE,
    )
    unshared = reason or str(cell.bound_reason.item())
    yield finding(
        cell,
        "Of that difference, this share is bound to the speaker, and not kept when the same words are about the user",
        value="bound_share",
        control=""
        if unshared
        else (
            f"“The user is X” alone sets the sides {with_interval(cell, 'user_is')} apart."
            f"{_cosine(cell)} The share kept is the projection of that difference on the one under “you are X”."
        ),
        how_sure=f"Bootstrap over {_RESAMPLED}, the same draws for both conditions.",
        reason=unshared,
        name="share bound to the speaker",
        label="S, share bound to the speaker",
        **all_families(sep),
        gate="the sides surely lie apart, and four families stand on either",
    )
    yield finding(
        cell,
        f"{place}, any two personas lie this far apart, each against each (identity: the squared distance, free of "
        "what paraphrases add)",
        value="identity",
        control=""
        if reason
        else (
            f"{_same_side(cell)} Two of different sides lie {told(float(cell.other_side))} apart, and the means of "
            f"the sides {with_interval(cell)}. Sides may coincide where personas do not."
        ),
        how_sure="Bootstrap over families of personas.",
        name="distance of any two personas",
        label="S, any two personas",
        **all_families(sep),
        beside=float(cell.same_side),
        beside_what="two personas of the same side",
        gate=GATE,
        reason=reason or ("" if np.isfinite(float(cell.identity)) else "every persona is read in one frame only"),
    )


GATE = "four families of personas on either side"
_RESAMPLED = "families of personas, then personas, then paraphrases"


def _between(sep: xr.Dataset) -> str:
    first, second = sep.attrs["side_labels"]
    return f"{first} and {second}"


def _same_side(cell: xr.Dataset) -> str:
    """How far personas of one side lie apart, where a side has two families."""
    value = float(cell.same_side)
    return f"Two personas of the same side lie {told(value)} apart." if np.isfinite(value) else ""


def _shuffled(cell: xr.Dataset) -> str:
    value = float(cell.null_high)
    if not np.isfinite(value):
        return ""
    return f" Were the sides mere labels, it would stay under {told(value)} in 95 % of labelings."


def _tested(cell: xr.Dataset, where: str) -> str:
    """The p-values, or why there are none."""
    if not np.isfinite(float(cell.p)):
        return f"There is no p: {cell.attrs['untestable']}."
    over = f", {told(float(cell.p_max))} over the whole map" if where == "at this cell" else ""
    return (
        f"p = {told(float(cell.p))} {where}{over}, permuting {cell.attrs['permuted']} "
        f"({counted(int(cell.attrs['n_labelings']), 'labeling')})."
    )


def _cosine(cell: xr.Dataset) -> str:
    if not np.isfinite(float(cell.condition_cosine_ci_low)):
        return ""
    return f" The cosine of the two directions is {with_interval(cell, 'condition_cosine')}."


def _chosen(cell: xr.Dataset) -> Finding:
    at_token = "position" in cell.coords
    place = f"position {int(cell.position)}".replace("-", "−") if at_token else f"the segment “{cell.segment.item()}”"
    n_choosing, n_testing = (len(cell.attrs[half]) for half in ("choosing", "testing"))
    reliable = float(cell.reliability)
    agreement = f" Maps of the halves agree with a reliability of {told(reliable)}." if np.isfinite(reliable) else ""
    reason = str(cell.reason.item()) or str(cell.attrs["unbounded"])
    kept = "" if reason else f" “The user is X” sets the sides {with_interval(cell, 'user_is')} apart."
    return finding(
        cell,
        f"Chosen on half of the personas, where the sides lie furthest apart, layer {int(cell.layer)} and {place} set "
        f"{_between(cell)} of the other half apart by",
        control=(
            f"On the half that chose it was {told(float(cell.chosen_on))}, luck included. {_same_side(cell)}{kept}"
        ),
        how_sure=(
            f"{_tested(cell, 'on the testing half')}{agreement} Chosen on {counted(n_choosing, 'persona')}, tested on "
            f"{n_testing}."
        ),
        reason=reason,
        name="distance of the sides, chosen cell",
        label=f"S, {_between(cell)}, chosen cell",
        p=float(cell.p),
        n=n_testing,
        n_of="personas of the testing half",
        beside=float(cell.same_side),
        beside_what="two personas of the same side",
        gate=GATE,
    )


def design(study: Mapping[str, Any]) -> Iterator[Text]:
    """Which activations were compared, under which question."""
    if part := study.get("separation"):
        items = (study.get("battery") or {}).get("define") or {}
        question = items.get(part["item"], {}).get("question", part["item"])
        site = part.get("site", "resid_post")
        yield Text(
            "Where the two sides part.",
            f"While the model read “{question}”, its activations were recorded in {IN_WORDS.get(site, site)}, "
            "and those under personas of one side compared with those under personas of the other.",
        )


REPORT = Report(
    findings=findings,
    figures=(
        Figure("separation", ("separation",), figures.separation_map),
        Figure("separation_profile", ("separation",), figures.separation_profile),
        Figure("persona_map", ("activations_summary",), plane.persona_map, at_reported_layer),
    ),
    design=design,
    limits=(
        Text(
            "Present is not used.",
            "That two sides lie apart in the activations does not mean that the model does anything with the "
            "difference. Only putting activations from one run into another speaks of use.",
        ),
    ),
    atlases=atlas.atlases,
)
