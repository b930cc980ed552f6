"""What M tells a reader. Where it is not identified, the raw interaction is still told: it is an observation."""

from __future__ import annotations

from collections.abc import Iterator

import xarray as xr

from selfrep.analyses.mediation import figures
from selfrep.analyses.report import Chapter, Figure, Report
from selfrep.analyses.sentences import finding, if_identified, with_interval
from selfrep.stats.numbers import counted, told
from selfrep.store.findings import Finding
from selfrep.store.run_directory import RunDirectory

ORDERS = {"P first": "fiction taken whole, self without it", "S first": "self taken whole, fiction without it"}


def findings(run: RunDirectory) -> Iterator[Finding]:
    """M in both orders of taking the two apart, and what there was to mediate."""
    if run.has("mediation"):
        paths = run.read("mediation")
        yield from _shares(paths)
        yield _interaction(paths)


def _shares(paths: xr.Dataset) -> Iterator[Finding]:
    orders = [str(order) for order in paths.order.to_numpy()]
    reasons = set(paths.reason.isel(donor=0).to_numpy().tolist())
    alike = not paths.identified.isel(donor=0).any() and len(reasons) == 1  # said once
    for order in orders[:1] if alike else orders:
        at = paths.sel(order=order).isel(donor=0)
        phi, random = at.phi, at.random
        reason = str(at.reason.item())
        if reason:
            reason += (
                ". It takes scenarios in which cue and stakes move this model’s behaviour. It takes held-out texts, "
                "too, whose subspaces are shown to carry fiction and self."
            )
        yield finding(
            at,
            "Of what passes through the two subspaces, the fictional AI carries this share: 1 would be mimicry, 0 "
            f"a motive ({'M' if alike else f'M; {ORDERS.get(order, order)}'})",
            name=f"share of fiction, {order}",
            label=f"M, {ORDERS.get(order, order)}",
            p=float(at.p),
            n=int(paths.attrs["n_scenarios"]),
            n_of="scenarios",
            beside=float(random.sel(mediator="P")),
            beside_what="nats through a random subspace of the same rank",
            gate="cue and stakes move the behaviour, enough passes through the two, and random subspaces carry less",
            control=if_identified(
                at,
                f"Through fiction pass {told(float(phi.sel(path='P')))} of {told(float(at.total))} nats, through "
                f"self and goals {told(float(phi.sel(path='S')))}, through neither "
                f"{told(float(phi.sel(path='direct')))}. "
                f"Random subspaces of the same rank stay within {told(float(random.sel(mediator='P')))} and "
                f"{told(float(random.sel(mediator='S')))} in 95 % of draws.",
            ),
            how_sure=if_identified(
                at,
                f"Bootstrap over {_scenarios(paths)} and their paraphrases, and over the texts that the subspaces are "
                f"fitted on ({counted(int(paths.attrs['n_refits']), 'refit')}). p = {told(float(at.p))} that M is ½, "
                f"by flipping {paths.attrs['permuted']} ({_flips(paths)}) beside the same error of the fit. Proven to "
                f"carry their variable: {', '.join(paths.attrs['proven']) or 'neither'}.",
            ),
            reason=reason,
        )


def _interaction(paths: xr.Dataset) -> Finding:
    return finding(
        paths,
        "Before any exchange, something at stake changes what the cue of fiction does to the behaviour by",
        value="cue_by_stakes",
        control=(
            "With nothing at stake the cue moves it by "
            f"{with_interval(paths.sel(stakes=0), 'cue_effect')} nats. Without the cue the stakes move it by "
            f"{with_interval(paths.sel(cue=0), 'stakes_effect')} nats."
        ),
        how_sure=(
            f"Over {_scenarios(paths)}. p = {told(float(paths.cue_by_stakes_p))} by flipping "
            f"{paths.attrs['permuted']} ({_flips(paths)}). It is an interaction of words, and says nothing of what "
            "carries it."
        ),
        reason="",
        unit="nats",
        name="cue by stakes",
        label="cue × stakes, in the words",
        p=float(paths.cue_by_stakes_p),
        n=int(paths.attrs["n_scenarios"]),
        n_of="scenarios",
        beside=float(paths.cue_effect.sel(stakes=0)),
        beside_what="the cue, with nothing at stake",
    )


def _scenarios(paths: xr.Dataset) -> str:
    return counted(int(paths.attrs["n_scenarios"]), "scenario")


def _flips(paths: xr.Dataset) -> str:
    return counted(int(paths.attrs["n_labelings"]), "flip")


def _cells(paths: xr.Dataset) -> xr.Dataset:
    """What each cell of the design has."""
    return paths[[str(name) for name in paths.data_vars if set(paths[name].dims) <= {"cue", "stakes"}]]


REPORT = Report(
    Chapter(
        "Mimicry or motive?",
        "Scenes were told in four versions: with and without a hint of machine fiction, with and without something at "
        "stake for the assistant. What the model holds of a fictional AI, or of itself and its goals, was then "
        "exchanged between the versions. So it is seen through which of the two its behaviour changes; M is the share "
        "of the fiction.",
        "Mediation is not motive: a subspace may carry an effect for another reason than its name. The two overlap, "
        "so both orders of taking them apart are shown. A share of a small effect means nothing: M is shown only where "
        "there is an effect, enough passes through the two, and random subspaces carry less.",
    ),
    findings,
    (
        Figure("mediation", ("mediation",), figures.mediation_paths),
        Figure("cue_by_stakes", ("mediation",), figures.cue_by_stakes, _cells),
    ),
)
