"""Maps of layers by places: what a patch carried over, and how far two sides of personas lie apart."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from selfrep.errors import SelfrepError
from selfrep.plots import heat
from selfrep.plots.heat import SCALE, Map
from selfrep.plots.lines import transfer_lines
from selfrep.plots.panels import Places, not_identified
from selfrep.plots.text import interval, plain, shortened, words
from selfrep.stats.numbers import number

Array = np.ndarray

FAMILY_WISE = 0.05
"""Cells are outlined below this p over the whole map."""
GOES = (
    "Denoise copies the source persona into a run without it; noise copies the other way, out of the persona's own "
    "run; where the two disagree, other parts of the model stand in."
)


def heatmap(effects: xr.Dataset | xr.DataTree, pair: int | None = None, *, title: str | None = None) -> go.Figure:
    """The transfer of each patch, straight from `patch`, with no gate and no control.

    Args:
        effects: from `patch` or `patch_tokens`; dims pair, layer, position | segment. Heads or neurons of a single
            place are drawn side by side. An estimate of `transfer` is drawn as `transfer_maps` draws it.
        pair: the row to draw. None: the mean over the real pairs, a panel for each direction.

    Raises:
        SelfrepError: no such pair, no pair at all; several plans or metrics, or heads at several places.
    """
    effects = _one_plan(effects)
    if "transfer" not in effects and {"estimate", "n_pairs"} <= set(effects.data_vars):
        return transfer_maps(effects)
    if "transfer" not in effects or "pair" not in effects.transfer.dims:
        raise SelfrepError(
            "A heat map shows the effects that sr.patch returns; this Dataset holds "
            f"{', '.join(map(str, effects.data_vars)) or 'nothing'}."
        )
    effects = _flat(effects)
    axis = "position" if "position" in effects.dims else "segment"
    n = effects.sizes["pair"]
    if pair is not None and not -n <= pair < n:
        raise SelfrepError(f"There is no pair {pair}: the effects hold {n}, numbered from 0.")
    real = effects if "control" not in effects.coords else effects.isel(pair=effects.control.to_numpy() == "")
    chosen = effects.isel(pair=[pair]) if pair is not None else real
    if chosen.sizes["pair"] == 0:
        raise SelfrepError("The effects hold no real pair: there is nothing to draw.")
    said = [plain(effects.attrs.get("site", "")), plain(effects.attrs.get("model", ""))]
    if pair is None:
        said.append(f"mean of {chosen.sizes['pair']} pairs" if chosen.sizes["pair"] > 1 else "one pair")
    elif "source" in chosen.coords:
        said.append(" → ".join(plain(shortened(str(chosen[k].values[0]), 20)) for k in ("source", "target")))
        said.append(words(shortened(str(chosen["item"].values[0]), 24)))
    layers, places = _layers(effects), Places.of(effects, pair)
    directions = chosen.direction.to_numpy() if "direction" in chosen.coords else np.full(chosen.sizes["pair"], "")
    maps = []
    for direction in dict.fromkeys(directions):
        values = chosen.transfer.isel(pair=directions == direction).mean("pair")
        z = values.transpose("layer", axis).to_numpy().astype(float)
        hover = [
            [f"<b>T = {number(v)}</b>{_where(layer, p)}" for v, p in _row(z, i, places)] for i, layer in _each(layers)
        ]
        maps.append(Map(words(direction).capitalize(), z, hover))
    shown, subtitle = plain(title) if title else "Transfer of each patched activation", " · ".join(filter(None, said))
    if not any(np.isfinite(one.values).any() for one in maps):
        return not_identified(shown, "no patched run has a number here", subtitle=subtitle)
    return heat.draw(
        maps,
        places,
        layers,
        name="T",
        limit=_transfer_limit(maps),
        title=shown,
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
    axis = "position" if "position" in effects.dims else "segment"
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


def transfer_maps(transfer: xr.Dataset) -> go.Figure:
    """Denoising beside noising, from `transfer`: maps over positions; over whole segments, lines by layer.

    Raises:
        SelfrepError: several heads, neurons or metrics.
    """
    known = ("direction", "layer", "position", "segment")
    if others := [str(dim) for dim in transfer.estimate.dims if dim not in known]:
        label = transfer[others[-1]].values[0].item()
        raise SelfrepError(f"A map shows one {others[-1]}; choose it first, e.g. .sel({others[-1]}={label!r}).")
    site = str(transfer.attrs.get("site", ""))
    title = f"Transfer: what {SITES.get(site, 'patched activations')} carry over"
    n_items = len(transfer.attrs.get("items", ()))
    said = (transfer.attrs.get("site", ""), f"{n_items} item{'s' if n_items > 1 else ''}" if n_items else "")
    subtitle = " · ".join(plain(s) for s in said if s)
    if not np.isfinite(transfer.estimate.to_numpy()).any():
        return not_identified(title, str(transfer.attrs.get("reason") or "no cell has a number"), subtitle=subtitle)
    if "position" not in transfer.dims:
        pairs = (f"{words(d)}: {_pairs(transfer.sel(direction=d))}" for d in transfer.direction.to_numpy())
        return transfer_lines(transfer, title=title, subtitle=" · ".join(filter(None, (subtitle, *pairs))))
    layers, places = _layers(transfer), Places.of(transfer)
    maps = []
    for direction in transfer.direction.to_numpy():
        one = transfer.sel(direction=direction)
        values = _arrays(one, "position")
        z, low = values["estimate"], values["ci_low"]
        controls = [v for k, v in values.items() if k.startswith("control_")]
        bar = np.fmax.reduce([np.zeros_like(z), *controls])
        hover = [
            [_transfer_words(values, i, j) + _where(layer, p) for j, p in enumerate(places.names)]
            for i, layer in _each(layers)
        ]
        heading = f"{words(direction).capitalize()}: {_pairs(one)}"
        # Without controls an outline would only say that hundreds of small intervals were looked at, and some miss 0.
        maps.append(Map(heading, z, hover, outlined=np.isfinite(low) & (low > bar) & bool(controls)))
    return heat.draw(
        maps,
        places,
        layers,
        name="T",
        limit=_transfer_limit(maps),
        title=title,
        subtitle=subtitle,
        caption="Each cell: the activation at one layer (upwards) and token (from the left), copied from another "
        f"persona's run. 0, the patch did nothing; 1, it brought the other persona's answers with it. {GOES} Outlined, "
        "where controls were run: the whole 95 % interval lies above zero and above every control. Pairs are "
        f"of personas; gated prompts, whose total effect is too small to divide by, are left out. {SCALE}",
    )


SITES = {
    "resid_pre": "residual streams entering a block",
    "resid_mid": "residual streams within a block",
    "resid_post": "residual streams leaving a block",
    "attn_out": "attention outputs",
    "mlp_out": "MLP outputs",
}
"""What is patched, in words."""


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
    sides = [words(s) for s in sep.attrs.get("sides", ())]
    title = f"Separation of {sides[0]} and {sides[1]} personas" if len(sides) == 2 else "Separation"
    counts = [int(n) for n in sep.attrs.get("n_personas", ())]
    said = (
        plain(sites[0]) if len(sites) == 1 else "",
        f"{counts[0]} against {counts[1]} personas" if len(counts) == 2 else "",
        plain(sep.attrs.get("model", "")),
    )
    subtitle = " · ".join(filter(None, said))
    layers, places = _layers(sep), Places.of(sep)
    maps, floors = [], []
    for name in sites:
        values = _arrays(sep.sel(site=name), "position" if "position" in sep.dims else "segment")
        there = np.isfinite(values["estimate"])
        hover = [
            [_separation_words(values, i, j) + _where(layer, p) for j, p in enumerate(places.names)]
            for i, layer in _each(layers)
        ]
        maps.append(
            Map(
                plain(name) if len(sites) > 1 else "",
                values["estimate"],
                hover,
                dotted=there & ~(values["estimate"] > values["null_high"]),
                outlined=there & (values["p_max"] < FAMILY_WISE),
            )
        )
        floors.append(values["noise_floor"])
    if not any(np.isfinite(one.values).any() for one in maps):
        return not_identified(title, "there is no place that all prompts have", subtitle=subtitle)
    floor = np.concatenate([f[np.isfinite(f)] for f in floors])
    return heat.draw(
        maps,
        places,
        layers,
        name="S",
        limit=heat.extent([one.values for one in maps]),
        floor=float(np.median(floor)) if floor.size else None,
        title=title,
        subtitle=subtitle,
        caption="Each cell: the squared distance between the mean activations of the two sides, as a share of the mean "
        "squared norm, at one layer (upwards) and token (from the left). What chance adds is subtracted, so it may be "
        "negative. Dotted cells do not exceed what shuffled persona labels give (95th percentile); outlined cells "
        f"stand out even when the whole map is searched (p < {FAMILY_WISE}, family-wise). ▸ on the colour bar: how far "
        "two paraphrases of one persona lie apart (the median cell). What is separate is present, which says not that "
        f"it is used. {SCALE}",
    )


def _transfer_words(values: dict[str, Array], i: int, j: int) -> str:
    said = [f"<b>T = {interval(*(values[k][i, j] for k in ('estimate', 'ci_low', 'ci_high')))}</b>"]
    for name, control in values.items():
        if name.startswith("control_"):
            said.append(f"control, {words(name.removeprefix('control_'))}: {number(float(control[i, j]))}")
    if np.isfinite(values["p"][i, j]):
        said.append(f"p = {number(float(values['p'][i, j]))}")
    return "<br>".join(said)


def _separation_words(values: dict[str, Array], i: int, j: int) -> str:
    at = {name: float(value[i, j]) for name, value in values.items()}
    said = (
        f"<b>S = {interval(at['estimate'], at['ci_low'], at['ci_high'])}</b>",
        f"shuffled labels reach {number(at['null_high'])}; p = {number(at['p'])}, over the map {number(at['p_max'])}",
        f"two paraphrases of one persona: {number(at['noise_floor'])}",
        f"“the user is X”: {interval(at['user_is'], at['user_is_ci_low'], at['user_is_ci_high'])}",
        f"bound to the speaker: {interval(at['bound'], at['bound_ci_low'], at['bound_ci_high'])}",
    )
    return "<br>".join(said)


def _pairs(one: xr.Dataset) -> str:
    """How many pairs stand behind one direction."""
    n, gated = (int(np.nan_to_num(one[k].to_numpy())) for k in ("n_pairs", "n_gated"))
    if n == 0:
        return "not identified"
    return f"{n} pair{'s' if n > 1 else ''}" + (f" ({gated} gated)" if gated else "")


def _transfer_limit(maps: list[Map]) -> float:
    """At least 1, the whole behaviour. Ratios may overshoot it; past 1.5 more colour says no more."""
    return float(np.clip(heat.extent([one.values for one in maps]), 1.0, 1.5))


def _arrays(one: xr.Dataset, axis: str) -> dict[str, Array]:
    """The variables over (layer, place), as floats."""
    mapped = {str(k): v for k, v in one.data_vars.items() if set(v.dims) == {"layer", axis}}
    return {k: v.transpose("layer", axis).to_numpy().astype(float) for k, v in mapped.items()}


def _layers(data: xr.Dataset) -> list[int]:
    return [int(layer) for layer in data.layer.to_numpy()]


def _each(layers: list[int]) -> list[tuple[int, int]]:
    return list(enumerate(layers))


def _row(z: Array, i: int, places: Places) -> list[tuple[float, str]]:
    return list(zip(map(float, z[i]), places.names, strict=True))


def _where(layer: int, place: str) -> str:
    return f"<br>layer {layer}, {place}"
