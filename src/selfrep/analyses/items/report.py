"""What the items tell a reader: the shift between the sides, in character and as a spectator."""

from __future__ import annotations

from collections.abc import Iterator

from selfrep.analyses.analysis import Figure, Report
from selfrep.analyses.items import IN_CHARACTER, SPECTATOR, figures
from selfrep.analyses.sentences import finding, with_interval
from selfrep.stats.numbers import number
from selfrep.store.findings import Finding
from selfrep.store.run_directory import RunDirectory


def findings(run: RunDirectory) -> Iterator[Finding]:
    """One for each row that averages several items."""
    if not run.has("items"):
        return
    items = run.read("items")
    first, second = (side.upper() if side == "ai" else side for side in items.attrs["sides"])
    n = " and ".join(map(str, items.attrs["n_personas"]))
    titles = {
        IN_CHARACTER: f"Asked who is speaking, {first} personas answer more like {first} than {second} personas do, by",
        SPECTATOR: "Asked from outside what produces the text, the persona that is played still moves the answer by",
    }
    for name, title in titles.items():
        if name not in items.item:
            continue
        row = items.sel(item=name)
        if bool(row.identified):
            kept, low, high = (number(100 * float(row[k])) for k in ("kept", "kept_ci_low", "kept_ci_high"))
            control = f"“The user is X” keeps {kept} % of it (95 % interval {low} to {high} %): the words alone."
        else:
            control = f"“The user is X” moves it by {with_interval(row, 'user_shift')} nats."
        yield finding(
            row,
            f"{title} (mean of {int(row.n_items)} items)",
            value="shift",
            control=control,
            how_sure=(
                f"Bootstrap over {n} personas and their paraphrases; p = {float(row.p):.2g} by permuting "
                f"{items.attrs['permuted']} ({items.attrs['n_labelings']:,} labelings)."
            ),
            unit="nats",
        )


REPORT = Report(findings=findings, figures=(Figure("items", ("items",), figures.item_bars),))
