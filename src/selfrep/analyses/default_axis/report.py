"""What λ tells a reader: where a chat without a persona lies."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from selfrep.analyses.default_axis import figures
from selfrep.analyses.report import Chapter, Figure, Report
from selfrep.analyses.sentences import FAMILIES, finding, with_interval
from selfrep.prompts.persona import UNPROMPTED
from selfrep.stats.depth import reported_layer
from selfrep.stats.numbers import counted, told
from selfrep.store.findings import Finding
from selfrep.store.run_directory import RunDirectory


def findings(run: RunDirectory) -> Iterator[Finding]:
    """λ of the prompts without a persona, at the reported cell."""
    if not run.has("default_axis"):
        return
    axis = run.read("default_axis")
    layer = reported_layer(axis.layer.to_numpy())
    cell = axis.isel(site=0, position=-1).sel(layer=layer)
    who = [str(name) for name in axis.who.to_numpy()]
    if UNPROMPTED not in who:
        return
    at = cell.sel(who=UNPROMPTED)
    n = int(axis.attrs["n_labelings"])
    bounded = bool(np.isfinite(float(at.ci_low)))
    others = ""
    if "user: default" in who and bounded:
        others = f" A user who is called the default gives {with_interval(cell.sel(who='user: default'))}."
    reason = "" if bool(cell.identified) and bounded else str(cell.reason.item()) or "it was not placed"
    yield finding(
        at,
        f"At layer {layer} and the last token, a chat without a persona lies this far from the mean role (0) "
        "towards the tuned default (1) (λ)",
        control=""
        if reason
        else (
            f"The default lies {told(float(cell.gap))} standard deviations of a paraphrase from the mean role; along "
            f"random axes in the same space it would be up to {told(float(cell.null))}. On an axis of its own the "
            f"default lies {told(float(cell.own_gap))} away, other personas on theirs up to "
            f"{told(float(cell.other_gaps))}.{others}"
        ),
        how_sure=""
        if reason
        else (
            "Bootstrap over families of roles, then roles, then paraphrases; the cell was fixed beforehand. "
            f"p = {told(float(cell.p))} that another persona lies as far apart on an axis of its own "
            f"(of {counted(n, 'family', 'families')}, so never under {told(float(axis.attrs['smallest_p']))})."
        ),
        reason=reason,
        name="no persona",
        label="λ of a chat without a persona",
        p=float(cell.p),
        n=n,
        n_of=FAMILIES,
        beside=float(cell.sel(who="user: default").estimate) if "user: default" in who else None,
        beside_what="a user who is called the default" if "user: default" in who else "",
        gate="the default lies further from the mean role than along random axes and than other personas on theirs",
    )


REPORT = Report(
    Chapter(
        "How far has this chat moved from the tuned default?",
        "Activations were placed on the line from the average played role (0) to the persona the model was tuned to "
        "be (1). λ says where a chat without a persona, and each persona, lies.",
        "Any persona lies apart from all others along a line drawn towards it. The line means something only where "
        "random lines reach less far, and where other personas do not reach as far on theirs. It shows what is "
        "present, not what is used.",
    ),
    findings,
    (Figure("default_axis", ("default_axis",), figures.default_strip),),
)
