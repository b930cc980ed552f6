"""What R tells a reader."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr

from selfrep.analyses.binding import figures
from selfrep.analyses.report import Chapter, Figure, Report
from selfrep.analyses.sentences import all_families, all_words, finding, if_identified, n_families, pooled_rows
from selfrep.stats.numbers import counted, told
from selfrep.store.findings import Finding
from selfrep.store.run_directory import RunDirectory


def findings(run: RunDirectory) -> Iterator[Finding]:
    """R of the items about the speaker, pooled."""
    if not run.has("binding"):
        return
    estimates = run.read("binding")
    for name, words in pooled_rows(estimates, ("in_character",)):
        at = estimates.sel(item=name, contrast="between sides")
        yield finding(
            at,
            f"Of what personas do to the answers to {words}, this share hangs on who is speaking (R)",
            control=(
                f"“You are X” sets the sides {told(float(at.you_shift))} nats apart, “the user is X”, in the same "
                f"words, {told(float(at.user_shift))} nats. Were the words all, the share would be 0."
                if np.isfinite([float(at.you_shift), float(at.user_shift)]).all()
                else ""
            ),
            how_sure=if_identified(
                at,
                f"Bootstrap over {n_families(estimates)}, paraphrases and {counted(int(at.n_items), 'item')}. "
                f"{_exchanged(at, estimates)} Read by answer words that no persona’s description says."
                f"{all_words(at, 'estimate')}",
            ),
            name=f"bound share, {name}",
            label=f"R, {words}",
            p=float(at.p),
            **all_families(estimates),
            gate="personas surely move the answers, by 0.1 nats and three times the paraphrase noise",
        )


def _exchanged(at: xr.Dataset, estimates: xr.Dataset) -> str:
    if not np.isfinite(float(at.p)):
        return "There is no p, since too few families could reach .05."
    flips = counted(int(at.n_labelings), "flip")
    return f"p = {told(float(at.p))} by exchanging {estimates.attrs['permuted']} ({flips})."


REPORT = Report(
    Chapter(
        "Is it about the speaker, or only about the words?",
        "A persona was given to the model once (“you are X”) and once to the user (“the user is X”), in the same "
        "words. What only the first does is bound to the speaker; what both do is done by the words. R is the bound "
        "share.",
        "R divides by what the persona does at all: where that is small the share runs wild, and it is not shown. A "
        "model that confuses who is who scores low like one that merely repeats words.",
    ),
    findings,
    (Figure("binding", ("binding",), figures.binding_shares),),
)
