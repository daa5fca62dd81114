"""PostgreSQL through psycopg 3: the team's store and, where it is set, the one place of control records.

psycopg comes with the extra ``[postgres]`` and is imported when the first connection is opened.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from mlops_jupyter.errors import MlopsError, TransientError, UnreachableError, UsageError

from .connection import Row, Value, storable_values
from .migrations import is_current, migrate

if TYPE_CHECKING:
    import psycopg

_T = TypeVar("_T")

CONNECT_TIMEOUT = 5
"""Seconds until a server that does not answer counts as unreachable, unless the URL says otherwise."""

_LOCK_TIMEOUT = 10_000
"""Milliseconds to wait for another writer."""

_MIGRATION_LOCK = 0x6D6C6F70_73000001
"""Key of the advisory lock around migrations."""

_inherited: list[Any] = []
"""Connections that a forked child must not close: closing would end the parent's session on the server."""

# libpq hands no SQLSTATE out when connecting fails. A server that speaks another language counts as unreachable.
_REFUSED = re.compile(
    r"password authentication failed|no password supplied|authentication failed for user|no pg_hba\.conf entry"
    r'|(?:database|role) ".*" does not exist|permission denied for database'
)

_LEXEME = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\?|%")


@lru_cache(maxsize=512)
def to_psycopg(statement: str) -> str:
    """``statement`` with psycopg's placeholders: ``?`` becomes ``%s`` outside of quotes, ``%`` is doubled."""

    def replaced(match: re.Match[str]) -> str:
        return "%s" if match[0] == "?" else match[0].replace("%", "%%")

    return _LEXEME.sub(replaced, statement)


class PostgresConnection:
    """A session on a PostgreSQL server; connects again by itself after the connection was lost.

    A statement that was under way when it was lost raises ``TransientError`` (it may or may not have been done);
    the next one connects again, or raises ``UnreachableError``.
    """

    dialect: Literal["postgresql"] = "postgresql"

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.RLock()
        self._depth = 0
        self._durable = False
        self._closed = False
        self._pid = os.getpid()
        self._raw: psycopg.Connection[Row] | None = None
        self._place = place(url)
        self._connection()

    def _connection(self) -> psycopg.Connection[Row]:
        if self._pid != os.getpid():
            _inherited.append(self._raw)
            self._raw = None
            self._lock = threading.RLock()
            self._depth = 0
            self._pid = os.getpid()
        if self._closed:
            raise UsageError(f"The store {self._place} is closed.")
        raw = self._raw
        if raw is None or raw.closed:
            if self._depth:
                raise TransientError(f"The connection to {self._place} was lost.", hint="Try again.")
            raw = self._raw = self._connect()
        return raw

    def _connect(self) -> psycopg.Connection[Row]:
        driver = _driver()
        try:
            given = driver.conninfo.conninfo_to_dict(self._url)
        except driver.Error as error:
            raise UsageError(
                "MLOPS_STORE_URL is not a PostgreSQL URL.", hint="Expected postgresql://USER@HOST/DATABASE."
            ) from error
        defaults: dict[str, Any] = {
            "connect_timeout": CONNECT_TIMEOUT,
            "application_name": "mlops-jupyter",
            "keepalives_idle": 30,
            "tcp_user_timeout": 30_000,
        }
        try:
            raw: psycopg.Connection[Row] = driver.connect(
                self._url,
                autocommit=True,
                prepare_threshold=None,  # a pooler may hand each transaction to another session
                **{k: v for k, v in defaults.items() if k not in given},
            )
            raw.execute(f"SET lock_timeout = {_LOCK_TIMEOUT}")
            raw.execute("SET default_transaction_isolation = 'read committed'")
        except driver.Error as error:
            raise self._translated(error, connecting=True) from error
        return raw

    def execute(self, statement: str, values: Sequence[Value] = ()) -> list[Row]:
        def run(raw: psycopg.Connection[Row]) -> list[Row]:
            # Constant statements of this package; psycopg wants them typed as literals.
            cursor = raw.execute(to_psycopg(statement).encode(), storable_values(values))
            return cursor.fetchall() if cursor.description is not None else []

        with self._lock:
            # Reading twice does no harm, so a connection that died while idle is not noticed.
            again = not self._depth and statement.lstrip()[:6].upper() == "SELECT"
            return self._guarded(run, again=again)

    def executemany(self, statement: str, rows: Iterable[Sequence[Value]]) -> None:
        bound = [storable_values(row) for row in rows]
        if not bound:
            return

        def run(raw: psycopg.Connection[Row]) -> None:
            with raw.cursor() as cursor:
                cursor.executemany(to_psycopg(statement).encode(), bound)

        with self.transaction():
            self._guarded(run)

    def _guarded(self, run: Callable[[psycopg.Connection[Row]], _T], *, again: bool = False) -> _T:
        raw = self._connection()
        driver = _driver()
        try:
            return run(raw)
        except driver.Error as error:
            if again and raw.closed:
                return self._guarded(run)
            raise self._translated(error) from error
        except OverflowError as error:
            raise UsageError(f"A number is too large for the store: {error}.") from error

    @contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[None]:
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
            raw = self._begin(durable=durable)
            self._depth, self._durable = 1, durable
            try:
                yield
                self._guarded(lambda live: live.execute("COMMIT"))
            except BaseException:
                if not raw.closed:
                    with suppress(_driver().Error):
                        raw.execute("ROLLBACK")
                raise
            finally:
                self._depth, self._durable = 0, False

    def _begin(self, *, durable: bool) -> psycopg.Connection[Row]:
        def run(raw: psycopg.Connection[Row]) -> None:
            raw.execute("BEGIN")
            if durable:
                raw.execute("SET LOCAL synchronous_commit = on")

        self._guarded(run, again=True)
        raw = self._raw
        assert raw is not None
        return raw

    def close(self) -> None:
        self._closed = True
        raw, self._raw = self._raw, None
        if raw is None:
            return
        if self._pid != os.getpid():
            _inherited.append(raw)
            return
        with self._lock, suppress(_driver().Error):
            raw.close()

    def _translated(self, error: Exception, *, connecting: bool = False) -> MlopsError:
        """The same failure as one of ours, by SQLSTATE."""
        state = getattr(error, "sqlstate", None) or ""
        words = _first_line(error)
        if connecting and _REFUSED.search(words):
            return UsageError(
                f"{self._place} refused the login: {words}.",
                hint="Check user, password and database in MLOPS_STORE_URL.",
            )
        if connecting and not state.startswith("42"):
            return UnreachableError(
                f"The store {self._place} cannot be reached: {words}.",
                hint="Check MLOPS_STORE_URL and the server; nothing was lost locally.",
            )
        lost = self._raw is None or self._raw.closed
        if lost or state[:2] in ("08", "57"):
            return TransientError(f"The connection to {self._place} was lost: {words}.", hint="Try again.")
        if state[:2] in ("40", "53", "55", "58"):
            return TransientError(f"The store {self._place} is busy or full: {words}.", hint="Try again.")
        return UsageError(f"The store {self._place} refused a statement: {words}.")


def open_url(url: str) -> PostgresConnection:
    """Open the PostgreSQL store at ``url`` (``postgresql://…``), its tables created and migrated where needed.

    Safe for many processes that start at once: an advisory lock lets one at a time migrate.

    Raises:
        UsageError: not a PostgreSQL URL, login or database refused, extra ``[postgres]`` not installed.
        UnreachableError: the server cannot be reached.
        NewerSchemaError: written by a newer version.
    """
    if not url.startswith(("postgresql://", "postgres://")):
        raise UsageError(
            f"The store URL begins with {url.split(':', 1)[0]!r}.",
            hint="Expected postgresql://USER@HOST/DATABASE.",
        )
    connection = PostgresConnection(url)
    try:
        if not is_current(connection):
            with connection.transaction(durable=True):
                connection.execute("SELECT pg_advisory_xact_lock(?)", (_MIGRATION_LOCK,))
                migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def place(url: str) -> str:
    """Host and database of ``url`` for messages, without user or password."""
    match = re.match(r"[a-z]+://(?:[^?]*@)?([^/?@]*)/?([^?]*)", url)
    host, database = match.groups() if match else ("", "")
    return f"PostgreSQL {host or 'localhost'}/{database}"


def _driver() -> Any:
    try:
        import psycopg
    except ImportError as error:
        raise UsageError(
            "A PostgreSQL store needs psycopg.", hint="Install it with: pip install 'mlops-jupyter[postgres]'"
        ) from error
    return psycopg


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
