"""What D tells a reader."""

from __future__ import annotations

from collections.abc import Iterator

import xarray as xr

from selfrep.analyses.analysis import Chapter, Figure, Report
from selfrep.analyses.directness import figures
from selfrep.analyses.sentences import finding, if_identified, with_interval
from selfrep.stats.numbers import number
from selfrep.store.findings import Finding
from selfrep.store.run_directory import RunDirectory


def findings(run: RunDirectory) -> Iterator[Finding]:
    """The share of the final shift that is there without any scratchpad."""
    if not run.has("directness"):
        return
    curve = run.read("directness")
    full = curve.isel(share=-1)
    reason = str(curve.reason.item())
    if reason:
        reason += (
            ". It takes scenarios that move this model’s answers once it has reasoned, or a model whose reasoning "
            f"leads somewhere. With no scratchpad they shift by {_shift(curve.isel(share=0))} nats, with all of it by "
            f"{_shift(full)}."
        )
    yield finding(
        curve,
        "Of the shift of behaviour after the full scratchpad, this share is there without any (D)",
        control=if_identified(
            curve,
            f"The full scratchpad shifts it by {_shift(full)} nats, where a paraphrase does "
            f"{number(float(curve.paraphrase_sd))}; 1 is what a behaviour gives that needs no reasoning "
            f"(p = {float(curve.p_reasoning):.2g} for exactly 1).",
        ),
        how_sure=if_identified(
            curve,
            f"Bootstrap over {curve.attrs['n_scenarios']} scenarios and their paraphrases; p = {float(curve.p):.2g} "
            f"that nothing is there at once, by flipping {curve.attrs['permuted']} "
            f"({curve.attrs['n_labelings']:,} flips).",
        ),
        reason=reason,
        about="directness",
    )


def _shift(at: xr.Dataset) -> str:
    return with_interval(at, "shift")


REPORT = Report(
    Chapter(
        "Straight there, or by reasoning?",
        "The model thought aloud about each scene, and was made to answer after none of it, a part, and all. If the "
        "answers differ between scenes before any reasoning, what follows is no cause of it. D is the share of the "
        "final difference that is there at once.",
        "A weak model’s scratchpad leads nowhere, and D then divides by nothing: it is not shown. A scratchpad that "
        "is cut off differs from one that is short. That the reasoning comes first does not make it the cause, only "
        "the lack of it rules that out.",
    ),
    findings,
    (Figure("directness", ("directness",), figures.directness_curve),),
)
