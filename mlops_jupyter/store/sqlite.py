"""SQLite through the standard library: what a kernel writes to, in microseconds and without a server."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from mlops_jupyter.errors import MlopsError, TransientError, UsageError

from .connection import Row, Value, storable_values

BUSY_TIMEOUT = 10.0
"""Seconds to wait for another writer; writers hold the lock for milliseconds."""

_WAL_LIMIT = 16 * 1024 * 1024
"""Bytes that the write-ahead log is cut back to after a checkpoint, should a long reader have let it grow."""

_inherited: list[sqlite3.Connection] = []
"""Handles that a forked child must neither use nor close: closing would touch the parent's database."""


class SQLiteConnection:
    """A file, or ``:memory:``. Survives ``fork``: a child opens the file anew instead of sharing the handle."""

    dialect: Literal["sqlite"] = "sqlite"

    def __init__(self, path: Path | str, *, read_only: bool = False) -> None:
        self.path = str(path)
        self.scrub: Callable[[str], str] | None = None
        """Applied to every text that is written: what takes known secrets out."""
        self._read_only = read_only
        self._lock = threading.RLock()
        self._depth = 0
        self._durable = False
        self._pid = os.getpid()
        self._raw: sqlite3.Connection | None = self._open()

    def _open(self) -> sqlite3.Connection:
        location = self.path
        if self._read_only:
            location = Path(self.path).absolute().as_uri() + "?mode=ro"
        raw: sqlite3.Connection | None = None
        try:
            raw = sqlite3.connect(
                location,
                uri=self._read_only,
                timeout=BUSY_TIMEOUT,
                isolation_level=None,
                check_same_thread=False,
            )
            # Reads the header, so that a file which is no database is told here.
            raw.execute("PRAGMA schema_version").fetchall()
            raw.execute("PRAGMA synchronous=NORMAL")
            raw.execute("PRAGMA temp_store=MEMORY")
            raw.execute(f"PRAGMA journal_size_limit={_WAL_LIMIT}")
        except sqlite3.Error as error:
            if raw is not None:
                raw.close()
            raise translated(error, self.path) from error
        return raw

    def _connection(self) -> sqlite3.Connection:
        if self._pid != os.getpid():
            if self._raw is not None:
                _inherited.append(self._raw)
            self._raw = None
            self._lock = threading.RLock()
            self._depth = 0
            self._pid = os.getpid()
            self._raw = self._open()
        if self._raw is None:
            raise UsageError(f"The store {self.path} is closed.")
        return self._raw

    def execute(self, statement: str, values: Sequence[Value] = ()) -> list[Row]:
        raw = self._connection()
        if self.scrub is not None:
            values = self._scrubbed(values, self.scrub)
        for value in values:
            if isinstance(value, str) and "\0" in value:
                values = storable_values(values)
                break
        try:
            with self._lock:
                return raw.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise translated(error, self.path) from error
        except UnicodeEncodeError:
            return self.execute(statement, storable_values(values))
        except OverflowError as error:
            raise _too_large(error) from error

    def _scrubbed(self, values: Sequence[Value], scrub: Callable[[str], str]) -> Sequence[Value]:
        return [scrub(value) if isinstance(value, str) else value for value in values]

    def executemany(self, statement: str, rows: Iterable[Sequence[Value]]) -> None:
        with self.transaction():
            raw = self._connection()
            if self.scrub is not None:
                rows = [self._scrubbed(row, self.scrub) for row in rows]
            try:
                raw.executemany(statement, [storable_values(row) for row in rows])
            except sqlite3.Error as error:
                raise translated(error, self.path) from error
            except OverflowError as error:
                raise _too_large(error) from error

    @contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[None]:
        raw = self._connection()
        with self._lock:
            if self._depth:
                if durable and not self._durable:
                    raise RuntimeError("a durable transaction cannot join one that is not")
                self._depth += 1
                try:
                    yield
                finally:
                    self._depth -= 1
                return
            # Set first: a KeyboardInterrupt may come right after BEGIN has succeeded.
            self._depth, self._durable = 1, durable
            try:
                if durable:
                    raw.execute("PRAGMA synchronous=FULL")
                raw.execute("BEGIN IMMEDIATE")
                yield
                raw.execute("COMMIT")
            except sqlite3.Error as error:
                raise translated(error, self.path) from error
            finally:
                # Some failures (a full disk) have rolled back by themselves.
                if raw.in_transaction:
                    with suppress(sqlite3.Error):
                        raw.execute("ROLLBACK")
                if durable:
                    with suppress(sqlite3.Error):
                        raw.execute("PRAGMA synchronous=NORMAL")
                self._depth, self._durable = 0, False

    def close(self) -> None:
        raw, self._raw = self._raw, None
        if raw is None:
            return
        if self._pid != os.getpid():
            _inherited.append(raw)
            return
        with self._lock:
            raw.close()


def _too_large(error: OverflowError) -> UsageError:
    return UsageError(f"A number is too large for the store: {error}.", hint="Integers may have 63 bits.")


def translated(error: sqlite3.Error, path: str) -> MlopsError:
    """The same failure as one of ours, by SQLite's error code."""
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL):
        return TransientError(f"The store {path} is busy.", hint="Another process is writing; try again.")
    if primary == sqlite3.SQLITE_FULL:
        return TransientError(
            f"The disk that holds {path} is full.",
            hint="Free some space and try again; what was stored before is intact.",
        )
    if primary == sqlite3.SQLITE_READONLY:
        return TransientError(
            f"The store {path} is read-only.",
            hint="Make .mlops/ writable or set MLOPS_HOME to a folder that is.",
        )
    if primary in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PERM):
        return TransientError(
            f"The store {path} cannot be opened or written: {error}.",
            hint="Check that its folder is there, writable, and has space left.",
        )
    if primary in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return UsageError(
            f"{path} is not a usable SQLite database: {error}.",
            hint="Restore it from a copy, or move it away to start anew; it was not changed.",
        )
    return UsageError(f"The store {path} refused a statement: {error}.")
