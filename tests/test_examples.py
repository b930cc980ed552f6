"""Every example in a docstring of selfrep runs, and gives what it says.

Docstrings are read from the source and not from what is imported: a function that is checked at run time is no longer
of its own module to doctest, which would pass it over.
"""

from __future__ import annotations

import ast
import doctest
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import FunctionType
from typing import Any

import pandas as pd
import pytest
import xarray as xr

SOURCE = Path(__file__).parents[1] / "src"
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
PASSING_ON = {
    "all_words",
    "beside",
    "expanded",
    "select_and_test",
}  # they return the variables of the function that they are given
DEFINITIONS = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def documented(path: Path) -> Iterator[tuple[str, str, int]]:
    """(qualified name, docstring, line before its first) of a module and of everything that is defined in it."""
    *parents, stem = path.relative_to(SOURCE).with_suffix("").parts
    module = ".".join(parents if stem == "__init__" else [*parents, stem])
    waiting: list[tuple[str, ast.AST]] = [(module, ast.parse(path.read_text(encoding="utf-8")))]
    while waiting:
        name, node = waiting.pop()
        if isinstance(node, DEFINITIONS) and (text := ast.get_docstring(node, clean=False)):
            yield name, text, node.body[0].lineno - 1
        waiting += [
            (f"{name}.{inner.name}" if isinstance(inner, DEFINITIONS[1:]) else name, inner)
            for inner in ast.iter_child_nodes(node)
        ]


def examples(path: Path) -> Iterator[tuple[str, str, int]]:
    return (found for found in documented(path) if ">>>" in found[1])


def run(path: Path, name: str, text: str, line: int) -> str:
    """What went wrong when the examples of a docstring ran; "" when nothing did.

    A Dataset that the documented function returns on the way must be described: each variable by its name.
    """
    *parents, stem = path.relative_to(SOURCE).with_suffix("").parts
    module = import_module(".".join(parents if stem == "__init__" else [*parents, stem]))
    scope, own = dict(vars(module)), name.removeprefix(f"{module.__name__}.")
    variables: set[str] = set()
    if isinstance(scope.get(own), FunctionType):
        scope[own] = recorded(scope[own], variables)
    report = failures(doctest.DocTestParser().get_doctest(text, scope, name, str(path), line))
    if own in PASSING_ON:
        return report
    return report + "".join(f"The docstring of {name} says nothing of `{v}`.\n" for v in undescribed(text, variables))


def recorded(function: Callable[..., Any], variables: set[str]) -> Callable[..., Any]:
    """The function, which also adds the names of the variables that it returns."""

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        out = function(*args, **kwargs)
        if isinstance(out, xr.Dataset):
            variables.update(map(str, out.data_vars))
        return out

    return wrapper


def undescribed(text: str, variables: set[str]) -> list[str]:
    return sorted(name for name in variables if f"`{name}`" not in text)


def failures(test: doctest.DocTest) -> str:
    report: list[str] = []
    doctest.DocTestRunner(verbose=False, optionflags=OPTIONS).run(test, out=report.append)
    return "".join(report)


FOUND = {name: (path, text, line) for path in sorted(SOURCE.rglob("*.py")) for name, text, line in examples(path)}


LONG = (  # whole runs, or many of them
    "selfrep.study.recompute.recompute",
    "selfrep.study.check.check_battery",
    "selfrep.analyses.spectator.estimate.spectator",
    "selfrep.analyses.mediation.exchange.mediation_runs",
    "selfrep.analyses.mediation.exchange.proof_runs",
)


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow if name in LONG else []) for name in FOUND])
def test_an_example_gives_what_it_says(name: str) -> None:
    path, text, line = FOUND[name]
    if report := run(path, name, text, line):
        pytest.fail(report, pytrace=False)


def test_an_example_that_is_wrong_or_raises_is_noticed() -> None:
    parser = doctest.DocTestParser()
    assert failures(parser.get_doctest(">>> 1 + 1\n2\n", {}, "right", None, 0)) == ""
    assert "Got:\n    2" in failures(parser.get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, 0))
    assert "ZeroDivisionError" in failures(parser.get_doctest(">>> 1 / 0\n0\n", {}, "broken", None, 0))


def test_a_variable_that_a_docstring_leaves_out_is_noticed() -> None:
    variables: set[str] = set()
    recorded(lambda: xr.Dataset({"estimate": 1.0, "p": 0.5}), variables)()
    assert undescribed("`estimate`: T.", variables) == ["p"]
    assert undescribed("`estimate`: T. `p`: of T = 0.", variables) == []


def test_examples_are_found_in_modules_functions_and_classes() -> None:
    named = {name for name, _, _ in documented(SOURCE / "selfrep" / "stats" / "rounding.py")}
    assert named == {"selfrep.stats.rounding", "selfrep.stats.rounding.negligible", "selfrep.stats.rounding.unresolved"}
    assert {"selfrep.stats.rounding.negligible", "selfrep.stats.numbers.number"} <= set(FOUND)
    methods = {name for name, _, _ in documented(SOURCE / "selfrep" / "stats" / "tables.py")}
    assert "selfrep.stats.tables.Table.of" in methods


@pytest.mark.slow
def test_the_figures_for_a_paper_are_made_again_with_the_numbers_that_are_kept(tmp_path: Path) -> None:
    kept = Path(__file__).parents[1] / "examples" / "figures"
    done = subprocess.run(
        [sys.executable, kept / "make.py", tmp_path], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    shown = set(re.findall(r"includegraphics{(.*?)}", (kept / "paper.tex").read_text("utf-8")))
    assert {path.name for path in tmp_path.glob("*.pdf")} == shown
    tables = sorted(kept.glob("*.csv"))
    assert len(tables) == 2
    for table in tables:
        before, now = pd.read_csv(table), pd.read_csv(tmp_path / table.name)
        pd.testing.assert_frame_equal(before, now, rtol=1e-3, atol=1e-5)
