"""A drawn: how strange an anachronism is to a persona, and to the assistant that is shown the same things."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from selfrep.plots import two_by_two
from selfrep.plots.panels import not_identified
from selfrep.plots.text import cell_interval, reasons, words
from selfrep.plots.theme import OWN, SOFT
from selfrep.plots.two_by_two import Line


def anomaly_interaction(anomaly: xr.Dataset) -> go.Figure:
    """The mean log odds of "strange" of persona and assistant, before the ordinary and the strange, from `anomaly`."""
    title = "The ordinary and the strange, to the persona and to the assistant"
    at = anomaly.sel(setting=["ordinary", "strange"])
    if not np.isfinite(at.cells).any():
        return not_identified(title, reasons(anomaly.reason))
    names = {"persona": "asked itself", "spectator": "asked from outside"}
    forms = [str(form) for form in anomaly.form.to_numpy()]
    notes = [
        ("A = " if bool(one.identified) else "A not identified; raw ") + cell_interval(one, "raw")
        for one in (anomaly.isel(form=i) for i in range(len(forms)))
    ]
    lines = [
        Line("persona", OWN, "solid", at.cells.sel(who="persona").to_numpy()),
        Line("plain assistant", SOFT, "dash", at.cells.sel(who="assistant").to_numpy()),
    ]
    return two_by_two.draw(
        lines,
        [names.get(form, words(form)) for form in forms],
        notes,
        ends=("ordinary thing", "anachronism"),
        axis="log odds of “strange” (nats)",
        title=title,
        subtitle=f"{anomaly.attrs['n_personas']} personas",
        caption="Each line: how the log odds that something is strange change from a thing of the persona’s own time "
        "to an anachronism. A persona that notices rises more steeply than the plain assistant, which is shown the "
        "same things; A is the difference of the two slopes, with its 95 % interval. Parallel lines: no difference. "
        "Where A is not identified, the slopes are observations that say nothing about noticing.",
    )
