"""A run as it was recorded, as something that can run again: its cells, the files it read, the code it loaded."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from mlops_jupyter.analysis.secrets import BLANK, redact
from mlops_jupyter.entities import (
    CellExecution,
    Digest,
    EntityKind,
    EntityVersion,
    ExecutionId,
    ExecutionStatus,
    Origin,
    Run,
    RunStatus,
    RunUid,
    SessionId,
)
from mlops_jupyter.errors import UsageError
from mlops_jupyter.notebook import read_notebook
from mlops_jupyter.provenance.closure import upstream
from mlops_jupyter.store import Connection
from mlops_jupyter.store import executions as records
from mlops_jupyter.store import runs as store_runs
from mlops_jupyter.store.provenance import StoreSource
from mlops_jupyter.store.snapshots import Snapshot, run_snapshots

Shape = Literal["cell", "steps", "notebook"]
"""``cell``: a tracked cell with what it needs; ``steps``: ``%track on``; ``notebook``: a headless run as a whole."""

INJECTED = "injected-parameters"
"""Id of the cell in which a headless run sets its parameters."""

_DEFAULT_KERNEL = "python3"

_OURS = re.compile(
    r"^%(?:(?:load_ext|reload_ext|unload_ext)\s+mlops_jupyter\b.*|(?:lineage|gather|mlops)(?:\s.*)?|track\s+status\s*)$"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedCell:
    """One execution that runs again."""

    cell_id: str
    """Its id in the notebook that is replayed."""
    execution: CellExecution
    source: str
    may_fail: bool
    """It failed and left something that is needed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRun:
    """All that is known of how a run was made."""

    run: Run
    shape: Shape
    cells: tuple[RecordedCell, ...]
    runs: tuple[tuple[Run, str | None], ...]
    """The run and those nested in it, each with the cell (its id) that began it; None: no cell did."""
    inputs: tuple[EntityVersion, ...]
    """Files that must be there before it runs, each once."""
    written: tuple[str, ...]
    """Files that its cells write."""
    snapshots: tuple[Snapshot, ...]
    folder: str
    """Where its kernel started, relative to the workspace."""
    kernel: str
    """Name of the kernel that runs it: the notebook's, where that is still there and installed."""
    environment: Mapping[str, Any]
    """``python``, ``distributions`` …; empty where it is not known."""
    notes: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """The notebook that is replayed."""
        cells: list[dict[str, Any]] = [
            {
                "cell_type": "code", "id": cell.cell_id, "execution_count": None, "outputs": [], "source": cell.source,
                "metadata": {
                    "tags": ["raises-exception"] if cell.may_fail else [],
                    "mlops": {"execution_id": cell.execution.execution_id},
                },
            }
            for cell in self.cells
        ]  # fmt: skip
        kernel = {"display_name": self.kernel, "language": "python", "name": self.kernel}
        return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def read_run(store: Connection, run_uid: RunUid, *, root: str) -> RecordedRun:
    """The run as the store has it; ``root``: folder of the workspace.

    Raises:
        UsageError: it cannot be run again: it still runs, no cell made it, or its code held a secret.
        TargetNotFoundError: there is no such run.
    """
    run = store_runs.get_run(store, run_uid)
    shown = f"Run {run_uid[:8]}"
    if run.status is RunStatus.RUNNING:
        raise UsageError(f"{shown} has not ended yet.", hint="Wait for its end, then reproduce it.")
    nested = _nested(store, run_uid)
    targets, shape = _targets(store, run, nested)
    if not targets:
        raise UsageError(f"{shown} has no recorded code: {_why_no_code(run)}.")
    source = StoreSource(store)
    session = targets[0].session_id
    found = upstream(source, (), [e.execution_id for e in targets], session_id=session)
    own = {e.execution_id for e in targets}
    kept = [e for e in found.executions if e.session_id == session]
    began = run.tags.get("mlops.execution_id") if shape == "steps" else None
    if began is not None and began not in {e.execution_id for e in kept}:
        kept = sorted(
            [*kept, *records.get_executions(store, [ExecutionId(began)])], key=lambda e: e.position
        )  # the cell of %track on
    notes = []
    if run.deleted_at is not None:
        notes.append("The run is deleted; its record is there until mlops gc.")
    cells = tuple(_cell(e, own=own, only=shape == "cell") for e in kept)
    _refuse_secrets(shown, cells)
    ids = {e.execution_id for e in kept}
    inputs, told = _inputs(found.versions, ids)
    notes += told
    written = [v.name for v in records.versions_generated(store, list(ids)) if v.kind is EntityKind.FILE]
    by_execution = {cell.execution.execution_id: cell.cell_id for cell in cells}
    runs = [run, *store_runs.load_runs(store, nested)]
    return RecordedRun(
        run=run, shape=shape, cells=cells,
        runs=tuple((r, by_execution.get(ExecutionId(r.tags.get("mlops.execution_id", "")))) for r in runs),
        inputs=inputs, written=tuple(dict.fromkeys(written)),
        snapshots=tuple(run_snapshots(store, _related(run, nested))),
        folder=_folder(run, runs, root), kernel=_kernel(root, run.notebook),
        environment=_environment(store, run, session), notes=tuple(notes),
    )  # fmt: skip


def _nested(store: Connection, run_uid: RunUid) -> list[RunUid]:
    found: list[RunUid] = []
    queue = [run_uid]
    while queue:
        children = store_runs.child_runs(store, queue.pop(0))
        found += children
        queue += children
    return found


def _related(run: Run, nested: Sequence[RunUid]) -> list[RunUid]:
    return [run.run_uid, *nested, *([run.parent_uid] if run.parent_uid else [])]


def _targets(store: Connection, run: Run, nested: Sequence[RunUid]) -> tuple[list[CellExecution], Shape]:
    if run.execution_id is not None:
        return records.get_executions(store, [run.execution_id]), "cell"
    own = [e for uid in [run.run_uid, *nested] for e in records.run_executions(store, uid)]
    if "mlops.execution_id" in run.tags:
        return own, "steps"
    sessions = dict.fromkeys(e.session_id for e in own)
    return [e for session in sessions for e in records.session_executions(store, session)], "notebook"


def _why_no_code(run: Run) -> str:
    if run.tags.get("mlops.lineage") == "none":
        return "its kernel recorded nothing (another language, or a kernel without mlops-jupyter)"
    if run.tags.get("mlops.origin") == Origin.SCRIPT or run.tags.get("mlflow.source.type") in ("LOCAL", "PROJECT"):
        return "it was logged by a script, not by a cell of a notebook"
    return "no cell of a notebook made it"


def _cell(execution: CellExecution, *, own: set[ExecutionId], only: bool) -> RecordedCell:
    """``only``: a single cell is to run again; its own failure must be seen as one."""
    failed = execution.status is not ExecutionStatus.OK
    cell_id = INJECTED if execution.cell_id == INJECTED else execution.execution_id
    return RecordedCell(
        cell_id=cell_id,
        execution=execution,
        source=replayable(execution.source),
        may_fail=failed and not (only and execution.execution_id in own),
    )


def replayable(source: str) -> str:
    """A cell's text without the lines that show or load something of this package; ``%track`` lines stay."""
    lines = source.splitlines()
    first = next((line for line in lines if line.strip() and not line.startswith("%%track")), "")
    if first.startswith("%%"):
        return source  # the body of another cell magic may hold any line
    kept, before = [], ""
    for line in lines:
        outside = before.count('"""') % 2 == 0 and before.count("'''") % 2 == 0
        kept.append("" if outside and _OURS.match(line) else line)
        before += line + "\n"
    return "\n".join(kept)


def _refuse_secrets(shown: str, cells: Iterable[RecordedCell]) -> None:
    for cell in cells:
        if was_redacted(cell.source):
            count = cell.execution.execution_count
            raise UsageError(
                f"{shown} cannot be reproduced: In [{'?' if count is None else count}] held what looks like a secret, "
                "which was blanked before it was recorded.",
                hint="Read secrets from the environment (os.environ) instead, and track it again.",
            )


_STAND_IN = "zQ7x9Kp2Lm4Rt8Vw"


def was_redacted(source: str) -> bool:
    """Whether ``***`` in a recorded text stands where a secret was blanked, as far as the text can tell."""
    if BLANK not in source:
        return False
    for found in re.finditer(r"(?<!\*)\*{3}(?!\*)", source):
        # Put something in its place: what is blanked again was blanked before.
        tried = source[: found.start()] + _STAND_IN + source[found.end() :]
        if redact(tried)[found.start() : found.start() + 3] == BLANK and redact(tried) != tried:
            return True
    return re.search(r"=\s*[rbfu]*([\"'])\*\*\*\1|\b(?:Bearer|Basic|token) \*\*\*", source) is not None


def _inputs(
    versions: Iterable[EntityVersion], made_by: set[ExecutionId]
) -> tuple[tuple[EntityVersion, ...], list[str]]:
    found: dict[str, EntityVersion] = {}
    notes: list[str] = []
    for version in sorted(versions, key=lambda v: v.at):
        if version.execution_id in made_by or version.deleted:
            continue
        if version.kind is EntityKind.VARIABLE:
            if version.execution_id is None:
                notes.append(f"{version.name} was there before capture started; no recorded cell makes it.")
        elif version.kind is EntityKind.FILE:
            first = found.setdefault(version.name, version)
            if first.digest != version.digest:
                notes.append(f"{version.name} was read with different contents; the first is used.")
    return tuple(sorted(found.values(), key=lambda v: v.name)), list(dict.fromkeys(notes))


def _folder(run: Run, runs: Sequence[Run], root: str) -> str:
    told = next((r.tags["mlops.cwd"] for r in runs if r.tags.get("mlops.cwd")), None)
    folder = told if told is not None else str(PurePosixPath(run.notebook).parent) if run.notebook else "."
    return os.path.relpath(folder, root) if folder.startswith("/") else folder


def _kernel(root: str, notebook: str | None) -> str:
    """No record names the kernel; what the environment was is compared afterwards."""
    if notebook is None:
        return _DEFAULT_KERNEL
    from jupyter_client.kernelspec import KernelSpecManager  # here, because it takes its time

    try:
        name = read_notebook(Path(root) / notebook).metadata.get("kernelspec", {}).get("name")
    except (UsageError, LookupError, AttributeError):
        return _DEFAULT_KERNEL
    return name if isinstance(name, str) and name in KernelSpecManager().find_kernel_specs() else _DEFAULT_KERNEL


def _environment(store: Connection, run: Run, session_id: SessionId) -> Mapping[str, Any]:
    digest = run.tags.get("mlops.environment")
    if digest is None:
        session = records.get_session(store, session_id)
        digest = None if session is None else session.environment
    text = records.environment(store, Digest(digest)) if digest else None
    try:
        document = json.loads(text) if text else {}
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
