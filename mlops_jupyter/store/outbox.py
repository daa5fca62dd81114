"""What has been delivered where: a cursor for each target over the append-only tables, and what cannot be delivered.

Nothing is copied into a queue: an item is a row of its table (``STREAMS``), its position the row's ``seq``. A target
(``mlflow``, ``postgresql`` …) reads ``pending``, sends, and calls ``advance``; a crash in between sends the same rows
again, so targets write idempotently, with ``remote_id``/``remember`` for what the other side names by itself.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from mlops_jupyter.errors import UsageError

from .connection import Connection, Row

_COLUMNS: dict[str, tuple[str, ...]] = {
    "run_events": ("run_uid", "kind", "at", "payload"),
    "params": ("run_uid", "key", "value", "type_name", "source"),
    "metrics": ("run_uid", "key", "value", "step", "timestamp"),
    "artifacts": ("run_uid", "path", "digest", "size"),
    "datasets": ("run_uid", "name", "digest", "source", "context", "shape", "schema"),
    "models": (
        "run_uid", "model_uid", "name", "class_name", "flavor", "digest", "size", "signature", "input_example",
        "requirements", "error",
    ),
    "executions": (
        "run_uid", "execution_id", "session_id", "position", "execution_count", "cell_id", "notebook",
        "source_digest", "started_at", "duration", "status", "error",
    ),
}  # fmt: skip
_JSON_COLUMNS = frozenset({"payload", "shape", "requirements"})

STREAMS: tuple[str, ...] = tuple(_COLUMNS)
"""The append-only tables, in the order in which a target should deliver them: a run before what belongs to it."""


@dataclass(frozen=True, slots=True)
class Item:
    """One row to deliver."""

    stream: str
    position: int
    run_uid: str | None
    data: Mapping[str, Any]
    """The row by column name; JSON columns decoded, a metric's NULL as NaN."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A row that a target refused for good; it waits for ``revive`` or for a person."""

    target: str
    stream: str
    position: int
    run_uid: str | None
    error: str
    attempts: int
    at: float
    """Seconds since the epoch of the last attempt."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What is still to be delivered to one target."""

    pending: int
    dead: int
    by_stream: Mapping[str, int]
    """Rows pending in each stream that has any."""


def position(connection: Connection, target: str, stream: str) -> int:
    """Position of the last row that ``target`` has of ``stream``; 0 before the first."""
    _columns(stream)
    rows = connection.execute("SELECT position FROM cursors WHERE target = ? AND stream = ?", (target, stream))
    return int(rows[0][0]) if rows else 0


def pending(connection: Connection, target: str, stream: str, limit: int = 500) -> list[Item]:
    """The next rows of ``stream`` that ``target`` lacks, oldest first, at most ``limit``."""
    after = position(connection, target, stream)
    with stable_read(connection, stream):
        return _items(connection, stream, "seq > ? ORDER BY seq LIMIT ?", (after, limit))


def advance(connection: Connection, target: str, stream: str, position: int) -> None:
    """``target`` has everything of ``stream`` up to ``position``. Never goes back."""
    _columns(stream)
    connection.execute(
        "INSERT INTO cursors (target, stream, position) VALUES (?,?,?) ON CONFLICT (target, stream) "
        "DO UPDATE SET position = excluded.position WHERE excluded.position > cursors.position",
        (target, stream, position),
    )


def remember(connection: Connection, target: str, kind: str, local_id: str, remote_id: str) -> None:
    """Our ``local_id`` is ``remote_id`` on the other side. A later call replaces an earlier one."""
    connection.execute(
        "INSERT INTO deliveries (target, kind, local_id, remote_id) VALUES (?,?,?,?) "
        "ON CONFLICT (target, kind, local_id) DO UPDATE SET remote_id = excluded.remote_id",
        (target, kind, local_id, remote_id),
    )


def remote_id(connection: Connection, target: str, kind: str, local_id: str) -> str | None:
    """How the other side names our ``local_id``, or None where it was not delivered."""
    rows = connection.execute(
        "SELECT remote_id FROM deliveries WHERE target = ? AND kind = ? AND local_id = ?",
        (target, kind, local_id),
    )
    return str(rows[0][0]) if rows else None


def forget(connection: Connection, target: str, kind: str, local_id: str) -> None:
    """The other side no longer has ``local_id``."""
    connection.execute(
        "DELETE FROM deliveries WHERE target = ? AND kind = ? AND local_id = ?", (target, kind, local_id)
    )


def bury(connection: Connection, target: str, item: Item, error: str) -> None:
    """Set ``item`` aside because ``target`` refuses it, so that what comes after it is delivered.

    Burying it again counts one more attempt. The cursor is not moved; call ``advance`` in the same transaction.
    """
    connection.execute(
        "INSERT INTO dead_letters (target, stream, position, run_uid, error, attempts, at) VALUES (?,?,?,?,?,1,?) "
        "ON CONFLICT (target, stream, position) DO UPDATE SET error = excluded.error, at = excluded.at, "
        "attempts = dead_letters.attempts + 1",
        (target, item.stream, item.position, item.run_uid, error, time.time()),
    )


def dead_letters(connection: Connection, target: str | None = None, *, run_uid: str | None = None) -> list[DeadLetter]:
    """What could not be delivered, oldest first; of one target or run where given."""
    conditions = [f"{name} = ?" for name, value in (("target", target), ("run_uid", run_uid)) if value is not None]
    where = f"WHERE {' AND '.join(conditions)} " if conditions else ""
    rows = connection.execute(
        f"SELECT target, stream, position, run_uid, error, attempts, at FROM dead_letters {where}ORDER BY seq",
        [value for value in (target, run_uid) if value is not None],
    )
    return [DeadLetter(*row) for row in rows]


def dead_item(connection: Connection, letter: DeadLetter) -> Item | None:
    """The row behind a dead letter, to try it again; None where the row is gone (its run was collected)."""
    found = _items(connection, letter.stream, "seq = ?", (letter.position,))
    return found[0] if found else None


def revive(connection: Connection, letter: DeadLetter) -> None:
    """Drop a dead letter: it was delivered after all, or is not wanted any more."""
    connection.execute(
        "DELETE FROM dead_letters WHERE target = ? AND stream = ? AND position = ?",
        (letter.target, letter.stream, letter.position),
    )


def backlog(connection: Connection, target: str, streams: Sequence[str] = STREAMS) -> Backlog:
    """How much is still to be delivered to ``target``, for the badge and ``mlops sync``."""
    waiting: dict[str, int] = {}
    for stream in streams:
        after = position(connection, target, stream)
        ((count,),) = connection.execute(f"SELECT COUNT(*) FROM {stream} WHERE seq > ?", (after,))
        if count:
            waiting[stream] = int(count)
    ((dead,),) = connection.execute("SELECT COUNT(*) FROM dead_letters WHERE target = ?", (target,))
    return Backlog(pending=sum(waiting.values()), dead=int(dead), by_stream=waiting)


def stable_read(connection: Connection, stream: str) -> AbstractContextManager[None]:
    """A context in which no row of ``stream`` can still appear below one that is visible.

    SQLite has one writer at a time, so ``seq`` grows in the order of commits. PostgreSQL hands ``seq`` out before the
    commit: a cursor could step over a row of a transaction that is still open. A SHARE lock waits for those to end.
    """
    if connection.dialect == "sqlite":
        return nullcontext()
    return _shared_table(connection, stream)


@contextmanager
def _shared_table(connection: Connection, stream: str) -> Iterator[None]:
    with connection.transaction():
        connection.execute(f"LOCK TABLE {stream} IN SHARE MODE")
        yield


def _items(connection: Connection, stream: str, where: str, values: Sequence[int]) -> list[Item]:
    columns = _columns(stream)
    rows = connection.execute(f"SELECT seq, {', '.join(columns)} FROM {stream} WHERE {where}", values)
    return [_item(stream, columns, row) for row in rows]


def _item(stream: str, columns: tuple[str, ...], row: Row) -> Item:
    data = dict(zip(columns, row[1:], strict=True))
    for name in _JSON_COLUMNS.intersection(columns):
        data[name] = json.loads(data[name])
    if stream == "metrics" and data["value"] is None:
        data["value"] = math.nan
    return Item(stream=stream, position=row[0], run_uid=row[1], data=data)


def _columns(stream: str) -> tuple[str, ...]:
    try:
        return _COLUMNS[stream]
    except KeyError:
        raise UsageError(f"There is no stream {stream!r}.", hint=f"Known: {', '.join(STREAMS)}.") from None
