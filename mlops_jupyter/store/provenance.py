"""The lineage record of a store as a source for graphs and slices."""

from __future__ import annotations

from collections.abc import Sequence

from mlops_jupyter.entities import (
    CellExecution,
    EntityKind,
    EntityVersion,
    ExecutionId,
    RunUid,
    SessionId,
    Used,
    VersionId,
)

from . import executions as records
from .connection import Connection


class StoreSource:
    """A ``lineage.LineageSource`` over a ``Connection``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def executions(self, execution_ids: Sequence[ExecutionId]) -> list[CellExecution]:
        return records.get_executions(self._connection, execution_ids)

    def versions(self, version_ids: Sequence[VersionId]) -> list[EntityVersion]:
        return records.get_versions(self._connection, version_ids)

    def generated(self, execution_ids: Sequence[ExecutionId]) -> list[EntityVersion]:
        return records.versions_generated(self._connection, execution_ids)

    def derived(self, version_ids: Sequence[VersionId]) -> list[EntityVersion]:
        return [v for v in records.derived_from(self._connection, version_ids) if not v.strong]

    def uses_by(self, execution_ids: Sequence[ExecutionId]) -> list[Used]:
        return records.uses_by(self._connection, execution_ids)

    def uses_of(self, version_ids: Sequence[VersionId]) -> list[Used]:
        return records.uses_of(self._connection, version_ids)


def latest_version(
    connection: Connection,
    kind: EntityKind,
    name: str,
    *,
    session_id: SessionId | None = None,
    present: bool = False,
) -> EntityVersion | None:
    """The last version of an entity, in one session or in any; ``present``: passing by its deletions."""
    where = "WHERE kind = ? AND name = ?" + (" AND session_id = ?" if session_id is not None else "")
    where += " AND deleted = 0" if present else ""
    values: tuple[str, ...] = (kind, name) if session_id is None else (kind, name, session_id)
    rows = connection.execute(f"SELECT version_id FROM versions {where} ORDER BY at DESC LIMIT 1", values)
    found = records.get_versions(connection, [VersionId(rows[0][0])]) if rows else []
    return found[0] if found else None


def same_content(connection: Connection, version: EntityVersion) -> list[EntityVersion]:
    """Versions of a file with the digest of ``version`` (each session that reads it from outside has its
    own)."""
    if version.digest is None:
        return [version]
    rows = connection.execute(
        "SELECT version_id FROM versions WHERE kind = ? AND name = ? AND digest = ?",
        (version.kind, version.name, version.digest),
    )
    return records.get_versions(connection, [row[0] for row in rows])


def known_names(
    connection: Connection, kind: EntityKind, *, session_id: SessionId | None = None, limit: int = 5000
) -> list[str]:
    """Names of entities of a kind, to suggest the closest to one that does not exist."""
    if session_id is None:
        rows = connection.execute("SELECT DISTINCT name FROM versions WHERE kind = ? LIMIT ?", (kind, limit))
    else:
        rows = connection.execute(
            "SELECT DISTINCT v.name FROM executions e JOIN versions v ON v.execution_id = e.execution_id "
            "WHERE e.session_id = ? AND v.kind = ? AND v.deleted = 0 LIMIT ?",
            (session_id, kind, limit),
        )
    return [str(row[0]) for row in rows]


def find_executions(connection: Connection, prefix: str, *, limit: int = 2) -> list[ExecutionId]:
    """Executions whose id begins with ``prefix`` (hexadecimal)."""
    rows = connection.execute(
        "SELECT execution_id FROM executions WHERE execution_id >= ? AND execution_id < ? LIMIT ?",
        (prefix, prefix + "g", limit),
    )
    return [ExecutionId(row[0]) for row in rows]


def cell_executions(connection: Connection, notebook: str, cell_id: str) -> list[ExecutionId]:
    """Executions of one cell, latest first."""
    rows = connection.execute(
        "SELECT execution_id FROM executions WHERE notebook = ? AND cell_id = ? ORDER BY seq DESC",
        (notebook, cell_id),
    )
    return [ExecutionId(row[0]) for row in rows]


def execution_at(connection: Connection, session_id: SessionId, position: int) -> CellExecution | None:
    """The execution at a 0-based position of a session."""
    rows = connection.execute(
        "SELECT execution_id FROM executions WHERE session_id = ? AND position = ?", (session_id, position)
    )
    found = records.get_executions(connection, [ExecutionId(rows[0][0])]) if rows else []
    return found[0] if found else None


def latest_session(connection: Connection) -> SessionId | None:
    """The session that executed a cell last."""
    rows = connection.execute("SELECT session_id FROM executions ORDER BY seq DESC LIMIT 1")
    return SessionId(rows[0][0]) if rows else None


def child_runs(connection: Connection, run_uid: RunUid) -> list[RunUid]:
    """Runs nested directly in a run, by start."""
    rows = connection.execute("SELECT run_uid FROM runs WHERE parent_uid = ? ORDER BY seq", (run_uid,))
    return [RunUid(row[0]) for row in rows]
