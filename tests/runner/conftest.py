"""Notebooks and workspaces for headless runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from mlops_jupyter.config import load_settings
from mlops_jupyter.runner import RunResult, run_notebook
from mlops_jupyter.workspace import Workspace, open_workspace

ROOT = Path(__file__).parents[2]


def tagged(source: str, *tags: str) -> nbformat.NotebookNode:
    """A code cell with tags."""
    return new_code_cell(source, metadata={"tags": list(tags)})


def make(path: Path, *cells: str | nbformat.NotebookNode, kernel: str | None = "python3") -> Path:
    """Write a notebook of these cells (text is a code cell); its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"kernelspec": {"name": kernel, "display_name": kernel, "language": "python"}} if kernel else {}
    document = new_notebook(cells=[new_code_cell(c) if isinstance(c, str) else c for c in cells], metadata=metadata)
    path.write_text(nbformat.writes(document), encoding="utf-8")
    return path


def outputs(path: Path) -> list[str]:
    """What each code cell of an executed notebook printed and showed, as text; valid nbformat or it fails."""
    document = nbformat.read(path, as_version=4)
    nbformat.validate(document)
    texts = []
    for cell in document.cells:
        if cell.cell_type != "code":
            continue
        parts = [o.get("text") or o.get("data", {}).get("text/plain") or o.get("ename", "") for o in cell.outputs]
        texts.append("".join(parts))
    return texts


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a fresh workspace."""
    (tmp_path / "mlops.toml").touch()
    return tmp_path


@pytest.fixture
def workspace(folder: Path) -> Iterator[Workspace]:
    """A fresh workspace."""
    with open_workspace(folder) as opened:
        yield opened


@pytest.fixture
def execute(workspace: Workspace, folder: Path) -> Callable[..., RunResult]:
    """Run cells headless in the workspace, in ``nb.ipynb`` to ``out.ipynb``."""

    def execute(*cells: str | nbformat.NotebookNode, **options: Any) -> RunResult:
        source = make(folder / "nb.ipynb", *cells)
        return run_notebook(workspace, source, folder / "out.ipynb", **options)

    return execute


RUNNER = """
import json, sys
from pathlib import Path
from mlops_jupyter.runner import run_notebook
from mlops_jupyter.workspace import open_workspace
source, out = Path(sys.argv[1]), Path(sys.argv[2])
with open_workspace(source.parent) as workspace:
    result = run_notebook(workspace, source, out)
print(json.dumps({"state": result.state, "run_id": result.run_id}))
sys.exit(result.exit_code)
"""


UNGUARDED = "from mlops_jupyter.runner.guardian import Guardian\nGuardian.start = lambda self: None\n"
"""As where the whole container is killed: nothing is left that could put anything right."""


def start_runner(source: Path, out: Path, *, guarded: bool = True) -> subprocess.Popen[str]:
    """A runner in a process of its own, which a test may kill."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    return subprocess.Popen(
        [sys.executable, "-c", RUNNER if guarded else UNGUARDED + RUNNER, str(source), str(out)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment,
    )  # fmt: skip


def events(folder: Path) -> list[dict[str, Any]]:
    """Events of the only run of a workspace, as far as they are written."""
    found = []
    for path in load_settings(folder).runs.glob("*/events.jsonl"):
        for line in path.read_text(encoding="utf-8").split("\n")[:-1]:
            found.append(json.loads(line))
    return found
