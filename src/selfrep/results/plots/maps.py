"""Maps of layers by places: what a patch carried over, and how far two sides of personas lie apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from selfrep.errors import SelfrepError
from selfrep.results.findings import number
from selfrep.results.plots import panels
from selfrep.results.plots.lines import transfer_lines
from selfrep.results.plots.panels import Places
from selfrep.results.plots.text import interval, plain, shortened, words
from selfrep.results.plots.theme import DIVERGING, INK, NOTHING, SMALL, TINY, finished, not_identified

Array = np.ndarray

LEFT, RIGHT = 44.0, 58.0
GOES = {"denoise": "Denoise: the persona into the run without it", "noise": "Noise: the persona out of its own run"}
SHORT_GOES = {"denoise": "Denoise", "noise": "Noise"}
SCALE = "White is zero; orange is positive, blue negative, equally strong. Grey cells have no number."


def heatmap(effects: xr.Dataset, pair: int | None = None, *, title: str | None = None) -> go.Figure:
    """The transfer of each patch, straight from `patch`.

    Args:
        effects: from `patch` or `patch_tokens`; dims pair, layer, position | segment.
        pair: the row to draw. None: the mean over the real pairs, one panel a direction.

    Raises:
        SelfrepError: no such pair, or none at all.
    """
    n = effects.sizes["pair"]
    if pair is not None and not -n <= pair < n:
        raise SelfrepError(f"The effects hold {n} pairs, numbered 0 to {n - 1}; there is no pair {pair}.")
    if n == 0:
        raise SelfrepError("The effects hold no pair: there is nothing to draw.")
    subtitle = [plain(effects.attrs.get("site", ""))]
    if pair is not None:
        row = effects.isel(pair=pair)
        places = Places.of(effects, pair)
        shown = {_label(row, "direction"): row.transfer}
        if "source" in row.coords:
            subtitle.append(
                f"{plain(shortened(str(row.source.item()), 24))} → {plain(shortened(str(row.target.item()), 24))}"
            )
            subtitle.append(plain(shortened(str(row["item"].item()), 28)))
    else:
        places = Places.of(effects)
        real = effects.isel(pair=effects.control.to_numpy() == "") if "control" in effects.coords else effects
        if "direction" in real.coords:
            labels = real.direction.to_numpy()
            shown = {str(d): real.transfer.isel(pair=labels == d).mean("pair") for d in dict.fromkeys(labels)}
        else:
            shown = {"": real.transfer.mean("pair")}
        subtitle.append(f"mean of {real.sizes['pair']} pairs" if real.sizes["pair"] > 1 else "one pair")
    axis = "position" if "position" in effects.dims else "segment"
    maps = {SHORT_GOES.get(d, words(d)): z.transpose("layer", axis).to_numpy().astype(float) for d, z in shown.items()}
    layers = [int(v) for v in effects.layer.to_numpy()]
    title = plain(title) if title else "Transfer of each patched activation"
    subtitle_text = " · ".join(s for s in subtitle if s)
    if not any(np.isfinite(z).any() for z in maps.values()):
        return not_identified(title, "No patched run has a number here.", subtitle=subtitle_text)
    texts = {k: _hover(layers, places, lambda i, j, z=z: [f"<b>T = {number(z[i, j])}</b>"]) for k, z in maps.items()}
    return _maps(
        maps, texts, places, layers,
        title=title, subtitle=subtitle_text, name="T", limit=_transfer_limit(maps.values()),
        caption="Each cell: one activation, copied from the source run into the target run. 0, the patch did nothing; 1, it "
        "restored the source's behaviour. " + SCALE,
    )  # fmt: skip


def transfer_maps(transfer: xr.Dataset) -> go.Figure:
    """Denoising beside noising, from `transfer`: maps over positions, lines over layers for whole segments."""
    title = "Transfer: what patched activations carry over"
    subtitle = _subtitle(transfer)
    if not np.isfinite(transfer.estimate.to_numpy()).any():
        reason = transfer.attrs.get("reason") or "no cell has an estimate"
        return not_identified(title, reason, subtitle=subtitle)
    if "position" not in transfer.dims:
        return transfer_lines(transfer, title=title, subtitle=subtitle)
    places = Places.of(transfer)
    layers = [int(v) for v in transfer.layer.to_numpy()]
    controls = [str(k) for k in transfer.data_vars if str(k).startswith("control_")]
    maps, texts, marks = {}, {}, {}
    for direction in map(str, transfer.direction.to_numpy()):
        one = transfer.sel(direction=direction).transpose("layer", "position", ...)
        z, low, high, p = (one[k].to_numpy().astype(float) for k in ("estimate", "low", "high", "p"))
        beside = {k.removeprefix("control_"): one[k].to_numpy() for k in controls}

        def lines(i: int, j: int, z=z, low=low, high=high, p=p, beside=beside) -> list[str]:
            said = [f"<b>T = {interval(z[i, j], low[i, j], high[i, j])}</b>"]
            said += [f"control, {words(k)}: {number(c[i, j])}" for k, c in beside.items()]
            return [*said, f"p = {number(p[i, j])}"] if np.isfinite(p[i, j]) else said

        name = SHORT_GOES.get(direction, words(direction))
        maps[name], texts[name] = z, _hover(layers, places, lines)
        bar = np.fmax.reduce([np.zeros_like(z), *beside.values()])
        marks[name] = np.isfinite(low) & (low > bar)
    fig = _maps(
        maps, texts, places, layers,
        title=title, subtitle=subtitle, name="T", limit=_transfer_limit(maps.values()), outlined=marks,
        caption="Each cell: the activation at one layer (upwards) and token (from the left), copied from another persona's run. "
        "0, the patch did nothing; 1, it brought the other persona's answers with it. Denoise puts the persona into a run "
        "without it; noise takes it out of its own run; where they disagree, other parts of the model back it up. "
        "Outlined: the whole 95 % interval lies above zero and above every control. " + SCALE,
    )  # fmt: skip
    return fig


def separation_map(sep: xr.Dataset, *, site: str | None = None) -> go.Figure:
    """S over layers and places, from `separation`; one panel a site.

    Args:
        site: draw this one only.

    Raises:
        SelfrepError: no such site.
    """
    sites = [str(s) for s in sep.site.to_numpy()]
    if site is not None and site not in sites:
        raise SelfrepError(f"The separation holds the sites {', '.join(sites)}; there is no {site!r}.")
    sites = sites if site is None else [site]
    sides = [words(s) for s in sep.attrs.get("sides", ())]
    title = f"Separation of {sides[0]} and {sides[1]} personas" if len(sides) == 2 else "Separation"
    counts = [int(n) for n in np.atleast_1d(sep.attrs.get("n_personas", ()))]
    versus = f"{counts[0]} against {counts[1]} personas" if len(counts) == 2 else ""
    subtitle = " · ".join(
        s for s in (plain(sites[0]) if len(sites) == 1 else "", versus, plain(sep.attrs.get("model", ""))) if s
    )
    chosen = sep.sel(site=sites)
    if not np.isfinite(chosen.estimate.to_numpy()).any():
        return not_identified(title, "No cell holds a number: no place is shared by all prompts.", subtitle=subtitle)
    axis = "position" if "position" in sep.dims else "segment"
    places = Places.of(sep)
    layers = [int(v) for v in sep.layer.to_numpy()]
    maps, texts, muted, outlined, floors = {}, {}, {}, {}, []
    for name in sites:
        one = {
            str(k): v.transpose("layer", axis).to_numpy().astype(float)
            for k, v in chosen.sel(site=name).data_vars.items()
        }

        def lines(i: int, j: int, one=one) -> list[str]:
            at = {k: float(v[i, j]) for k, v in one.items()}
            said = [
                f"<b>S = {interval(at['estimate'], at['low'], at['high'])}</b>",
                f"chance alone: up to {number(at['null_high'])} (p = {number(at['p'])}, over the map {number(at['p_max'])})",
                f"two wordings of one persona: {number(at['floor'])}",
                f"“the user is X”: {interval(at['user_is'], at['user_is_low'], at['user_is_high'])}",
                f"bound to the speaker: {interval(at['bound'], at['bound_low'], at['bound_high'])}",
            ]
            return [line for line in said if "–" not in line.split(":")[-1] or line.startswith("<b>")]

        maps[name], texts[name] = one["estimate"], _hover(layers, places, lines)
        muted[name] = np.isfinite(one["estimate"]) & ~(one["estimate"] > one["null_high"])
        outlined[name] = np.isfinite(one["estimate"]) & (one["p_max"] < 0.05)
        floors.append(one["floor"])
    finite = np.concatenate([f[np.isfinite(f)] for f in floors])
    return _maps(
        maps if len(maps) > 1 else {"": maps[sites[0]]},
        texts if len(maps) > 1 else {"": texts[sites[0]]},
        places, layers,
        title=title, subtitle=subtitle, name="S", limit=_limit(maps.values()),
        muted=muted if len(maps) > 1 else {"": muted[sites[0]]},
        outlined=outlined if len(maps) > 1 else {"": outlined[sites[0]]},
        floor=float(np.median(finite)) if len(finite) else None,
        caption="Each cell: the squared distance between the mean activations of the two sides, as a share of the mean squared "
        "norm, at one layer (upwards) and token (from the left); chance differences are subtracted, so it may be negative. "
        "Dotted cells do not exceed what shuffled persona labels give (95th percentile); outlined cells do so even when the "
        "whole map is searched (p < .05, family-wise). “floor” on the colour bar: the distance between two wordings of the same "
        "persona (median cell). What is separate is present, not necessarily used. " + SCALE,
    )  # fmt: skip


def _maps(
    maps: dict[str, Array],
    texts: dict[str, list[list[str]]],
    places: Places,
    layers: Sequence[int],
    *,
    title: str,
    subtitle: str,
    name: str,
    limit: float,
    caption: str,
    muted: dict[str, Array] | None = None,
    outlined: dict[str, Array] | None = None,
    floor: float | None = None,
) -> go.Figure:
    """Panels of one zero-centred colour scale."""
    many = len(places) * (TINY + 0.5) > (WIDTH_INNER - 18) / 2  # side by side, tokens would overlap
    frame = panels.grid(len(maps), 1 if many or len(maps) == 1 else 2, left=LEFT, right=RIGHT)
    fig = frame.fig
    below = used = 0.0
    for panel, (label, z) in zip(frame.panels, maps.items(), strict=True):
        fig.add_trace(
            go.Heatmap(
                z=z, text=texts[label], hovertemplate="%{text}<extra></extra>", hoverongaps=False, coloraxis="coloraxis",
                name=label, xgap=0.5, ygap=0.5,
            ),
            row=panel.row, col=panel.column,
        )  # fmt: skip
        if muted is not None:
            _dots(fig, panel, muted[label])
        if outlined is not None:
            _outline(fig, panel, outlined[label])
        below = max(below, panels.place_axis(fig, panel, places, frame.room))
        used = panels.bracket(fig, panel, places, frame.room)
        panels.layer_axis(fig, panel, layers, title=panel.column == 1)
        fig.update_yaxes(showticklabels=panel.column == 1, row=panel.row, col=panel.column)
        if label:
            panels.heading(fig, panel, label, used + 2)
            used += 18
    fig.update_xaxes(showgrid=False)
    fig.update_layout(plot_bgcolor=NOTHING)
    each = float(np.clip(len(layers) * 9.5, 150, 330))
    top, bottom = 52 + used + 8, below + 14
    height = frame.height(each, gap=below + used + 16, top=top, bottom=bottom)
    ticks = _ticks(limit, floor)
    fig.update_layout(
        plot_bgcolor=NOTHING,
        coloraxis={
            "colorscale": DIVERGING,
            "cmin": -limit,
            "cmax": limit,
            "cmid": 0,
            "colorbar": {
                "title": {"text": f"<b>{name}</b>", "side": "top", "font": {"size": SMALL}},
                "thickness": 10,
                "outlinewidth": 0,
                "len": 1,
                "y": 0.5,
                "x": 1,
                "xpad": 8,
                "ypad": 0,
                "tickmode": "array",
                "tickvals": list(ticks),
                "ticktext": list(ticks.values()),
                "tickfont": {"size": TINY, "color": INK},
                "ticks": "outside",
                "ticklen": 3,
            },
        },
    )
    return finished(
        fig, title=title, subtitle=subtitle, caption=caption, height=height,
        margin={"l": LEFT, "r": RIGHT, "t": top, "b": bottom},
    )  # fmt: skip


WIDTH_INNER = 528 - LEFT - RIGHT


def _hover(layers: Sequence[int], places: Places, said) -> list[list[str]]:
    return [
        ["<br>".join([*said(i, j), f"layer {layer}, {place}"]) for j, place in enumerate(places.names)]
        for i, layer in enumerate(layers)
    ]


def _dots(fig: go.Figure, panel: panels.Panel, where: Array) -> None:
    """A small dot in each chosen cell."""
    y, x = np.nonzero(where)
    fig.add_trace(
        go.Scatter(
            x=x, y=y, mode="markers", marker={"size": 2, "color": "#9a9a9a"}, hoverinfo="skip", showlegend=False, name="muted"
        ),
        row=panel.row, col=panel.column,
    )  # fmt: skip


def _outline(fig: go.Figure, panel: panels.Panel, where: Array) -> None:
    """The boundary of the chosen cells."""
    padded = np.pad(where, 1)
    x: list[float | None] = []
    y: list[float | None] = []
    for i, j in zip(*np.nonzero(padded[1:, :] != padded[:-1, :]), strict=True):
        x += [j - 1.5, j - 0.5, None]
        y += [i - 0.5, i - 0.5, None]
    for i, j in zip(*np.nonzero(padded[:, 1:] != padded[:, :-1]), strict=True):
        x += [j - 0.5, j - 0.5, None]
        y += [i - 1.5, i - 0.5, None]
    fig.add_trace(
        go.Scatter(
            x=x, y=y, mode="lines", line={"width": 1, "color": INK}, hoverinfo="skip", showlegend=False, name="outlined",
            cliponaxis=False,
        ),
        row=panel.row, col=panel.column,
    )  # fmt: skip


def _limit(maps) -> float:
    """The largest size, where the colours end."""
    largest = max((float(np.nanmax(np.abs(z))) for z in maps if np.isfinite(z).any()), default=0.0)
    return largest or 1.0


def _transfer_limit(maps) -> float:
    """At least 1, the whole behaviour; ratios may overshoot, but past 1.5 the colour says no more."""
    return float(np.clip(_limit(maps), 1.0, 1.5))


def _ticks(limit: float, floor: float | None) -> dict[float, str]:
    """Round numbers on the colour bar, and the floor, which takes the place of numbers too near it."""
    step = 10 ** np.floor(np.log10(limit))
    step = next(s for s in (step * 0.2, step * 0.25, step * 0.5, step, step * 2) if limit / s <= 4.01)
    values = [k * step for k in range(-int(limit / step + 1e-9), int(limit / step + 1e-9) + 1)]
    ticks = {float(v): number(float(f"{v:.6g}")) for v in values}
    if floor is not None and 0 <= floor <= limit:
        ticks = {v: t for v, t in ticks.items() if abs(v - floor) > limit * 0.09}
        ticks[floor] = "floor"
    return dict(sorted(ticks.items()))


def _subtitle(transfer: xr.Dataset) -> str:
    kept, gated = int(np.max(transfer.n_pairs.to_numpy())), int(np.max(transfer.n_gated.to_numpy()))
    parts = [plain(transfer.attrs.get("site", "")), f"{kept} pair{'' if kept == 1 else 's'} of personas"]
    if gated:
        parts.append(f"{gated} too weak to count")
    return " · ".join(p for p in parts if p)


def _label(row: xr.Dataset, name: str) -> str:
    return str(row[name].item()) if name in row.coords else ""


__all__ = ["heatmap", "separation_map", "transfer_maps"]
