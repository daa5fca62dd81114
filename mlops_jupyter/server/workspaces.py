"""Which workspace a request is about, and its open store.

A request names a notebook or folder by its path under the server's root. Nothing outside of that root can be named:
``..`` and links that lead out are refused. (The workspace itself may begin above the root, as it does for a kernel
that was started there: a server in ``repo/notebooks`` shows the runs of ``repo``.)
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from mlops_jupyter.config import Settings, load_settings
from mlops_jupyter.errors import MlopsError, UsageError
from mlops_jupyter.store import SQLiteConnection, open_workspace_store
from mlops_jupyter.workspace import Workspace

MAX_OPEN = 8
"""Workspaces kept open at once; the one unused for longest is closed first."""


class PathRefusedError(MlopsError, PermissionError):
    """A path that leads out of the server's root."""


@dataclass(slots=True)
class OpenStore:
    """One open database, and which file it was: a folder that was removed and made anew is opened again."""

    workspace: Workspace
    store: SQLiteConnection
    identity: tuple[int, int]


class Workspaces:
    """Open stores by database file. Every method blocks, so call it in a thread; all are safe to call from many."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._open: OrderedDict[Path, OpenStore] = OrderedDict()
        self._lock = threading.Lock()

    def resolve(self, path: str) -> Path:
        """The file or folder that the server calls ``path`` (``/``-separated, relative to its root).

        Raises:
            PathRefusedError: it is not below the root, as written or once links are followed.
        """
        parts = path.strip("/").split("/") if path.strip("/") else []
        if "\0" in path or "\\" in path or ".." in parts:
            raise PathRefusedError(f"The path {path!r} is not a plain path.", hint="Name a file below the root.")
        full = Path(os.path.realpath(self.root.joinpath(*parts)))
        if not full.is_relative_to(self.root):
            raise PathRefusedError(f"The path {path!r} leads out of the server's root folder.")
        return full

    def settings(self, path: str = "") -> Settings:
        """Settings of the workspace that holds ``path``; of the server's root without one."""
        full = self.resolve(path)
        return load_settings(full if full.is_dir() else full.parent)

    def notebook(self, settings: Settings, path: str) -> str:
        """How lineage names the notebook that the server calls ``path``: relative to the workspace, ``/``-separated.

        Raises:
            UsageError: it belongs to another workspace.
        """
        full = self.resolve(path)
        root = Path(os.path.realpath(settings.root))
        if not full.is_relative_to(root):
            raise UsageError(f"The notebook {path!r} is not part of the workspace {settings.root}.")
        return full.relative_to(root).as_posix()

    def workspace(self, settings: Settings) -> Workspace | None:
        """The open workspace, or None where nothing was ever recorded: looking at one does not create it.

        Raises:
            MlopsError: the database cannot be opened, is none, or is of a newer version.
        """
        database = settings.database
        try:
            stat = database.stat()
        except FileNotFoundError:
            with self._lock:
                self._close(database)
            return None
        except OSError as error:
            raise UsageError(f"The store {database} cannot be read: {error.strerror or error}.") from error
        identity = (stat.st_dev, stat.st_ino)
        with self._lock:
            entry = self._open.get(database)
            if entry is not None and entry.identity == identity:
                self._open.move_to_end(database)
                # The settings may have changed since (mlops.toml was edited), the store has not.
                if entry.workspace.settings != settings:
                    entry.workspace = Workspace(settings, entry.store)
                return entry.workspace
            self._close(database)
            store = open_workspace_store(settings)
            workspace = Workspace(settings, store)
            self._open[database] = OpenStore(workspace, store, identity)
            while len(self._open) > MAX_OPEN:
                self._close(next(iter(self._open)))
            return workspace

    def close(self) -> None:
        """Close every store. Idempotent; a later request opens anew."""
        with self._lock:
            for database in list(self._open):
                self._close(database)

    def _close(self, database: Path) -> None:
        entry = self._open.pop(database, None)
        if entry is not None:
            entry.store.close()


def workspace_id(settings: Settings) -> str:
    """Names a workspace in events and documents without saying where it lies: 16 hexadecimal digits."""
    return hashlib.sha256(str(settings.database).encode("utf-8", "surrogateescape")).hexdigest()[:16]
