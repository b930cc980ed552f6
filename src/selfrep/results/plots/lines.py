"""Profiles over layers: one place or segment a panel, with its interval, and its controls in grey."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from selfrep.errors import SelfrepError
from selfrep.results.plots import panels
from selfrep.results.plots.panels import Places
from selfrep.results.plots.text import interval, plain, words
from selfrep.results.plots.theme import CONTROL, CONTROLS, DIRECTIONS, FAINT, NULL, OWN, finished, not_identified

Array = np.ndarray


def separation_profile(
    sep: xr.Dataset, *, where: int | str | Sequence[int | str] | None = None, site: str | None = None
) -> go.Figure:
    """S by layer at one or several places, from `separation`, with interval, floor, the "user is" control and the null.

    Args:
        where: positions or segments, one panel each. None: the last position; every segment.
        site: None: the first.

    Raises:
        SelfrepError: no such site, position or segment.
    """
    axis = "position" if "position" in sep.dims else "segment"
    have = sep[axis].to_numpy().tolist()
    sites = [str(s) for s in sep.site.to_numpy()]
    site = sites[0] if site is None else site
    if site not in sites:
        raise SelfrepError(f"The separation holds the sites {', '.join(sites)}; there is no {site!r}.")
    if where is None:
        where = have[-1:] if axis == "position" else have
    chosen = [where] if isinstance(where, int | str) else list(where)
    for place in chosen:
        if place not in have:
            raise SelfrepError(f"The separation holds the {axis}s {', '.join(map(str, have))}; there is no {place!r}.")
    sides = [words(s) for s in sep.attrs.get("sides", ())]
    title = (
        f"Separation of {sides[0]} and {sides[1]} personas, layer by layer"
        if len(sides) == 2
        else "Separation by layer"
    )
    subtitle = " · ".join(s for s in (plain(site), plain(sep.attrs.get("model", ""))) if s)
    at = sep.sel(site=site).sel({axis: chosen})
    if not np.isfinite(at.estimate.to_numpy()).any():
        return not_identified(
            title, "No cell here holds a number: some prompt does not have this place.", subtitle=subtitle
        )
    names = Places.of(sep).names
    layers = [int(v) for v in sep.layer.to_numpy()]
    frame = panels.grid(len(chosen), 3 if len(chosen) > 2 else 2, left=50, right=14)
    for panel, place in zip(frame.panels, chosen, strict=True):
        one = {str(k): v.to_numpy().astype(float) for k, v in at.sel({axis: place}).data_vars.items()}
        first = panel.number == 1
        _line(frame.fig, panel, layers, one["null_high"], "shuffled labels (95 %)", NULL, first, dash="dot")
        _line(frame.fig, panel, layers, one["floor"], "two wordings of one persona (floor)", NULL, first, dash="dash")
        _band(frame.fig, panel, one["user_is_low"], one["user_is_high"], CONTROL)
        _line(
            frame.fig,
            panel,
            layers,
            one["user_is"],
            "“the user is X”",
            CONTROL,
            first,
            one["user_is_low"],
            one["user_is_high"],
        )
        _band(frame.fig, panel, one["low"], one["high"], OWN)
        _line(frame.fig, panel, layers, one["estimate"], "“you are X”", OWN, first, one["low"], one["high"])
        panels.layer_axis(frame.fig, panel, layers, title=True, vertical=False)
        panels.heading(frame.fig, panel, names[have.index(place)], 4)
    return _finished(
        frame, name="S", title=title, subtitle=subtitle, legend_rows=2,
        caption="The squared distance between the two sides, as a share of the mean squared norm, layer by layer, with its 95 % "
        "interval. Orange: the same words said of the user; what blue has over it is bound to the speaker. Dotted grey: what "
        "shuffled persona labels give. Dashed grey: how far two wordings of the same persona lie apart.",
    )  # fmt: skip


def transfer_lines(transfer: xr.Dataset, *, title: str, subtitle: str) -> go.Figure:
    """T by layer, a panel a segment, both directions in it. Called by `transfer_maps` for whole segments."""
    segments = [str(s) for s in transfer.segment.to_numpy()]
    layers = [int(v) for v in transfer.layer.to_numpy()]
    directions = [str(d) for d in transfer.direction.to_numpy()]
    controls = [k for k in CONTROLS if f"control_{k}" in transfer]
    frame = panels.grid(len(segments), 3 if len(segments) > 2 else 2, left=50, right=14)
    for panel, segment in zip(frame.panels, segments, strict=True):
        first = panel.number == 1
        _rule(frame.fig, panel, 0.0)
        _rule(frame.fig, panel, 1.0)
        for kind in controls:
            colour, dash = CONTROLS[kind]
            for i, direction in enumerate(directions):
                values = transfer[f"control_{kind}"].sel(direction=direction, segment=segment).to_numpy().astype(float)
                _line(frame.fig, panel, layers, values, f"control: {words(kind)}", colour, first and i == 0, dash=dash,
                      width=1, group=kind, note=f"control ({words(kind)}), {words(direction)}")  # fmt: skip
        for direction in directions:
            one = transfer.sel(direction=direction, segment=segment)
            values, low, high = (one[k].to_numpy().astype(float) for k in ("estimate", "low", "high"))
            colour = DIRECTIONS.get(direction, OWN)
            _band(frame.fig, panel, low, high, colour)
            _line(frame.fig, panel, layers, values, words(direction), colour, first, low, high)
        panels.layer_axis(frame.fig, panel, layers, title=True, vertical=False)
        panels.heading(frame.fig, panel, words(segment), 4)
    return _finished(
        frame, name="T", title=title, subtitle=subtitle, legend_rows=2 if len(controls) > 2 else 1,
        caption="All tokens of a segment patched at once, layer by layer, with the 95 % interval. 0, the patch did nothing; 1, it "
        "brought the other persona's answers with it. Denoise puts the persona into a run without it; noise takes it out of its "
        "own run. Grey: sources that should carry nothing over, on the same scale.",
    )  # fmt: skip


def _finished(frame: panels.Grid, *, name: str, title: str, subtitle: str, legend_rows: int, caption: str) -> go.Figure:
    each, gap, top, bottom = (230.0 if frame.rows == 1 else 150.0), 58.0, 74.0, 48.0 + 16 * legend_rows
    height = frame.height(each, gap, top, bottom)
    for panel in frame.panels:
        first = panel.column == 1
        frame.fig.update_yaxes(
            title_text=name if first else None, showticklabels=first, row=panel.row, col=panel.column
        )
    frame.fig.update_yaxes(matches="y")
    frame.fig.update_layout(
        legend={
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "xref": "paper",
            "y": 0,
            "yref": "container",
            "yanchor": "bottom",
        }
    )
    return finished(
        frame.fig,
        title=title,
        subtitle=subtitle,
        caption=caption,
        height=height,
        margin={"l": 50, "r": 14, "t": top, "b": bottom},
    )


def _line(
    fig: go.Figure,
    panel: panels.Panel,
    layers: Sequence[int],
    y: Array,
    name: str,
    colour: str,
    legend: bool,
    low: Array | None = None,
    high: Array | None = None,
    *,
    dash: str = "solid",
    width: float = 1.8,
    group: str = "",
    note: str = "",
) -> None:
    nothing = np.full(len(y), np.nan)
    texts = [
        f"<b>{note or name}: {interval(v, a, b)}</b><br>layer {layer}"
        for layer, v, a, b in zip(
            layers, y, nothing if low is None else low, nothing if high is None else high, strict=True
        )
    ]
    fig.add_trace(
        go.Scatter(
            x=list(range(len(y))), y=y, mode="lines+markers" if np.isfinite(y).sum() < 2 else "lines", name=name,
            line={"color": colour, "width": width, "dash": dash}, text=texts, hovertemplate="%{text}<extra></extra>",
            showlegend=legend, legendgroup=group or name, connectgaps=False,
        ),
        row=panel.row, col=panel.column,
    )  # fmt: skip


def _band(fig: go.Figure, panel: panels.Panel, low: Array, high: Array, colour: str) -> None:
    """The interval, run by run of layers that have one."""
    there = np.isfinite(low) & np.isfinite(high)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], there.astype(int), [0]])))
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    for a, b in zip(edges[::2], edges[1::2], strict=True):
        x = list(range(a, b))
        fig.add_trace(
            go.Scatter(
                x=x + x[::-1], y=[*high[a:b], *low[a:b][::-1]], fill="toself", mode="lines", line={"width": 0},
                fillcolor=f"rgba({red},{green},{blue},0.16)", hoverinfo="skip", showlegend=False, name="interval",
            ),
            row=panel.row, col=panel.column,
        )  # fmt: skip


def _rule(fig: go.Figure, panel: panels.Panel, y: float) -> None:
    fig.add_shape(
        type="line", x0=0, x1=1, y0=y, y1=y, xref=f"{panel.x} domain", yref=panel.y, layer="below",
        line={"color": FAINT, "width": 1},
    )  # fmt: skip


__all__ = ["separation_profile", "transfer_lines"]
