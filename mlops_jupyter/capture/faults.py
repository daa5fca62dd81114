"""Failures of capture itself: recorded for ``mlops doctor``, warned of once, never raised into the user's
cell."""

from __future__ import annotations

import sys
import time
import traceback
from typing import TYPE_CHECKING

from mlops_jupyter.errors import MlopsError

if TYPE_CHECKING:
    from mlops_jupyter.store.connection import Connection

_LIMIT = 100
"""Faults kept of one session; a hook that fails after every cell must not fill the store."""


class Faults:
    """Collects the faults of one session and writes them once there is a store."""

    def __init__(self, session_id: str) -> None:
        self._session_id = session_id
        self._rows: list[tuple[float, str, str, str, str]] = []
        self._seen = 0
        self._warned = False
        self.last = ""

    def report(self, place: str, error: BaseException, *, warn: bool = True) -> None:
        """Record that ``error`` was raised in ``place`` (short words); warn on stderr the first time."""
        message = str(error) if isinstance(error, MlopsError) else f"{type(error).__name__}: {_text(error)}"
        self.last = f"{place}: {message}"
        self._seen += 1
        if self._seen <= _LIMIT:
            detail = "".join(traceback.format_exception(type(error), error, error.__traceback__, limit=-8))
            self._rows.append((time.time(), self._session_id, place, message[:2000], detail[:8000]))
        if warn:
            self.warn(f"capture failed while {place}: {message}")

    def warn(self, message: str) -> None:
        """One warning line on stderr for the whole session."""
        if self._warned:
            return
        self._warned = True
        line = " ".join(message.split())[:400]
        text = f"mlops-jupyter: {line} Your code is not affected. More: mlops doctor"
        print(text, file=sys.stderr)  # noqa: T201 - the one warning

    @property
    def pending(self) -> bool:
        """Whether there is something to write."""
        return bool(self._rows)

    def flush(self, store: Connection) -> None:
        """Write what was collected. Raises what the store raises; the rows are then kept for the next
        time."""
        if self._rows:
            rows = list(self._rows)
            store.executemany("INSERT INTO faults (at, session_id, place, message, detail) VALUES (?,?,?,?,?)", rows)
            del self._rows[: len(rows)]


def _text(error: BaseException) -> str:
    """``str(error)`` of an exception that may be the user's."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a user's __str__ may raise anything
        return "(its text cannot be shown)"
