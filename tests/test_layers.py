"""The architecture: who may import whom, and when heavy libraries are loaded."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import medalign

PACKAGE = Path(medalign.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

# The only packages that may import a heavy library, anywhere in their code.
HOMES = {
    "ray": {"scheduling"},
    "optuna": {"scheduling"},
    "mlflow": {"tracking"},
    "trl": {"methods"},
    # TRL's trainers are transformers' Trainer; their callbacks come from there (docs/decisions/0005).
    "transformers": {"modeling", "methods"},
    "peft": {"modeling"},
    "bitsandbytes": {"modeling"},
}
# Never at the top of a module: imported inside the functions that need them.
LATE = {*HOMES, "torch", "datasets", "evaluate", "matplotlib", "rich", "accelerate"}
NUMERIC = {"numpy", "pandas", "scipy", "sklearn", "pyarrow"}
NUMERIC_PACKAGES = {"stats", "evaluation", "reporting"}


def imported(tree: ast.AST, *, at_the_top: bool) -> Iterator[str]:
    """Top-level names of what is imported; only what runs when the module is loaded, or everything."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]
        elif not is_skipped(node, at_the_top=at_the_top):
            yield from imported(node, at_the_top=at_the_top)


def is_skipped(node: ast.AST, *, at_the_top: bool) -> bool:
    for_types_only = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    return for_types_only or (
        at_the_top and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    )


def home_of(module: Path) -> str:
    """The package directly below medalign, or the name of a module there."""
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


def name_of(module: Path) -> str:
    return str(module.relative_to(PACKAGE))


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_no_module_loads_a_heavy_library_when_it_is_imported(module: Path) -> None:
    late = LATE if home_of(module) in NUMERIC_PACKAGES else LATE | NUMERIC
    assert late & set(imported(ast.parse(module.read_text()), at_the_top=True)) == set()


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_each_heavy_library_is_imported_in_its_home_package_only(module: Path) -> None:
    names = set(imported(ast.parse(module.read_text()), at_the_top=False))
    assert {name for name in names if home_of(module) not in HOMES.get(name, {home_of(module)})} == set()


def test_every_folder_with_code_is_a_package_so_that_the_layer_check_sees_it() -> None:
    assert [
        folder for folder in {module.parent for module in MODULES} if not (folder / "__init__.py").is_file()
    ] == []


def test_imports_go_downward_only_and_every_package_has_a_layer() -> None:
    command = [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command; lint_imports_command()",
    ]
    done = subprocess.run([*command, "--no-cache"], cwd=PACKAGE.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import runpy, sys\n"
        "sys.argv = ['medalign.compare', '--help']\n"
        "try:\n    runpy.run_module('medalign.compare', run_name='__main__')\n"
        "except SystemExit as done:\n    assert not done.code\n"
        "print('loaded:', *sorted({name.partition('.')[0] for name in sys.modules}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=PACKAGE.parent, capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "usage: python -m medalign.compare" in done.stdout
    assert (LATE | NUMERIC | {"pydantic", "yaml"}) & loaded == set()
