"""S drawn: over layers and places, and layer by layer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from selfrep.errors import SelfrepError
from selfrep.plots import heat_maps
from selfrep.plots.heat_maps import SCALE, Map, arrays, cell_words, layers_of
from selfrep.plots.panels import Places, heading, not_identified
from selfrep.plots.profiles import Pen, finish_profiles, profiles
from selfrep.plots.text import integer, interval, plain, side_words
from selfrep.plots.theme import (
    CONTROL,
    NULL,
    OWN,
)
from selfrep.stats.cells import place_axis
from selfrep.stats.numbers import number

Array = np.ndarray

IDENTITY = "#009E73"
FAMILY_WISE = 0.05
"""Cells are outlined below this p over the whole map."""


def separation_map(sep: xr.Dataset, *, site: str | None = None) -> go.Figure:
    """S over layers and places, from `separation`.

    Args:
        site: draw this one only. None: a panel for each.

    Raises:
        SelfrepError: no such site.
    """
    sites = [str(s) for s in sep.site.to_numpy()]
    if site is not None and site not in sites:
        raise SelfrepError(f"There is no site {site!r} in this separation; it holds {', '.join(sites)}.")
    sites = sites if site is None else [site]
    sides = side_words(sep)
    title = f"Separation of {sides[0]} and {sides[1]}" if len(sides) == 2 else "Separation"
    counts = [int(n) for n in sep.attrs.get("n_families", ())]
    parts = (
        plain(sites[0]) if len(sites) == 1 else "",
        f"{counts[0]} against {counts[1]} families of personas" if len(counts) == 2 else "",
        plain(sep.attrs.get("model", "")),
    )
    subtitle = " · ".join(filter(None, parts))
    layers, places = layers_of(sep), Places.of(sep)
    maps, floors = [], []
    for name in sites:
        values = arrays(sep.sel(site=name), place_axis(sep))
        there = np.isfinite(values["estimate"])
        maps.append(
            Map(
                plain(name) if len(sites) > 1 else "",
                values["estimate"],
                cell_words(values, _words, layers, places),
                dotted=there & (values["estimate"] <= values["null_high"]),
                outlined=there & (values["p_max"] < FAMILY_WISE),
            )
        )
        floors.append(values["same_side"])
    if not any(np.isfinite(one.values).any() for one in maps):
        return not_identified(title, "there is no place that all prompts have", subtitle=subtitle)
    floor = np.concatenate([f[np.isfinite(f)] for f in floors])
    return heat_maps.draw(
        maps,
        places,
        layers,
        name="S",
        limit=heat_maps.extent([one.values for one in maps]),
        floor=float(np.median(floor)) if floor.size else None,
        title=title,
        subtitle=subtitle,
        caption="Each cell: the squared distance between the mean activations of the two sides, as a share of the mean "
        "squared norm, at one layer (upwards) and token (from the left). What chance adds is subtracted, so it may be "
        "negative. Dotted cells do not exceed what shuffled persona labels give (95th percentile); outlined cells "
        f"stand out even when the whole map is searched (p < {FAMILY_WISE}, family-wise). ▸ on the colour bar: how far "
        "two personas of one side lie apart (the median cell). What lies apart is present; that does not mean "
        f"that it is used. {SCALE}",
    )


def _words(at: dict[str, float]) -> str:
    lines = (
        f"<b>S = {interval(at['estimate'], at['ci_low'], at['ci_high'])}</b>",
        f"shuffled labels reach {number(at['null_high'])}; p = {number(at['p'])}, over the map {number(at['p_max'])}",
        f"two personas: {_interval(at, 'identity')}; of one side: {number(at['same_side'])}",
        f"two paraphrases of one persona: {number(at['noise_floor'])}",
        f"“the user is X”: {_interval(at, 'user_is')}",
        *(f"{text}: {_interval(at, key)}" for text, key in _SHARES),
    )
    return "<br>".join(lines)


def _interval(at: dict[str, float], name: str) -> str:
    return interval(*(at[key] for key in (name, f"{name}_ci_low", f"{name}_ci_high")))


_SHARES = (("share bound to the speaker", "bound_share"), ("cosine of both differences", "condition_cosine"))


def separation_profile(
    sep: xr.Dataset, *, where: int | str | Sequence[int | str] | None = None, site: str | None = None
) -> go.Figure:
    """S by layer, from `separation`, with its interval, the "user is" control and the null; and how far two personas
    lie apart, any two and two of one side.

    Args:
        where: positions or segments, a panel each. None: the last position, or every segment.
        site: None: the first.

    Raises:
        SelfrepError: no such site, position or segment.
    """
    axis = place_axis(sep)
    have, sites = sep[axis].to_numpy().tolist(), [str(s) for s in sep.site.to_numpy()]
    site = sites[0] if site is None else site
    if site not in sites:
        raise SelfrepError(f"There is no site {site!r} in this separation; it holds {', '.join(sites)}.")
    if where is None:
        where = have[-1:] if axis == "position" else have
    chosen = [where] if isinstance(where, int | str) else list(where)
    if unknown := [place for place in chosen if place not in have]:
        raise SelfrepError(
            f"There is no {axis} {unknown[0]!r} in this separation; it holds {', '.join(map(str, have))}."
        )
    sides = side_words(sep)
    of = f" of {sides[0]} and {sides[1]}" if len(sides) == 2 else ""
    title = f"Separation{of}, layer by layer"
    subtitle = " · ".join(plain(s) for s in (site, sep.attrs.get("model", "")) if s)
    at = sep.sel({"site": site, axis: chosen})
    if not np.isfinite(at.estimate.to_numpy()).any():
        return not_identified(title, "some prompt does not have this place", subtitle=subtitle)
    labels = Places.of(sep).labels
    layers = layers_of(sep)
    frame = profiles(len(chosen))
    for panel, place in zip(frame.panels, chosen, strict=True):
        one = {str(k): v.to_numpy() for k, v in at.sel({axis: place}).data_vars.items()}
        draw = Pen(frame.fig, panel, layers)
        draw.rule(0.0)
        if np.isfinite(one["null_high"]).any():  # of too few families there are no labels to shuffle
            draw.line("shuffled labels (95 % below)", one["null_high"], NULL, rank=3, dash="dot")
        draw.line("two personas of one side", one["same_side"], NULL, rank=4, dash="dash")
        for name, key, colour, rank in (
            ("any two personas", "identity", IDENTITY, 5),
            ("“the user is X”", "user_is", CONTROL, 2),
            ("“you are X”", "", OWN, 1),
        ):
            low, high = one[f"{key}_ci_low".lstrip("_")], one[f"{key}_ci_high".lstrip("_")]
            draw.band(low, high, colour)
            draw.line(name, one[key or "estimate"], colour, low, high, rank=rank)
        label = labels[have.index(place)]
        heading(frame.fig, panel, label if axis == "segment" else f"position {integer(int(place))} “{label}”", 4.0)
    return finish_profiles(
        frame,
        layers,
        name="S",
        columns=2,
        title=title,
        subtitle=subtitle,
        caption="The squared distance between the mean activations of the two sides, as a share of the mean squared "
        "norm, with its 95 % interval (blue). Orange: the same words said of the user; how much of the blue line they "
        "explain depends on their direction too, and is told by the share bound to the speaker. Dotted: what shuffled "
        "labels give. Green: how far any two personas lie apart, each against each: personas may be told apart where "
        "their sides are not. Dashed: two personas of one side, the scale to read the blue line by.",
    )
