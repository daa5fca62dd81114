"""Tells clients that a workspace changed, whichever process wrote: a kernel, a headless run, the delivery process.

``PRAGMA data_version`` changes when another connection commits, costs microseconds, and needs no notice from the
writer. It is read every 200 ms, and only while somebody asks for changes; the event that follows is a hint with a
cursor, and clients fetch the truth over REST.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlops_jupyter.config import Settings
from mlops_jupyter.errors import MlopsError
from mlops_jupyter.store import SQLiteConnection, changes

from .workspaces import Workspaces, workspace_id

if TYPE_CHECKING:
    from jupyter_events import EventLogger

EVENT_SCHEMA_ID = "https://events.mlops-jupyter.dev/changed/v1"
EVENT_SCHEMA: dict[str, Any] = {
    "$id": EVENT_SCHEMA_ID,
    "version": "1",
    "title": "Recorded runs or lineage changed",
    "personal-data": False,
    "description": "A hint: ask mlops/api/changes?since= for what changed.",
    "type": "object",
    "required": ["workspace", "cursor"],
    "properties": {
        "workspace": {"type": "string", "title": "Id of the workspace", "description": "As in the status document."},
        "cursor": {"type": "string", "title": "Cursor", "description": "Where the changes end."},
    },
    "additionalProperties": False,
}

POLL_SECONDS = 0.2
INTEREST_SECONDS = 30.0
"""How long after a client asked for changes its workspace is watched."""


@dataclass(slots=True)
class _Watched:
    settings: Settings
    until: float
    connection: SQLiteConnection | None = None
    identity: tuple[int, int] | None = None
    data_version: int | None = None


class Watcher:
    """Owns the threads and the polling task. One for each server; used from the event loop."""

    def __init__(self, workspaces: Workspaces, events: EventLogger) -> None:
        self.workspaces = workspaces
        self.delivery_checked: dict[str, float] = {}
        """When delivery was last looked after, by workspace id; monotonic seconds."""
        self._events = events
        self._watched: dict[str, _Watched] = {}
        self._task: asyncio.Task[None] | None = None
        self._executor: ThreadPoolExecutor | None = None

    @property
    def executor(self) -> ThreadPoolExecutor:
        """Threads for all that blocks; made on first use, so that a server without users of ours has none."""
        if self._executor is None:
            self._executor = ThreadPoolExecutor(max_workers=4, thread_name_prefix="mlops")
        return self._executor

    def interested(self, settings: Settings) -> None:
        """A client looks at this workspace: watch it for the next 30 seconds."""
        key = workspace_id(settings)
        until = time.monotonic() + INTEREST_SECONDS
        watched = self._watched.get(key)
        if watched is None:
            self._watched[key] = _Watched(settings, until)
        else:
            watched.until = until
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run(), name="mlops-watcher")

    @property
    def watching(self) -> bool:
        """Whether the polling task runs."""
        return self._task is not None and not self._task.done()

    async def close(self) -> None:
        """Stop polling and close what is open."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        for key in list(self._watched):
            self._forget(key)
        self.workspaces.close()
        if self._executor is not None:
            self._executor.shutdown(wait=True)
            self._executor = None

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._watched:
            now = time.monotonic()
            for key, watched in list(self._watched.items()):
                if watched.until < now:
                    self._forget(key)
                    continue
                cursor = await loop.run_in_executor(self.executor, _poll, watched)
                if cursor is not None:
                    self._events.emit(schema_id=EVENT_SCHEMA_ID, data={"workspace": key, "cursor": cursor})
            await asyncio.sleep(POLL_SECONDS)

    def _forget(self, key: str) -> None:
        watched = self._watched.pop(key, None)
        if watched is not None and watched.connection is not None:
            watched.connection.close()


def _poll(watched: _Watched) -> str | None:
    """The cursor where the store changed since the last look (its first sight counts), else None. Never raises."""
    try:
        try:
            stat = watched.settings.database.stat()
        except OSError:
            identity = None
        else:
            identity = (stat.st_dev, stat.st_ino)
        if identity != watched.identity:
            if watched.connection is not None:
                watched.connection.close()
                watched.connection = None
            watched.identity, watched.data_version = identity, None
            if identity is None:
                return ""
        if identity is None:
            return None
        if watched.connection is None:
            watched.connection = SQLiteConnection(watched.settings.database, read_only=True)
        ((version,),) = watched.connection.execute("PRAGMA data_version")
        if version == watched.data_version:
            return None
        cursor = changes.current_cursor(watched.connection)
        watched.data_version = version
    except MlopsError:
        return None  # being created, busy, or broken: the next look or the client's own request tells
    return cursor
