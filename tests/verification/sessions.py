"""Notebooks that were worked in, in a real kernel with capture, and their verification."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlops_jupyter.config import load_settings
from mlops_jupyter.notebook import GatheredSlice
from mlops_jupyter.runner.interactive import Play, play
from mlops_jupyter.verbs.convert import make
from mlops_jupyter.verification.verify import Verification, verify
from mlops_jupyter.workspace import open_workspace

LOAD = "%load_ext mlops_jupyter"


def write_notebook(path: Path, *sources: str) -> Path:
    """A notebook whose cells have the ids ``c0``, ``c1`` …"""
    cells = [
        {"cell_type": "code", "id": f"c{i}", "metadata": {}, "source": s, "outputs": [], "execution_count": None}
        for i, s in enumerate(sources)
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    document = {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel}, "cells": cells}
    path.write_text(json.dumps(document))
    return path


def work(root: Path, *sources: str, order: Sequence[int] | None = None, home: Path | None = None) -> Path:
    """A notebook in ``root`` with these cells, executed from top to bottom or in ``order``, with capture.

    ``home``: the workspace, where it is not ``root``.
    """
    ((home or root) / ".mlops").mkdir(exist_ok=True)
    notebook = write_notebook(root / "work.ipynb", LOAD, *sources)
    plays = [Play("c0"), *(Play(f"c{i + 1}") for i in (range(len(sources)) if order is None else order))]
    settings = load_settings(notebook.parent)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLOPS_")}
    play(settings, notebook, plays, environment={**environment, "MLOPS_DELIVER": "false"})
    return notebook


def converted(notebook: Path, target: str | None = None) -> tuple[dict[str, Any], GatheredSlice]:
    """The conversion of a notebook."""
    with open_workspace(notebook.parent) as workspace:
        made = make(workspace, notebook, target=target)
    return made.conversion.document, made.found


def check(
    notebook: Path, target: str | None = None, *, document: dict[str, Any] | None = None, **options: Any
) -> Verification:
    """Convert and verify."""
    made, found = converted(notebook, target)
    with open_workspace(notebook.parent) as workspace:
        return verify(document or made, found, workspace=workspace, notebook=notebook, **options)


def tree(root: Path) -> dict[str, str]:
    """Digest of every file below ``root`` but the store's."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and ".mlops" not in path.relative_to(root).parts
    }
