"""From what was said of many organisms to the rows of the table: what is pooled, and what it is judged by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from scipy.stats import binomtest

from selfrep.analyses.answers import Answer, Estimand, Line
from selfrep.validation.card import Examination, Row, Rule, spread
from selfrep.validation.maps import Mapped

EASY = ("separate", "bleed", "mimicry", "motive")
HARD = (
    "hydra", "dormant", "decoys", "lexical", "default", "impostor", "noticing", "blind", "reasoner", "jumper", "deaf",
    "conflated", "xor", "reread", "negation", "families", "echo", "mute",
)  # fmt: skip
SLOW = ("default", "noticing", "blind", "jumper", "deaf", "conflated", "families")
"""Those that a quick validation leaves out."""
TRAINED = ("trained", "trained_control")

AUROC_EASY, AUROC_HARD = 0.99, 0.95
COVERAGE, ALARMS = 0.95, 0.05
HONEST = "How honest"
SURE = 0.1
"""A T that is surely larger than this is a claim that a cell is used."""
TOLD_APART = 0.02
"""A distance between two personas, per mean squared norm, that is no noise."""


def rows(examinations: Sequence[Examination], own: Sequence[str] = ()) -> Iterator[Row]:
    """The table of what the examinations found; `own` are the names of a user's estimators."""
    yield from _maps(examinations)
    yield from _selves(examinations)
    for name in own:
        yield from _of_user(examinations, name)
    yield from _quantities(examinations)
    yield from _honesty(examinations)


def _kinds(examinations: Sequence[Examination]) -> Iterator[tuple[str, float, list[Examination]]]:
    """The groups of kinds whose maps share a row, each with the AUROC that it must reach."""
    alone = ("hydra", "dormant", "decoys", "xor", "reread")
    others = tuple(kind for kind in HARD if kind not in alone)
    groups = {"easy": EASY} | {kind: (kind,) for kind in alone} | {"other hard ones": others}
    for name, kinds in (groups | {kind: (kind,) for kind in TRAINED}).items():
        if members := [one for one in examinations if one.kind in kinds and _of([one], "T", "causal", "auroc")]:
            yield name, AUROC_EASY if name == "easy" else AUROC_HARD, members


def _maps(examinations: Sequence[Examination]) -> Iterator[Row]:
    used, there = "Where it is used", "Where it is"
    for name, least, members in _kinds(examinations):
        control = name == "trained_control"
        rule: Rule = "below" if control else "at least"
        beside = _beside(members, "causal", ("attribution alone",))
        aurocs = _of(members, "T", "causal", "auroc")
        passed = max(aurocs) < least if control else min(aurocs) >= least
        yield Row(used, "AUROC of |T|", name, "causal cells", *spread(aurocs), beside, rule, least, passed)
        if not control:
            precise = _of(members, "T", "causal", "precision")
            beside = _beside(members, "causal", ("attribution alone",), "precision")
            yield Row(used, "average precision of |T|", name, "causal cells", *spread(precise), beside)
            beside = _beside(members, "causal", ("attribution alone", "T without the gate"), "off", max)
            off = _of(members, "T", "causal", "off")
            yield Row(used, "|T| off the planted transfer, worst cell", name, "0", *spread(off), beside)
    if fooled := [one.illusion for one in examinations if one.illusion]:
        whole, part = zip(*fooled, strict=True)
        yield Row(
            used, "largest |T| of a cell that has no part", "dormant", "0", *spread(whole),
            f"its subspace alone {np.median(part):.2f}", "at most", SURE, max(whole) <= SURE,
        )  # fmt: skip
    if blank := [one.hidden for one in examinations if one.hidden]:
        sides, people = zip(*blank, strict=True)
        yield Row(
            there, "largest S of a cell that holds personas, of sides with one mean", "xor", "0", *spread(sides), "",
            "at most", SURE, max(sides) <= SURE,
        )  # fmt: skip
        yield Row(
            there, "identity separation of such cells, their mean", "xor", "above 0", *spread(people), "", "at least",
            TOLD_APART, min(people) >= TOLD_APART,
        )  # fmt: skip
    for name, least, members in _kinds(examinations):
        if aurocs := _of(members, "S", "present", "auroc"):
            distances = ("raw distance", "plain cosine")
            beside = _beside(members, "present", distances)
            yield Row(
                there, "AUROC of S", name, "presence", *spread(aurocs), beside, "at least", least, min(aurocs) >= least
            )
            precise = _of(members, "S", "present", "precision")
            beside = _beside(members, "present", distances, "precision")
            yield Row(there, "average precision of S", name, "presence", *spread(precise), beside)
            precise = _of(members, "S", "causal", "precision")
            beside = _beside(members, "causal", ("T",), "precision")
            yield Row(there, "average precision of S, against use", name, "causal cells", *spread(precise), beside)


def _selves(examinations: Sequence[Examination]) -> Iterator[Row]:
    """The self's maps: what writes the text is the model itself, or an operator. All kinds share a row."""
    groups = {"by hand": EASY + HARD, "trained": TRAINED[:1]}
    for group, kinds in groups.items():
        every = [one for one in examinations if one.kind in kinds]
        for part, ours, name, planted, common, truth in (
            ("Where it is used", "T", "|T|", "causal", "raw distance", "causal cells"),
            ("Where it is", "S", "S", "present", "raw distance", "presence"),
        ):
            # Where decoys shout the persona at all tokens, personas that balance each other take from S of the self.
            members = every if ours == "T" else [one for one in every if one.kind != "decoys"]
            for mark, what in (("auroc", "AUROC"), ("precision", "average precision")):
                if scores := _of(members, ours, planted, mark, "self"):
                    beside = _beside(members, planted, (common,), mark, variable="self")
                    row = Row(part, f"{what} of {name}, of the self", group, truth, *spread(scores), beside)
                    if mark == "auroc":
                        enough = min(scores) >= AUROC_HARD
                        row = replace(row, rule="at least", threshold=AUROC_HARD, passed=enough)
                    yield row


def _of_user(examinations: Sequence[Examination], estimator: str) -> Iterator[Row]:
    for name, _, members in _kinds(examinations):
        for planted, what, ours in (("causal", "causal cells", "T"), ("present", "presence", "S")):
            if aurocs := _of(members, estimator, planted, "auroc"):
                beside = _beside(members, planted, (ours,))
                yield Row("Yours", f"AUROC of {estimator}", name, what, *spread(aurocs), beside)


def _of(
    members: Sequence[Examination], estimator: str, planted: str, mark: str, variable: Mapped = "persona"
) -> list[float]:
    return [
        float(getattr(m, mark))
        for one in members
        for m in one.marks
        if (m.estimator, m.sheet, m.variable) == (estimator, planted, variable)
    ]


def _beside(
    members: Sequence[Examination],
    planted: str,
    estimators: Sequence[str],
    mark: str = "auroc",
    worst: Callable[[list[float]], float] = min,
    variable: Mapped = "persona",
) -> str:
    marks = {name: _of(members, name, planted, mark, variable) for name in estimators}
    return "; ".join(f"{name} {np.median(v):.2f}, worst {worst(v):.2f}" for name, v in marks.items() if v)


def by_estimand(examinations: Sequence[Examination]) -> dict[Estimand, list[tuple[Examination, Answer]]]:
    """The answers for which there is a truth, each with the examination that it is from."""
    known: dict[Estimand, list[tuple[Examination, Answer]]] = {}
    for one in examinations:
        for answer in one.answers:
            if answer.truth is not None:
                known.setdefault(answer.estimand, []).append((one, answer))
    return known


def _quantities(examinations: Sequence[Examination]) -> Iterator[Row]:
    """A row for each line of each estimand that has an answer."""
    for estimand, answers in by_estimand(examinations).items():
        each = dict.fromkeys(answer.of for _, answer in answers)
        for line in estimand.lines or [Line(f"{estimand.title} {of}".strip(), of=of) for of in each]:
            mine = [(e.kind, a) for e, a in answers if a.of == line.of and (not line.kinds or e.kind in line.kinds)]
            if mine:
                yield _quantity(estimand, line, *map(list, zip(*mine, strict=True)))


def _quantity(estimand: Estimand, line: Line, kinds: list[str], answers: list[Answer]) -> Row:
    numbers = [answer for answer in answers if answer.identified]
    names = ", ".join(dict.fromkeys(kinds))
    truth = shortly(float(np.median([answer.truth for answer in answers])))
    worst = max((abs(answer.error) for answer in numbers), default=float("nan"))
    commons = [answer.common for answer in numbers if np.isfinite(answer.common)]
    beside = f"{line.custom} {shortly(float(np.median(commons)))}" if line.custom and commons else ""
    silent = len(answers) - len(numbers)
    model = f"{names} ({silent} not identified)" if silent else names
    what, values = f"{line.what}: worst error {worst:.3f}", [a.estimate for a in numbers] or [np.nan]
    passed = bool(numbers) and worst <= estimand.tolerance
    return Row("How much", what, model, truth, *spread(values), beside, "within", estimand.tolerance, passed)


def _honesty(examinations: Sequence[Examination]) -> Iterator[Row]:
    coverage: dict[str, list[bool]] = {}
    for estimand, answers in by_estimand([one for one in examinations if one.noise > 0]).items():
        coverage.setdefault(estimand.symbol, []).extend(answer.covered for _, answer in answers if answer.identified)
    for name, covered in coverage.items():
        if covered:
            what = f"95 % intervals of {name} that hold the truth"
            yield _rate(what, "all with noise", "0.95", covered, "", "at least", COVERAGE)
    answered = [a for one in examinations for a in one.answers]
    claims = [w for one in examinations for w in one.abstentions]
    wrong = [a.estimand.symbol for a in answered if a.wrong] + ["T" for w in claims if w.largest > SURE]
    if n := len(answered) + len(claims):
        which = ", ".join(f"{name} {count}" for name, count in Counter(wrong).items())
        model, many = f"all; in {which}" if which else "all", float(len(wrong))
        what = "wrong answers given with confidence"
        yield Row(HONEST, what, model, "0", many, many, many, n, "", "at most", 0.0, not wrong)
    undefined: dict[str, list[bool]] = {}
    for answer in answered:
        if answer.truth is None:
            undefined.setdefault(answer.estimand.symbol, []).append(not answer.identified)
    for name, withheld in undefined.items():
        yield _rate(f"{name} where it is not defined: withheld", "all", "1", withheld)
    if claims:
        yield _rate("T where no persona is used: withheld", "all", "1", [not w.identified for w in claims])
    if deals := [deal for one in examinations for deal in one.deals]:
        nothing = "families dealt by a coin"
        prompts, t_test = (np.mean([getattr(deal, k) for deal in deals]) for k in ("prompt_cells", "prompt_bleeds"))
        what = "maps of S with a false cell (family-wise)"
        personas = f"personas permuted {np.mean([deal.persona_anywhere for deal in deals]):.2f}"
        yield _rate(what, nothing, "0.05", [deal.anywhere for deal in deals], personas, "at most", ALARMS)
        cells = [deal.cells for deal in deals]
        half = float(1.96 * np.std(cells, ddof=1) / np.sqrt(len(cells))) if len(cells) > 1 else float("nan")
        mean = float(np.mean(cells))
        yield Row(
            HONEST, "cells of S with p < .05", nothing, "0.05", mean, mean - half, mean + half, len(cells),
            f"prompt-level permutation {prompts:.2f}", "at most", ALARMS, mean - half <= ALARMS,
        )  # fmt: skip
        personas = f"personas permuted {np.mean([deal.persona_bleeds for deal in deals]):.2f}"
        beside = f"{personas}; t-test over prompts {t_test:.2f}"
        yield _rate("B with p < .05", nothing, "0.05", [deal.bleeds for deal in deals], beside, "at most", ALARMS)


def shortly(value: float) -> str:
    """Two decimals, a true minus sign, and no minus before a zero."""
    return f"{value:.2f}".replace("-0.00", "0.00").replace("-", "−")


def _rate(
    what: str,
    model: str,
    truth: str,
    successes: Sequence[bool],
    common: str = "",
    rule: Rule = "",
    threshold: float = float("nan"),
) -> Row:
    """A rate with its exact 95 % interval (Clopper and Pearson 1934)."""
    k, n = sum(successes), len(successes)
    low, high = map(float, binomtest(k, n).proportion_ci(0.95))
    passed = (high >= threshold if rule == "at least" else low <= threshold) if rule else None
    return Row(HONEST, what, model, truth, k / n, low, high, n, common, rule, threshold, passed)
