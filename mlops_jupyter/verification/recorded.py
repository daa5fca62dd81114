"""What the recorded executions of a slice left, as far as the store and the notebook's saved outputs know."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops_jupyter.analysis import redact
from mlops_jupyter.entities import CellExecution, EntityKind, EntityVersion
from mlops_jupyter.notebook import GatheredSlice
from mlops_jupyter.provenance import count_of
from mlops_jupyter.store import Connection
from mlops_jupyter.store import executions as records
from mlops_jupyter.store import runs as store_runs

from .compare import Facts, in_order_of_text
from .outputs import text_of_outputs
from .replayed import written_files, written_values


@dataclass(frozen=True, slots=True)
class SavedOutput:
    """A code cell of the notebook's file with what it showed."""

    source: str
    count: int | None
    text: str


def label_of(execution: CellExecution) -> str:
    """``In [3]``; the position in a notebook that was never tracked."""
    if execution.session_id == "static":
        return f"code cell {execution.position + 1}"
    return f"In [{count_of(execution)}]"


def recorded_facts(store: Connection, found: GatheredSlice, saved: Mapping[str, SavedOutput]) -> tuple[Facts, ...]:
    """What each kept execution left, in their order."""
    ids = [execution.execution_id for execution in found.kept]
    versions: dict[str, list[EntityVersion]] = {}
    if found.origin == "recorded":
        for version in records.versions_generated(store, ids):
            versions.setdefault(str(version.execution_id), []).append(version)
    runs = {
        run.execution_id: run
        for run in store_runs.load_runs(store, [e.run_uid for e in found.kept if e.run_uid is not None])
    }
    last = {execution.cell_id: execution.execution_id for execution in found.kept}
    facts = []
    for execution in found.kept:
        of_cell = versions.get(execution.execution_id, [])
        run = runs.get(execution.execution_id)
        is_last = last[execution.cell_id] == execution.execution_id
        facts.append(
            Facts(
                key=execution.execution_id, label=label_of(execution), cell_id=execution.cell_id,
                position=execution.position, variables=in_order_of_text(written_values(of_cell), execution.source),
                files=written_files(of_cell),
                metrics={} if run is None else dict(run.metrics), params={} if run is None else dict(run.params),
                text=_saved_text(execution, saved) if is_last else None,
            )
        )  # fmt: skip
    return tuple(facts)


def _saved_text(execution: CellExecution, saved: Mapping[str, SavedOutput]) -> str | None:
    """What the notebook's file shows for this execution, or None where it may be another's."""
    output = saved.get(execution.cell_id or "")
    if output is None or redact(output.source).strip() != execution.source.strip():
        return None
    if execution.session_id == "static":
        return output.text if output.count is not None else None
    return output.text if output.count == execution.execution_count else None


def saved_outputs(notebook: Path) -> dict[str, SavedOutput]:
    """Code cells of a notebook's file by id; empty where it cannot be read. Cells without an id have none here."""
    try:
        document: Any = json.loads(notebook.read_text(encoding="utf-8-sig"))
        cells: Sequence[Any] = document["cells"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
    found = {}
    for cell in cells:
        if not isinstance(cell, dict) or cell.get("cell_type") != "code" or not isinstance(cell.get("id"), str):
            continue
        source = cell.get("source", "")
        count = cell.get("execution_count")
        outputs = [o for o in cell.get("outputs", ()) if isinstance(o, dict)]
        found[cell["id"]] = SavedOutput(
            source=source if isinstance(source, str) else "".join(map(str, source)),
            count=count if isinstance(count, int) else None,
            text=text_of_outputs(outputs),
        )
    return found


def files_of(store: Connection, found: GatheredSlice) -> tuple[list[EntityVersion], dict[str, CellExecution]]:
    """(files from outside that the slice reads, the kept execution that wrote each file by its name)."""
    inputs = [v for v in found.inputs if v.kind is EntityKind.FILE]
    if found.origin != "recorded":
        return inputs, {}
    by_id = {execution.execution_id: execution for execution in found.kept}
    written = {}
    for version in records.versions_generated(store, list(by_id)):
        if version.kind is EntityKind.FILE and version.execution_id in by_id:
            written[version.name] = by_id[version.execution_id]
    return inputs, written
