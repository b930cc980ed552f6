"""What the items tell a reader: the shift between the sides, in character and as a spectator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import xarray as xr

from selfrep.analyses.analysis import Figure, Report, Table, Text
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


def _rows(run: RunDirectory, study: Mapping[str, Any]) -> Iterator[tuple[str, xr.Dataset]]:
    """The single items of a run, each by its question and beginning; the averages are told as findings."""
    if not run.has("items"):
        return
    items = run.read("items")
    for name, item in ((study.get("battery") or {}).get("define") or {}).items():
        if name in items.item:
            beginning = f" → “{item['prefill']} …”" if item.get("prefill", "").strip() else ""
            yield item.get("question", name) + beginning, items.sel(item=name)


def unclear(run: RunDirectory, study: Mapping[str, Any]) -> Iterator[Text]:
    """The items that are not identified."""
    for question, row in _rows(run, study):
        if not bool(row.identified):
            yield Text(question, str(row.reason.item()))


def details(run: RunDirectory, study: Mapping[str, Any]) -> Iterator[Table]:
    """Every item in numbers; none of them for the shift of one that is not identified."""
    rows: list[tuple[str, ...]] = []
    faint: set[int] = set()
    for question, row in _rows(run, study):
        at = {str(name): number(float(v)) for name, v in row.data_vars.items() if v.dtype.kind == "f"}
        if bool(row.identified):
            shift = [at["shift"], f"{at['ci_low']} to {at['ci_high']}", at["p"], at["user_shift"]]
        else:
            faint.add(len(rows))
            shift = ["not identified", *[""] * 3]
        rows.append((question, *shift, at["paraphrase_sd"], at["answer_mass"]))
    if rows:
        yield Table(
            f"All {len(rows)} items in numbers",
            ("Item", "Shift", "95 % interval", "p", "User is", "Noise", "Answer mass"),
            rows,
            caption="Shift: how far the two sides of personas move the answer apart (nats). “User is”: how far the "
            "same words move it when said of the user; what is kept of the shift there is vocabulary. Noise: standard "
            "deviation between paraphrases of one persona. Answer mass: how probable it is that the model says any of "
            "these words at all.",
            numbers=range(1, 7),
            faint=faint,
        )


REPORT = Report(
    findings=findings,
    figures=(Figure("items", ("items",), figures.item_bars),),
    limits=(
        Text(
            "Silence is not separation.",
            "Where an item from outside barely moves, the model may keep itself apart from its persona, or the item "
            "may be deaf. Without a change of the facts that does move it, the two cannot be told apart.",
        ),
    ),
    details=details,
    unclear=unclear,
)
