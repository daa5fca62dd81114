"""What a replay left: its own answer, its store and its executed notebook, read back cell by cell."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlops_jupyter.entities import EntityKind, EntityVersion, ExecutionId, ExecutionStatus
from mlops_jupyter.store import Connection, open_store
from mlops_jupyter.store import executions as records
from mlops_jupyter.store import runs as store_runs

from .compare import Value
from .outputs import text_of_outputs


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayedCell:
    """What one code cell of a replay left."""

    index: int
    """0-based position among all cells of the document that was replayed."""
    cell_id: str
    execution_id: str | None
    """The recorded execution that the cell is a replay of (``metadata.mlops.execution_id``)."""
    state: str
    """``succeeded``, ``failed``, ``timed_out``, ``kernel_died``, ``cancelled``, ``skipped`` or ``never_ran``."""
    error: str | None = None
    variables: Mapping[str, Value] = field(default_factory=dict)
    """Last version of each variable that the cell wrote."""
    files_written: Mapping[str, str | None] = field(default_factory=dict)
    """Digest by name as recorded: relative to the workspace, or absolute."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Of the cell's own run, where it was tracked."""
    params: Mapping[str, str] = field(default_factory=dict)
    unseeded: tuple[str, ...] = ()
    """Generators of random numbers that it drew from and that nothing had seeded: ``numpy.random`` …"""
    text: str = ""
    """Its text outputs, normalised (``outputs.text_of_outputs``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """How a replay went."""

    state: str
    exit_code: int
    error: str | None
    failed_cell: str | None
    """Id of the cell at which it stopped."""
    cells: tuple[ReplayedCell, ...]
    lineage: str
    """``full``, or ``none`` where the kernel recorded nothing: then nothing can be compared."""
    confined: bool
    """Whether the operating system kept it from writing outside of the scratch."""
    seconds: float
    warnings: tuple[str, ...] = ()
    blocked: str | None = None
    """Path outside of the scratch that a cell tried to write."""
    output: Path | None = None
    """The executed notebook, in the scratch."""

    @property
    def succeeded(self) -> bool:
        """Whether all cells ran."""
        return self.state == "succeeded"


def as_replay(
    document: Mapping[str, Any],
    result: Mapping[str, Any],
    *,
    home: Path,
    output: Path,
    seconds: float,
    confined: bool,
    blocked: str | None,
) -> Replay:
    """What is known of a run: its own answer, its store in ``home`` and its executed notebook ``output``."""
    failed = result.get("failed_cell")
    return Replay(
        state=result["state"], exit_code=result["exit_code"], error=result.get("error"),
        failed_cell=failed.get("cell_id") if isinstance(failed, Mapping) else failed,
        cells=_cells(document, result, home=home, output=output), lineage=result.get("lineage", "none"),
        confined=confined, seconds=seconds, warnings=tuple(result.get("warnings", ())), blocked=blocked, output=output,
    )  # fmt: skip


def _cells(
    document: Mapping[str, Any], result: Mapping[str, Any], *, home: Path, output: Path
) -> tuple[ReplayedCell, ...]:
    told = result["cells"]  # of each, or only how many ended how
    states = {cell["cell_id"]: cell["state"] for cell in told} if isinstance(told, list) else {}
    texts = _texts(output)
    left = _read_store(home)
    cells = []
    for index, cell in enumerate(document["cells"]):
        if cell["cell_type"] != "code":
            continue
        cell_id = cell["id"]
        ours = cell["metadata"].get("mlops")
        found = left.get(cell_id, _Left())
        cells.append(
            ReplayedCell(
                index=index, cell_id=cell_id,
                execution_id=ours.get("execution_id") if isinstance(ours, dict) else None,
                state=states.get(cell_id, found.state), error=found.error, variables=found.variables,
                files_written=found.files, metrics=found.metrics, params=found.params, unseeded=tuple(found.unseeded),
                text=texts.get(cell_id, ""),
            )
        )  # fmt: skip
    return tuple(cells)


@dataclass(slots=True)
class _Left:
    state: str = "never_ran"
    error: str | None = None
    variables: dict[str, Value] = field(default_factory=dict)
    files: dict[str, str | None] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    unseeded: list[str] = field(default_factory=list)


def _read_store(home: Path) -> dict[str, _Left]:
    path = home / "lineage.db"
    if not path.exists():
        return {}
    store = open_store(path)
    try:
        return _read_executions(store)
    finally:
        store.close()


def _read_executions(store: Connection) -> dict[str, _Left]:
    ids = [ExecutionId(row[0]) for row in store.execute("SELECT execution_id FROM executions ORDER BY seq")]
    executions = records.get_executions(store, ids)
    versions: dict[str, list[EntityVersion]] = {}
    for version in records.versions_generated(store, ids):
        versions.setdefault(str(version.execution_id), []).append(version)
    drawn = _unseeded_draws(store, ids)
    found: dict[str, _Left] = {}
    for execution in executions:
        if execution.cell_id is None:
            continue
        left = found.setdefault(execution.cell_id, _Left())
        left.error = execution.error
        left.state = "succeeded" if execution.status is ExecutionStatus.OK else "failed"
        of_cell = versions.get(execution.execution_id, [])
        left.variables |= written_values(of_cell)
        left.files |= written_files(of_cell)
        left.unseeded += drawn.get(execution.execution_id, [])
        if execution.run_uid is not None:
            run = store_runs.get_run(store, execution.run_uid)
            if run.execution_id == execution.execution_id:
                left.metrics |= dict(run.metrics)
                left.params |= dict(run.params)
    return found


def _unseeded_draws(store: Connection, ids: list[ExecutionId]) -> dict[str, list[str]]:
    """By execution, the generators that it drew from though nothing had seeded them."""
    uses = [use for use in records.uses_by(store, ids) if "without a seed" in use.reason]
    names = {v.version_id: v.name for v in records.get_versions(store, [use.version_id for use in uses])}
    found: dict[str, list[str]] = {}
    for use in uses:
        if use.version_id in names:
            found.setdefault(use.execution_id, []).append(names[use.version_id])
    return found


def written_values(versions: list[EntityVersion]) -> dict[str, Value]:
    """Last version of each variable among what one execution generated."""
    return {
        v.name: Value(digest=v.digest, summary=v.summary, type_name=v.type_name, grade=str(v.grade), deleted=v.deleted)
        for v in sorted(versions, key=lambda v: v.at)
        if v.kind is EntityKind.VARIABLE and v.reason != "displayed"
    }


def written_files(versions: list[EntityVersion]) -> dict[str, str | None]:
    """Digest of each file that one execution wrote."""
    return {
        v.name: v.digest for v in sorted(versions, key=lambda v: v.at) if v.kind is EntityKind.FILE and not v.deleted
    }


def _texts(output: Path) -> dict[str, str]:
    try:
        document = json.loads(output.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {
        cell["id"]: text_of_outputs(cell.get("outputs", ()))
        for cell in document.get("cells", ())
        if cell.get("cell_type") == "code" and isinstance(cell.get("id"), str)
    }
