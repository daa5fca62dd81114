"""What the store needs of a database: the part that SQLite and PostgreSQL share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol

Row = tuple[Any, ...]
Value = str | int | float | bytes | None


def storable(text: str) -> str:
    """``text`` as every database takes it: NUL characters and lone surrogates become U+FFFD.

    PostgreSQL refuses the former, both refuse the latter; connections put bound values through this.
    """
    if "\0" in text:
        text = text.replace("\0", "\ufffd")
    if text.isascii():
        return text
    # Surrogate pairs, as JSON parsers leave them, become the character that they stand for.
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def storable_values(values: Sequence[Value]) -> list[Value]:
    """``values`` with every text made storable."""
    return [storable(value) if isinstance(value, str) else value for value in values]


class Connection(Protocol):
    """A database that all of ``mlops_jupyter.store`` works on.

    Statements use ``?`` as placeholder on every dialect. Every implementation is safe to use from several
    threads of one process. Errors: ``TransientError`` where a retry may help (busy, full disk, lost connection),
    ``UsageError`` where it cannot.
    """

    @property
    def dialect(self) -> Literal["sqlite", "postgresql"]:
        """Whose SQL it speaks, for the few statements that differ."""
        ...

    def execute(self, statement: str, values: Sequence[Value] = ()) -> list[Row]:
        """Run one statement; its rows, or an empty list. Commits by itself outside of ``transaction``."""
        ...

    def executemany(self, statement: str, rows: Iterable[Sequence[Value]]) -> None:
        """Run one statement for each of ``rows``."""
        ...

    def transaction(self, *, durable: bool = False) -> AbstractContextManager[None]:
        """All or nothing; nests by joining the outer one.

        ``durable``: survives a power cut when it returns (about 150 times dearer on SQLite: for control records).
        """
        ...

    def close(self) -> None:
        """Release the database. Idempotent."""
        ...
