"""Calibration and power by simulation: how often a test cries wolf, how often an interval holds the truth, and how
often an effect that is there is seen.

Data are drawn from populations of personas with known truth (bench_populations.py), read by the default estimators, and
scored: the share of nulls called p < .05 (should be .05 at most, up to simulation noise), the share of 95 % intervals
that hold the truth, and the share of studies that call an effect. Rows marked "control" do it wrongly on purpose, to
show that the simulation can fail.

    python scripts/bench_statistics.py --repeats 200
    python scripts/bench_statistics.py --repeats 20 --only bleed        # the parts whose names begin so

Every part draws from a seed of its own: alone it gives the rows that it gives in the whole table.
"""

from __future__ import annotations

import argparse
import sys
import time
import zlib
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import bench_calibration as answers
import bench_calibration_maps as maps
from bench_power import SIZES, of_power
from bench_scoring import Study, tally

PARTS: dict[str, Study] = {
    **{f"separation {n}": partial(maps.of_separation, n=n) for n in (5, 8)},
    "uneven separation 8": partial(maps.of_uneven_separation, first=8, second=8),
    "uneven separation 5": partial(maps.of_uneven_separation, first=5, second=11),
    **{f"items {n}": partial(answers.of_items, n=n) for n in (5, 8)},
    "uneven items 8": partial(answers.of_uneven_items, first=8, second=8),
    "uneven items 5": partial(answers.of_uneven_items, first=5, second=11),
    **{f"binding {n}": partial(answers.of_binding, n=n) for n in (5, 8)},
    **{f"bleed {n}": partial(answers.of_bleed, n=n) for n in (5, 8)},
    **{f"identification {n}": partial(answers.of_identification, n=n) for n in (5, 8)},
    "pooled 8": partial(answers.of_pooled, n=8),
    **{f"referents {n}": partial(answers.of_referents, n=n) for n in (5, 8)},
    **{f"anomaly {n}": partial(answers.of_anomaly, n=n) for n in (6, 10)},
    **{f"mediation {n}": partial(answers.of_mediation, n=n) for n in (6, 10)},
    **{f"directness {n}": partial(answers.of_directness, n=n) for n in (6, 10)},
    **{f"recognition {n}": partial(answers.of_recognition, n=n) for n in (5, 8)},
    **{f"transfer {n}": partial(maps.of_transfer, n=n, crossed=False) for n in (4, 8)},
    **{f"transfer crossed {n}": partial(maps.of_transfer, n=n, crossed=True) for n in (4, 6)},
    **{f"axis {n}": partial(maps.of_axis, n=n) for n in (8, 20)},
    **{f"probe {n}": partial(maps.of_probe, n=n) for n in (5, 8)},
    **{f"clusters {n}": partial(maps.of_clusters, n=n) for n in (5, 8)},
    "selection 8": partial(maps.of_selection, n=8),
    **{f"power {n}": partial(of_power, n=n) for n in SIZES},
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=200, help="simulated studies a row (default 200)")
    parser.add_argument("--only", default="", metavar="NAME", help=f"parts whose names begin so, of {', '.join(PARTS)}")
    given = parser.parse_args()
    print(f"{'what':<66} {'rate':>6} {'± 2 SE':>7} {'n':>4}")
    started = time.process_time()
    for name, part in PARTS.items():
        if not name.startswith(given.only):
            continue
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        score: dict[str, list[float]] = {}
        for _ in range(given.repeats):
            tally(part(rng), score)
        for row, outcomes in score.items():
            error = 2 * np.std(outcomes) / np.sqrt(len(outcomes))
            print(f"{row:<66} {np.mean(outcomes):6.3f} {error:7.3f} {len(outcomes):4d}", flush=True)
    print(f"{given.repeats} simulated studies, {time.process_time() - started:.0f} s of one core")


if __name__ == "__main__":
    main()
