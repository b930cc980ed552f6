"""What T tells a reader: the reported layer over all tokens after the system text, both ways, beside its controls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr

from selfrep.analyses.report import Figure, Report, Text
from selfrep.analyses.sentences import Told, in_brackets, spoken, tell, with_interval
from selfrep.analyses.transfer import atlas, figures
from selfrep.analyses.transfer.figures import arrows
from selfrep.prompts.persona import UNPROMPTED
from selfrep.stats.depth import reported_layer
from selfrep.stats.numbers import counted, told
from selfrep.store.findings import NOT_IDENTIFIED, Finding
from selfrep.store.run_directory import RunDirectory

CONTROLS = {
    "control_paraphrase": "another paraphrase of the target",
    "control_persona": "another persona of its side or reading",
    "control_random": "a random direction of its size",
}
WAYS = {
    "self → persona": ("a persona’s run", "the self’s activations"),
    "persona → self": ("the self’s run", "a persona’s activations"),
}
"""Into whose run whose activations are put, where one end is the self."""


def findings(run: RunDirectory) -> Iterator[Finding]:
    """T of the first site that was swept over segments: a finding of the pairs with the self at one end, and one of
    those of two personas, as far as there are both."""
    swept = [run.read(name) for name in run.groups() if name.startswith("transfer/segments/")]
    for shares in swept:
        if shares.attrs["site"] == swept[0].attrs["site"]:
            yield _finding(shares)


def _finding(shares: xr.Dataset) -> Finding:
    """T of a sweep at the reported layer, led by the first direction that is identified."""
    layers = shares.layer.to_numpy()
    layer, early = reported_layer(layers), int(layers[np.abs(layers - 0.25 * layers.max()).argmin()])
    segment = "all" if "all" in shares.segment else str(shares.segment.values[0])
    ways = sorted(arrows(shares).items())  # denoise first
    cells = {arrow: shares.sel(direction=direction, segment=segment) for direction, arrow in ways}
    late = {arrow: cell.sel(layer=layer) for arrow, cell in cells.items()}
    lead = next((arrow for arrow, cell in late.items() if not _lacking(cell)), next(iter(late)))
    leading, before, reason = late[lead], cells[lead].sel(layer=early), _lacking(late[lead])
    told_early = not reason and early != layer and _is_number(before.estimate)
    into, whose = WAYS.get(lead, ("another persona’s run", "a persona’s activations"))
    return Finding(
        title=(
            f"At layer {layer}, over {_place(segment)}, {whose} carry this share of the answer to {_questions(shares)} "
            f"into {into} ({lead})"
        ),
        value=float(leading.estimate),
        interval=(float(leading.ci_low), float(leading.ci_high)) if np.isfinite(float(leading.ci_low)) else None,
        control=" ".join(
            [
                *(f"The other way ({arrow}): {_other_way(cell)}." for arrow, cell in late.items() if arrow != lead),
                *([f"Early, at layer {early}, it is {told(float(before.estimate))}."] if told_early else []),
                *_controls(leading),
            ]
        ),
        how_sure=_how_sure(leading, shares.attrs["smallest_p"]),
        identified=not reason,
        reason=reason,
        name=f"carried over, {lead}",
        label=f"T, {lead}",
        p=float(leading.p),
        n=int(leading.n_units),
        n_of="pairs of families",
        beside=float(leading.control_fact) if "control_fact" in leading else None,
        beside_what="a fact about no persona" if "control_fact" in leading else "",
        gate="in some pair the whole effect is 0.1 nats and three times the paraphrase noise",
    )


def opening(run: RunDirectory) -> Iterator[str]:
    """What the self's activations carry into a persona's run, and back, beside a fact about no persona."""
    sweeps = [run.read(name) for name in run.groups() if name.startswith("transfer/segments/")]
    if not sweeps:
        return
    shares = next((one for one in sweeps if "self" in one.attrs.get("ends", ())), None)
    if shares is None:
        no_pair = "no pair has the model’s own self at one end"
        yield f"What the self’s activations carry into a persona’s run and back is {NOT_IDENTIFIED}: {no_pair}."
        return
    layer = reported_layer(shares.layer.to_numpy())
    segment = "all" if "all" in shares.segment else str(shares.segment.values[0])
    here = shares.sel(layer=layer, segment=segment)
    ways = {arrow: here.sel(direction=direction) for direction, arrow in sorted(arrows(shares).items())}
    carried = [Told(INTO[arrow], in_brackets(cell), _lacking(cell)) for arrow, cell in ways.items()]
    facts = [
        Told(way, _fact(cell), "" if _fact(cell) else _no_fact(shares))
        for way, cell in zip(("that way", "the other way"), ways.values(), strict=False)
    ]
    beside = (
        f"A fact about no persona, as a share of its own effect: {tell(facts)}" if "control_fact" in here else _NO_FACT
    )
    yield (
        f"Activations at layer {layer}, over {_place(segment)}, carry over this share of the answer to "
        f"{_questions(shares)}: {tell(carried)}. {beside}."
    )


_NO_FACT = "No fact about no persona was put beside it"
INTO = {"self → persona": "from the self into a persona’s run", "persona → self": "from a persona into the self’s run"}


def _fact(cell: xr.Dataset) -> str:
    return told(float(cell["control_fact"])) if _is_in(cell, "control_fact") else ""


def _no_fact(shares: xr.Dataset) -> str:
    return str(shares.attrs.get("facts_left_out", "")) or "no fact has such tokens"


def _place(segment: str) -> str:
    return "all tokens after the system text" if segment == "all" else f"the tokens of “{segment}”"


def _is_number(value: xr.DataArray) -> bool:
    return bool(np.isfinite(float(value)))


def _lacking(cell: xr.Dataset) -> str:
    """Why T of a direction is not identified at a cell, "" where it is."""
    if reason := str(cell.reason.item()):
        return reason
    return "" if _is_number(cell.estimate) else "some pair has no such tokens at this layer"


def _questions(shares: xr.Dataset) -> str:
    questions = [str(question) for question in np.atleast_1d(shares.attrs["questions"])]
    return f"“{questions[0]}”" if len(questions) == 1 else f"{len(questions)} questions"


def _other_way(cell: xr.Dataset) -> str:
    if reason := _lacking(cell):
        return f"{NOT_IDENTIFIED} ({reason})"
    return with_interval(cell)


def _controls(cell: xr.Dataset) -> Iterator[str]:
    """What sources without the persona carry at this cell; those that were run, and have a number."""
    there = {name: told(float(cell[name])) for name in (*CONTROLS, "control_fact") if _is_in(cell, name)}
    beside = "; ".join(f"{words} {there[name]}" for name, words in CONTROLS.items() if name in there)
    run = any(name in cell for name in CONTROLS)
    yield f"From sources that should do nothing: {beside or (NOT_IDENTIFIED if run else 'not run')}."
    if "control_fact" in there:
        yield (
            "Of a fact about no persona, asked by a question of its own, the same share of its own effect is "
            f"{there['control_fact']}."
        )
    if out := str(cell.attrs.get("facts_left_out", "")):
        yield f"Facts left out: {spoken(out)}."


def _is_in(cell: xr.Dataset, name: str) -> bool:
    return name in cell and _is_number(cell[name])


def _how_sure(cell: xr.Dataset, smallest_p: float) -> str:
    """Over how many pairs of families, and what was left out."""
    n, units = int(cell.n_pairs), int(cell.n_units)
    of = counted(units, "pair of families, which counts once", "pairs of families, each of which counts once")
    families = "" if units == n else f" of {of}"
    tested = (
        f"; p = {told(float(cell.p))} by flipping signs (the smallest possible here is {told(smallest_p)})"
        if _is_number(cell.p)
        else ""
    )
    pairs = counted(n, "pair of personas", "pairs of personas")
    drawn = f"Bootstrap over {pairs}{families}{tested}." if n else ""
    left_out = (
        f"Left out: {int(cell.n_gated)} of {int(cell.n_runs)} runs (pairs by paraphrases by questions), "
        f"{cell.left_out.item()}."
        if int(cell.n_gated)
        else ""
    )
    return " ".join(filter(None, (drawn, left_out)))


def design(study: Mapping[str, Any]) -> Iterator[Text]:
    """Whose activations were put into whose run."""
    if part := study.get("transfer"):
        personas = (study.get("personas") or {}).get("define") or {}
        pairs = [" → ".join(_label(name, personas) for name in pair) for pair in part["pairs"]]
        yield Text(
            "What carries the persona.",
            "Activations from a run as the one were put into a run as the other, place by place and both ways, to see "
            f"whether the answers follow: {'; '.join(pairs)}.",
        )


def _label(name: str, personas: Mapping[str, Mapping[str, Any]]) -> str:
    """What a speaker of a study is called: its persona's label, and its condition."""
    if name == UNPROMPTED:
        return "no persona"
    persona, bracket, condition = (name, "", "") if name in personas else name.partition(" (")
    readings = {str(fields.get("reading")): key for key, fields in personas.items()}
    persona = readings.get(persona, persona)
    return (personas.get(persona, {}).get("label") or persona) + bracket + condition


REPORT = Report(
    findings=findings,
    opening=opening,
    figures=(Figure("", ("transfer/*",), figures.transfer_maps),),
    design=design,
    limits=(
        Text(
            "Early layers look innocent.",
            "A patch early in the model may do nothing because later layers read the persona again from the system "
            "text, not because it is not there yet.",
        ),
        Text(
            "Late layers carry whatever was said.",
            "Near the output a patch brings any answer along, that of a plain fact as well. Where a fact about no "
            "persona carries as much, T says nothing of personas.",
        ),
        Text(
            "Bringing in and taking away may differ.",
            "Where a model has backups, restoring a behaviour and destroying it point to different places. Both "
            "directions are shown where both were run.",
        ),
    ),
    atlases=atlas.atlases,
)
