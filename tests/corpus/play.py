"""Playing a case: recorded as in a session of work, gathered, and run again in a fresh kernel without this package."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mlops_jupyter.entities import EntityKind
from mlops_jupyter.notebook import GatheredSlice

from .model import Case, Delete, Edit, Interrupt, Markdown, Restart, Write
from .shells import REPOSITORY


class Runner(Protocol):
    """Runs cells in a fresh shell or kernel; see ``Shells.run``."""

    def run(self, **request: Any) -> dict[str, Any]:
        """Cells and values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """A workspace in which somebody worked, and what was there at the end."""

    texts: Mapping[int, str | Markdown]
    """The notebook's cells at the end, by number."""
    ran: Mapping[int, dict[str, Any]]
    """What the last execution of each cell gave."""

    folder: Path
    notebook: Path
    values: Mapping[str, str]
    """``repr`` of the target and of the expression that is compared, at the end of the last session."""
    executions: int
    errors: tuple[str | None, ...]


def child_environment(home: Path) -> dict[str, str]:
    """For the processes of the corpus: this checkout, nobody's profile, no delivery, no display."""
    path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    return {
        **os.environ, "PYTHONPATH": path, "IPYTHONDIR": str(home), "MLOPS_DELIVER": "false", "MPLBACKEND": "Agg",
        "MPLCONFIGDIR": str(home), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
    }  # fmt: skip


def place(case: Case, folder: Path) -> Path:
    """The case's files in an empty workspace; returns the path of its notebook."""
    (folder / ".mlops").mkdir(parents=True)
    for path, text in case.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    notebook = folder / case.notebook
    notebook.parent.mkdir(parents=True, exist_ok=True)
    return notebook


def record(case: Case, folder: Path, runner: Runner) -> Played:
    """Do what the case says in a workspace, with capture, and leave the notebook as it is at the end."""
    notebook = place(case, folder)
    texts = dict(enumerate(case.cells))
    ran: dict[int, dict[str, Any]] = {}
    sessions: list[list[tuple[int, list[Any]]]] = [[]]
    files: dict[str, str] = {}
    for step in case.played:
        if isinstance(step, Edit):
            texts[step.cell] = step.source
        elif isinstance(step, Delete):
            del texts[step.cell]
        elif isinstance(step, Write):
            files[str(folder / step.path)] = step.text
        elif isinstance(step, Restart):
            sessions.append([])
        else:
            number, after = (step.cell, step.after) if isinstance(step, Interrupt) else (step, None)
            sessions[-1].append((number, [f"cell-{number}", texts[number], after, files]))
            files = {}
    write_notebook(notebook, texts, {}, language=case.language)
    values: dict[str, str] = {}
    errors: list[str | None] = []
    for session in sessions:
        answer = runner.run(
            folder=str(notebook.parent), environ={"JPY_SESSION_NAME": str(notebook)}, capture=True,
            cells=[cell for _, cell in session], evaluate=list(dict.fromkeys([case.target, case.checked])),
            answers=list(case.answers),
        )  # fmt: skip
        values = answer["values"]
        for (number, _), result in zip(session, answer["cells"], strict=True):
            ran[number] = result
            errors.append(result["error"])
    write_notebook(notebook, texts, ran, language=case.language)
    return Played(
        folder=folder,
        notebook=notebook,
        texts=texts,
        ran=ran,
        values=values,
        executions=sum(map(len, sessions)),
        errors=tuple(errors),
    )


def write_notebook(
    path: Path,
    texts: Mapping[int, str | Markdown],
    ran: Mapping[int, dict[str, Any]],
    *,
    language: str = "python",
    loads: bool = True,
) -> None:
    """The notebook as Jupyter saves it; ``loads``: with the cell that loads the extension."""
    cells: list[dict[str, Any]] = []
    if loads:
        cells.append(_code("load", "%load_ext mlops_jupyter", {"count": 1, "outputs": []}))
    for number, text in texts.items():
        if isinstance(text, Markdown):
            cells.append({"cell_type": "markdown", "id": f"cell-{number}", "metadata": {}, "source": text.source})
        else:
            cells.append(_code(f"cell-{number}", text, ran.get(number)))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    if language != "python":
        kernel = {"name": language, "display_name": language, "language": language}
    document = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False), encoding="utf-8")


def _code(cell_id: str, source: str, ran: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        "cell_type": "code", "id": cell_id, "metadata": {}, "source": source, "outputs": ran["outputs"] if ran else [],
        "execution_count": ran["count"] if ran else None,
    }  # fmt: skip


def scratch_of(case: Case, played: Played, found: GatheredSlice, scratch: Path) -> Path:
    """A folder with what the slice says it needs and the local modules, no more. Returns the notebook's folder."""
    scratch.mkdir()
    inner = scratch / Path(case.notebook).parent
    inner.mkdir(parents=True, exist_ok=True)
    needed = {version.name for version in found.inputs if version.kind is EntityKind.FILE}
    for path in played.folder.rglob("*"):
        key = path.relative_to(played.folder).as_posix()
        if path.is_file() and (key in needed or path.suffix == ".py") and not key.startswith(".mlops"):
            (scratch / key).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, scratch / key)
    return inner


def replay(document: Mapping[str, Any], folder: Path, runner: Runner, evaluate: Iterable[str]) -> dict[str, Any]:
    """Run the code cells of a document in a fresh shell without this package; it ends with the first that may not fail.

    Returns:
        ``values`` as in ``Shells.run``, ``error``: what the first cell raised that may not raise.
    """
    cells = [cell for cell in document["cells"] if cell["cell_type"] == "code"]
    answer = runner.run(
        folder=str(folder), capture=False, cells=[[None, "".join(c["source"]), None, {}] for c in cells],
        evaluate=list(evaluate), answers=[],
        may_fail=["raises-exception" in c["metadata"].get("tags", ()) for c in cells],
    )  # fmt: skip
    error = next((r["error"] for r in reversed(answer["cells"]) if r["error"] is not None and not r["may_fail"]), None)
    return {"values": answer["values"], "error": error}
