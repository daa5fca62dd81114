"""Which files a cell reads and writes.

Seen are: what this process opens, renames and removes (audit events, so ``open`` may be replaced by the
user), what libraries open behind Python's back (their entry points are wrapped when they are imported), the
words of commands and what changed in the working tree while one ran. All threads of the process count
between ``begin`` and ``end``; worker processes do not, but what they change in the working tree is seen
where the cell started them.

Not seen: writes through a memory map or C library to a handle that an earlier cell opened and closed, C
extensions that no wrapper knows, and folders as such.
"""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType

from mlops_jupyter.data.digest import FileDigest, StatCache
from mlops_jupyter.entities import ExecutionId, Grade, SessionId

from . import import_hooks
from ._file_hook import get_switch
from ._file_lineage import FileAccess, FileRecord, to_lineage
from ._file_paths import PathRules
from ._file_places import Places
from ._file_touches import EVENTS, Meter, Touch, Touches, side_file

__all__ = ["FileAccess", "FileRecord", "FileTracker", "to_lineage"]

MIN_SECONDS = 0.02
SHARE = 0.02
"""Digests of big files may take ``max(MIN_SECONDS, SHARE * duration of the cell)`` of CPU time."""

LIBRARIES = (
    "pyarrow", "pyarrow.parquet", "pyarrow.dataset", "pyarrow.csv", "pyarrow.json", "pyarrow.feather",
    "pyarrow.orc", "polars", "duckdb", "h5py", "fsspec.core", "fsspec.spec", "requests.models", "httpx",
)  # fmt: skip
"""Modules that open files behind Python's back."""

SCRIPTS = frozenset({"bash", "sh", "script", "perl", "ruby", "python2", "python3", "pypy"})
"""Cell magics whose body another interpreter reads from its input."""

_MAX_HANDLES = 32


class FileTracker:
    """Watches the files of one session. ``begin`` before each cell, ``end`` after it, also after an error."""

    def __init__(
        self,
        root: Path,
        session_id: SessionId | str,
        *,
        exclude: Iterable[Path] = (),
        journal: Path | None = None,
    ) -> None:
        """``root``: folder of the workspace. ``exclude``: folders that hold no data of the user's, such as
        ``MLOPS_HOME``. ``journal``: file in which digests of big files are kept for other processes."""
        self.root = root
        self.session_id = SessionId(session_id)
        self.faults: list[str] = []
        """What went wrong, newest last; capture goes on without."""
        self.rules = PathRules(root, exclude=exclude)
        """Which paths are data."""
        self._cache = StatCache(journal)
        self._switch = get_switch()
        self._touches: Touches | None = None
        self._meter = Meter()
        self._began = 0.0
        self._handles: dict[str, tuple[os.stat_result | None, tuple[int, int] | None]] = {}
        """Files that an earlier cell left open: path -> ``stat`` at the end of the last cell."""
        self._tree: dict[str, tuple[int, int, int]] | None = None
        self._undo: list[Callable[[], None]] = []
        self._places = Places(self.rules)

    def install(self) -> None:
        """Add the audit hook (once in a process) and wrap libraries when they are imported. Idempotent."""
        self._switch = get_switch(install=True)
        if not self._undo:
            from .commands import wrap_shell

            self._undo = [wrap_shell()]
            self._undo += [import_hooks.when_imported(name, self._wrap) for name in LIBRARIES]

    def uninstall(self) -> None:
        """Undo ``install``; the audit hook stays, switched off. Idempotent."""
        self._switch.off()
        self._touches = None
        undo, self._undo = self._undo, []
        for step in reversed(undo):
            step()

    def begin(self) -> None:
        """A cell is about to run."""
        import_hooks.poll()
        self._tree = None
        self._meter = Meter()
        touches = Touches(self.rules, self._cache, self._before_command, self._meter, self._places.written)
        self._touches = touches
        self._began = time.perf_counter()
        self._switch.on(EVENTS, touches.receive)

    def script(self, text: str) -> None:
        """The cell that runs gives this text to another interpreter."""
        if self._touches is not None:
            self._touches.shell_command(text)

    def end(
        self,
        execution_id: ExecutionId | str | None = None,
        *,
        words: frozenset[str] = frozenset(),
        named: Iterable[str] = (),
    ) -> FileAccess:
        """The cell is over: what it read and wrote, with digests as far as the time budget allows.

        Args:
            execution_id: the cell's.
            words: names and attributes that its code loads; they tell whether it looks at files without opening
                them.
            named: paths that stand in its text.
        """
        self._switch.off()
        touches, self._touches = self._touches, None
        if self._switch.faults:
            self.faults += self._switch.faults
            self._switch.faults.clear()
        if touches is None:
            return FileAccess()
        self._places.look(touches, words, named)
        if not (
            touches.paths or touches.uris or touches.commands or self._handles or self._tree is not None
            or touches.made or touches.entered
        ):  # fmt: skip
            return FileAccess()
        elapsed = time.perf_counter() - self._began
        deadline = time.thread_time() + max(MIN_SECONDS, SHARE * elapsed)
        try:
            return self._collect(touches, deadline, ExecutionId(execution_id) if execution_id else None)
        except Exception as error:  # noqa: BLE001 - capture never breaks a cell
            self.faults.append(f"files: {type(error).__name__}: {error}")
            return FileAccess()

    def _wrap(self, module: ModuleType) -> None:
        from ._file_libraries import wrap  # only sessions that use such a library need it

        wrap(module, self._undo)

    def _before_command(self) -> None:
        if self._tree is None:
            from .commands import snapshot

            self._tree = snapshot(self.root, self.rules)

    def _collect(self, touches: Touches, deadline: float, execution_id: ExecutionId | None) -> FileAccess:
        if touches.commands or self._tree is not None:
            from .commands import add_effects

            add_effects(touches, self._tree or {}, self.root, self.rules)
        self._add_left_open(touches)
        states = self._places.settle(touches)
        reads: list[FileRecord] = []
        writes: list[FileRecord] = []
        now = time.time()
        # Small files first: the budget then goes furthest.
        for touch in sorted(touches.paths.values(), key=lambda touch: touch.first.st_size if touch.first else 0):
            status = _stat(touch.path)
            if status is not None and not stat.S_ISREG(status.st_mode):
                continue
            changed = _changed(touch, status)
            if _came_from_outside(touch, changed=changed):
                reads.append(self._read_record(touch, status, deadline, changed=changed))
            written = self._write_record(touch, status, deadline, now, changed=changed)
            if written is not None:
                writes.append(written)
        for (key, wrote), at in touches.uris.items():
            record = FileRecord(
                key=key, path=None, digest=None, size=None, grade=Grade.DECLARED, at=at,
                reason="sent to a URI" if wrote else "requested from a URI",
            )  # fmt: skip
            (writes if wrote else reads).append(record)
        self._remember_left_open(touches)
        order = {touch.key: touch.at for touch in touches.paths.values()}
        return FileAccess(
            execution_id=execution_id,
            reads=tuple(sorted(reads, key=lambda record: order.get(record.key, record.at))),
            writes=tuple(sorted(writes, key=lambda record: order.get(record.key, record.at))),
            dropped=touches.dropped,
            states=states,
        )

    def _read_record(
        self, touch: Touch, status: os.stat_result | None, deadline: float, *, changed: bool
    ) -> FileRecord:
        reason, found = touch.reason or "read", touch.before
        if touch.wrote or touch.deleted:
            reason = "read before this cell changed it"
        elif found is None and status is not None:
            found = self._measure(touch.path, deadline)
        grade = found.grade if found is not None and found.digest is not None else Grade.ASSUMED
        if changed and not touch.wrote and not touch.deleted and touch.before is None:
            reason, grade = "changed by others while the cell ran", Grade.ASSUMED
        if touch.watched and not touch.read:
            grade = Grade.ASSUMED
        return FileRecord(
            key=touch.key,
            path=touch.path,
            digest=found.digest if found is not None else None,
            size=found.size if found is not None else (touch.first.st_size if touch.first else None),
            grade=grade,
            reason=reason,
            at=touch.at,
            modified_at=touch.first.st_mtime if touch.first else None,
        )

    def _write_record(
        self, touch: Touch, status: os.stat_result | None, deadline: float, now: float, *, changed: bool
    ) -> FileRecord | None:
        if status is None:
            if touch.first is None or not (touch.deleted or touch.wrote or touch.watched):
                return None  # made and gone within the cell
            return FileRecord(
                key=touch.key, path=touch.path, digest=None, size=None, grade=Grade.EXACT, reason="removed",
                at=now, deleted=True,
            )  # fmt: skip
        if touch.watched and not touch.wrote:
            if not changed:
                return None
        elif not touch.wrote or (not changed and touch.replaced and not os.access(touch.path, os.W_OK)):
            return None  # the latter: it could not be opened
        found = self._measure(touch.path, deadline)
        if not changed and not touch.replaced and touch.before == found:
            return None  # opened, and left as it was; the clock of ``stat`` alone is too coarse to tell
        grade = found.grade if found is not None and found.digest is not None else Grade.ASSUMED
        if touch.watched and not touch.wrote:
            grade = Grade.ASSUMED
        return FileRecord(
            key=touch.key,
            path=touch.path,
            digest=found.digest if found is not None else None,
            size=status.st_size,
            grade=grade,
            reason=touch.reason or "written",
            at=now,
            modified_at=status.st_mtime,
            strong=touch.replaced,
            before=None if touch.replaced else _before(touch),
        )

    def _measure(self, path: str, deadline: float) -> FileDigest | None:
        try:
            return self._meter.measure(path, self._cache, deadline - time.thread_time())
        except OSError:
            return None

    def _add_left_open(self, touches: Touches) -> None:
        for path, (status, side) in self._handles.items():
            key = self.rules.key(path)
            current = _stat(path)
            if path in touches.paths or key is None or current is None:
                continue
            if _same(status, current) and side == side_file(path):
                continue
            touch = touches.paths[path] = Touch(path, key, status)
            touch.watched = True
            touch.side = side
            touch.reason = "written through a handle that an earlier cell opened"

    def _remember_left_open(self, touches: Touches) -> None:
        candidates = [touch.path for touch in touches.paths.values() if touch.wrote or touch.watched]
        candidates += [path for path in self._handles if path not in touches.paths]
        if candidates:
            self._handles = {path: (_stat(path), side_file(path)) for path in _still_open(candidates)[:_MAX_HANDLES]}


def _before(touch: Touch) -> FileRecord | None:
    if touch.first is None:
        return None
    found = touch.before
    return FileRecord(
        key=touch.key,
        path=touch.path,
        digest=found.digest if found is not None else None,
        size=touch.first.st_size,
        grade=found.grade if found is not None else Grade.ASSUMED,
        reason="there before it was changed",
        at=touch.at,
        modified_at=touch.first.st_mtime,
    )


def _came_from_outside(touch: Touch, *, changed: bool) -> bool:
    if touch.first is None:
        return False
    if touch.read:
        return True
    return touch.watched and not touch.wrote and touch.first.st_size > 0 and not (changed and touch.replaced)


def _changed(touch: Touch, status: os.stat_result | None) -> bool:
    return not _same(touch.first, status) or (touch.watched and touch.side != side_file(touch.path))


def _same(one: os.stat_result | None, other: os.stat_result | None) -> bool:
    if one is None or other is None:
        return one is other
    return (one.st_ino, one.st_dev, one.st_size, one.st_mtime_ns) == (
        other.st_ino, other.st_dev, other.st_size, other.st_mtime_ns,
    )  # fmt: skip


def _still_open(paths: list[str]) -> list[str]:
    """Those of ``paths`` that this process has open; all of them where that cannot be told."""
    if not sys.platform.startswith("linux"):
        return paths
    open_now = set()
    try:
        for handle in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names only
            try:
                open_now.add(os.readlink(f"/proc/self/fd/{handle}"))  # noqa: PTH115 - hot
            except OSError:
                continue
    except OSError:
        return paths
    return [path for path in paths if path in open_now or os.path.realpath(path) in open_now]


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)  # noqa: PTH116 - hot
    except (OSError, ValueError):
        return None
