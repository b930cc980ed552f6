"""The package as a whole: what it hands out, what it carries, and that its rooms keep to themselves."""

from __future__ import annotations

import ast
import pkgutil
import re
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import hypothesis
import pytest

import selfrep

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "selfrep"


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
    assert modules.isdisjoint(selfrep.__all__)
    assert {"prompts", "study"} <= modules, "the control: the names that would have clashed"


def test_an_unknown_name_says_what_there_is() -> None:
    with pytest.raises(AttributeError, match=r"'pach'.*patch_tokens"):
        selfrep.pach  # noqa: B018


def test_importing_the_package_or_the_command_line_loads_nothing_heavy() -> None:
    heavy = {"torch", "transformers", "transformer_lens", "plotly", "xarray", "pandas", "scipy", "pydantic"}
    for statement in ("import selfrep", "import selfrep.cli", "import selfrep.models.resolve"):
        assert loaded_by(statement).isdisjoint(heavy), statement
    assert "torch" in loaded_by("import torch"), "the control: this way of looking does see it"


def test_rooms_without_torch_stay_without() -> None:
    for room in ("prompts", "stats", "store", "plots", "report"):
        imports = "; ".join(
            f"import {module.name}" for module in pkgutil.walk_packages([str(SOURCE / room)], f"selfrep.{room}.")
        )
        assert loaded_by(imports).isdisjoint({"torch", "transformer_lens", "ray"}), room


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


def test_every_module_says_why_it_exists() -> None:
    for path in SOURCE.rglob("*.py"):
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path


def test_tests_mirror_modules() -> None:
    for path in (ROOT / "tests").rglob("test_*.py"):
        room = path.relative_to(ROOT / "tests").parent
        module = SOURCE / room / path.name.removeprefix("test_")
        whole = {
            "test_newcomers.py",
            "test_package.py",
            "test_readme.py",
            "test_two_sides.py",
        }  # what several modules share
        assert path.name in whole or module.exists() or module.with_suffix("").is_dir(), f"{path} tests no module"
