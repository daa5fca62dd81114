"""Opens what a workspace consists of: settings, the local store, the exchange. Has no feature of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlops_jupyter.config import Settings, load_settings
from mlops_jupyter.store import Connection, open_workspace_store


@dataclass(frozen=True, slots=True)
class Workspace:
    """Settings and the open local store; every verb takes one."""

    settings: Settings
    store: Connection


@contextmanager
def open_workspace(start: Path | None = None) -> Iterator[Workspace]:
    """The workspace that ``start`` (default: the current folder) belongs to, closed at the end.

    Raises:
        UsageError: settings that cannot be read, a store of a newer version.
        TransientError: the store cannot be opened.
    """
    settings = load_settings(start)
    store = open_workspace_store(settings)
    try:
        yield Workspace(settings, store)
    finally:
        store.close()
