"""The ``papermill`` metadata of cells and notebook, which papermill's readers and the schedulers' pages show.

Papermill's words are kept (pending, running, completed, failed), and one is added: a cell that was not executed
on purpose is ``skipped``. A cell that never ran stays ``pending``.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from nbformat import NotebookNode

from .document import new_markdown_cell, node
from .result import ConvertedFrom, State

BANNER_TAG = "papermill-error-cell-tag"
"""Papermill's own tag, so that either tool removes the other's banner before the next run."""

_KEPT = ("converted", "parameters")
"""What a run leaves alone of the notebook's ``metadata.mlops``."""

_STATUS = {State.SUCCEEDED: "completed", State.SKIPPED: "skipped", State.NEVER_RAN: "pending"}


def begin(
    notebook: NotebookNode, *, source: str, output: str, parameters: Mapping[str, Any], run_id: str, at: float
) -> None:
    """Clear what an earlier run left and mark the notebook as started."""
    notebook.cells = [cell for cell in notebook.cells if BANNER_TAG not in cell.metadata.get("tags", [])]
    notebook.metadata.pop("widgets", None)
    notebook.metadata["papermill"] = node(
        default_parameters={}, environment_variables={}, version=None, input_path=source, output_path=output,
        parameters=dict(parameters), start_time=_iso(at), end_time=None, duration=None, exception=None,
    )  # fmt: skip
    begin_run(notebook, run_id=run_id)
    for cell in notebook.cells:
        cell.metadata["papermill"] = node(
            exception=None, start_time=None, end_time=None, duration=None, status="pending"
        )
        if cell.cell_type == "code":
            cell.execution_count = None
            cell.outputs = []


def begin_run(notebook: NotebookNode, *, run_id: str) -> None:
    """Name the run in the notebook's own metadata; where the notebook came from stays there."""
    earlier = notebook.metadata.get("mlops")
    kept = {key: earlier[key] for key in _KEPT if key in earlier} if isinstance(earlier, dict) else {}
    notebook.metadata["mlops"] = node(kept, run_id=run_id, state=str(State.RUNNING))


def converted_from(notebook: NotebookNode) -> ConvertedFrom | None:
    """What the notebook says of its conversion; what is not as conversion writes it is left out."""
    ours = notebook.metadata.get("mlops")
    told = ours.get("converted") if isinstance(ours, dict) else None
    if not isinstance(told, dict):
        return None
    source, target = (told[key][:200] if isinstance(told.get(key), str) else "" for key in ("notebook", "target"))
    grade = told.get("grade")
    return ConvertedFrom(notebook=source, target=target, grade=grade if grade in ("A", "B", "C") else None)


def cell_started(cell: NotebookNode, at: float) -> None:
    """Mark a cell as running."""
    cell.metadata["papermill"] = node(
        exception=False, start_time=_iso(at), end_time=None, duration=None, status="running"
    )


def cell_ended(cell: NotebookNode, state: State, *, at: float, duration: float | None) -> None:
    """Mark how a cell ended."""
    mark = cell.metadata["papermill"]
    if duration is not None:
        mark["end_time"] = _iso(at)
        mark["duration"] = duration
    mark["status"] = _STATUS.get(state, "failed")
    mark["exception"] = None if state is State.SKIPPED else mark["status"] == "failed"


def end(notebook: NotebookNode, state: State, *, at: float, error: str | None) -> None:
    """Mark how the notebook ended. Text cells count as completed where the run came to its end."""
    notebook.metadata["papermill"]["exception"] = None if state is State.SUCCEEDED else True
    notebook.metadata["mlops"]["state"] = str(state)
    if error:
        notebook.metadata["mlops"]["error"] = error
    if state is State.SUCCEEDED:
        for cell in notebook.cells:
            if cell.cell_type != "code":
                cell.metadata["papermill"]["status"] = "completed"
    end_time(notebook, at=at)


def end_time(notebook: NotebookNode, *, at: float) -> None:
    """Mark when the notebook ended."""
    mark = notebook.metadata["papermill"]
    mark["end_time"] = _iso(at)
    if mark.get("start_time"):
        mark["duration"] = at - datetime.fromisoformat(mark["start_time"]).timestamp()


def add_banner(notebook: NotebookNode, *, index: int | None, error: str) -> None:
    """Put a note on top that says why the run stopped, and one in front of the cell where it did."""
    where = ""
    if index is not None and notebook.cells[index].cell_type == "code":
        count = notebook.cells[index].get("execution_count")
        where = f' at <a href="#mlops-stopped-here">cell {f"In [{count}]" if count else index + 1}</a>'
        anchor = new_markdown_cell('<div id="mlops-stopped-here"><b>The run stopped in the next cell.</b></div>')
        anchor["id"] = "mlops-stopped-here"
        anchor.metadata["tags"] = [BANNER_TAG]
        notebook.cells.insert(index, anchor)
    banner = new_markdown_cell(
        f'<div style="border-left: 4px solid #c62828; padding: 4px 12px"><b>This run did not succeed</b>: it stopped'
        f"{where}.<br>{html.escape(error)}</div>"
    )
    banner["id"] = "mlops-run-stopped"
    banner.metadata["tags"] = [BANNER_TAG]
    notebook.cells.insert(0, banner)


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()
