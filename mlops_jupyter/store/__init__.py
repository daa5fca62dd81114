"""The lineage record, the outbox and the control records, on SQLite or PostgreSQL.

Plain functions over a ``Connection``, a module for each kind of record: ``executions`` (sessions, executions,
versions, uses), ``runs`` (runs, parameters, metrics, artifacts, models), ``outbox`` (cursors, dead letters),
``control`` and ``audit``. This package does no analysis and knows no MLflow.
"""

from __future__ import annotations

from pathlib import Path

from mlops_jupyter.config import Settings, ensure_home
from mlops_jupyter.errors import TransientError

from .connection import Connection, Row
from .locks import FileLock, is_held
from .migrations import is_current, migrate
from .sqlite import SQLiteConnection

__all__ = [
    "Connection",
    "FileLock",
    "Row",
    "SQLiteConnection",
    "is_held",
    "open_store",
    "open_workspace_store",
]


def open_store(path: Path) -> SQLiteConnection:
    """Open the SQLite store at ``path``, created and migrated where needed.

    Safe for many processes that start at once: switching to WAL and migrating happen under a file lock.

    Raises:
        NewerSchemaError: written by a newer version.
        TransientError: cannot be opened, read-only, full disk.
    """
    connection = SQLiteConnection(path)
    try:
        if not _ready(connection):
            lock = FileLock(path.parent / "locks" / "migrate.lock")
            if not lock.acquire(timeout=60.0):
                raise TransientError(
                    f"The store {path} is being set up by another process.", hint="Try again."
                )
            try:
                connection.execute("PRAGMA journal_mode=WAL")
                migrate(connection)
            finally:
                lock.release()
    except BaseException:
        connection.close()
        raise
    return connection


def _ready(connection: SQLiteConnection) -> bool:
    return connection.execute("PRAGMA journal_mode") == [("wal",)] and is_current(connection)


def open_workspace_store(settings: Settings) -> SQLiteConnection:
    """The local store of the workspace, its folders created where needed. Raises as ``open_store``."""
    ensure_home(settings)
    return open_store(settings.database)
