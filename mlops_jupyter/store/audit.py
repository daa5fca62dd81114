"""Who did what, as a chain: each row holds the digest of the one before, so a change of any row breaks it.

What the chain alone cannot show is that its end was cut off; ``verify`` finds that when it is given a head that was
written down elsewhere (``export`` ends with it).
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mlops_jupyter.errors import UsageError

from .connection import Connection, Row, storable

GENESIS = "0" * 64
"""What the first row names as its predecessor."""

_LOCK = 0x6D6C6F70_73000002
_COLUMNS = "seq, at, actor, actor_source, action, subject, detail, previous, digest"
_PAGE = 1000


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One row of the chain."""

    seq: int
    at: float
    """Seconds since the epoch."""
    actor: str
    actor_source: str
    """Where the actor's name came from: ``postgresql``, ``jupyter``, ``git`` or ``os``."""
    action: str
    subject: str
    detail: Mapping[str, Any]
    previous: str
    digest: str


@dataclass(frozen=True, slots=True)
class Verification:
    """Outcome of ``verify``."""

    rows: int
    """Rows that are in order, from the first on."""
    head: str
    """Digest of the last of them; write it down to be able to prove later that nothing was cut off."""
    broken_at: int | None = None
    """``seq`` of the first row that is not as it was written, or where a missing row should be."""
    reason: str = ""

    @property
    def intact(self) -> bool:
        """Whether every row is as it was written."""
        return self.broken_at is None


def append(
    connection: Connection,
    actor: str,
    actor_source: str,
    action: str,
    subject: str,
    detail: Mapping[str, Any],
) -> AuditEntry:
    """Append one row, durably. Inside a durable transaction it is part of that.

    Raises:
        UsageError: ``detail`` is not JSON (NaN is not).
    """
    try:
        text = _canonical(detail)
    except (TypeError, ValueError) as error:
        raise UsageError(f"The detail of an audit entry must be JSON: {error}.") from error
    texts = [storable(value) for value in (actor, actor_source, action, subject)]
    with connection.transaction(durable=True):
        if connection.dialect == "postgresql":
            # SQLite has one writer at a time; here the appenders queue, so that no two extend the same row.
            connection.execute("SELECT pg_advisory_xact_lock(?)", (_LOCK,))
        last = connection.execute("SELECT seq, digest FROM audit ORDER BY seq DESC LIMIT 1")
        seq, previous = (int(last[0][0]) + 1, str(last[0][1])) if last else (1, GENESIS)
        row: Row = (seq, time.time(), *texts, text, previous)
        digest = _digest(row)
        connection.execute(f"INSERT INTO audit ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?)", (*row, digest))
    return _entry((*row, digest))


def verify(connection: Connection, *, known_head: str | None = None) -> Verification:
    """Check every row against its predecessor, in pages, so memory does not grow with the chain.

    Parameters:
        known_head: a head seen earlier; the chain must still hold the row with this digest.
    """
    rows, head = 0, GENESIS
    known = known_head in (None, GENESIS)
    for row in _rows(connection):
        seq, previous, digest = row[0], row[7], row[8]
        if seq != rows + 1:
            return Verification(rows, head, rows + 1, f"row {rows + 1} is missing")
        if previous != head:
            return Verification(rows, head, seq, f"row {seq} does not follow row {rows}")
        if _digest(row[:8]) != digest:
            return Verification(rows, head, seq, f"row {seq} was changed")
        rows, head = rows + 1, digest
        known = known or digest == known_head
    if not known:
        return Verification(rows, head, rows + 1, "the rows up to the known head were cut off or replaced")
    return Verification(rows, head)


def entries(connection: Connection) -> Iterator[AuditEntry]:
    """All entries, oldest first, read in pages."""
    return map(_entry, _rows(connection))


def export(connection: Connection) -> Iterator[str]:
    """The chain as JSON lines and, as the last line, ``{"head": …, "rows": …}``."""
    head, rows = GENESIS, 0
    for entry in entries(connection):
        yield _canonical({name: getattr(entry, name) for name in _COLUMNS.split(", ")})
        head, rows = entry.digest, entry.seq
    yield _canonical({"head": head, "rows": rows})


def _rows(connection: Connection) -> Iterator[Row]:
    after = -(2**63)
    while page := connection.execute(
        f"SELECT {_COLUMNS} FROM audit WHERE seq > ? ORDER BY seq LIMIT ?", (after, _PAGE)
    ):
        yield from page
        after = page[-1][0]


def _digest(row: Row) -> str:
    """sha256 over the previous digest and the canonical JSON of the row (without both digests)."""
    seq, at, actor, actor_source, action, subject, detail, previous = row
    document = _canonical(
        {
            "seq": seq, "at": at, "actor": actor, "actor_source": actor_source, "action": action,
            "subject": subject, "detail": detail,
        }
    )  # fmt: skip
    return hashlib.sha256(f"{previous}{document}".encode()).hexdigest()


def _canonical(document: Mapping[str, Any]) -> str:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def _entry(row: Row) -> AuditEntry:
    seq, at, actor, actor_source, action, subject, detail, previous, digest = row
    return AuditEntry(seq, at, actor, actor_source, action, subject, json.loads(detail), previous, digest)
