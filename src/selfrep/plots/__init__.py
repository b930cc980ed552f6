"""Datasets drawn as plotly figures, each with a title, a sentence or two on how to read it, the numbers on hover."""

from selfrep.plots.bars import item_bars
from selfrep.plots.export import NO_BROWSER, browser, save
from selfrep.plots.interactions import anomaly_interaction, cue_by_stakes
from selfrep.plots.lines import separation_profile
from selfrep.plots.maps import heatmap, separation_map, transfer_maps
from selfrep.plots.motives import directness_curve, mediation_paths
from selfrep.plots.points import persona_map
from selfrep.plots.scales import default_strip, identification_dots, referent_lines
from selfrep.plots.shares import binding_shares, bleed_shares
from selfrep.plots.speakers import posterior_ribbons
from selfrep.plots.theme import caption

__all__ = [
    "NO_BROWSER",
    "anomaly_interaction",
    "binding_shares",
    "bleed_shares",
    "browser",
    "caption",
    "cue_by_stakes",
    "default_strip",
    "directness_curve",
    "heatmap",
    "identification_dots",
    "item_bars",
    "mediation_paths",
    "persona_map",
    "posterior_ribbons",
    "referent_lines",
    "save",
    "separation_map",
    "separation_profile",
    "transfer_maps",
]
