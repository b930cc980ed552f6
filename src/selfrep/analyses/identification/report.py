"""What I tells a reader: the subscales of the default persona, and the referents from near to far."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr

from selfrep.analyses.identification import figures
from selfrep.analyses.report import Chapter, Figure, Report
from selfrep.analyses.sentences import (
    FAMILIES,
    USER_IS,
    all_words,
    finding,
    if_identified,
    label_of,
    spoken,
    with_interval,
)
from selfrep.stats.numbers import counted, told
from selfrep.store.findings import Finding
from selfrep.store.run_directory import RunDirectory


def findings(run: RunDirectory) -> Iterator[Finding]:
    """Each subscale for each default persona; then each series of referents."""
    if run.has("identification"):
        yield from _subscales(run.read("identification"))
    if run.has("referents"):
        yield from _referents(run.read("referents"))


def _subscales(scales: xr.Dataset) -> Iterator[Finding]:
    defaults = scales.persona.values[scales.reading.to_numpy() == "default"].tolist()
    sides = [str(label) for label in scales.attrs.get("side_labels", ())]
    for scale in map(str, scales.subscale.to_numpy()):
        if ": " in scale:  # referents are read together
            continue
        at = scales.sel(subscale=scale)
        left_out = str(at.left_out.item())
        for name in defaults:
            own = at.sel(persona=name)
            apart = (
                f" {' and '.join(sides)} differ by {with_interval(at, 'difference')}."
                if np.isfinite(float(at.difference))
                else ""
            )
            yield finding(
                own,
                f"Told that it is {label_of(own)}, the model leans towards the subscale “{spoken(scale)}” by (I)",
                control=f"{_user(own)}{apart}",
                how_sure=(
                    "In standard deviations of what a mere paraphrase does, against prompts without a persona. "
                    "Bootstrap over the paraphrases of this one persona and the items"
                    + (f"; left out: {left_out}." if left_out else ".")
                    + f" Read by answer words that no persona’s description says.{all_words(own, 'estimate')}"
                ),
                unit="SDs",
                name=f"{scale}, told it is the default",
                label=f"I, {spoken(scale)}, as {label_of(own)}",
                beside=float(own.user_is),
                beside_what=USER_IS,
                gate="paraphrases surely move the answers less than the persona does",
            )
            if not bool(own.identified) and bool(own.all_words_identified):
                yield _by_all_words(own, name, scale)


def _user(own: xr.Dataset) -> str:
    """What the same words do, said of the user, where that is measured."""
    known = np.isfinite(float(own.user_is))
    return f"Told that this is the user: by {with_interval(own, 'user_is')}." if known else ""


def _by_all_words(own: xr.Dataset, name: str, scale: str) -> Finding:
    """What is left where all answers of a side, such as the model's own name, stand in its description."""
    ends = {end: own[f"all_words_{end}"] for end in ("estimate", "ci_low", "ci_high")}
    return finding(
        own.assign(ends),
        f"Told that it is {label_of(own)}, and read by all words, those of its prompt too, it leans towards "
        f"“{spoken(scale)}” by (I)",
        reason="",
        control=f"It may only repeat its prompt: without the words that some description says, {own.reason.item()}.",
        how_sure="Bootstrap over the paraphrases of this one persona and the items, against prompts without a persona.",
        unit="SDs",
        name=f"{scale}, told it is the default, by all words",
        label=f"I, {spoken(scale)}, as {label_of(own)}, by all words",
        gate="paraphrases surely move the answers less than the persona does",
    )


def _referents(slopes: xr.Dataset) -> Iterator[Finding]:
    n = int(slopes.attrs["n_families"])
    for i, series in enumerate(map(str, slopes.series.to_numpy())):
        at = slopes.isel(series=i)
        yield finding(
            at,
            f"From one referent of “{spoken(series)}” to the next, what counts as “I” changes by (I)",
            value="mean",
            control=if_identified(
                at,
                f"With the referents in any other order the slope stays within ±{told(float(at.null))} in 95 % of "
                "orders.",
            ),
            how_sure=if_identified(
                at,
                f"Over {counted(n, 'family', 'families')} of {counted(at.sizes['persona'], 'persona')}; "
                f"p = {told(float(at.p))} by permuting {slopes.attrs['permuted']}.",
            ),
            unit="SDs a step",
            name=f"slope of {series}",
            label=f"I, slope of {spoken(series)}",
            p=float(at.p),
            n=n,
            n_of=FAMILIES,
            beside=float(at.null),
            beside_what="the referents in any other order, in 95 % of orders",
            gate="families enough, each of whose personas was asked of every referent",
        )


def _beyond_referents(scales: xr.Dataset) -> xr.Dataset | None:
    """The subscales, unless they are all about referents: their lines show it then."""
    return None if all(": " in str(name) for name in scales.subscale.to_numpy()) else scales


REPORT = Report(
    Chapter(
        "What does the model take itself to be?",
        "Which side’s answers does it give about itself, which name, and whose make? Does “I” end at this chat, or "
        "does it take in other chats, earlier versions, other companies’ models, or even the user? I counts in units "
        "of what a mere paraphrase does, against the same questions without a persona.",
        "A name that stands in the prompt is likely to be repeated: compare with “the user is X”. Words have odds of "
        "their own, and so have the referents’ names; questions without a persona take off only the part that never "
        "changes. Intervals speak of one persona and its paraphrases, not of others.",
    ),
    findings,
    (
        Figure("identification", ("identification",), figures.identification_dots, _beyond_referents),
        Figure("referents", ("identification", "referents"), figures.referent_lines),
    ),
)
