"""SQLite through the standard library: what a kernel writes to, in microseconds and without a server."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from mlops_jupyter.errors import MlopsError, TransientError, UsageError

from .connection import Row, Value

BUSY_TIMEOUT = 10.0
"""Seconds to wait for another writer; writers hold the lock for milliseconds."""


class SQLiteConnection:
    """A file, or ``:memory:``. Survives ``fork``: a child opens the file anew instead of sharing the handle."""

    dialect: Literal["sqlite"] = "sqlite"

    def __init__(self, path: Path | str, *, read_only: bool = False) -> None:
        self.path = str(path)
        self._read_only = read_only
        self._lock = threading.RLock()
        self._depth = 0
        self._pid = os.getpid()
        self._abandoned: sqlite3.Connection | None = None
        self._raw: sqlite3.Connection | None = self._open()

    def _open(self) -> sqlite3.Connection:
        try:
            if self._read_only:
                uri = Path(self.path).absolute().as_uri() + "?mode=ro"
                raw = sqlite3.connect(
                    uri, uri=True, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
                )
            else:
                raw = sqlite3.connect(
                    self.path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
                )
                raw.execute("PRAGMA synchronous=NORMAL")
            raw.execute("PRAGMA foreign_keys=OFF")
            raw.execute("PRAGMA temp_store=MEMORY")
            return raw
        except sqlite3.Error as error:
            raise _translated(error, self.path) from error

    def _connection(self) -> sqlite3.Connection:
        if self._pid != os.getpid():
            # The parent's handle must be neither used nor closed in the child (its locks are the parent's).
            self._abandoned, self._raw = self._raw, None
            self._lock = threading.RLock()
            self._depth = 0
            self._pid = os.getpid()
            self._raw = self._open()
        if self._raw is None:
            raise UsageError(f"The store {self.path} is closed.")
        return self._raw

    def execute(self, statement: str, values: Sequence[Value] = ()) -> list[Row]:
        raw = self._connection()
        try:
            with self._lock:
                return raw.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise _translated(error, self.path) from error

    def executemany(self, statement: str, rows: Iterable[Sequence[Value]]) -> None:
        self._connection()
        with self.transaction():
            try:
                self._connection().executemany(statement, rows)
            except sqlite3.Error as error:
                raise _translated(error, self.path) from error

    @contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[None]:
        raw = self._connection()
        with self._lock:
            if self._depth:
                self._depth += 1
                try:
                    yield
                finally:
                    self._depth -= 1
                return
            try:
                if durable:
                    raw.execute("PRAGMA synchronous=FULL")
                raw.execute("BEGIN IMMEDIATE")
            except sqlite3.Error as error:
                raise _translated(error, self.path) from error
            self._depth = 1
            try:
                yield
                raw.execute("COMMIT")
            except BaseException as error:
                if raw.in_transaction:
                    raw.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error):
                    raise _translated(error, self.path) from error
                raise
            finally:
                self._depth = 0
                if durable:
                    raw.execute("PRAGMA synchronous=NORMAL")

    def close(self) -> None:
        if self._raw is not None and self._pid == os.getpid():
            with self._lock:
                self._raw.close()
        self._raw = None


def _translated(error: sqlite3.Error, path: str) -> MlopsError:
    """The same failure as one of ours, by SQLite's error code."""
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return TransientError(f"The store {path} is busy.", hint="Another process is writing; try again.")
    if primary == sqlite3.SQLITE_FULL:
        return TransientError(
            f"The disk that holds {path} is full.", hint="Free some space; nothing was lost."
        )
    if primary == sqlite3.SQLITE_READONLY:
        return TransientError(
            f"The store {path} is read-only.",
            hint="Make .mlops/ writable or set MLOPS_HOME to a folder that is.",
        )
    if primary in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PERM):
        return TransientError(
            f"The store {path} cannot be opened: {error}.", hint="Check the folder's permissions."
        )
    if primary in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return UsageError(
            f"{path} is not a usable SQLite database: {error}.", hint="Move it away and start anew."
        )
    return UsageError(f"The store {path} refused a statement: {error}.")
