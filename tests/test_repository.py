"""What holds for the checkout as a whole."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest


def tracked(repository: Path) -> list[Path]:
    names = subprocess.run(["git", "ls-files", "-z"], cwd=repository, capture_output=True, text=True, check=True).stdout
    return [repository / name for name in names.split("\0") if name]


def test_no_lock_file_records_a_download_address(repository: Path) -> None:
    locks = [
        path for path in tracked(repository) if path.name == "package-lock.json" or path.parent.name == "requirements"
    ]
    assert len(locks) >= 3
    for path in locks:
        assert not re.search(r"https?://[^\s\"]*(registry|pypi|pythonhosted)", path.read_text()), path


def is_overload(node: ast.FunctionDef) -> bool:
    return any(isinstance(each, ast.Name) and each.id == "overload" for each in node.decorator_list)


def test_every_public_function_of_the_verbs_says_what_it_does(repository: Path) -> None:
    for path in (repository / "mlops_jupyter" / "verbs").glob("*.py"):
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree), path
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and not is_overload(node):
                assert ast.get_docstring(node), f"{path.name}: {node.name}"


def test_every_source_file_of_the_package_is_of_a_readable_size(repository: Path) -> None:
    long = {
        path.name: lines
        for path in (repository / "mlops_jupyter").rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 600
    }
    assert not long, long


def test_extras_are_those_of_the_interface(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    assert set(project["optional-dependencies"]) == {
        "ray", "postgres", "monitor", "fairness", "explain", "onnx", "dvc", "demo", "all",
    }  # fmt: skip


def test_versions_agree(repository: Path) -> None:
    import mlops_jupyter

    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    assert project["version"] == mlops_jupyter.__version__
    assert json.loads((repository / "package.json").read_text())["version"] == project["version"]


@pytest.mark.parametrize("page", ["docs/index.md", "README.md"])
def test_pictures_that_pages_show_are_there(repository: Path, page: str) -> None:
    path = repository / page
    shown = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", path.read_text())
    assert shown
    for picture in shown:
        assert (path.parent / picture).read_bytes().startswith(b"\x89PNG")
