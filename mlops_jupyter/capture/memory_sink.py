"""Where records go when ``.mlops/`` cannot be written: the same store in memory, gone with the process."""

from __future__ import annotations

from mlops_jupyter.store import SQLiteConnection
from mlops_jupyter.store.migrations import migrate


def open_memory_store() -> SQLiteConnection:
    """A store with the same tables in memory, so that everything which reads back what it wrote keeps
    working."""
    connection = SQLiteConnection(":memory:")
    migrate(connection)
    return connection
