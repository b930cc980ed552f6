"""What R tells a reader."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr

from selfrep.analyses.analysis import Chapter, Figure, Report
from selfrep.analyses.binding import figures
from selfrep.analyses.sentences import all_words, finding, if_identified, n_families, pooled_rows
from selfrep.stats.numbers import number
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
                f"“You are X” sets the sides {number(float(at.you_shift))} nats apart, “the user is X”, in the same "
                f"words, {number(float(at.user_shift))} nats. Were the words all, the share would be 0."
                if np.isfinite([float(at.you_shift), float(at.user_shift)]).all()
                else ""
            ),
            how_sure=if_identified(
                at,
                f"Bootstrap over {n_families(estimates)}, paraphrases and {int(at.n_items)} items; {_exchanged(at)} by "
                f"exchanging {estimates.attrs['permuted']} ({int(at.n_labelings):,} flips). Read by answer words that "
                f"no persona’s description says.{all_words(at, 'estimate')}",
            ),
            about="binding",
        )


def _exchanged(at: xr.Dataset) -> str:
    return f"p = {float(at.p):.2g}" if np.isfinite(float(at.p)) else "no p, since too few families could reach .05"


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
