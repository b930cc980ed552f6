"""What the items tell a reader: the shift between the sides, in character and as a spectator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr

from selfrep.analyses.items import IN_CHARACTER, SPECTATOR, figures
from selfrep.analyses.items.difference import differences
from selfrep.analyses.report import Figure, Report, Table, Text
from selfrep.analyses.sentences import (
    USER_IS,
    all_families,
    all_words,
    finding,
    how_tested,
    n_families,
    spoken,
    with_interval,
)
from selfrep.stats.gates import LEAST_MASS
from selfrep.stats.numbers import counted, number, told
from selfrep.store.findings import Finding
from selfrep.store.run_directory import RunDirectory


def findings(run: RunDirectory) -> Iterator[Finding]:
    """One for each row of several items: its middle item."""
    if not run.has("items"):
        return
    items = run.read("items")
    first, second = (str(label) for label in items.attrs["side_labels"])
    titles = {
        IN_CHARACTER: f"Asked about the speaker, {first} and {second} answer this far apart",
        SPECTATOR: f"Asked from outside, {first} and {second} answer this far apart",
    }
    for name, title in titles.items():
        if name not in items.item:
            continue
        row = items.sel(item=name)
        n, moving = int(row.n_items), float(row.n_moving)
        several = f"{moving:.0f} of {n} items {'moves' if moving == 1 else 'move'}"
        moved = f"{several} (p ≤ .05; by chance one in 20 would). " if np.isfinite(moving) else ""
        mean = f"{moved}Over all of them the mean is {with_interval(row.assign(estimate=row['shift']))} nats. "
        whole, rest = (f"{title}, in the middle one of {n} items", mean) if n > 1 else (title, "")
        yield finding(
            row,
            whole,
            value="median",
            reason=str(row.shift_reason.item()),
            control=(
                f"{rest}Said of the user, the same words move it by {with_interval(row, 'user_shift')} nats"
                f"{_kept(row)}."
            ),
            how_sure=(
                f"Bootstrap over {n_families(items)}, their personas and paraphrases; "
                f"{how_tested(row, items.attrs, 'median_p')}. Read by answer words that no persona’s description says."
                f"{all_words(row, 'shift', 'nats').replace('it is', 'the mean is')}"
                + (
                    f" Left out, since all answers of a side are said: {spoken(left_out)}."
                    if (left_out := row.left_out.item())
                    else ""
                )
            ),
            unit="nats",
            name=name,
            label=f"shift, asked {'about the speaker' if name == IN_CHARACTER else 'from outside'}",
            p=float(row.median_p),
            **all_families(items),
            beside=float(row.user_shift),
            beside_what=USER_IS,
            gate=f"answers of a probability of at least {LEAST_MASS}, and four families on either side",
        )


def _kept(row: xr.Dataset) -> str:
    """The share that the words alone keep, where it is identified."""
    if not bool(row.identified):
        return ""
    kept, low, high = (told(100 * float(row[k])) for k in ("kept", "kept_ci_low", "kept_ci_high"))
    return f", {kept} % of it (95 % interval {low} to {high} %)"


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
    """The items whose shift cannot be read."""
    for question, row in _rows(run, study):
        if reason := str(row.shift_reason.item()):
            yield Text(question, reason)


def details(run: RunDirectory, study: Mapping[str, Any]) -> Iterator[Table]:
    """Every item in numbers; none of them for the shift of one that cannot be read."""
    rows: list[tuple[str, ...]] = []
    faint: set[int] = set()
    for question, row in _rows(run, study):
        at = {str(name): number(float(v)) for name, v in row.data_vars.items() if v.dtype.kind == "f"}
        if row.shift_reason.item():
            faint.add(len(rows))
            shift = ["not identified", *[""] * 5]
        else:
            kept = at["kept"] if bool(row.identified) else "not identified"
            p = at["p"] if np.isfinite(float(row.p)) else "too few families"
            shift = [
                at["shift"],
                f"{at['ci_low']} to {at['ci_high']}",
                p,
                at["all_words_shift"],
                at["user_shift"],
                kept,
            ]
        rows.append((question, *shift, at["paraphrase_sd"], at["answer_mass"]))
    if rows:
        yield Table(
            f"All {counted(len(rows), 'item')} in numbers" if len(rows) > 1 else "The item in numbers",
            ("Item", "Shift", "95 % interval", "p", "All words", "User is", "Kept", "Noise", "Answer mass"),
            rows,
            caption="Shift: how far the two sides of personas move the answer apart (nats), read by the answer words "
            "that no persona’s description says; all words: by the others, too. “User is”: how far the same words move "
            "it when said of the user; kept: which share of the shift that is, and so vocabulary, where the shift is "
            "large enough to be divided by. Noise: standard deviation between paraphrases of one persona. Answer mass: "
            "how probable it is that the model says any of these words at all.",
            numbers=range(1, 9),
            faint=faint,
        )


REPORT = Report(
    findings=findings,
    differences=differences,
    figures=(
        Figure("degree_of_separation", ("persona_shifts",), figures.degree_of_separation, opens=True),
        Figure("items", ("items",), figures.item_bars),
    ),
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
