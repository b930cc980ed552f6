"""T drawn: denoising beside noising, over layers and tokens, or layer by layer for whole segments."""

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
from selfrep.plots.text import interval, plain, words
from selfrep.plots.theme import CONTROLS, DASHES, DIRECTIONS, OWN
from selfrep.stats.numbers import number

GOES = (
    "Denoise copies the source persona into a run without it; noise copies the other way, out of the persona’s own "
    "run; where the two disagree, other parts of the model stand in."
)


def transfer_maps(transfer: xr.Dataset) -> go.Figure:
    """Denoising beside noising, from `transfer`: maps over positions; over whole segments, lines by layer."""
    known = ("direction", "layer", "position", "segment")
    if others := [str(dim) for dim in transfer.estimate.dims if dim not in known]:
        label = transfer[others[-1]].values[0].item()
        raise SelfrepError(f"A map shows one {others[-1]}; choose it first, e.g. .sel({others[-1]}={label!r}).")
    site = str(transfer.attrs.get("site", ""))
    between = " between self and persona" if "self" in transfer.attrs.get("ends", ()) else ""
    title = f"Transfer: what {SITES.get(site, 'patched activations')} carry over{between}"
    n_items = len(transfer.attrs.get("items", ()))
    parts = (site, f"{n_items} item{'s' if n_items > 1 else ''}" if n_items else "")
    subtitle = " · ".join(plain(part) for part in parts if part)
    if not np.isfinite(transfer.estimate.to_numpy()).any():
        return not_identified(title, str(transfer.attrs.get("reason") or "no cell has a number"), subtitle=subtitle)
    if "position" not in transfer.dims:
        pairs = (f"{plain(arrow)}: {_pairs(transfer.sel(direction=d))}" for d, arrow in arrows(transfer).items())
        return _lines(transfer, title=title, subtitle=" · ".join(filter(None, (subtitle, *pairs))))
    layers, places = layers_of(transfer), Places.of(transfer)
    maps = []
    for direction in transfer.direction.to_numpy():
        one = transfer.sel(direction=direction)
        values = arrays(one, "position")
        z, low = values["estimate"], values["ci_low"]
        controls = [v for k, v in values.items() if k.startswith("control_")]
        bar = np.fmax.reduce([np.zeros_like(z), *controls])
        name = f"{plain(_capital(arrows(transfer)[str(direction)]))}: {_pairs(one)}"
        # Without controls an outline would only say that hundreds of small intervals were looked at, and some miss 0.
        outlined = np.isfinite(low) & (low > bar) & bool(controls)
        maps.append(Map(name, z, cell_words(values, _words, layers, places), outlined=outlined))
    return heat_maps.draw(
        maps,
        places,
        layers,
        name="T",
        limit=heat_maps.transfer_limit([one.values for one in maps]),
        title=title,
        subtitle=subtitle,
        caption="Each cell: the activation at one layer (upwards) and token (from the left), copied from another "
        f"run. 0, the patch did nothing; 1, it brought that run’s answers with it. {GOES} Outlined, "
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


def _words(at: dict[str, float]) -> str:
    lines = [f"<b>T = {interval(at['estimate'], at['ci_low'], at['ci_high'])}</b>"]
    for name, control in at.items():
        if name.startswith("control_"):
            lines.append(f"control, {words(name.removeprefix('control_'))}: {number(control)}")
    if np.isfinite(at["p"]):
        lines.append(f"p = {number(at['p'])}")
    return "<br>".join(lines)


def _pairs(one: xr.Dataset) -> str:
    """How many pairs stand behind one direction."""
    n, gated = (int(np.nan_to_num(one[k].to_numpy())) for k in ("n_pairs", "n_gated"))
    if n == 0:
        return "not identified"
    return f"{n} pair{'s' if n > 1 else ''}" + (f" ({gated} gated)" if gated else "")


def _lines(transfer: xr.Dataset, *, title: str, subtitle: str) -> go.Figure:
    """T by layer for whole segments, a panel each, with both directions in it. Title and subtitle escaped."""
    there = np.isfinite(transfer.estimate).any(("direction", "layer")).to_numpy()  # no panel for what no prompt has
    segments = [str(s) for s in transfer.segment.to_numpy()[there]]
    layers = layers_of(transfer)
    controls = [kind for kind in CONTROLS if f"control_{kind}" in transfer]
    frame = profiles(len(segments))
    for panel, segment in zip(frame.panels, segments, strict=True):
        draw = Pen(frame.fig, panel, layers)
        for level in (0.0, 1.0):
            draw.rule(level)
        here = transfer.sel(segment=segment)
        draw_controls(draw, here, controls)
        both_ways(draw, here)
        heading(frame.fig, panel, PANELS.get(segment, words(segment)), 4.0)
    return finish_profiles(
        frame,
        layers,
        name="T",
        columns=3,
        title=f"{title}, by segment",
        subtitle=subtitle,
        caption="All tokens of a segment patched at once, layer by layer, with the 95 % interval. 0, the patch did "
        "nothing; 1, it brought the answers of the run it came from with it. Solid: into a run without the source "
        "persona (denoise); dashed: the other way (noise)."
        + (" Grey: sources that should carry nothing over, on the same scale." if {*controls} - {"fact"} else "")
        + (" Grey, on a scale of its own: a fact about no persona." if "fact" in controls else "")
        + _unsure(transfer),
    )


def _unsure(transfer: xr.Dataset) -> str:
    """What a caption adds where lines are drawn of what is not identified, such as a single pair."""
    reasons = dict.fromkeys(map(str, np.atleast_1d(transfer.reason.to_numpy()))) if "reason" in transfer else {}
    return "".join(f" Drawn, but not identified: {reason}." for reason in reasons if reason)


PANELS = {"all": "all tokens", "last": "last token"}
"""What stands over the panels of segments that are no part of a prompt."""


def draw_controls(draw: Pen, transfer: xr.Dataset, kinds: Sequence[str]) -> None:
    """What sources that should do nothing carry over, in both directions, in grey. Arguments as for `both_ways`."""
    for rank, kind in enumerate(kinds, start=3):
        colour, dash = CONTROLS[kind]
        for i, (direction, arrow) in enumerate(arrows(transfer).items()):
            note = f"control ({words(kind)}), {plain(arrow)}"
            values = transfer[f"control_{kind}"].sel(direction=direction).to_numpy()
            draw.line(f"control: {words(kind)}", values, colour, rank=rank, dash=dash, key=i == 0, width=1.0, note=note)


def both_ways(draw: Pen, transfer: xr.Dataset) -> None:
    """T by layer in both directions, with 95 % bands over personas: denoise solid, noise dashed.

    Args:
        draw: on the panel; its layers are those of `transfer`.
        transfer: estimate, ci_low and ci_high over (direction, layer), from `transfer` at one segment.
    """
    for rank, (direction, arrow) in enumerate(arrows(transfer).items(), start=1):
        colour, dash = DIRECTIONS.get(direction, OWN), DASHES.get(direction, "solid")
        at = transfer.sel(direction=direction)
        estimate, low, high = (at[name].to_numpy().astype(float) for name in ("estimate", "ci_low", "ci_high"))
        draw.band(low, high, colour)
        draw.line(plain(arrow), estimate, colour, low, high, rank=rank, dash=dash)


def arrows(transfer: xr.Dataset) -> dict[str, str]:
    """What each direction is called: "self → persona" and back, where one end is the self; else by its own name.

    Example:
        >>> moved = xr.Dataset(coords={"direction": ["denoise", "noise"]}, attrs={"ends": ["self", "persona"]})
        >>> arrows(moved)
        {'denoise': 'self → persona', 'noise': 'persona → self'}
    """
    first, second = transfer.attrs.get("ends", ("", ""))
    ways = {"denoise": f"{first} → {second}", "noise": f"{second} → {first}"} if "self" in (first, second) else {}
    return {str(name): ways.get(str(name), str(name)) for name in np.atleast_1d(transfer.direction.to_numpy())}


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
