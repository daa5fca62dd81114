"""Sessions, executions of cells, versions of entities, and what used what. Append-only."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TypeVar

from mlops_jupyter.entities import (
    CellExecution,
    Digest,
    EntityKind,
    EntityVersion,
    ExecutionId,
    ExecutionStatus,
    Grade,
    Origin,
    RunUid,
    Session,
    SessionId,
    Used,
    VersionId,
)

from .connection import Connection, Row

_T = TypeVar("_T")

# A lookup in a dict takes a quarter of the time of calling the enumeration, and a slice reads thousands of rows.
_GRADES = {grade.value: grade for grade in Grade}
_KINDS = {kind.value: kind for kind in EntityKind}

_EXECUTION = (
    "e.execution_id, e.session_id, e.position, e.execution_count, e.cell_id, e.notebook, s.text, e.source_digest, "
    "e.started_at, e.duration, e.status, e.error, e.run_uid"
)
_VERSION = (
    "version_id, kind, name, session_id, execution_id, strong, grade, reason, at, previous, deleted, type_name, "
    "summary, digest, size"
)
_SESSION = "session_id, origin, host, pid, actor, notebook, python, environment, started_at, ended_at"


def start_session(connection: Connection, session: Session, *, environment: str | None = None) -> None:
    """Record that a kernel or script began; ``environment`` is the document behind ``session.environment``."""
    with connection.transaction():
        if session.environment is not None and environment is not None:
            connection.execute(
                "INSERT INTO environments (digest, document) VALUES (?, ?) ON CONFLICT DO NOTHING",
                (session.environment, environment),
            )
        connection.execute(
            f"INSERT INTO sessions ({_SESSION}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (session_id) DO UPDATE SET notebook = excluded.notebook, "
            "environment = excluded.environment, actor = excluded.actor, ended_at = excluded.ended_at",
            (
                session.session_id, session.origin, session.host, session.pid, session.user, session.notebook,
                session.python, session.environment, session.started_at, session.ended_at,
            ),
        )  # fmt: skip


def end_session(connection: Connection, session_id: SessionId, *, at: float | None = None) -> None:
    """Record that a session ended. Keeps an earlier end."""
    connection.execute(
        "UPDATE sessions SET ended_at = ? WHERE session_id = ? AND ended_at IS NULL",
        (time.time() if at is None else at, session_id),
    )


def append_execution(
    connection: Connection,
    execution: CellExecution,
    *,
    versions: Sequence[EntityVersion] = (),
    uses: Sequence[Used] = (),
) -> None:
    """Append one execution with the versions it generated (and found outside) and what it used, all or nothing."""
    with connection.transaction():
        connection.execute(
            "INSERT INTO sources (digest, text) VALUES (?, ?) ON CONFLICT DO NOTHING",
            (execution.source_digest, execution.source),
        )
        connection.execute(
            "INSERT INTO executions (execution_id, session_id, position, execution_count, cell_id, notebook, "
            "source_digest, started_at, duration, status, error, run_uid) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
            (
                execution.execution_id, execution.session_id, execution.position, execution.execution_count,
                execution.cell_id, execution.notebook, execution.source_digest, execution.started_at,
                execution.duration, execution.status, execution.error, execution.run_uid,
            ),
        )  # fmt: skip
        append_versions(connection, versions)
        if uses:
            connection.executemany(
                "INSERT INTO uses (execution_id, version_id, grade, reason) VALUES (?,?,?,?) ON CONFLICT DO NOTHING",
                [(use.execution_id, use.version_id, use.grade, use.reason) for use in uses],
            )


def append_versions(connection: Connection, versions: Iterable[EntityVersion]) -> None:
    """Append versions alone, for example of files that a headless run wrote outside of any cell."""
    rows = [
        (
            v.version_id, v.kind, v.name, v.session_id, v.execution_id, int(v.strong), v.grade, v.reason, v.at,
            v.previous, int(v.deleted), v.type_name, v.summary, v.digest, v.size,
        )
        for v in versions
    ]  # fmt: skip
    if rows:
        connection.executemany(
            f"INSERT INTO versions ({_VERSION}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING",
            rows,
        )


def get_session(connection: Connection, session_id: SessionId) -> Session | None:
    """The session, or None."""
    rows = connection.execute(f"SELECT {_SESSION} FROM sessions WHERE session_id = ?", (session_id,))
    return _session(rows[0]) if rows else None


def open_sessions(connection: Connection) -> list[Session]:
    """Sessions that have not said that they ended; whether they live is told by their lock."""
    return [
        _session(row)
        for row in connection.execute(f"SELECT {_SESSION} FROM sessions WHERE ended_at IS NULL ORDER BY seq")
    ]


def environment(connection: Connection, digest: Digest) -> str | None:
    """The environment document, JSON text, or None."""
    rows = connection.execute("SELECT document FROM environments WHERE digest = ?", (digest,))
    return str(rows[0][0]) if rows else None


def get_executions(connection: Connection, execution_ids: Sequence[ExecutionId]) -> list[CellExecution]:
    """These executions, in the order of their start; unknown ids are left out."""
    found: list[CellExecution] = []
    for chunk in _chunks(execution_ids):
        found += _executions(connection, f"WHERE e.execution_id IN ({_marks(chunk)})", chunk)
    return sorted(found, key=lambda e: (e.started_at, e.position))


def session_executions(connection: Connection, session_id: SessionId) -> list[CellExecution]:
    """All executions of a session, by position."""
    return _executions(connection, "WHERE e.session_id = ? ORDER BY e.position", (session_id,))


def notebook_sessions(connection: Connection, notebook: str) -> list[SessionId]:
    """Sessions that executed cells of ``notebook`` (workspace-relative path), latest first."""
    return [
        SessionId(row[0])
        for row in connection.execute(
            "SELECT session_id FROM executions WHERE notebook = ? GROUP BY session_id ORDER BY MAX(seq) DESC",
            (notebook,),
        )
    ]


def run_executions(connection: Connection, run_uid: RunUid) -> list[CellExecution]:
    """Executions that belong to a run, by start."""
    return _executions(connection, "WHERE e.run_uid = ? ORDER BY e.seq", (run_uid,))


def versions_generated(connection: Connection, execution_ids: Sequence[ExecutionId]) -> list[EntityVersion]:
    """Versions that these executions generated."""
    found: list[EntityVersion] = []
    for chunk in _chunks(execution_ids):
        found += _versions(connection, f"WHERE execution_id IN ({_marks(chunk)})", chunk)
    return found


def get_versions(connection: Connection, version_ids: Sequence[VersionId]) -> list[EntityVersion]:
    """These versions; unknown ids are left out."""
    found: list[EntityVersion] = []
    for chunk in _chunks(version_ids):
        found += _versions(connection, f"WHERE version_id IN ({_marks(chunk)})", chunk)
    return found


def versions_named(
    connection: Connection, kind: EntityKind, name: str, *, session_id: SessionId | None = None
) -> list[EntityVersion]:
    """Versions of one entity by time; variables and state only make sense within one session."""
    if session_id is None:
        return _versions(connection, "WHERE kind = ? AND name = ? ORDER BY at", (kind, name))
    return _versions(connection, "WHERE kind = ? AND name = ? AND session_id = ? ORDER BY at", (kind, name, session_id))


def find_versions(
    connection: Connection, kind: EntityKind, name: str, *, digest: Digest | None = None, limit: int = 1
) -> list[EntityVersion]:
    """Versions of one entity in any session, latest first; only those with ``digest`` where it is given."""
    if digest is None:
        return _versions(connection, f"WHERE kind = ? AND name = ? ORDER BY at DESC LIMIT {int(limit)}", (kind, name))
    return _versions(
        connection,
        f"WHERE kind = ? AND name = ? AND digest = ? ORDER BY at DESC LIMIT {int(limit)}",
        (kind, name, digest),
    )


def uses_by(connection: Connection, execution_ids: Sequence[ExecutionId]) -> list[Used]:
    """What these executions used."""
    found: list[Used] = []
    for chunk in _chunks(execution_ids):
        found += _uses(connection, f"WHERE execution_id IN ({_marks(chunk)})", chunk)
    return found


def uses_of(connection: Connection, version_ids: Sequence[VersionId]) -> list[Used]:
    """Which executions used these versions."""
    found: list[Used] = []
    for chunk in _chunks(version_ids):
        found += _uses(connection, f"WHERE version_id IN ({_marks(chunk)})", chunk)
    return found


def derived_from(connection: Connection, version_ids: Sequence[VersionId]) -> list[EntityVersion]:
    """Weak versions that derive directly from these."""
    found: list[EntityVersion] = []
    for chunk in _chunks(version_ids):
        found += _versions(connection, f"WHERE previous IN ({_marks(chunk)})", chunk)
    return found


def _executions(connection: Connection, where: str, values: Sequence[str]) -> list[CellExecution]:
    rows = connection.execute(
        f"SELECT {_EXECUTION} FROM executions e JOIN sources s ON s.digest = e.source_digest {where}", values
    )
    return [
        CellExecution(
            execution_id=r[0], session_id=r[1], position=r[2], execution_count=r[3], cell_id=r[4], notebook=r[5],
            source=r[6], source_digest=r[7], started_at=r[8], duration=r[9], status=ExecutionStatus(r[10]),
            error=r[11], run_uid=r[12],
        )
        for r in rows
    ]  # fmt: skip


def _versions(connection: Connection, where: str, values: Sequence[str | int]) -> list[EntityVersion]:
    return [
        EntityVersion(
            version_id=r[0], kind=_KINDS[r[1]], name=r[2], session_id=r[3], execution_id=r[4], strong=bool(r[5]),
            grade=_GRADES[r[6]], reason=r[7], at=r[8], previous=r[9], deleted=bool(r[10]), type_name=r[11],
            summary=r[12], digest=r[13], size=r[14],
        )
        for r in connection.execute(f"SELECT {_VERSION} FROM versions {where}", values)
    ]  # fmt: skip


def _uses(connection: Connection, where: str, values: Sequence[str | int]) -> list[Used]:
    return [
        Used(execution_id=r[0], version_id=r[1], grade=_GRADES[r[2]], reason=r[3])
        for r in connection.execute(f"SELECT execution_id, version_id, grade, reason FROM uses {where}", values)
    ]


def _session(r: Row) -> Session:
    return Session(
        session_id=r[0], origin=Origin(r[1]), host=r[2], pid=r[3], user=r[4], notebook=r[5], python=r[6],
        environment=r[7], started_at=r[8], ended_at=r[9],
    )  # fmt: skip


def _chunks(values: Sequence[_T], size: int = 500) -> Iterable[Sequence[_T]]:
    return (values[start : start + size] for start in range(0, len(values), size))


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))
