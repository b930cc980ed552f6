"""From what was said of many organisms to the rows of the table: what is pooled, and what it is judged by."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from scipy.stats import binomtest

from selfrep.analyses.answers import Answer, Estimand, Line
from selfrep.validation.card import Examined, Row, Rule

EASY = ("separate", "bleed", "mimicry", "motive")
HARD = (
    "hydra", "dormant", "decoys", "lexical", "default", "impostor", "noticing", "blind", "reasoner", "jumper",
)  # fmt: skip
TRAINED = ("trained", "trained_control")

AUROC_EASY, AUROC_HARD = 0.99, 0.95
COVERAGE, ALARMS = 0.95, 0.05
SURE = 0.1
"""A T that is surely larger than this is a claim that a cell is used."""


def rows(examined: Sequence[Examined], own: Sequence[str] = ()) -> Iterator[Row]:
    """The table of what was examined; `own` are the names of a user's estimators."""
    yield from _maps(examined)
    for name in own:
        yield from _of_user(examined, name)
    yield from _quantities(examined)
    yield from _honesty(examined)


def _kinds(examined: Sequence[Examined]) -> Iterator[tuple[str, float, list[Examined]]]:
    """The groups of kinds whose maps share a row, each with the AUROC that it must reach."""
    apart = ("hydra", "dormant", "decoys")
    groups: list[tuple[str, float, tuple[str, ...]]] = [("easy", AUROC_EASY, EASY)]
    groups += [(kind, AUROC_HARD, (kind,)) for kind in apart]
    groups += [("other hard ones", AUROC_HARD, tuple(kind for kind in HARD if kind not in apart))]
    groups += [(kind, AUROC_HARD, (kind,)) for kind in TRAINED]
    for name, least, kinds in groups:
        if members := [one for one in examined if one.kind in kinds and one.marks]:
            yield name, least, members


def _maps(examined: Sequence[Examined]) -> Iterator[Row]:
    used, there = "Where it is used", "Where it is"
    for name, least, members in _kinds(examined):
        control = name == "trained_control"
        rule: Rule = "below" if control else "at least"
        beside = _beside(members, "causal", ("attribution alone",))
        found = _of(members, "T", "causal", "auroc")
        passed = max(found) < least if control else min(found) >= least
        yield _row(used, "AUROC of |T|", name, "causal cells", found, beside, rule, least, passed)
        if not control:
            precise = _of(members, "T", "causal", "precision")
            beside = _beside(members, "causal", ("attribution alone",), "precision")
            yield _row(used, "average precision of |T|", name, "causal cells", precise, beside)
            beside = _beside(members, "causal", ("attribution alone", "T without the gate"), "off", max)
            off = _of(members, "T", "causal", "off")
            yield _row(used, "|T| off the planted transfer, worst cell", name, "0", off, beside)
    if fooled := [one.illusion for one in examined if one.illusion]:
        whole, part = zip(*fooled, strict=True)
        yield _row(
            used, "largest |T| of a cell that has no part", "dormant", "0", list(whole),
            f"its subspace alone {np.median(part):.2f}", "at most", SURE, max(whole) <= SURE,
        )  # fmt: skip
    for name, least, members in _kinds(examined):
        found = _of(members, "S", "present", "auroc")
        if found:
            distances = ("raw distance", "plain cosine")
            beside = _beside(members, "present", distances)
            yield _row(there, "AUROC of S", name, "presence", found, beside, "at least", least, min(found) >= least)
            beside = _beside(members, "present", distances, "precision")
            yield _row(
                there, "average precision of S", name, "presence", _of(members, "S", "present", "precision"), beside
            )
            found = _of(members, "S", "causal", "precision")
            beside = _beside(members, "causal", ("T",), "precision")
            yield _row(there, "average precision of S, against use", name, "causal cells", found, beside)


def _of_user(examined: Sequence[Examined], estimator: str) -> Iterator[Row]:
    for name, _, members in _kinds(examined):
        for planted, what, ours in (("causal", "causal cells", "T"), ("present", "presence", "S")):
            if found := _of(members, estimator, planted, "auroc"):
                yield _row("Yours", f"AUROC of {estimator}", name, what, found, _beside(members, planted, (ours,)))


def _of(members: Sequence[Examined], estimator: str, planted: str, mark: str) -> list[float]:
    return [
        float(getattr(m, mark))
        for one in members
        for m in one.marks
        if m.estimator == estimator and m.planted == planted
    ]


def _beside(
    members: Sequence[Examined],
    planted: str,
    estimators: Sequence[str],
    mark: str = "auroc",
    worst: Callable[[list[float]], float] = min,
) -> str:
    found = {name: _of(members, name, planted, mark) for name in estimators}
    return "; ".join(f"{name} {np.median(v):.2f}, worst {worst(v):.2f}" for name, v in found.items() if v)


def _quantities(examined: Sequence[Examined]) -> Iterator[Row]:
    """A row for each line of each estimand that has an answer."""
    known: dict[Estimand, list[tuple[str, Answer]]] = {}
    for one in examined:
        for answer in one.answers:
            if answer.truth is not None:
                known.setdefault(answer.estimand, []).append((one.kind, answer))
    for estimand, answers in known.items():
        each = dict.fromkeys(answer.of for _, answer in answers)
        for line in estimand.lines or [Line(f"{estimand.title} {of}".strip(), of=of) for of in each]:
            mine = [(k, a) for k, a in answers if a.of == line.of and (not line.kinds or k in line.kinds)]
            if mine:
                yield _quantity(estimand, line, *map(list, zip(*mine, strict=True)))


def _quantity(estimand: Estimand, line: Line, kinds: list[str], answers: list[Answer]) -> Row:
    given = [answer for answer in answers if answer.identified]
    names = ", ".join(dict.fromkeys(kinds))
    truth = shortly(float(np.median([answer.truth for answer in answers])))
    worst = max((abs(answer.error) for answer in given), default=float("nan"))
    commons = [answer.common for answer in given if np.isfinite(answer.common)]
    beside = f"{line.custom} {shortly(float(np.median(commons)))}" if line.custom and commons else ""
    silent = len(answers) - len(given)
    model = f"{names} ({silent} not identified)" if silent else names
    what, values = f"{line.what}: worst error {worst:.3f}", [a.estimate for a in given] or [np.nan]
    passed = bool(given) and worst <= estimand.tolerance
    return _row("How much", what, model, truth, values, beside, "within", estimand.tolerance, passed)


def _honesty(examined: Sequence[Examined]) -> Iterator[Row]:
    part = "How honest"
    by_name: dict[str, list[Answer]] = {}
    for one in examined:
        for answer in one.answers:
            if one.noise > 0 and answer.identified and answer.truth is not None:
                by_name.setdefault(answer.estimand.symbol, []).append(answer)
    for name, answers in by_name.items():
        yield _rate(
            part, f"95 % intervals of {name} that hold the truth", "all with noise", "0.95",
            sum(a.covered for a in answers), len(answers), "", "at least", COVERAGE,
        )  # fmt: skip
    answered = [a for one in examined for a in one.answers]
    claims = [w for one in examined for w in one.withheld]
    wrong = float(sum(a.wrong for a in answered) + sum(w.largest > SURE for w in claims))
    n = len(answered) + len(claims)
    if n:
        which: dict[str, int] = {}
        for name in [a.estimand.symbol for a in answered if a.wrong] + ["T" for w in claims if w.largest > SURE]:
            which[name] = which.get(name, 0) + 1
        said = ", ".join(f"{name} {count}" for name, count in which.items())
        model = f"all; in {said}" if said else "all"
        what = "wrong answers given with confidence"
        yield Row(part, what, model, "0", wrong, wrong, wrong, n, "", "at most", 0.0, wrong == 0)
    if claims:
        yield _rate(
            part, "T where no persona is used: withheld", "all", "1", sum(not w.given for w in claims), len(claims)
        )
    if deals := [deal for one in examined for deal in one.deals]:
        nothing = "personas dealt by a coin"
        prompts = np.mean([deal.prompt_cells for deal in deals])
        yield _rate(
            part, "maps of S with a false cell (family-wise)", nothing, "0.05", sum(d.anywhere for d in deals),
            len(deals), "", "at most", ALARMS,
        )  # fmt: skip
        cells = [deal.cells for deal in deals]
        half = float(1.96 * np.std(cells, ddof=1) / np.sqrt(len(cells))) if len(cells) > 1 else float("nan")
        mean = float(np.mean(cells))
        yield Row(
            part, "cells of S with p < .05", nothing, "0.05", mean, mean - half, mean + half, len(cells),
            f"prompt-level permutation {prompts:.2f}", "at most", ALARMS, mean - half <= ALARMS,
        )  # fmt: skip
        t_test = np.mean([deal.prompt_bleeds for deal in deals])
        yield _rate(
            part, "B with p < .05", nothing, "0.05", sum(d.bleeds for d in deals), len(deals),
            f"t-test over prompts {t_test:.2f}", "at most", ALARMS,
        )  # fmt: skip


def shortly(value: float) -> str:
    """Two decimals, a true minus sign, and no minus before a zero."""
    return f"{value:.2f}".replace("-0.00", "0.00").replace("-", "−")


def _row(
    part: str,
    what: str,
    model: str,
    truth: str,
    values: Sequence[float],
    common: str = "",
    rule: Rule = "",
    threshold: float = float("nan"),
    passed: bool | None = None,
) -> Row:
    """The median and the range over organisms."""
    middle, low, high = float(np.median(values)), float(np.min(values)), float(np.max(values))
    return Row(part, what, model, truth, middle, low, high, len(values), common, rule, threshold, passed)


def _rate(
    part: str,
    what: str,
    model: str,
    truth: str,
    k: int,
    n: int,
    common: str = "",
    rule: Rule = "",
    threshold: float = float("nan"),
) -> Row:
    """A rate with its exact 95 % interval (Clopper and Pearson 1934)."""
    between = binomtest(k, n).proportion_ci(0.95)
    passed = None
    if rule:
        passed = bool(between.high >= threshold if rule == "at least" else between.low <= threshold)
    return Row(
        part, what, model, truth, k / n, float(between.low), float(between.high), n, common, rule, threshold, passed
    )
