"""The telemetry of one store as a document, and into another store: how a job's record comes home.

Tables are named here and columns are those that both sides have, so that neither a document from elsewhere nor one of
another version can write what it should not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mlops_jupyter.errors import UsageError

from .connection import Connection, Value

TABLES: Mapping[str, tuple[str, ...]] = {
    "environments": ("digest", "document"),
    "sources": ("digest", "text"),
    "sessions": (
        "session_id", "origin", "host", "pid", "actor", "notebook", "python", "environment", "started_at", "ended_at",
    ),
    "executions": (
        "execution_id", "session_id", "position", "execution_count", "cell_id", "notebook", "source_digest",
        "started_at", "duration", "status", "error", "run_uid",
    ),
    "versions": (
        "version_id", "kind", "name", "session_id", "execution_id", "strong", "grade", "reason", "at", "previous",
        "deleted", "type_name", "summary", "digest", "size",
    ),
    "uses": ("execution_id", "version_id", "grade", "reason"),
    "runs": (
        "run_uid", "name", "experiment", "status", "started_at", "ended_at", "parent_uid", "session_id",
        "execution_id", "notebook", "actor", "note",
    ),
    "run_events": ("run_uid", "kind", "at", "payload"),
    "params": ("run_uid", "key", "value", "type_name", "source"),
    "metrics": ("run_uid", "key", "value", "step", "timestamp"),
    "tags": ("run_uid", "key", "value"),
    "artifacts": ("run_uid", "path", "digest", "size"),
    "datasets": ("run_uid", "name", "digest", "source", "context", "shape", "schema"),
    "models": (
        "model_uid", "run_uid", "name", "class_name", "flavor", "digest", "size", "signature", "input_example",
        "requirements", "error",
    ),
    "snapshots": ("run_uid", "name", "digest", "state", "module", "object", "size", "at"),
}  # fmt: skip
"""Table -> columns that travel. Positions do not: each store gives its own."""

_ORDERED = frozenset(TABLES) - {"environments", "sources", "versions", "uses", "tags", "snapshots"}
_INFINITY = {"Infinity": math.inf, "-Infinity": -math.inf}


def dump_records(connection: Connection) -> dict[str, Any]:
    """All telemetry of a store, as plain JSON: ``{table: {"columns": […], "rows": [[…]]}}``."""
    document: dict[str, Any] = {}
    for table, columns in TABLES.items():
        order = " ORDER BY seq" if table in _ORDERED else ""
        rows = connection.execute(f"SELECT {', '.join(columns)} FROM {table}{order}")
        document[table] = {"columns": list(columns), "rows": [[_plain(v) for v in row] for row in rows]}
    return document


def load_records(connection: Connection, document: Mapping[str, Any]) -> dict[str, int]:
    """Add the rows of a document; how many came of each table. What is there under the same key stays.

    To be called once for a document, inside the transaction that records that it was: metric values have no key.

    Raises:
        UsageError: the document is not one of records; nothing was added where the caller's transaction ends.
    """
    counts = {}
    for table, known in TABLES.items():
        part = document.get(table)
        if part is None:
            continue
        columns, rows = _checked(table, part, known)
        marks = ",".join("?" * len(columns))
        connection.executemany(
            f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks}) ON CONFLICT DO NOTHING", rows
        )
        counts[table] = len(rows)
    return counts


def _checked(table: str, part: Any, known: tuple[str, ...]) -> tuple[list[str], list[list[Value]]]:
    columns = part.get("columns") if isinstance(part, dict) else None
    rows = part.get("rows") if isinstance(part, dict) else None
    if not isinstance(columns, list) or not isinstance(rows, list):
        raise UsageError(f"The records of a job are malformed: {table} has no columns and rows.")
    keep = [index for index, column in enumerate(columns) if column in known]
    names = [columns[index] for index in keep]
    if len(set(names)) != len(names) or not names:
        raise UsageError(f"The records of a job are malformed: the columns of {table} are not those of a store.")
    found = []
    for row in rows:
        if not isinstance(row, list) or len(row) != len(columns):
            raise UsageError(f"The records of a job are malformed: a row of {table} does not fit its columns.")
        found.append([_value(table, row[index]) for index in keep])
    return names, found


def _value(table: str, value: Any) -> Value:
    if isinstance(value, dict) and list(value) == ["float"] and value["float"] in _INFINITY:
        return _INFINITY[value["float"]]
    if value is None or (isinstance(value, str | int | float) and not isinstance(value, bool)):
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise UsageError(f"The records of a job are malformed: a number of {table} is too large.")
        return value
    raise UsageError(f"The records of a job are malformed: {table} holds a {type(value).__name__}.")


def _plain(value: Any) -> Any:
    if isinstance(value, float) and math.isinf(value):
        return {"float": "Infinity" if value > 0 else "-Infinity"}
    return value
