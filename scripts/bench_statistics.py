"""Calibration and power by simulation: how often a test cries wolf, how often an interval holds the truth, and how
often an effect that is there is seen.

Data are drawn from populations of families of personas with known truth, read by the default estimators, and scored:
the share of nulls called p < .05 (should be .05 at most, up to simulation noise), the share of 95 % intervals that hold
the truth, and the share of studies that call an effect. Rows marked "control" do it wrongly on purpose, to show that
the simulation can fail.

    python scripts/bench_statistics.py --repeats 200
    python scripts/bench_statistics.py --repeats 20 --only bleed        # the parts whose names begin so

Every part draws from a seed of its own in every column: alone it gives the rows that it gives in the whole table.
"""

from __future__ import annotations

import argparse
import sys
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import bench_calibration as answers
import bench_calibration_alone as alone
import bench_calibration_maps as maps
from bench_designs import Design
from bench_power import of_power
from bench_scoring import Part, of_study

Array = np.ndarray

LABEL, CELL = 70, 17
AT_ONCE = 100
"""Studies that are drawn together, for the sake of memory."""
FEW = 20
"""Studies of three families: only to show that no interval is told of them."""


@dataclass(frozen=True)
class Table:
    """What is simulated for several designs, side by side.

    Attributes:
        title: what a column is.
        columns: by name; parts: by name, each for every column.
    """

    title: str
    columns: Mapping[str, Any]
    parts: Mapping[str, Part]


def _columns(*designs: Design) -> dict[str, Design]:
    return {design.title: design for design in designs}


TABLES = [
    Table(
        "families a side (of 2: two personas each, alike by .6)",
        _columns(Design(9, 9), Design(9, 9, 2), Design(4, 12, 2), Design(3, 12, 2)),
        {
            "items": answers.of_items,
            "many items": answers.of_many_items,
            "binding": answers.of_binding,
            "bleed": answers.of_bleed,
            "identification": answers.of_identification,
            "separation": maps.of_separation,
            "maps of separation": maps.of_separation_maps,
            "probe": maps.of_probe,
            "clusters": maps.of_clusters,
            "selection": maps.of_selection,
            "uneven items": answers.of_uneven_items,
            "uneven separation": maps.of_uneven_separation,
        },
    ),
    Table(
        "families (of 2: two personas each, alike by .6)",
        _columns(Design(9), Design(9, members=2), Design(4, members=2), Design(3, members=2)),
        {
            "divergence": alone.of_divergence,
            "spectator": alone.of_spectator,
            "shifts": alone.of_shifts,
            "referents": alone.of_referents,
            "anomaly": alone.of_anomaly,
            "recognition": alone.of_recognition,
        },
    ),
    Table(
        "families of roles",
        _columns(Design(9), Design(9, members=2), Design(20, members=2), Design(3, members=2)),
        {"axis": alone.of_axis},
    ),
    Table(
        "pairs of families (of 2: two personas each, alike by .6)",
        {
            "9 pairs": partial(maps.matched, 9),
            "9 pairs of 2": partial(maps.matched, 9, 2),
            "4 to 12 of 2": partial(maps.shared, 4, 12, 2),
            "self to 9 of 2": partial(maps.from_self, 9, 2),
            "6 x 6": partial(maps.crossed, 6),
            "3 pairs of 2": partial(maps.matched, 3, 2),
        },
        {"transfer": maps.of_transfer},
    ),
    Table("scenarios", {"6": 6, "10": 10}, {"mediation": alone.of_mediation, "directness": alone.of_directness}),
    Table(
        "power, by families a side",
        _columns(Design(4, 4), Design(5, 5), Design(6, 6), Design(9, 9), Design(12, 12), Design(9, 9, 2)),
        {"power": of_power},
    ),
]


def scores(part: Part, name: str, columns: Mapping[str, Any], repeats: int) -> dict[str, dict[str, Array]]:
    """Row → column → [study] the score of each study, NaN where it had nothing to say."""
    rows: dict[str, dict[str, list[Array]]] = {}
    for column, design in columns.items():
        rng = np.random.default_rng(zlib.crc32(f"{name} {column}".encode()))
        wanted = min(repeats, FEW) if column.startswith("3 ") else repeats
        for start in range(0, wanted, AT_ONCE):
            for row, outcomes in part(rng, design, min(AT_ONCE, wanted - start)):
                rows.setdefault(row, {}).setdefault(column, []).append(of_study(outcomes))
    return {row: {column: np.concatenate(parts) for column, parts in found.items()} for row, found in rows.items()}


def cell(outcomes: Array | None) -> str:
    """The rate, twice its standard error, and of how many studies, where not of all; "none" where nothing was told."""
    if outcomes is None:
        return "–"
    told = outcomes[np.isfinite(outcomes)]
    if not len(told):
        return "none"
    of = f"/{len(told)}" if len(told) < len(outcomes) else ""
    return f"{told.mean():.3f} ±{2 * told.std() / np.sqrt(len(told)):.3f}".replace("0.", ".") + of


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=200, help="simulated studies a cell (default 200)")
    known = ", ".join(name for table in TABLES for name in table.parts)
    parser.add_argument("--only", default="", metavar="NAME", help=f"parts whose names begin so, of {known}")
    given = parser.parse_args()
    started = time.process_time()
    for table in TABLES:
        parts = {name: part for name, part in table.parts.items() if name.startswith(given.only)}
        if not parts:
            continue
        print(f"\n{table.title:<{LABEL}}" + "".join(f"{column:<{CELL}}" for column in table.columns).rstrip())
        for name, part in parts.items():
            for row, columns in scores(part, name, table.columns, given.repeats).items():
                cells = (cell(columns.get(column)) for column in table.columns)
                print((f"{row:<{LABEL}}" + "".join(f"{text:<{CELL}}" for text in cells)).rstrip(), flush=True)
    print(f"\n{given.repeats} simulated studies a cell, {time.process_time() - started:.0f} s of one core")


if __name__ == "__main__":
    main()
