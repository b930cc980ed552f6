"""How far the instrument could be trusted in a run: the laws of patching that were tried, and what chance could do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from selfrep.analyses.report import Table
from selfrep.engine.misses import from_attrs
from selfrep.stats.numbers import number
from selfrep.store.run_directory import RunDirectory


@dataclass(frozen=True)
class Check:
    """A law of patching, tried on the study's own prompts: how far it was missed, in nats."""

    law: str
    site: str
    missed: float


def checks_of(run: RunDirectory) -> Iterator[Check]:
    """The laws that every sweep of a run was held to."""
    for group in patched(run):
        attributes = run.attributes(group)
        for law, missed in from_attrs(attributes).items():
            yield Check(law, str(attributes.get("site", group)), float(missed))


def patched(run: RunDirectory) -> Iterator[str]:
    """The groups of patching sweeps."""
    return (group for group in run.groups() if group.startswith(("effects/", "segments/")))


def laws(checks: Sequence[Check]) -> Table:
    """One row a law, one column a site: the largest miss."""
    sites = list(dict.fromkeys(check.site for check in checks))
    missed: dict[tuple[str, str], float] = {}
    for check in checks:
        missed[check.law, check.site] = max(check.missed, missed.get((check.law, check.site), check.missed))
    rows = [
        (law, *(number(missed[law, site]) if (law, site) in missed else "" for site in sites))
        for law in sorted({check.law for check in checks})
    ]
    return Table(
        "The laws of patching",
        ("Law", *sites),
        rows,
        caption="Laws of patching, and by how many nats each was missed at worst",
        numbers=range(1, 1 + len(sites)),
    )


def chance(run: RunDirectory) -> Table:
    """What was permuted in each analysis, and the smallest p that this allows."""
    tests = ((group, run.attributes(group)) for group in run.groups())
    return Table(
        "What chance was allowed to do",
        ("Analysis", "Put at random", "Smallest p possible"),
        [
            (group.replace("/", "/\u200b"), str(attrs.get("permuted", "")), number(float(attrs["smallest_p"])))
            for group, attrs in tests
            if "smallest_p" in attrs
        ],
        caption="What chance was allowed to do",
        numbers=(2,),
    )
