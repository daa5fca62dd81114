"""What the package imports is what its metadata asks for."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

DISTRIBUTIONS = {"yaml": "pyyaml", "zmq": "pyzmq", "ipython": "ipython"}
"""Distributions that are called otherwise than the module that they bring."""

OF_OTHERS = {
    "numpy": "comes with mlflow", "pandas": "comes with mlflow", "joblib": "comes with scikit-learn",
    "alembic": "comes with mlflow, whose databases it upgrades", "requests": "comes with mlflow",
}  # fmt: skip
"""What is imported only beside the library that brings it."""


def imported(folder: Path) -> set[str]:
    found = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names) - {folder.name}


def name(text: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[<>=!\[; ]", text, maxsplit=1)[0]).lower()


def test_every_import_is_declared(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    declared = {name(each) for each in project["dependencies"]} | {
        name(each) for extra in project["optional-dependencies"].values() for each in extra
    }
    modules = imported(repository / "mlops_jupyter")
    assert "click" in modules
    needed = {DISTRIBUTIONS.get(module.lower(), name(module)) for module in modules - set(OF_OTHERS)}
    assert needed <= declared, needed - declared


def test_every_dependency_is_imported(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    modules = {DISTRIBUTIONS.get(module.lower(), name(module)) for module in imported(repository / "mlops_jupyter")}
    # The kernel is started by its name, never imported.
    assert {name(each) for each in project["dependencies"]} - modules <= {"ipykernel"}


def test_every_dependency_is_pinned(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    for file in ("demo.txt", "test.txt"):
        pinned = {name(line) for line in (repository / "requirements" / file).read_text().splitlines()}
        assert {name(each) for each in project["dependencies"]} <= pinned, file
