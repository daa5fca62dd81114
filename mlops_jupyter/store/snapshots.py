"""Which bytes of a run's data and code are kept in the exchange, and why the others are not."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from mlops_jupyter.entities import Digest, RunUid

from .connection import Connection


class SnapshotState(StrEnum):
    """Whether the bytes are kept; if not, why."""

    KEPT = "kept"
    CHANGED = "changed"
    """The file was another one by the time it was to be copied."""
    TOO_LARGE = "too_large"
    """Larger than ``[data] snapshot_limit``."""
    NO_ROOM = "no_room"
    """All snapshots together would pass ``[data] snapshot_total``."""
    UNREADABLE = "unreadable"
    OFF = "off"
    """``[data] snapshot_limit`` is 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One file of data or code that a run read."""

    run_uid: RunUid
    name: str
    """The file's name in the lineage: workspace-relative, or absolute."""
    digest: Digest
    """As recorded when it was read; ``sha256-sampled:…`` for a file too large to be read through in a cell."""
    state: SnapshotState
    module: str | None = None
    """Dotted name of the module whose source it is, empty for a script that was run; None: data."""
    object: Digest | None = None
    """Key in the exchange, where it is kept."""
    size: int = 0
    """Bytes."""
    at: float = field(default_factory=time.time)
    """Seconds since the epoch."""


_COLUMNS = "run_uid, name, digest, state, module, object, size, at"


def add_snapshots(connection: Connection, snapshots: Iterable[Snapshot]) -> None:
    """Record what was kept for a run; a later entry for the same content counts."""
    rows = [(s.run_uid, s.name, s.digest, s.state, s.module, s.object, s.size, s.at) for s in snapshots]
    if rows:
        connection.executemany(
            f"INSERT INTO snapshots ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?) ON CONFLICT (run_uid, name, digest) "
            "DO UPDATE SET state = excluded.state, object = excluded.object, size = excluded.size, at = excluded.at",
            rows,
        )


def run_snapshots(connection: Connection, run_uids: Sequence[RunUid]) -> list[Snapshot]:
    """What is known for these runs, oldest first."""
    found: list[Snapshot] = []
    for uid in run_uids:
        found += [
            Snapshot(
                run_uid=r[0], name=r[1], digest=r[2], state=SnapshotState(r[3]), module=r[4], object=r[5], size=r[6],
                at=r[7],
            )
            for r in connection.execute(f"SELECT {_COLUMNS} FROM snapshots WHERE run_uid = ? ORDER BY at, name", (uid,))
        ]  # fmt: skip
    return found


def find_object(connection: Connection, name: str, digest: Digest) -> Digest | None:
    """Key in the exchange of the file ``name`` with the recorded ``digest``, as any run kept it."""
    rows = connection.execute(
        "SELECT object FROM snapshots WHERE digest = ? AND name = ? AND object IS NOT NULL ORDER BY at DESC LIMIT 1",
        (digest, name),
    )
    return Digest(rows[0][0]) if rows else None


def kept_bytes(connection: Connection) -> int:
    """Bytes of all data that is kept, each content once."""
    ((total,),) = connection.execute(
        "SELECT COALESCE(SUM(size), 0) FROM (SELECT object, MAX(size) AS size FROM snapshots "
        "WHERE object IS NOT NULL AND module IS NULL GROUP BY object) AS kept"
    )
    return int(total)
