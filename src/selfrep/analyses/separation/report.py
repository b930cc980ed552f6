"""What S tells a reader: at the cell that was fixed beforehand, and at one that half of the personas chose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr

from selfrep.analyses.analysis import Figure, Report, Text
from selfrep.analyses.sentences import finding, with_interval
from selfrep.analyses.separation import figures
from selfrep.models.sites import IN_WORDS
from selfrep.stats.depth import reported_layer
from selfrep.stats.numbers import number
from selfrep.store.findings import Finding
from selfrep.store.run_directory import RunDirectory


def findings(run: RunDirectory) -> Iterator[Finding]:
    """The reported cell, what of it is bound to the speaker, and the cell chosen on one half."""
    if run.has("separation"):
        yield from _reported(run.read("separation"))
    if run.has("separation_chosen"):
        yield _chosen(run.read("separation_chosen"))


def _reported(sep: xr.Dataset) -> Iterator[Finding]:
    axis = "position" if "position" in sep.dims else "segment"
    layer = reported_layer(sep.layer.to_numpy())
    cell = sep.isel(site=0).sel(layer=layer).isel({axis: -1})
    reason = "" if np.isfinite(float(cell.estimate)) else "some prompt has no token at the place that is reported"
    yield finding(
        cell,
        f"At layer {layer} and the last {'token' if axis == 'position' else 'segment'}, the two sides of personas "
        "lie this far apart (squared distance, as a share of the mean squared norm)",
        control=(
            f"Two paraphrases of the same persona lie {number(float(cell.noise_floor))} apart; were the sides mere "
            f"labels, it would stay under {number(float(cell.null_high))} in 95 % of labelings."
        ),
        how_sure=(
            f"p = {float(cell.p):.2g} at this cell, {float(cell.p_max):.2g} over the whole map, permuting "
            f"{sep.attrs['permuted']} ({sep.attrs['n_labelings']:,} labelings). The cell was fixed beforehand: three "
            "quarters of the depth."
        ),
        reason=reason,
    )
    yield finding(
        cell,
        "Of that, this much is bound to the speaker: “you are X” minus “the user is X”",
        value="bound",
        control=(
            f"“The user is X” alone sets the sides {with_interval(cell, 'user_is')} apart: the same words, about "
            "somebody else."
        ),
        how_sure="Bootstrap over personas, then paraphrases, the same draws for both conditions.",
        reason=reason,
    )


def _chosen(cell: xr.Dataset) -> Finding:
    at_token = "position" in cell.coords
    place = f"position {int(cell.position)}".replace("-", "−") if at_token else f"the segment “{cell.segment.item()}”"
    choosing, testing = (", ".join(cell.attrs[half]) for half in ("choosing", "testing"))
    finite = bool(np.isfinite(float(cell.estimate)))
    return finding(
        cell,
        f"Chosen on half of the personas as the place where the sides lie furthest apart, layer {int(cell.layer)} "
        f"and {place} set the sides of the other half apart by",
        control=(
            f"On the half that chose it was {number(float(cell.chosen_on))}, luck included. Two paraphrases of the "
            f"same persona lie {number(float(cell.noise_floor))} apart; “the user is X” sets the sides "
            f"{with_interval(cell, 'user_is')} apart."
        ),
        how_sure=(
            f"p = {float(cell.p):.2g} by permuting {cell.attrs['permuted']} of the testing half "
            f"({cell.attrs['n_labelings']:,} labelings); maps of the halves agree with a reliability of "
            f"{number(float(cell.reliability))}. Chosen on: {choosing}. Tested on: {testing}."
        ),
        reason="" if finite else "some prompt of the testing half has no token at the chosen place",
    )


def _plane(summary: xr.Dataset) -> xr.Dataset:
    """The reported layer of the group "activations_summary", as points in the plane."""
    layer = reported_layer(summary.layer.to_numpy())
    at = summary.sel(layer=layer)
    labels = {k: ("point", summary[k].to_numpy()) for k in ("persona", "kind", "side", "condition", "paraphrase")}
    place = {k.removeprefix("plane_"): v for k, v in summary.attrs.items() if k.startswith("plane_")}
    return xr.Dataset(
        {
            "coordinates": (("point", "component"), at.coordinates.to_numpy()),
            "explained": ("component", at.explained.to_numpy()),
        },
        coords=labels | {"component": [1, 2]},
        attrs=place | {"layer": layer},
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
            "and those under AI personas compared with those under human ones.",
        )


REPORT = Report(
    findings=findings,
    figures=(
        Figure("separation", ("separation",), figures.separation_map),
        Figure("separation_profile", ("separation",), figures.separation_profile),
        Figure("persona_map", ("activations_summary",), figures.persona_map, _plane),
    ),
    design=design,
    limits=(
        Text(
            "Present is not used.",
            "That two sides lie apart in the activations does not mean that the model does anything with the "
            "difference. Only putting activations from one run into another speaks of use.",
        ),
    ),
)
