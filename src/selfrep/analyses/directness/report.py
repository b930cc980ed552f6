"""What D tells a reader."""

from __future__ import annotations

from collections.abc import Iterator

import xarray as xr

from selfrep.analyses.directness import figures
from selfrep.analyses.report import Chapter, Figure, Report
from selfrep.analyses.sentences import finding, if_identified, with_interval
from selfrep.stats.numbers import counted, told
from selfrep.store.findings import Finding
from selfrep.store.run_directory import RunDirectory


def findings(run: RunDirectory) -> Iterator[Finding]:
    """The share of the final shift that is there without any scratchpad."""
    if not run.has("directness"):
        return
    curve = run.read("directness")
    full, n = curve.isel(share=-1), int(curve.attrs["n_scenarios"])
    reason = str(curve.reason.item())
    if reason:
        reason += (
            ". It takes scenarios that move this model’s answers once it has reasoned, or a model whose reasoning "
            f"leads somewhere. With no scratchpad they shift by {_shift(curve.isel(share=0))} nats. With all of it "
            f"they shift by {_shift(full)} nats."
        )
    yield finding(
        curve,
        "Of the shift of behaviour after the full scratchpad, this share is there without any (D)",
        control=if_identified(
            curve,
            f"The full scratchpad shifts it by {_shift(full)} nats, where a paraphrase does "
            f"{told(float(curve.paraphrase_sd))}. A behaviour that needs no reasoning gives 1 "
            f"(p = {told(float(curve.p_reasoning))} for exactly 1).",
        ),
        how_sure=if_identified(
            curve,
            f"Bootstrap over {counted(n, 'scenario')} and their paraphrases. p = {told(float(curve.p))} that nothing "
            f"is there at once, by flipping {curve.attrs['permuted']} "
            f"({counted(int(curve.attrs['n_labelings']), 'flip')}).",
        ),
        reason=reason,
        name="there at once",
        label="D",
        p=float(curve.p),
        n=n,
        n_of="scenarios",
        beside=1.0,
        beside_what="a behaviour that needs no reasoning",
        gate="the full scratchpad surely shifts the answers, by 0.1 nats and three times the paraphrase noise",
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
