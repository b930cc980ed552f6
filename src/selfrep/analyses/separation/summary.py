"""What is kept of captured activations: their size, and where the personas lie in the plane, layer by layer."""

from __future__ import annotations

import numpy as np
import xarray as xr

from selfrep.stats.depth import reported_layer
from selfrep.stats.geometry import POINT_LABELS, persona_map, standardised


def activations_summary(acts: xr.Dataset) -> xr.Dataset:
    """A small Dataset that stands for captured activations in a run directory.

    Args:
        acts: from `capture`.

    Returns:
        `rms` (prompt, site, layer, position | segment), the root mean square of each activation; and, at the last
        token (or in the prefill), for the first site, `coordinates` (prompt, layer, component) and `explained`
        (layer, component) of the plane in which the personas differ most (see `persona_map`).

    Raises:
        SelfrepError: fewer than three personas.
    """
    acts = standardised(acts)
    axis, where = ("position", -1) if "position" in acts.dims else ("segment", "prefill")
    site = str(acts.site.values[0])
    layers = acts.layer.values.tolist()
    planes = [persona_map(acts, site=site, layer=layer, where=where) for layer in layers]
    return xr.Dataset(
        {
            "rms": acts.rms,
            "coordinates": (
                ("prompt", "layer", "component"),
                np.stack([p.coordinates.to_numpy() for p in planes], axis=1),
            ),
            "explained": (("layer", "component"), np.stack([p.explained.to_numpy() for p in planes])),
        },
        coords={"component": [1, 2]},
        attrs={"plane_site": site, f"plane_{axis}": where, "model": acts.attrs.get("model", "")},
    )


def at_reported_layer(summary: xr.Dataset) -> xr.Dataset:
    """The reported layer of a summary, as points in the plane of that layer.

    Returns:
        Dataset with `coordinates` (point, component) and `explained` (component), and the labels of the prompts.
    """
    layer = reported_layer(summary.layer.to_numpy())
    at = summary.sel(layer=layer)
    labels = {k: ("point", summary[k].to_numpy()) for k in POINT_LABELS if k in summary.coords}
    place = {k.removeprefix("plane_"): v for k, v in summary.attrs.items() if k.startswith("plane_")}
    return xr.Dataset(
        {
            "coordinates": (("point", "component"), at.coordinates.to_numpy()),
            "explained": ("component", at.explained.to_numpy()),
        },
        coords=labels | {"component": [1, 2]},
        attrs=place | {"layer": layer},
    )
