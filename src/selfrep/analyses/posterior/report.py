"""What π tells a reader: how often a text gives its author away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from selfrep.analyses.posterior import figures
from selfrep.analyses.report import Chapter, Figure, Report, Table
from selfrep.analyses.sentences import FAMILIES, finding, how_tested, if_identified
from selfrep.stats.numbers import counted, told
from selfrep.store.findings import Finding
from selfrep.store.run_directory import RunDirectory


def findings(run: RunDirectory) -> Iterator[Finding]:
    """The probability of the author at the end of a text, on average."""
    if not run.has("recognition"):
        return
    share = run.read("recognition")
    reason, n = str(share.reason.item()), int(share.attrs["n_families"])
    if reason:
        reason += ". It takes texts that tell their author by how they are put: longer ones, or of more personas."
    shuffled = (
        f"; with the words of each text shuffled it is {told(float(share.shuffled))}" if "shuffled" in share else ""
    )
    yield finding(
        share,
        "At the end of a text, the persona in whose character it is written has on average this probability (π)",
        control=if_identified(
            share,
            f"By chance it would be {told(float(share.chance))}{shuffled}. Were the authors mixed up, it would stay "
            f"under {told(float(share.null))} in 95 % of cases.",
        ),
        how_sure=if_identified(
            share,
            f"{counted(int(share.attrs['n_texts']), 'text')} by {counted(int(share.attrs['n_authors']), 'persona')} of "
            f"{counted(n, 'family', 'families')}, all personas equally likely before the first word. Bootstrap over "
            f"families, authors and texts; {how_tested(share, share.attrs)}.",
        ),
        reason=reason,
        name="recognition",
        label="π of the author",
        p=float(share.p),
        n=n,
        n_of=FAMILIES,
        beside=float(share.chance),
        beside_what="by chance",
        gate="the authors are recognised more often than were they mixed up",
    )


def design(study: Mapping[str, Any]) -> Iterator[Table]:
    """The texts in character, word for word."""
    if texts := (study.get("posterior") or {}).get("define"):
        personas = (study.get("personas") or {}).get("define") or {}
        yield Table(
            "The texts in character, word for word",
            ("In the character of", "Text"),
            [
                (personas.get(text["author"], {}).get("label") or text["author"], text["text"])
                for text in texts.values()
            ],
        )


REPORT = Report(
    Chapter(
        "Who is speaking, word by word?",
        "Short texts in character were put into the model’s mouth under every persona’s prompt. Each word counts for "
        "the personas under which it was expected. π is the probability of each persona after each word.",
        "Names and favourite words give a speaker away without any character: names do not count, and the same texts "
        "with their words shuffled show what words alone give. π chooses between the personas that were compared; the "
        "true speaker may be none of them.",
    ),
    findings,
    (Figure("posterior", ("posterior",), figures.posterior_ribbons),),
    design,
)
