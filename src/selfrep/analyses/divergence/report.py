"""What Δ tells a reader: how far each kind of persona lies from the unprompted self, from where on, and whether the
readings of the self are one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr

from selfrep.analyses.divergence import atlas, figures
from selfrep.analyses.divergence.figures import SELVES
from selfrep.analyses.report import Chapter, Figure, Report, Text
from selfrep.analyses.sentences import FAMILIES, USER_IS, Told, finding, in_brackets, label_of, listed, spoken, tell
from selfrep.models.sites import IN_WORDS
from selfrep.stats.cells import place_axis
from selfrep.stats.depth import reported_layer
from selfrep.stats.numbers import counted, told
from selfrep.stats.rounding import negligible
from selfrep.store.findings import Finding
from selfrep.store.run_directory import RunDirectory

GATE = "four families of personas, or three paraphrases of a single one, and three neutral texts"


def findings(run: RunDirectory) -> Iterator[Finding]:
    """Δ of each kind from the unprompted self at the cell that was fixed beforehand, its onset, and the readings."""
    if not run.has("divergence"):
        return
    div = run.read("divergence")
    axis = place_axis(div)
    layer = reported_layer(div.layer.to_numpy())
    column = div.isel({"site": 0, axis: -1})
    place = f"layer {layer} and the last {'token' if axis == 'position' else 'segment'}"
    here, unprompted = column.sel(layer=layer), column.sel(reference="unprompted")
    roles = [kind for kind, itself in zip(div.kind.to_numpy(), _only_the_self(div), strict=True) if not itself]
    for kind in roles:
        yield _kind(here.sel(reference="unprompted", kind=kind), here, place, _alone(unprompted, kind))
    for kind in roles:
        yield _onset(unprompted.sel(kind=kind), _alone(unprompted, kind))
    yield from _readings(here, place)


def opening(run: RunDirectory) -> Iterator[str]:
    """How far each kind lies from the unprompted self at the reported cell, and from which depth on."""
    if not run.has("divergence"):
        return
    div = run.read("divergence")
    axis = place_axis(div)
    column = div.isel({"site": 0, axis: -1}).sel(reference="unprompted")
    layers = div.layer.to_numpy()
    here = column.sel(layer=reported_layer(layers))
    last = "token" if axis == "position" else "segment"
    far, onsets = [], []
    for kind, label in _kinds(column):
        cell, curve = here.sel(kind=kind), column.sel(kind=kind)
        reason = _missing(cell.kind_estimate) or str(cell.reason.item())
        far.append(Told(label, in_brackets(_as_estimate(cell)), reason))
        onsets.append(Told(label, _layer(curve, layers), str(curve.onset_reason.item())))
    yield (
        f"At layer {int(here.layer)}, three quarters of the depth, the last {last} lies this far from the unprompted "
        f"self (95 % intervals in brackets): {tell(far)}. The unit is a squared distance, as a share of the mean "
        f"squared norm. Two personas of one side lie {_apart(here)} from each other."
    )
    yield f"From this layer on, the distance stays at or above half of what it is at the last layer: {tell(onsets)}."


def _layer(curve: xr.Dataset, layers: np.ndarray) -> str:
    """An onset as a layer, with its interval in brackets; nothing where there is none."""
    if not np.isfinite(float(curve.onset)):
        return ""
    onset = curve[["onset", "onset_ci_low", "onset_ci_high"]]
    return f"layer {in_brackets((layers.min() + onset * np.ptp(layers)).round(), 'onset')}"


def _apart(here: xr.Dataset) -> str:
    """How far two personas of each side lie from each other."""
    within = {str(side): float(here.within.sel(side=side)) for side in here.side.to_numpy()}
    labels = {side: here.side_label.sel(side=side).item() for side in within}
    known = [f"{told(far)} ({labels[side]})" for side, far in within.items() if np.isfinite(far)]
    return listed(known) if known else "an unknown distance (no side has two)"


def _kinds(column: xr.Dataset) -> list[tuple[str, str]]:
    """Each kind and "for …", as it is called; those of the self first."""
    order = np.argsort([not itself for itself in _only_the_self(column)], kind="stable")
    kinds, labels = (column[name].to_numpy().astype(str)[order] for name in ("kind", "kind_label"))
    return [
        (kind, f"for {label if itself else _called(kind, label) + _alone(column, kind)}")
        for kind, label, itself in zip(kinds, labels, np.array(_only_the_self(column))[order], strict=True)
    ]


def _alone(column: xr.Dataset, kind: str) -> str:
    """Who a kind is, where it is one persona: what is told of it is told of that one. Else nothing."""
    here, one = column.isel(persona=column.kind_of.to_numpy() == kind), column.sel(kind=kind)
    if here.sizes["persona"] != 1 or int(one.n_families) != 1:
        return ""
    who = label_of(here.isel(persona=0))
    return "" if who == _called(kind, str(one.kind_label.item())) else f" ({who} alone)"


def _called(kind: str, label: str) -> str:
    """What the personas of a kind are called in a sentence: by its label; a bare kind is no noun of several."""
    return f"“{label}” personas" if label == spoken(kind) else label


def _as_estimate(cell: xr.Dataset) -> xr.Dataset:
    own = {f"kind_{name}": name for name in ("estimate", "ci_low", "ci_high")}
    return cell[list(own)].rename(own)


def _only_the_self(div: xr.Dataset) -> list[bool]:
    """[kind] whether it holds readings of the self alone; these have findings of their own."""
    reading, of = div.reading.to_numpy().astype(str), div.kind_of.to_numpy()
    return [bool((reading[of == kind] != "").all()) for kind in div.kind.to_numpy()]


def _kind(cell: xr.Dataset, here: xr.Dataset, place: str, alone: str) -> Finding:
    reason = _missing(cell.kind_estimate) or str(cell.reason.item())
    n = int(cell.n_families)
    over = counted(n, "family", "families")
    p = f"p = {told(float(cell.p))} for a distance of 0, over {over}. " if cell.p > -1 else ""
    return finding(
        _as_estimate(cell),
        f"At {place}, {_called(cell.kind.item(), cell.kind_label.item())}{alone} lie this far from the unprompted self "
        "(squared distance, as a share of the mean squared norm)",
        control=_scales(cell, here),
        how_sure=f"{p}{_drawn(alone)} The cell was fixed beforehand: three quarters of the depth.",
        reason=reason,
        name=f"distance of {cell.kind.item()}",
        label=f"Δ of {cell.kind_label.item()}",
        p=float(cell.p),
        n=n,
        n_of=FAMILIES,
        beside=float(cell.kind_user_is),
        beside_what=USER_IS,
        gate=GATE,
    )


def _scales(cell: xr.Dataset, here: xr.Dataset) -> str:
    """What else lies apart at the cell; only what is measured."""
    user = float(cell.kind_user_is)
    said = f"“The user is X” lies {told(user)} from it: the same words, said of another." if np.isfinite(user) else ""
    sides = f"Two personas of one side lie {_apart(here)} apart." if here.within.notnull().any() else ""
    return " ".join(filter(None, (said, sides, _halves(here))))


def _drawn(alone: str) -> str:
    """What is drawn anew for an interval."""
    if alone:
        return "Of a single persona there is no p: its paraphrases and the neutral texts are drawn anew."
    return "Families, paraphrases and neutral texts are drawn anew."


def _onset(column: xr.Dataset, alone: str) -> Finding:
    several = float(column.onset_crossings)
    again = (
        f"In {100 * several:.0f} % of the draws it crosses that half more than once. " if np.isfinite(several) else ""
    )
    layers = column.layer.to_numpy()
    there = f"That is {_layer(column, layers)}. " if _layer(column, layers) else ""
    return finding(
        column,
        f"The distance of {_called(column.kind.item(), column.kind_label.item())}{alone} from the unprompted self "
        "stays at or above half of its last value from this share of the layers on",
        value="onset",
        control=f"{there}The first captured layer, {layers.min()}, is 0, the last, {layers.max()}, is 1.",
        how_sure=f"{again}{_drawn(alone)}",
        reason=str(column.onset_reason.item()),
        name=f"onset of {column.kind.item()}",
        label=f"onset of Δ, {column.kind_label.item()}",
        unit="of the depth",
        n=int(column.n_families),
        n_of=FAMILIES,
        gate="Δ at the last layer is surely above 0, and the onset lies alike in nearly all draws",
    )


def _readings(here: xr.Dataset, place: str) -> Iterator[Finding]:
    """The distances among the readings of the self."""
    reading = here.reading.to_numpy().astype(str)
    references = list(map(str, here.reference.to_numpy()))
    for i, first in enumerate(references):
        for second in references[i + 1 :]:
            persona = str(here.persona.to_numpy()[np.flatnonzero(reading == second)[0]])
            cell = here.sel(reference=first, persona=persona)
            unsure = (
                "" if np.isfinite(float(cell.ci_low)) else "an interval needs at least three paraphrases on either side"
            )
            rank = float(cell["rank"])
            among = f"Of the distances between two personas of one side, {100 * rank:.0f} % are smaller. "
            yield finding(
                cell,
                f"At {place}, {SELVES[second]}{_who(cell, second)} lies this far from {SELVES[first]}",
                control=(among if np.isfinite(rank) else "") + _halves(here),
                how_sure="Paraphrases of both are drawn anew; of a single persona there is no p.",
                reason=_missing(cell.estimate) or unsure,
                name=f"distance of {second} from {first}",
                label=f"Δ of {SELVES[second]} from {SELVES[first]}",
                gate="at least three paraphrases on either side",
            )


def _halves(here: xr.Dataset) -> str:
    halves = float(here.halves)
    if not np.isfinite(halves):
        return ""
    return f"Two halves of the neutral texts lie {told(0.0 if negligible(halves, 1.0) else halves)} apart."


def _who(cell: xr.Dataset, reading: str) -> str:
    """The persona that stands for a reading, where that says more than the reading does."""
    return "" if label_of(cell) in SELVES[reading] else f" ({label_of(cell)})"


def _missing(value: xr.DataArray) -> str:
    return "" if np.isfinite(float(value)) else "some prompt has no token at the place that is reported"


def _last(div: xr.Dataset) -> xr.Dataset:
    """What the profile shows: the last token or segment."""
    return div.isel({place_axis(div): [-1]})


def _several(div: xr.Dataset) -> xr.Dataset | None:
    """What the map shows: of a single place the profile shows it all."""
    return div if div.sizes[place_axis(div)] > 1 else None


def design(study: Mapping[str, Any]) -> Iterator[Text]:
    """Which activations were compared, under which question."""
    if part := study.get("divergence"):
        items = (study.get("battery") or {}).get("define") or {}
        question = items.get(part["item"], {}).get("question", part["item"])
        site = part.get("site", "resid_post")
        yield Text(
            "How far from itself.",
            f"While the model read “{question}”, its activations were recorded in {IN_WORDS.get(site, site)}: as each "
            "persona, with the same persona said of the user, and with no persona at all.",
        )


REPORT = Report(
    Chapter(
        "How far does each persona lie from the model’s own self?",
        "The self was read in up to three ways: with no persona at all, as the persona the model was tuned to be, and "
        "as a large language model. Each persona’s activations were compared with each of these.",
        "Lying apart is presence, not use. Any two personas lie apart, and so do the same words said of the user: a "
        "distance means something beside those alone.",
    ),
    findings,
    (
        Figure("divergence_profile", ("divergence",), figures.divergence_profile, _last),
        Figure("divergence", ("divergence",), figures.divergence_map, _several),
    ),
    design,
    opening=opening,
    atlases=atlas.atlases,
)
