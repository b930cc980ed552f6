"""Personas in a plane: where the model puts them at one layer and place."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from selfrep.results.plots.text import plain, shortened, signed, words
from selfrep.results.plots.theme import KINDS, NULL, SIDES, TINY, finished, not_identified


def persona_map(points: xr.Dataset) -> go.Figure:
    """Personas on their first two principal components, from `estimands.geometry.persona_map`."""
    axis = "position" if "position" in points.attrs else "segment"
    title = "Personas in the plane of their first two components"
    place = points.attrs.get(axis, "")
    subtitle = f"{plain(points.attrs.get('site', ''))} · layer {points.attrs.get('layer', '')} · {axis} {plain(place)}"
    if not np.isfinite(points.coordinates.to_numpy()).any():
        return not_identified(title, "No point has coordinates.", subtitle=subtitle)
    at = points.coordinates.to_numpy().astype(float)
    persona, kind, side, voice = (points[k].to_numpy().astype(str) for k in ("persona", "kind", "side", "voice"))
    fig = go.Figure()
    for name in [k for k in KINDS if k in kind] + sorted(set(kind) - set(KINDS)):
        for said, hollow in (("user", True), ("you", False)):
            mine = (kind == name) & (voice == said)
            if not mine.any():
                continue
            symbol = SIDES.get(side[mine][0], "square")
            colour = KINDS.get(name, NULL)
            fig.add_trace(
                go.Scatter(
                    x=at[mine, 0], y=at[mine, 1], mode="markers", name=words(name), legendgroup=name, showlegend=not hollow,
                    marker={"symbol": symbol + ("-open" if hollow else ""), "size": 7, "color": colour, "opacity": 0.6},
                    text=[plain(p) for p in persona[mine]], hovertemplate="%{text}<extra></extra>",
                )
            )  # fmt: skip
    for name in dict.fromkeys(persona[voice == "you"]):
        x, y = at[(persona == name) & (voice == "you")].mean(axis=0)
        fig.add_annotation(x=x, y=y, text=plain(shortened(name, 22)), showarrow=False, yshift=9, font={"size": TINY})
    share = [round(100 * float(v)) for v in points.explained.to_numpy()]
    fig.update_xaxes(title_text=f"component 1 ({signed(share[0])} % of the variance)", zeroline=False)
    fig.update_yaxes(title_text=f"component 2 ({signed(share[1])} %)", zeroline=False)
    return finished(
        fig, title=title, subtitle=subtitle, height=420, margin={"r": 16},
        caption="Each point: one persona in one wording. Filled: “you are X”; hollow: the same words said of the user.",
    )  # fmt: skip
