"""``mlops gc``: retention. Removes what nothing refers to and nobody waits for, and nothing else."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlops_jupyter.errors import TransientError, UsageError
from mlops_jupyter.store import is_held
from mlops_jupyter.store.retention import referenced_digests, removable_runs, remove_runs
from mlops_jupyter.workspace import Workspace

_GRACE = 3600.0
"""Seconds that a file is left alone whatever was asked for: its record may be about to be written."""

_SESSION_LOCK = re.compile(r"session-(.+)\.lock")


@dataclass(slots=True)
class _Sweep:
    """What is removed, counted; with ``dry_run`` only counted."""

    dry_run: bool
    removed: dict[str, int] = field(default_factory=dict)
    bytes: int = 0

    def file(self, kind: str, path: Path) -> None:
        with suppress(FileNotFoundError):
            size = path.lstat().st_size
            if not self.dry_run:
                path.unlink()
            self._count(kind, size)

    def folder(self, kind: str, path: Path) -> None:
        size = sum(inside.lstat().st_size for inside in _files(path))
        if not self.dry_run:
            shutil.rmtree(path)
        self._count(kind, size)

    def _count(self, kind: str, size: int) -> None:
        self.removed[kind] += 1
        self.bytes += size


def gc(workspace: Workspace, *, older_than_days: float = 30.0, dry_run: bool = False) -> dict[str, Any]:
    """Remove deleted runs, unreferenced objects of the exchange, locks of ended sessions, old logs and run folders.

    A deleted run goes once every target has been told; an object when no record names it any more. Files younger
    than an hour always stay.

    Parameters:
        older_than_days: how long something must have been deleted or unchanged.
        dry_run: say what would go, remove nothing.

    Returns ``{"dry_run", "older_than_days", "removed": {kind: count}, "kept": {"undelivered_runs": count}, "bytes"}``,
    fits ``gc.json``; ``bytes`` counts files.

    Raises:
        UsageError: a negative age.
        TransientError: a file cannot be removed.
    """
    if not older_than_days >= 0:
        raise UsageError(f"The age must not be negative, got {older_than_days} days.")
    now = time.time()
    before = now - older_than_days * 86_400
    files_before = min(before, now - _GRACE)
    kinds = ("runs", "objects", "session_locks", "logs", "run_folders", "leftovers")
    sweep = _Sweep(dry_run, dict.fromkeys(kinds, 0))
    runs, waiting = removable_runs(workspace.store, before=before)
    sweep.removed["runs"] = len(runs)
    if not dry_run:
        remove_runs(workspace.store, runs)
    try:
        _sweep_exchange(workspace, sweep, files_before)
        _sweep_locks(workspace, sweep, files_before)
        _sweep_logs(workspace, sweep, files_before)
        _sweep_run_folders(workspace, sweep, files_before)
    except OSError as error:
        raise TransientError(
            f"{error.filename} cannot be removed: {error.strerror or error}.",
            hint="Make it writable and run mlops gc again; what was removed so far is gone for good.",
        ) from error
    if not dry_run and workspace.store.dialect == "sqlite":
        workspace.store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return {
        "dry_run": dry_run,
        "older_than_days": older_than_days,
        "removed": sweep.removed,
        "kept": {"undelivered_runs": waiting},
        "bytes": sweep.bytes,
    }


def _sweep_exchange(workspace: Workspace, sweep: _Sweep, before: float) -> None:
    cache = workspace.settings.cache
    for leftover in ("tmp", "corrupt"):
        for path in _old(cache / leftover, before):
            sweep.file("leftovers", path)
    # Read after the old files were listed: a record that is written meanwhile names an object that is kept.
    candidates = [(f"sha256:{p.parent.name}{p.name}", p) for p in _old(cache / "sha256", before)]
    referenced = referenced_digests(workspace.store)
    for digest, path in candidates:
        if digest not in referenced:
            sweep.file("objects", path)


def _sweep_locks(workspace: Workspace, sweep: _Sweep, before: float) -> None:
    open_sessions = {
        row[0] for row in workspace.store.execute("SELECT session_id FROM sessions WHERE ended_at IS NULL")
    }
    for path in _old(workspace.settings.locks, before):
        match = _SESSION_LOCK.fullmatch(path.name)
        # An open session with a free lock died; it keeps its file until delivery has found that out.
        if match and match[1] not in open_sessions and not is_held(path):
            sweep.file("session_locks", path)


def _sweep_logs(workspace: Workspace, sweep: _Sweep, before: float) -> None:
    for path in _old(workspace.settings.home / "logs", before):
        sweep.file("logs", path)


def _sweep_run_folders(workspace: Workspace, sweep: _Sweep, before: float) -> None:
    folder = workspace.settings.runs
    if not folder.is_dir():
        return
    running = {row[0] for row in workspace.store.execute("SELECT run_uid FROM runs WHERE status = 'RUNNING'")}
    for run in sorted(folder.iterdir()):
        if run.is_symlink() or not run.is_dir() or run.name in running:
            continue
        newest = max((path.lstat().st_mtime for path in _files(run)), default=run.stat().st_mtime)
        if newest <= before:
            sweep.folder("run_folders", run)


def _old(folder: Path, before: float) -> list[Path]:
    """Regular files below ``folder`` that nobody changed since ``before``."""
    found = []
    for path in _files(folder):
        with suppress(FileNotFoundError):
            if path.lstat().st_mtime <= before:
                found.append(path)
    return sorted(found)


def _files(folder: Path) -> Iterator[Path]:
    """Files below ``folder``; links to folders are not followed."""
    if not folder.is_dir() or folder.is_symlink():
        return
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            yield from _files(path)
        else:
            yield path
