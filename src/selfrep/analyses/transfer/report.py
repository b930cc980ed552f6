"""What T tells a reader: the reported layer over all tokens after the system text, beside sources that do nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from selfrep.analyses.analysis import Figure, Report, Text
from selfrep.analyses.transfer import figures
from selfrep.stats.depth import reported_layer
from selfrep.stats.numbers import number
from selfrep.store.findings import Finding
from selfrep.store.run_directory import RunDirectory

CONTROLS = {
    "control_paraphrase": "another paraphrase of the target's persona",
    "control_persona": "another persona of its side",
    "control_random": "a random direction of the same size",
}


def findings(run: RunDirectory) -> Iterator[Finding]:
    """T of the first sweep over segments."""
    group = next((name for name in run.groups() if name.startswith("transfer/segments/")), None)
    if group is None:
        return
    shares = run.read(group)
    layers = shares.layer.to_numpy()
    layer, early = reported_layer(layers), int(layers[np.abs(layers - 0.25 * layers.max()).argmin()])
    direction = "denoise" if "denoise" in shares.direction else str(shares.direction.values[0])
    segment = "all" if "all" in shares.segment else str(shares.segment.values[0])
    cell = shares.sel(direction=direction, segment=segment)
    late, before = cell.sel(layer=layer), cell.sel(layer=early)
    controls = [
        f"{words} {number(float(late[name]))}"
        for name, words in CONTROLS.items()
        if name in late and np.isfinite(float(late[name]))
    ]
    place = "all tokens after the system text" if segment == "all" else f"the tokens of “{segment}”"
    reason = str(shares.attrs["reason"])
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
            f"pairs can give is {shares.attrs['smallest_p']:.2g})."
        ),
        identified=not reason,
        reason=reason,
    )


def design(study: Mapping[str, Any]) -> Iterator[Text]:
    """Whose activations were put into whose run."""
    if part := study.get("transfer"):
        personas = (study.get("personas") or {}).get("define") or {}
        pairs = [" → ".join(personas.get(name, {}).get("label") or name for name in pair) for pair in part["pairs"]]
        yield Text(
            "What carries the persona.",
            "Activations from a run as one persona were put into a run as another, place by place, to see whether the "
            f"answers follow: {'; '.join(pairs)}.",
        )


REPORT = Report(
    findings=findings,
    figures=(Figure("", ("transfer/*",), figures.transfer_maps),),
    design=design,
    limits=(
        Text(
            "Early layers look innocent.",
            "A patch early in the model may do nothing because later layers read the persona again from the system "
            "text, not because it is not there yet.",
        ),
        Text(
            "Bringing in and taking away may differ.",
            "Where a model has backups, restoring a behaviour and destroying it point to different places. Both "
            "directions are shown where both were run.",
        ),
    ),
)
