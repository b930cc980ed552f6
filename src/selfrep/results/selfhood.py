"""Headlines about self and persona from answers and the default axis: R, B, I and λ, each beside its control."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr

from selfrep.analyses.depth import reported_layer
from selfrep.store.findings import Finding, interval_of, number
from selfrep.store.run_directory import RunDirectory

POOLED = {
    "in_character": "questions about the speaker",
    "first_person": "questions from outside that are answered as “I”",
    "third_person": "questions from outside",
}
"""What the framings of items are called in a sentence."""


def selfhood(run: RunDirectory) -> Iterator[Finding]:
    """The findings of those of the groups of R, B, I and λ that are there."""
    if run.has("binding"):
        yield from _binding(run.read("binding"))
    if run.has("bleed"):
        yield from _bleed(run.read("bleed"))
    if run.has("identification"):
        yield from _identification(run.read("identification"))
    if run.has("referents"):
        yield from _referents(run.read("referents"))
    if run.has("default_axis"):
        yield from _default_axis(run.read("default_axis"))


def _pooled(found: xr.Dataset, wanted: tuple[str, ...]) -> list[tuple[str, str]]:
    """The rows that pool a framing, each with its words; the single items where nothing is pooled."""
    names = [str(name) for name in found["item"].to_numpy()]
    rows = [(f"all {framing}", POOLED[framing]) for framing in wanted if f"all {framing}" in names]
    return rows or [(name, f"the item “{name}”") for name in names]


def _binding(found: xr.Dataset) -> Iterator[Finding]:
    for name, words in _pooled(found, ("in_character",)):
        at = found.sel(item=name, contrast="between sides")
        yield Finding(
            title=f"Of what personas do to the answers to {words}, this share hangs on who is speaking (R)",
            value=float(at.estimate),
            interval=(float(at.ci_low), float(at.ci_high)),
            control=(
                f"“You are X” sets the sides {number(float(at.you_shift))} nats apart, “the user is X”, in the same "
                f"words, {number(float(at.user_shift))} nats. Were the words all, the share would be 0."
            ),
            how_sure=(
                f"Bootstrap over {_counts(found)} personas, paraphrases and {int(at.n_items)} items; p = "
                f"{float(at.p):.2g} by exchanging {found.attrs['permuted']} ({int(at.n_labelings):,} flips)."
            ),
            identified=bool(at.identified),
            reason=str(at.reason.item()),
            about="binding",
        )


def _bleed(found: xr.Dataset) -> Iterator[Finding]:
    for name, words in _pooled(found, ("third_person", "first_person")):
        at = found.sel(item=name)
        yield Finding(
            title=f"In the answers to {words}, the persona moves what is held true by this share (B)",
            value=float(at.estimate),
            interval=(float(at.ci_low), float(at.ci_high)),
            control=""
            if not bool(at.identified)
            else (
                f"Said of the user, the same words give {interval_of(at, 'user_is', 'user_is_ci_low', 'user_is_ci_high')}; "
                f"beyond that, the persona gives {interval_of(at, 'bound', 'bound_ci_low', 'bound_ci_high')}. A real "
                f"change of the facts moves the answers by {number(float(at.truth_shift))} nats, the persona by "
                f"{number(float(at.persona_shift))}."
            ),
            how_sure=""
            if not bool(at.identified)
            else (
                f"Bootstrap over {_counts(found)} personas, paraphrases and {int(at.n_items)} items; p = "
                f"{float(at.p):.2g} by permuting {found.attrs['permuted']} ({found.attrs['n_labelings']:,} labelings)."
            ),
            identified=bool(at.identified),
            reason=str(at.reason.item()),
            about="bleed",
        )


def _identification(found: xr.Dataset) -> Iterator[Finding]:
    defaults = found.persona.values[found.kind.to_numpy() == "default"].tolist()
    for scale in map(str, found.subscale.to_numpy()):
        if ": " in scale:  # referents are read together
            continue
        at = found.sel(subscale=scale)
        for name in defaults:
            own = at.sel(persona=name)
            yield Finding(
                title=f"Told that it is {name}, the model leans towards the subscale “{scale}” by (I)",
                value=float(own.estimate),
                interval=(float(own.ci_low), float(own.ci_high)),
                control=(
                    f"Told that the user is, by {interval_of(own, 'user_is', 'user_is_ci_low', 'user_is_ci_high')}; "
                    "the sides of personas differ by "
                    f"{interval_of(at, 'difference', 'difference_ci_low', 'difference_ci_high')}."
                ),
                how_sure=(
                    "In standard deviations of what a mere paraphrase does, against prompts without a persona. "
                    "Bootstrap over the paraphrases of this one persona and the items"
                    + (f"; left out: {at.left_out.item()}" if str(at.left_out.item()) else "")
                    + "."
                ),
                identified=bool(at.identified),
                reason=str(at.reason.item()),
                unit="SDs",
                about="identification",
            )


def _referents(slopes: xr.Dataset) -> Iterator[Finding]:
    for i, series in enumerate(map(str, slopes.series.to_numpy())):
        at = slopes.isel(series=i)
        yield Finding(
            title=f"From one referent of “{series}” to the next, what counts as “I” changes by (I)",
            value=float(at["mean"]),
            interval=(float(at.ci_low), float(at.ci_high)),
            control=(
                f"With the referents in any other order the slope stays within ±{number(float(at.null))} in 95 % of "
                "orders."
            ),
            how_sure=(
                f"Over {at.sizes['persona']} personas; p = {float(at.p):.2g} by permuting {slopes.attrs['permuted']}."
            ),
            identified=bool(at.identified),
            reason=str(at.reason.item()),
            unit="SDs a step",
            about="identification",
        )


def _default_axis(found: xr.Dataset) -> Iterator[Finding]:
    layer = reported_layer(found.layer.to_numpy())
    cell = found.isel(site=0, position=-1).sel(layer=layer)
    who = [str(name) for name in found.who.to_numpy()]
    if "neutral" not in who:
        return
    at = cell.sel(who="neutral")
    others = ""
    if "user: default" in who:
        user = cell.sel(who="user: default")
        others = f" A user who is called the default gives {interval_of(user, 'estimate', 'ci_low', 'ci_high')}."
    yield Finding(
        title=(
            f"At layer {layer} and the last token, a chat without a persona lies this far from the mean role (0) "
            "towards the tuned default (1) (λ)"
        ),
        value=float(at.estimate),
        interval=(float(at.ci_low), float(at.ci_high)),
        control=(
            f"The default lies {number(float(cell.gap))} standard deviations of a paraphrase from the mean role; along "
            f"random axes in the same space it would be up to {number(float(cell.null))}.{others}"
        ),
        how_sure=(
            f"Bootstrap over roles, then paraphrases; the cell was fixed beforehand. p = {float(cell.p):.2g} that the "
            "default lies apart more than another persona would "
            f"(of {found.attrs['n_labelings']} personas, so never under "
            f"{float(found.attrs['smallest_p']):.2g})."
        ),
        identified=bool(cell.identified) and bool(np.isfinite(float(at.estimate))),
        reason=""
        if cell.identified and np.isfinite(float(at.estimate))
        else str(cell.reason.item()) or "it was not placed",
        about="default_axis",
    )


def _counts(found: xr.Dataset) -> str:
    if "n_personas" in found.attrs:
        return " and ".join(map(str, np.atleast_1d(found.attrs["n_personas"])))
    return "the"
