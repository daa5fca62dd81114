"""Removing for good: the rows of deleted runs that every target knows to be deleted, and what is still referred to."""

from __future__ import annotations

from mlops_jupyter.entities import RunUid

from .connection import Connection
from .outbox import STREAMS

_RUN_STREAMS = tuple(stream for stream in STREAMS if stream != "executions")
"""Tables whose rows belong to one run; executions are lineage and stay."""

_DIGESTS = (
    "SELECT digest FROM artifacts UNION SELECT digest FROM models UNION SELECT input_example FROM models "
    "UNION SELECT digest FROM datasets UNION SELECT object FROM snapshots"
)


def removable_runs(connection: Connection, *, before: float) -> tuple[list[RunUid], int]:
    """Runs deleted before that moment (seconds since the epoch) whose every row was delivered to every target.

    Returns them and the number of those that wait for a delivery; without any target all do.
    """
    deleted = [
        RunUid(uid)
        for (uid,) in connection.execute(
            "SELECT run_uid FROM runs WHERE deleted_at IS NOT NULL AND deleted_at <= ? ORDER BY seq",
            (before,),
        )
    ]
    reached = _reached(connection)
    ready = [uid for uid in deleted if reached and _delivered(connection, uid, reached)]
    return ready, len(deleted) - len(ready)


def remove_runs(connection: Connection, run_uids: list[RunUid]) -> None:
    """Remove all rows of these runs, all or nothing.

    The last row of each stream stays, so that its position is never given to another row; a later call takes it
    once newer ones are there.
    """
    with connection.transaction():
        for uid in run_uids:
            for table in ("latest_metrics", "tags", "dead_letters", "snapshots", "reproductions", "runs"):
                connection.execute(f"DELETE FROM {table} WHERE run_uid = ?", (uid,))
            connection.execute("DELETE FROM deliveries WHERE local_id = ?", (uid,))
        reached = _reached(connection)
        for stream in _RUN_STREAMS:
            connection.execute(
                f"DELETE FROM {stream} WHERE run_uid NOT IN (SELECT run_uid FROM runs) "
                f"AND seq < (SELECT MAX(seq) FROM {stream}) AND seq <= ?",
                (reached.get(stream, 0),),
            )


def referenced_digests(connection: Connection) -> set[str]:
    """Keys of the exchange that some record still names."""
    return {digest for (digest,) in connection.execute(_DIGESTS) if digest is not None}


def _reached(connection: Connection) -> dict[str, int]:
    """Position in each stream that every target has reached; empty where nothing was ever delivered."""
    targets = [row[0] for row in connection.execute("SELECT DISTINCT target FROM cursors")]
    if not targets:
        return {}
    positions = {(t, s): p for t, s, p in connection.execute("SELECT target, stream, position FROM cursors")}
    return {stream: min(positions.get((t, stream), 0) for t in targets) for stream in _RUN_STREAMS}


def _delivered(connection: Connection, run_uid: RunUid, reached: dict[str, int]) -> bool:
    for stream, position in reached.items():
        waiting = connection.execute(
            f"SELECT 1 FROM {stream} WHERE run_uid = ? AND seq > ? LIMIT 1", (run_uid, position)
        )
        if waiting:
            return False
    return True
