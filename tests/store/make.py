"""Records for the tests, with everything that does not matter filled in."""

from __future__ import annotations

import uuid
from typing import Any

from mlops_jupyter.entities import (
    CellExecution,
    Digest,
    EntityKind,
    EntityVersion,
    ExecutionId,
    ExecutionStatus,
    Grade,
    Metric,
    Origin,
    Run,
    RunStatus,
    RunUid,
    Session,
    SessionId,
    VersionId,
)

SESSION = SessionId("5" * 32)


def run(**given: Any) -> Run:
    values: dict[str, Any] = {
        "run_uid": RunUid(uuid.uuid4().hex),
        "name": "a run",
        "experiment": "Default",
        "status": RunStatus.RUNNING,
        "started_at": 1_700_000_000.0,
        "user": "ada",
    }
    return Run(**{**values, **given})


def metric(key: str, value: float, *, step: int = 0, timestamp: int = 1_700_000_000_000) -> Metric:
    return Metric(key=key, value=value, step=step, timestamp=timestamp)


def session(**given: Any) -> Session:
    values: dict[str, Any] = {
        "session_id": SESSION,
        "origin": Origin.INTERACTIVE,
        "host": "here",
        "pid": 7,
        "user": "ada",
        "notebook": "a.ipynb",
        "python": "3.11.2",
        "environment": None,
        "started_at": 1.0,
    }
    return Session(**{**values, **given})


def execution(position: int, **given: Any) -> CellExecution:
    source = given.pop("source", f"x = {position}")
    values: dict[str, Any] = {
        "execution_id": ExecutionId(uuid.uuid4().hex),
        "session_id": SESSION,
        "position": position,
        "execution_count": position + 1,
        "cell_id": f"cell-{position}",
        "notebook": "a.ipynb",
        "source": source,
        "source_digest": Digest(f"sha256:{source}"),
        "started_at": 10.0 + position,
        "duration": 0.5,
        "status": ExecutionStatus.OK,
    }
    return CellExecution(**{**values, **given})


def version(name: str, execution_id: ExecutionId | None, **given: Any) -> EntityVersion:
    values: dict[str, Any] = {
        "version_id": VersionId(uuid.uuid4().int >> 65),
        "kind": EntityKind.VARIABLE,
        "name": name,
        "session_id": SESSION,
        "execution_id": execution_id,
        "strong": True,
        "grade": Grade.EXACT,
        "reason": "assigned",
        "at": 11.0,
    }
    return EntityVersion(**{**values, **given})
