"""Profiles over layers: one place or segment a panel, estimates with their intervals, controls in grey."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from selfrep.errors import SelfrepError
from selfrep.plots.panels import Grid, Panel, Places, grid, heading, layer_ticks, not_identified
from selfrep.plots.text import interval, plain, signed, words
from selfrep.plots.theme import (
    CONTROL,
    CONTROLS,
    DIRECTIONS,
    FAINT,
    HEAD,
    NULL,
    OWN,
    SIZE,
    finished,
    legend_below,
)

Array = np.ndarray

_LEFT, _RIGHT = 50.0, 14.0


def separation_profile(
    sep: xr.Dataset, *, where: int | str | Sequence[int | str] | None = None, site: str | None = None
) -> go.Figure:
    """S by layer, from `separation`, with its interval, the "user is" control, the paraphrase floor and the null.

    Args:
        where: positions or segments, a panel each. None: the last position, or every segment.
        site: None: the first.

    Raises:
        SelfrepError: no such site, position or segment.
    """
    axis = "position" if "position" in sep.dims else "segment"
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
    sides = [words(s) for s in sep.attrs.get("sides", ())]
    of = f" of {sides[0]} and {sides[1]} personas" if len(sides) == 2 else ""
    title = f"Separation{of}, layer by layer"
    subtitle = " · ".join(plain(s) for s in (site, sep.attrs.get("model", "")) if s)
    at = sep.sel({"site": site, axis: chosen})
    if not np.isfinite(at.estimate.to_numpy()).any():
        return not_identified(title, "some prompt does not have this place", subtitle=subtitle)
    labels = Places.of(sep).labels
    layers = [int(v) for v in sep.layer.to_numpy()]
    frame = grid(len(chosen), 3 if len(chosen) > 2 else 2, left=_LEFT, right=_RIGHT)
    for panel, place in zip(frame.panels, chosen, strict=True):
        one = {str(k): v.to_numpy().astype(float) for k, v in at.sel({axis: place}).data_vars.items()}
        draw = _Pen(frame.fig, panel, layers)
        _rule(frame.fig, panel, 0.0)
        draw.line("shuffled labels (95 % below)", one["null_high"], NULL, rank=3, dash="dot")
        draw.line("two paraphrases of one persona", one["noise_floor"], NULL, rank=4, dash="dash")
        for name, key, colour, rank in (("“the user is X”", "user_is", CONTROL, 2), ("“you are X”", "", OWN, 1)):
            low, high = one[f"{key}_ci_low".lstrip("_")], one[f"{key}_ci_high".lstrip("_")]
            draw.band(low, high, colour)
            draw.line(name, one[key or "estimate"], colour, low, high, rank=rank)
        label = labels[have.index(place)]
        heading(frame.fig, panel, label if axis == "segment" else f"position {signed(int(place))} “{label}”", 4.0)
    return _finished(
        frame,
        layers,
        name="S",
        columns=2,
        title=title,
        subtitle=subtitle,
        caption="The squared distance between the mean activations of the two sides, as a share of the mean squared "
        "norm, with its 95 % interval. Orange: the same words said of the user; what blue has over it is bound to the "
        "speaker. Dotted: what shuffled persona labels give. Dashed: how far two paraphrases of one persona lie apart.",
    )


def transfer_lines(transfer: xr.Dataset, *, title: str, subtitle: str) -> go.Figure:
    """T by layer for whole segments, a panel each, with both directions in it. Title and subtitle escaped."""
    segments = [str(s) for s in transfer.segment.to_numpy()]
    directions = [str(d) for d in transfer.direction.to_numpy()]
    layers = [int(v) for v in transfer.layer.to_numpy()]
    controls = [kind for kind in CONTROLS if f"control_{kind}" in transfer]
    frame = grid(len(segments), 3 if len(segments) > 2 else 2, left=_LEFT, right=_RIGHT)
    for panel, segment in zip(frame.panels, segments, strict=True):
        draw = _Pen(frame.fig, panel, layers)
        for level in (0.0, 1.0):
            _rule(frame.fig, panel, level)
        at = {
            d: {
                str(k): v.to_numpy().astype(float)
                for k, v in transfer.sel(direction=d, segment=segment).data_vars.items()
            }
            for d in directions
        }
        for rank, kind in enumerate(controls, start=3):
            colour, dash = CONTROLS[kind]
            for i, (direction, one) in enumerate(at.items()):
                note = f"control ({words(kind)}), {words(direction)}"
                values = one[f"control_{kind}"]
                draw.line(
                    f"control: {words(kind)}", values, colour, rank=rank, dash=dash, key=i == 0, width=1.0, note=note
                )
        for rank, (direction, one) in enumerate(at.items(), start=1):
            colour = DIRECTIONS.get(direction, OWN)
            draw.band(one["ci_low"], one["ci_high"], colour)
            draw.line(words(direction), one["estimate"], colour, one["ci_low"], one["ci_high"], rank=rank)
        heading(frame.fig, panel, words(segment), 4.0)
    return _finished(
        frame,
        layers,
        name="T",
        columns=3,
        title=title,
        subtitle=subtitle,
        caption="All tokens of a segment patched at once, layer by layer, with the 95 % interval. 0, the patch did "
        "nothing; 1, it brought the other persona's answers with it. Denoise copies the source persona into a run "
        "without it; noise copies the other way. Grey: sources that should carry nothing over, on the same scale.",
    )


def _finished(
    frame: Grid, layers: list[int], *, name: str, columns: int, title: str, subtitle: str, caption: str
) -> go.Figure:
    fig = frame.fig
    each, axis, top = (220.0 if frame.rows == 1 else 140.0), 36.0, HEAD + SIZE + 6
    for panel in frame.panels:
        at = {"row": panel.row, "col": panel.column}
        # Layers stand at their true distance here, also those of a sweep that leaves some out.
        fig.update_xaxes(layer_ticks(range(min(layers), max(layers) + 1), frame.room, 22.0), **at)
        fig.update_yaxes(title_text=name if panel.column == 1 else None, **at)
        # An annotation and not the axis's own title, which plotly pushes up into the ticks of the last row.
        fig.add_annotation(
            text="layer",
            x=0.5,
            y=0,
            xref=f"{panel.x} domain",
            yref=f"{panel.y} domain",
            yanchor="top",
            yshift=-18,
            showarrow=False,
        )
    keys = sum(bool(trace.showlegend) for trace in fig.data)
    bottom = axis + 10 + 19 * -(-keys // columns)
    height = frame.height(each, axis + SIZE + 14) + top + bottom
    fig.update_layout(legend=legend_below(columns))
    return finished(
        fig,
        title=title,
        subtitle=subtitle,
        caption=caption,
        height=height,
        margin={"l": _LEFT, "r": _RIGHT, "t": top, "b": bottom},
    )


class _Pen:
    """Draws on one panel of a profile; only the first panel's lines stand in the legend."""

    def __init__(self, fig: go.Figure, panel: Panel, layers: Sequence[int]) -> None:
        self._fig = fig
        self._at = {"row": panel.row, "col": panel.column}
        self._layers = layers
        self._first = panel.row == panel.column == 1

    def line(
        self,
        name: str,
        values: Array,
        colour: str,
        low: Array | None = None,
        high: Array | None = None,
        *,
        rank: int,
        dash: str = "solid",
        width: float = 1.8,
        key: bool = True,
        note: str = "",
    ) -> None:
        """A line by layer; layers without a number leave a gap, and one alone is a point."""
        nothing = np.full(len(values), np.nan)
        low, high = (nothing if bound is None else bound for bound in (low, high))
        hover = [
            f"<b>{note or name}: {interval(v, a, b)}</b><br>layer {layer}"
            for layer, v, a, b in zip(self._layers, values, low, high, strict=True)
        ]
        self._fig.add_trace(
            go.Scatter(
                x=[layer - min(self._layers) for layer in self._layers],
                y=values,
                mode="lines" if np.isfinite(values).sum() > 1 else "lines+markers",
                name=name,
                line={"color": colour, "width": width, "dash": dash},
                text=hover,
                hovertemplate="%{text}<extra></extra>",
                showlegend=self._first and key,
                legendgroup=name,
                legendrank=rank,
            ),
            **self._at,
        )

    def band(self, low: Array, high: Array, colour: str) -> None:
        """The interval, run by run of layers that have one."""
        there = np.isfinite(low) & np.isfinite(high)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], there.astype(int), [0]])))
        red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
        for start, stop in zip(edges[::2], edges[1::2], strict=True):
            x = [layer - min(self._layers) for layer in self._layers[start:stop]]
            self._fig.add_trace(
                go.Scatter(
                    x=x + x[::-1],
                    y=[*high[start:stop], *low[start:stop][::-1]],
                    fill="toself",
                    mode="lines",
                    line={"width": 0},
                    fillcolor=f"rgba({red},{green},{blue},0.16)",
                    hoverinfo="skip",
                    showlegend=False,
                    name="interval",
                ),
                **self._at,
            )


def _rule(fig: go.Figure, panel: Panel, level: float) -> None:
    fig.add_shape(
        type="line",
        x0=0,
        x1=1,
        y0=level,
        y1=level,
        xref=f"{panel.x} domain",
        yref=panel.y,
        layer="below",
        line={"color": FAINT, "width": 1},
    )
