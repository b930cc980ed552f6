"""One folder an analysis, and the list of them. Whatever concerns a single analysis is in its folder.

An analysis from elsewhere joins the list by `register`, or by the entry point group "selfrep.analyses" of its own
distribution (an `Analysis`, or a function that gives one)::

    [project.entry-points."selfrep.analyses"]
    humility = "my_package.humility:HUMILITY"
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points

from selfrep.analyses.analysis import Analysis
from selfrep.analyses.anomaly import ANOMALY
from selfrep.analyses.binding import BINDING
from selfrep.analyses.bleed import BLEED
from selfrep.analyses.default_axis import DEFAULT_AXIS
from selfrep.analyses.directness import DIRECTNESS
from selfrep.analyses.divergence import DIVERGENCE
from selfrep.analyses.identification import IDENTIFICATION
from selfrep.analyses.items import ITEMS
from selfrep.analyses.mediation import MEDIATION
from selfrep.analyses.posterior import POSTERIOR
from selfrep.analyses.separation import SEPARATION
from selfrep.analyses.spectator import SPECTATOR
from selfrep.analyses.transfer import TRANSFER
from selfrep.errors import SelfrepError

ANALYSES: tuple[Analysis, ...] = (
    DIVERGENCE,
    ITEMS,
    BINDING,
    BLEED,
    SPECTATOR,
    IDENTIFICATION,
    DEFAULT_AXIS,
    SEPARATION,
    TRANSFER,
    ANOMALY,
    MEDIATION,
    DIRECTNESS,
    POSTERIOR,
)
"""The built-in ones, in the order of the report."""

_registered: list[Analysis] = []


def register(analysis: Analysis) -> Analysis:
    """Add an analysis to the list of this process. Registering another one under its name replaces it.

    Raises:
        SelfrepError: a built-in analysis has that name.
    """
    if analysis.name in {known.name for known in ANALYSES}:
        raise SelfrepError(f"There is a built-in analysis {analysis.name!r}. Give yours another name.")
    _registered[:] = [*(known for known in _registered if known.name != analysis.name), analysis]
    return analysis


def unregister(name: str) -> None:
    """Take a registered analysis off the list; nothing happens where there is none of that name."""
    _registered[:] = [known for known in _registered if known.name != name]


def analyses() -> tuple[Analysis, ...]:
    """All analyses: the built-in ones, those of installed distributions, and those registered in this process."""
    return tuple({known.name: known for known in (*ANALYSES, *_installed(), *_registered)}.values())


@cache
def _installed() -> tuple[Analysis, ...]:
    found = []
    for entry in entry_points(group="selfrep.analyses"):
        made = entry.load()
        analysis = made() if callable(made) else made
        if not isinstance(analysis, Analysis) or analysis.name in {known.name for known in ANALYSES}:
            raise SelfrepError(
                f"The entry point {entry.name!r} of the group selfrep.analyses must give an Analysis with a name of "
                f"its own, got {analysis!r}. Repair or remove the distribution {entry.dist and entry.dist.name!r}."
            )
        found.append(analysis)
    return tuple(found)
