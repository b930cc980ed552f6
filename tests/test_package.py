"""The package as a whole: what it hands out, what it carries, and that its rooms keep to themselves."""

from __future__ import annotations

import ast
import pkgutil
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Collection
from graphlib import CycleError, TopologicalSorter
from importlib import metadata
from pathlib import Path, PurePath

import hypothesis
import pytest
import yaml

import selfrep

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "selfrep"
TESTS = ROOT / "tests"


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded_by(statement: str) -> set[str]:
    """Top-level names of everything in sys.modules after a statement, in a fresh interpreter."""
    return set(run_python(f"import sys; {statement}; print(*sorted({{m.split('.')[0] for m in sys.modules}}))").split())


@pytest.mark.parametrize("name", selfrep.__all__)
def test_every_public_name_can_be_had(name: str) -> None:
    assert getattr(selfrep, name) is not None
    assert name in dir(selfrep)


def test_what_editors_read_is_what_is_handed_out() -> None:
    """The imports in the source are executed here, by Python itself."""
    source = (SOURCE / "__init__.py").read_text(encoding="utf-8")
    block = next(node for node in ast.parse(source).body if isinstance(node, ast.If))
    names: dict[str, object] = {}
    exec(compile(ast.Module(block.body, []), "the imports", "exec"), names)
    assert set(selfrep.__all__) <= {*names, "__version__"}
    for name in set(selfrep.__all__) - {"__version__"}:
        assert getattr(selfrep, name) is names[name], name
    assert {"patch", "Persona", "open_run", "plot", "run_study"} <= set(selfrep.__all__)


def test_what_belongs_to_one_analysis_is_not_at_the_top() -> None:
    for name in ("mediation_runs", "fit_subspaces", "write_scratchpads", "score_cases", "anomalies", "texts"):
        assert not hasattr(selfrep, name), name


def test_no_public_name_is_that_of_a_module_here() -> None:
    # Importing the module would set the package's attribute and silently replace what the lazy name gave.
    modules = {module.name for module in pkgutil.iter_modules(selfrep.__path__)}
    same = {name for name, origin in selfrep._PUBLIC.items() if origin == ("selfrep", name)}
    assert modules.isdisjoint(set(selfrep.__all__) - same), "but for a name that stands for the module itself"
    assert {"prompts", "study"} <= modules, "the control: the names that would have clashed"


def test_an_unknown_name_says_what_there_is() -> None:
    with pytest.raises(AttributeError, match=r"'pach'.*patch_tokens"):
        selfrep.pach  # noqa: B018


def test_importing_the_package_or_the_command_line_loads_nothing_heavy() -> None:
    heavy = {"torch", "transformers", "transformer_lens", "plotly", "xarray", "pandas", "scipy", "pydantic"}
    assert loaded_by("import selfrep, selfrep.cli, selfrep.models.resolve").isdisjoint(heavy)
    assert "numpy" in loaded_by("import numpy"), "the control: this way of looking does see what is loaded"


def test_rooms_without_torch_stay_without() -> None:
    modules = [
        module.name
        for room in ("prompts", "stats", "store", "plots", "report")
        for module in pkgutil.walk_packages([str(SOURCE / room)], f"selfrep.{room}.")
    ]
    assert loaded_by(f"import {', '.join(modules)}").isdisjoint({"torch", "transformer_lens", "ray"})
    assert len(modules) > 40, "the control: they are found"


def test_the_list_of_analyses_loads_neither_numbers_nor_drawings_and_an_estimate_no_torch() -> None:
    heavy = {"torch", "plotly", "xarray", "pandas", "scipy", "sklearn", "transformers", "zarr"}
    assert loaded_by("import selfrep.analyses, selfrep.study.study").isdisjoint(heavy)
    rooms = sorted(path.parent.name for path in (SOURCE / "analyses").glob("*/estimate.py"))
    assert len(rooms) > 9
    estimates = "; ".join(f"import selfrep.analyses.{room}.estimate" for room in rooms)
    loaded = loaded_by(estimates)
    assert loaded.isdisjoint({"torch", "plotly", "transformers", "transformer_lens", "zarr"})
    assert loaded >= {"xarray", "scipy"}, "the control: this way of looking does see what is heavy"


def test_the_version_is_the_installed_one() -> None:
    assert metadata.version("selfrep") == selfrep.__version__


def test_neither_clock_nor_chance_decides_a_property_test() -> None:
    usual = hypothesis.settings()
    assert usual.deadline is None
    assert usual.derandomize


def test_import_contracts_hold() -> None:
    command = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout


def test_every_imported_library_is_a_declared_dependency() -> None:
    normal = re.compile(r"[-_.]+")
    requirements = metadata.requires("selfrep") or []
    declared = {
        normal.sub("-", re.match(r"[\w.-]+", line).group()).lower() for line in requirements if "extra ==" not in line
    }
    optional = {
        "accelerate",
        "peft",
        "kaleido",
        "ray",
        "choreographer",
    }  # imported where they are used, with an error that names the extra
    homes = metadata.packages_distributions()
    missing = {}
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
            for name in {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) - {"selfrep"} - optional:
                if not {normal.sub("-", project).lower() for project in homes.get(name, [name])} & declared:
                    missing[name] = path.relative_to(ROOT).as_posix()
    assert missing == {}


def test_the_wheel_holds_every_file_of_the_package(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("selfrep/")}
    there = {
        path.relative_to(ROOT / "src").as_posix()
        for path in SOURCE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert packed == there
    assert {"selfrep/prompts/personas.yaml", "selfrep/prompts/battery.yaml", "selfrep/py.typed"} <= packed


def test_the_citation_is_of_this_version() -> None:
    """Of the fields that Citation File Format 1.2.0 requires none is missing, and none says what is not known."""
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(cited)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (cited["cff-version"], cited["version"], cited["license"]) == ("1.2.0", selfrep.__version__, "MIT")
    assert [author["name"] for author in cited["authors"]] == [author["name"] for author in project["authors"]]
    assert cited["keywords"] == project["keywords"]
    assert not {"doi", "identifiers", "date-released"} & set(cited), "there is none as long as nothing is released"


def test_every_version_of_python_that_is_declared_is_allowed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = re.findall(r"Python :: (3\.\d+)", " ".join(project["classifiers"]))
    assert f">={declared[0]}" == project["requires-python"]
    assert f"{sys.version_info.major}.{sys.version_info.minor}" in declared


def test_every_module_says_why_it_exists() -> None:
    for path in SOURCE.rglob("*.py"):
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path


def imports(path: Path, modules: Collection[str]) -> set[str]:
    """The modules of this package that a module imports when it runs, those imported inside functions included."""
    name = name_of(path)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typed = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for statement in block.body
        for node in ast.walk(statement)
    }
    out: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in typed:
            continue
        if isinstance(node, ast.Import):
            out |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            parts = {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            out |= {part if part in modules else node.module for part in parts.values()}
    return (out & set(modules)) - {name}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")


def test_no_circle_of_imports() -> None:
    paths = {name_of(path): path for path in SOURCE.rglob("*.py")}
    graph = {name: imports(path, paths) for name, path in paths.items()}
    tuple(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle
    assert "selfrep.study.study" in graph["selfrep.study.run"], "the control: an import is an edge"
    assert "selfrep.study.run" in graph["selfrep.cli.studies"], "the control: so is one inside a function"
    with pytest.raises(CycleError, match="nodes are in a cycle"):
        tuple(TopologicalSorter({**graph, "selfrep.errors": {"selfrep.cli.studies"}}).static_order())


# Tests mirror modules: tests/room/test_module.py tests selfrep/room/module.py, and so the other way round.

WHOLE = {
    "test_chaos.py",
    "test_damage.py",  # a whole run
    "test_shards.py",  # several processes that run one study
    "test_fuzz.py",  # every command that reads a file
    "test_docs.py",
    "test_examples.py",
    "test_newcomers.py",
    "test_package.py",
    "test_read_aloud.py",
    "test_readme.py",
    "test_real_tokenizers.py",
    "test_registry.py",
    "test_two_sides.py",
}
"""What several modules share."""
A_FEW = 3
"""A function of more statements holds logic, and so does its module."""
TESTED_ELSEWHERE = {
    "analyses/*/__init__.py": "analyses/test_parts.py",  # a room's part of a study: beside the others
    "analyses/*/report.py": "report/test_findings.py",  # its sentences and figures: one table asks the same of all
    "interop/*.py": "interop/test_transformer_lens.py",  # its functions against those of TransformerLens, whole
    "models/organisms/wiring.py": "models/organisms/test_circuit.py",  # the circuit that is wired is what is judged
}
"""Modules whose test file is another's, and why; patterns are of paths under src/selfrep."""


def module_of(test: Path) -> Path | None:
    """The module that a test file tests."""
    module = SOURCE / test.relative_to(TESTS).parent / test.name.removeprefix("test_")
    package = module.with_suffix("") / "__init__.py"
    return next((path for path in (module, package) if path.exists()), None)


def holds_logic(path: Path) -> bool:
    """Whether a function or method of the module has more than a few statements, those within it included."""

    def statements(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
        body = function.body[1:] if ast.get_docstring(function) else function.body
        return sum(isinstance(node, ast.stmt) for statement in body for node in ast.walk(statement))

    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return any(statements(function) > A_FEW for function in functions)


def test_every_test_file_tests_a_module() -> None:
    for path in TESTS.rglob("test_*.py"):
        assert path.name in WHOLE or module_of(path), f"{path} tests no module"


def test_every_module_that_holds_logic_has_its_test_file() -> None:
    modules = {path: path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py") if holds_logic(path)}
    assert SOURCE / "stats" / "numbers.py" in modules
    assert SOURCE / "errors.py" not in modules, "the control: an error that is only a name"
    tested = {module_of(path) for path in TESTS.rglob("test_*.py")} | {SOURCE / "__init__.py"}  # by this file
    alone = {name for path, name in modules.items() if path not in tested}
    excused = {name for name in alone if any(PurePath(name).match(pattern) for pattern in TESTED_ELSEWHERE)}
    assert alone == excused
    for pattern, test in TESTED_ELSEWHERE.items():
        assert (TESTS / test).is_file(), test
        assert any(PurePath(name).match(pattern) for name in alone), f"{pattern} needs no excuse any more"
