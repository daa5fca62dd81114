"""Control records: documents that change only by compare-and-set, written synchronously and durably in one place.

Aliases, gate decisions, approvals, deployments, leases and the state of retraining live here. A change and its audit
entry belong in one ``transaction(durable=True)``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlops_jupyter.config import Settings
from mlops_jupyter.errors import ConflictError, UsageError

from .connection import Connection, Row


@dataclass(frozen=True, slots=True)
class ControlRecord:
    """One document and how often it was written."""

    kind: str
    name: str
    version: int
    """1 when it was created, one more with each change."""
    document: Mapping[str, Any]
    updated_at: float
    """Seconds since the epoch."""


def open_control(settings: Settings) -> Connection:
    """The one place of control records: the team's PostgreSQL where ``store_url`` is set, else the local SQLite.

    Raises:
        UnreachableError: the team's store cannot be reached; there is no falling back to the local one.
        UsageError, TransientError: as the stores raise when they are opened.
    """
    from . import open_team_store, open_workspace_store  # the package's own names, complete by now

    return open_team_store(settings) if settings.store_url else open_workspace_store(settings)


def get_record(connection: Connection, kind: str, name: str) -> ControlRecord | None:
    """The record, or None."""
    rows = connection.execute(
        "SELECT kind, name, version, document, updated_at FROM control_records WHERE kind = ? AND name = ?",
        (kind, name),
    )
    return _record(rows[0]) if rows else None


def list_records(connection: Connection, kind: str) -> list[ControlRecord]:
    """All records of a kind, by name."""
    rows = connection.execute(
        "SELECT kind, name, version, document, updated_at FROM control_records WHERE kind = ? ORDER BY name",
        (kind,),
    )
    return [_record(row) for row in rows]


def put_record(
    connection: Connection, kind: str, name: str, document: Mapping[str, Any], *, expected: int
) -> ControlRecord:
    """Create a record (``expected`` 0) or replace the version ``expected`` of it, durably.

    Raises:
        ConflictError: it has another version by now, or exists already; nothing is changed.
        UsageError: ``document`` is not JSON.
    """
    try:
        text = json.dumps(document, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UsageError(f"The {kind} record {name!r} must be JSON: {error}.") from error
    now = time.time()
    with connection.transaction(durable=True):
        if expected == 0:
            written = connection.execute(
                "INSERT INTO control_records (kind, name, version, document, updated_at) VALUES (?,?,1,?,?) "
                "ON CONFLICT DO NOTHING RETURNING version",
                (kind, name, text, now),
            )
        else:
            written = connection.execute(
                "UPDATE control_records SET version = version + 1, document = ?, updated_at = ? "
                "WHERE kind = ? AND name = ? AND version = ? RETURNING version",
                (text, now, kind, name, expected),
            )
        if not written:
            raise _conflict(connection, kind, name, expected)
    return ControlRecord(kind, name, int(written[0][0]), json.loads(text), now)


def delete_record(connection: Connection, kind: str, name: str, *, expected: int) -> None:
    """Remove the version ``expected`` of a record, durably.

    Raises:
        ConflictError: it has another version by now, or is gone; nothing is changed.
    """
    with connection.transaction(durable=True):
        gone = connection.execute(
            "DELETE FROM control_records WHERE kind = ? AND name = ? AND version = ? RETURNING version",
            (kind, name, expected),
        )
        if not gone:
            raise _conflict(connection, kind, name, expected)


def _conflict(connection: Connection, kind: str, name: str, expected: int) -> ConflictError:
    now = get_record(connection, kind, name)
    found = f"version {now.version}" if now else "not there"
    wanted = f"version {expected}" if expected else "not there"
    return ConflictError(
        f"The {kind} record {name!r} was expected to be {wanted} and is {found}.",
        hint="Somebody else changed it; look at it again and repeat.",
    )


def _record(row: Row) -> ControlRecord:
    return ControlRecord(row[0], row[1], row[2], json.loads(row[3]), row[4])
