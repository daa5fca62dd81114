"""What a replay recorded in its own store, in the words of the run that it replays."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlops_jupyter.entities import Digest, EntityKind, ExecutionId, Run, RunUid
from mlops_jupyter.store import executions as records
from mlops_jupyter.store import open_store
from mlops_jupyter.store import runs as store_runs
from mlops_jupyter.store.snapshots import run_snapshots

from .scratch import Scratch


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What is read back of one replay."""

    runs: Mapping[str, Run] = field(default_factory=dict)
    """By the id of the cell that began each."""
    parent: Run | None = None
    """The headless run itself: what cells log without a run of their own goes to it."""
    files: Mapping[str, tuple[Digest, ...]] = field(default_factory=dict)
    """Digests of each file that was read and not written by it, by its name as recorded. Several where it was read in
    the scratch and, by its absolute path, where it lies."""
    code: Mapping[str, Digest] = field(default_factory=dict)
    """Digest of each module and script that was loaded, by its name as recorded."""
    environment: Mapping[str, Any] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    """What each cell raised, by its id."""


def read_observed(scratch: Scratch) -> Observed:
    """Read the store of the replay that ran last in ``scratch``; empty where nothing was recorded."""
    path = scratch.root / ".mlops" / "lineage.db"
    if not path.exists():
        return Observed()
    store = open_store(path)
    try:
        ids = [ExecutionId(row[0]) for row in store.execute("SELECT execution_id FROM executions ORDER BY seq")]
        executions = {e.execution_id: e for e in records.get_executions(store, ids)}
        uids = [RunUid(row[0]) for row in store.execute("SELECT run_uid FROM runs ORDER BY seq")]
        runs = store_runs.load_runs(store, uids)
        began: dict[str, Run] = {}
        for run in runs:
            execution = executions.get(ExecutionId(run.tags.get("mlops.execution_id", "")))
            if execution is not None and execution.cell_id is not None:
                began.setdefault(execution.cell_id, run)
        used = records.get_versions(store, [use.version_id for use in records.uses_by(store, ids)])
        files: dict[str, tuple[Digest, ...]] = {}
        for v in sorted(used, key=lambda v: v.at):
            if v.kind is EntityKind.FILE and v.execution_id is None and v.digest is not None:
                name = _name(v.name, scratch)
                files[name] = (*files.get(name, ()), v.digest)
        code = {_name(s.name, scratch): s.digest for s in run_snapshots(store, uids) if s.module is not None}
        documents = [
            row[0]
            for row in store.execute(
                "SELECT e.document FROM sessions s JOIN environments e ON e.digest = s.environment ORDER BY s.seq"
            )
        ]
        return Observed(
            runs=began,
            parent=next((run for run in runs if run.parent_uid is None and not run.execution_id), None),
            files=files, code=code, environment=json.loads(documents[-1]) if documents else {},
            errors={e.cell_id: e.error for e in executions.values() if e.cell_id and e.error},
        )  # fmt: skip
    finally:
        store.close()


def _name(name: str, scratch: Scratch) -> str:
    """A name in the replay as the run has it: the scratch mirrors the file system below ``files/``."""
    path = Path(name)
    if not path.is_absolute():
        return name
    mirror = scratch.mirror(Path("/"))
    if path.is_relative_to(mirror):
        path = Path("/") / path.relative_to(mirror)
    # Read where it lies, by its absolute path.
    return path.relative_to(scratch.original).as_posix() if path.is_relative_to(scratch.original) else path.as_posix()
