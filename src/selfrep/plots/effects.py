"""The effects of patches as they come from a sweep: a heat map with no gate and no control."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from selfrep.errors import SelfrepError
from selfrep.plots import heat_maps
from selfrep.plots.heat_maps import SCALE, Map, cell_words, layers_of
from selfrep.plots.panels import Places, not_identified
from selfrep.plots.text import plain, shorten, words
from selfrep.stats.cells import place_axis
from selfrep.stats.numbers import number


def heatmap(effects: xr.Dataset | xr.DataTree, pair: int | None = None) -> go.Figure:
    """The transfer of each patch, straight from `patch`, with no gate and no control.

    Args:
        effects: from `patch` or `patch_tokens`; dims pair, layer, position | segment. Heads or neurons of a single
            place are drawn side by side.
        pair: the row to draw. None: the mean over the real pairs, a panel for each direction.

    Raises:
        SelfrepError: no such pair, no pair at all; several plans or metrics, or heads at several places.
    """
    effects = _one_plan(effects)
    if "transfer" not in effects or "pair" not in effects.transfer.dims:
        estimate = " An estimate of sr.transfer is drawn by sr.plot.transfer_maps." if "n_pairs" in effects else ""
        raise SelfrepError(
            "A heat map shows the effects that sr.patch returns; this Dataset holds "
            f"{', '.join(map(str, effects.data_vars)) or 'nothing'}.{estimate}"
        )
    effects = _flat(effects)
    axis = place_axis(effects)
    n = effects.sizes["pair"]
    if pair is not None and not -n <= pair < n:
        raise SelfrepError(f"There is no pair {pair}: the effects hold {n}, numbered from 0.")
    real = effects if "control" not in effects.coords else effects.isel(pair=effects.control.to_numpy() == "")
    chosen = effects.isel(pair=[pair]) if pair is not None else real
    if chosen.sizes["pair"] == 0:
        raise SelfrepError("The effects hold no real pair: there is nothing to draw.")
    parts = [plain(effects.attrs.get("site", "")), plain(effects.attrs.get("model", ""))]
    if pair is None:
        parts.append(f"mean of {chosen.sizes['pair']} pairs" if chosen.sizes["pair"] > 1 else "one pair")
    elif "source" in chosen.coords:
        parts.append(" → ".join(plain(shorten(str(chosen[k].values[0]), 20)) for k in ("source", "target")))
        parts.append(words(shorten(str(chosen["item"].values[0]), 24)))
    title, subtitle = "Transfer of each patched activation", " · ".join(filter(None, parts))
    layers, places = layers_of(effects), Places.of(effects, pair)
    directions = chosen.direction.to_numpy() if "direction" in chosen.coords else np.full(chosen.sizes["pair"], "")
    maps = []
    for direction in dict.fromkeys(directions):
        values = chosen.transfer.isel(pair=directions == direction).mean("pair")
        z = values.transpose("layer", axis).to_numpy().astype(float)
        hover = cell_words({"T": z}, lambda at: f"<b>T = {number(at['T'])}</b>", layers, places)
        maps.append(Map(words(direction).capitalize(), z, hover))
    if not any(np.isfinite(one.values).any() for one in maps):
        reason = "no patched run has a number here"
        if all(name in chosen and np.isfinite(chosen[name]).any() for name in ("patched", "total_effect")):
            reason = f"source and target differ by less than {chosen.attrs.get('dtype', 'the model')} resolves"
        return not_identified(title, reason, subtitle=subtitle)
    return heat_maps.draw(
        maps,
        places,
        layers,
        name="T",
        limit=heat_maps.transfer_limit([one.values for one in maps]),
        title=title,
        subtitle=subtitle,
        caption="Each cell: one activation, copied from the source run into the target run. 0, the patch did nothing; "
        f"1, it restored the source's behaviour. {SCALE}",
    )


def _one_plan(data: xr.Dataset | xr.DataTree) -> xr.Dataset:
    """The only Dataset of a tree."""
    if isinstance(data, xr.Dataset):
        return data
    if data.has_data:
        return data.to_dataset()
    names = list(data.children)
    if len(names) != 1:
        raise SelfrepError(
            f"A map shows one plan; this DataTree holds {', '.join(names) or 'none'}. Choose one, e.g. "
            f"sr.plot.heatmap(effects[{(names or ['resid_pre'])[0]!r}])."
        )
    return data[names[0]].to_dataset()


def _flat(effects: xr.Dataset) -> xr.Dataset:
    """Effects over layers and places alone. Heads or neurons of a single place take its stead on the axis."""
    axis = place_axis(effects)
    others = [str(dim) for dim in effects.transfer.dims if dim not in ("pair", "layer", axis)]
    effects = effects.squeeze([dim for dim in others if effects.sizes[dim] == 1], drop=True)
    others = [dim for dim in others if dim in effects.dims]
    if not others:
        return effects
    if len(others) > 1 or effects.sizes[axis] > 1 or others == ["metric"]:
        raise SelfrepError(
            f"A heat map shows transfer(pair, layer, position or segment); it has the dimensions "
            f"{', '.join(map(str, effects.transfer.dims))}. Choose one of the others with .sel(…) first, e.g. "
            f"effects.sel({others[-1]}={effects[others[-1]].values[0].item()!r})."
        )
    of_place = [name for name, v in effects.coords.items() if axis in v.dims]
    single = effects[["transfer"]].isel({axis: 0}, drop=True).drop_vars(of_place, errors="ignore")
    names = [f"{others[0]} {k}" for k in single[others[0]].values]
    return single.assign_coords({others[0]: names}).rename({others[0]: "segment"})
