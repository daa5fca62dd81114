# ruff: noqa: PTH100, PTH111, PTH116, PTH118, PTH119
# Inside of the user's open(): strings in, strings out, no Path objects are made.
"""What one cell does to files, kept in order as events come in: one ``Touch`` for each path."""

from __future__ import annotations

import os
import stat
import sys
import threading
import time
from collections.abc import Callable, Container
from types import FrameType
from typing import Any

from mlops_jupyter.data.digest import ALWAYS_FULL, FileDigest, StatCache, measure

from ._file_hook import own_threads
from ._file_paths import CODE_SUFFIXES, PathRules, is_uri, uri_key

MAX_PATHS = 5_000
"""Paths that one cell may touch; more are counted only."""

CELL_BYTES = 256 * 1024 * 1024
"""Bytes of files that one cell has read through without a limit of time."""

HOOK_SECONDS = 0.02
"""Seconds of CPU time a cell's hook may spend on reading files that are about to be overwritten."""

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC
_NO_FILE = getattr(os, "O_DIRECTORY", 0)


class Touch:
    """One path in one cell. Times are seconds since the epoch."""

    __slots__ = (
        "at", "before", "deleted", "first", "key", "path", "read", "reason", "replaced", "side",
        "watched", "wrote",
    )  # fmt: skip

    def __init__(self, path: str, key: str, first: os.stat_result | None) -> None:
        self.path = path
        self.key = key
        self.first = first
        """``stat`` before the first touch; None where there was no file."""
        self.at = time.time()
        self.before: FileDigest | None = None
        """What it held before it was written to, where that matters."""
        self.read = False
        """Read before it was written."""
        self.wrote = False
        self.replaced = first is None
        """Nothing of what was there before is left."""
        self.deleted = False
        self.watched = False
        """Handed to something that may read or write; the difference tells."""
        self.side: tuple[int, int] | None = None
        """``side_file`` when it was first watched."""
        self.reason = ""


class Meter:
    """Digests within one cell. Its files of ordinary size are read through whatever the time limit says, until they
    are more than ``CELL_BYTES`` together; so what is recorded does not depend on how busy the machine is."""

    __slots__ = ("_read",)

    def __init__(self) -> None:
        self._read = 0

    def measure(self, path: str, cache: StatCache, seconds: float) -> FileDigest:
        """Digest of a file; the limit of ``seconds`` holds for large files and for what is beyond ``CELL_BYTES``.

        Raises:
            OSError: it cannot be read, or is not a regular file.
        """
        found = measure(path, cache=cache, seconds=seconds, always=ALWAYS_FULL if self._read < CELL_BYTES else 0)
        self._read += min(found.size, ALWAYS_FULL)
        return found


class Touches:
    """Receives events from all threads of the process. Never takes a lock: a hook may interrupt itself."""

    def __init__(
        self,
        rules: PathRules,
        cache: StatCache,
        before_command: Callable[[], None],
        meter: Meter,
        written: Container[str] = (),
    ) -> None:
        """``written``: paths that earlier cells of the session wrote; code among them is read as data is."""
        self.paths: dict[str, Touch] = {}
        self.uris: dict[tuple[str, bool], float] = {}
        """(key, whether it was written) -> time."""
        self.commands: list[str] = []
        self.dropped = 0
        self.spent = 0.0
        self._rules = rules
        self._cache = cache
        self._before_command = before_command
        self._meter = meter
        self._inside: set[int] = set()
        self._written = written
        self.made: dict[str, None] = {}
        """Folders that were made, or asked for and there already."""
        self.entered: dict[str, None] = {}
        """Folders that became the current one."""
        self.listed: dict[str, None] = {}
        """Folders whose entries were listed."""

    def receive(self, event: str, args: tuple[Any, ...]) -> None:
        """One event; what we do ourselves while handling one is not one."""
        if event == "open":  # by far the most frequent: code that is imported or shown goes first
            path, _, flags = args
            if type(path) is str and path.endswith(CODE_SUFFIXES) and not (flags or 0) & _WRITING:
                path = self._source(path) if self._written else None
                if path is None:
                    return
                args = (path, args[1], flags)
        thread = threading.get_ident()
        if thread in self._inside or thread in own_threads:
            return
        self._inside.add(thread)
        try:
            _HANDLERS[event](self, *args)
        finally:
            self._inside.discard(thread)

    def _source(self, path: str) -> str | None:
        """The code file of the session's own making that is read here, itself or as what it was compiled to."""
        if path.endswith(".pyc"):
            folder, _, name = path.rpartition(f"{os.sep}__pycache__{os.sep}")
            path = f"{folder}{os.sep}{name.partition('.')[0]}.py" if folder else path
        found = absolute(path)
        return found if found in self._written else None

    def folder_made(self, path: Any, _mode: Any = None, folder: int = -1) -> None:
        """``os.mkdir``; the event comes before it is known whether that succeeds."""
        name = absolute(path) if folder == -1 else None
        if name is not None and len(self.made) < MAX_PATHS:
            self.made[name] = None

    def folder_entered(self, path: Any) -> None:
        """``os.chdir``."""
        name = absolute(path)
        if name is not None and len(self.entered) < MAX_PATHS:
            self.entered[name] = None

    def folder_listed(self, path: Any = ".") -> None:
        """``os.listdir``, ``os.scandir``; an import looks through folders, too."""
        frame: FrameType | None = sys._getframe()
        for _ in range(8):
            frame = frame.f_back if frame is not None else None
            if frame is None or frame.f_code.co_filename.startswith("<frozen importlib"):
                break
        name = (
            absolute(path or ".") if frame is None or not frame.f_code.co_filename.startswith("<frozen imp") else None
        )
        if name is not None and len(self.listed) < MAX_PATHS:
            self.listed[name] = None

    def opened(self, path: Any, mode: Any, flags: Any) -> None:
        """``open()``, ``os.open``, ``io.open_code``: ``mode`` is text or None, ``flags`` those of open(2)."""
        name = absolute(path)
        if name is None or type(flags) is not int or flags & _NO_FILE == _NO_FILE != 0:
            return
        if not flags & _WRITING:
            self._read(name, "opened for reading")
            return
        exclusive = bool(flags & os.O_EXCL)
        truncates = bool(flags & os.O_TRUNC)
        how = f"opened with mode {mode}" if type(mode) is str and mode.isprintable() else "opened for writing"
        touch = self._touch(name)
        if touch is None or (exclusive and touch.first is not None and not touch.deleted):
            return  # the latter fails
        self._write(touch, truncates=truncates, reads=bool(flags & os.O_RDWR) and not truncates, reason=how)

    def renamed(self, source: Any, target: Any, source_folder: int = -1, target_folder: int = -1) -> None:
        """``os.rename`` and ``os.replace``: the final name is what was written."""
        old, new = absolute(source), absolute(target)
        if old is None or new is None or source_folder != -1 or target_folder != -1:
            return
        status = _stat(old)
        if status is None:
            return
        if stat.S_ISDIR(status.st_mode):
            self._moved_folder(old, new)
            return
        origin, touch = self._touch(old), self._touch(new)
        if origin is not None:
            if origin.first is not None and not origin.wrote:
                origin.read = True
                origin.before = origin.before or self._measure(old)
            origin.deleted = True
        if touch is not None:
            self._write(touch, truncates=True, reads=False, reason=f"renamed from {os.path.basename(old)}")

    def _moved_folder(self, old: str, new: str) -> None:
        prefix = old + os.sep
        for path, touch in list(self.paths.items()):
            if path.startswith(prefix) and touch.wrote and not touch.deleted:
                touch.deleted = True
                moved = self._touch(os.path.join(new, path[len(prefix) :]))
                if moved is not None:
                    self._write(moved, truncates=True, reads=False, reason="its folder was renamed")

    def removed(self, path: Any, folder: int = -1) -> None:
        """``os.remove``, ``os.unlink``."""
        name = absolute(path) if folder == -1 else None
        touch = self._touch(name) if name is not None else None
        if touch is not None:
            if touch.read and not touch.wrote and touch.before is None:
                touch.before = self._measure(touch.path)
            touch.deleted = True

    def removed_tree(self, path: Any, folder: Any = None) -> None:
        """``shutil.rmtree``: what this cell touched in it is gone; the rest was never recorded."""
        name = absolute(path) if folder is None else None
        if name is not None:
            for touch in list(self.paths.values()):
                if touch.path.startswith(name + os.sep):
                    self.removed(touch.path)

    def truncated(self, path: Any, _length: Any) -> None:
        """``os.truncate`` with a path; with a handle, the opening was seen."""
        name = absolute(path)
        touch = self._touch(name) if name is not None else None
        if touch is not None:
            self._write(touch, truncates=False, reads=False, reason="truncated")

    def linked(self, source: Any, target: Any, *_folders: Any) -> None:
        """``os.link`` and ``os.symlink``: the new name holds what the old one does."""
        new = absolute(target)
        old = absolute(source) if new is not None else None
        if new is not None and old is not None:
            self._read(old, "linked")
            touch = self._touch(new)
            if touch is not None:
                self._write(touch, truncates=True, reads=False, reason="linked")

    def watch(self, path: Any, reason: str = "opened by sqlite3") -> None:
        """Handed to something that may read and write: the end of the cell tells which."""
        name = _local(path)
        if name is None or name.endswith(":memory:") or name.rsplit(os.sep, 1)[-1] == "":
            return
        touch = self._touch(name)
        if touch is not None and not touch.watched and not touch.wrote:
            touch.watched = True
            touch.side = side_file(name)
            touch.reason = touch.reason or reason
            if touch.first is not None and touch.before is None:
                touch.before = self._measure(name)

    def library_read(self, place: Any, reason: str) -> None:
        """A library reads a path or a URI."""
        self._library(place, reason, writes=False)

    def library_write(self, place: Any, reason: str) -> None:
        """A library writes a path or a URI."""
        self._library(place, reason, writes=True)

    def requested(self, url: Any, data: Any, _headers: Any, method: Any) -> None:
        """``urllib.request``: a GET reads; what else it does to a server is not for us to say."""
        if type(url) is str and data is None and method in {None, "GET"}:
            self._library(url, "requested", writes=False)

    def command(self, *args: Any) -> None:
        """A process is started: ``args`` as the audit events have them."""
        self._before_command()
        for word in args[:2]:
            words = word if isinstance(word, (list, tuple)) else [word]
            texts = [os.fsdecode(part) for part in words if isinstance(part, (str, bytes))]
            if texts and len(self.commands) < 50:
                self.commands.append("\0".join(texts) if len(texts) > 1 else texts[0])

    def shell_command(self, text: str) -> None:
        """``!text``, ``%%bash``."""
        self._before_command()
        if len(self.commands) < 50:
            self.commands.append(text)

    def _library(self, place: Any, reason: str, *, writes: bool) -> None:
        if type(place) is str and is_uri(place) and not place.startswith(("file://", "local://")):
            key = uri_key(place)
            if key is not None and len(self.uris) < MAX_PATHS:
                self.uris.setdefault((key, writes), time.time())
            return
        name = _local(place)
        if name is None:
            return
        if writes:
            touch = self._touch(name)
            if touch is not None:
                self._write(touch, truncates=True, reads=False, reason=reason)
        else:
            self._read(name, reason)

    def _read(self, name: str, reason: str) -> None:
        touch = self._touch(name)
        if touch is not None and touch.first is not None and not (touch.read or touch.wrote or touch.deleted):
            touch.read = True
            touch.reason = touch.reason or reason

    def _write(self, touch: Touch, *, truncates: bool, reads: bool, reason: str) -> None:
        if touch.deleted and _stat(touch.path) is None:
            touch.replaced = True
        elif touch.first is not None and touch.before is None and not touch.wrote:
            # The last moment at which the old content is there; what nobody read is of no use.
            if touch.read or not truncates:
                touch.before = self._measure(touch.path)
            touch.read = touch.read or reads
        touch.wrote = True
        touch.deleted = False
        touch.replaced = touch.replaced or truncates
        touch.reason = reason

    def _touch(self, name: str) -> Touch | None:
        touch = self.paths.get(name)
        if touch is None:
            key = self._rules.key(name)
            if key is None:
                return None
            if len(self.paths) >= MAX_PATHS:
                self.dropped += 1
                return None
            status = _stat(name)
            if status is not None and not stat.S_ISREG(status.st_mode):
                return None
            touch = self.paths[name] = Touch(name, key, status)
        return touch

    def _measure(self, name: str) -> FileDigest | None:
        left = HOOK_SECONDS - self.spent
        began = time.thread_time()
        try:
            return self._meter.measure(name, self._cache, max(left, 0.0))
        except OSError:
            return None
        finally:
            self.spent += time.thread_time() - began


_HANDLERS: dict[str, Callable[..., None]] = {
    "open": Touches.opened,
    "os.mkdir": Touches.folder_made,
    "os.chdir": Touches.folder_entered,
    "os.listdir": Touches.folder_listed,
    "os.scandir": Touches.folder_listed,
    "os.rename": Touches.renamed,
    "os.remove": Touches.removed,
    "os.truncate": Touches.truncated,
    "os.link": Touches.linked,
    "os.symlink": Touches.linked,
    "shutil.rmtree": Touches.removed_tree,
    "sqlite3.connect": Touches.watch,
    "urllib.Request": Touches.requested,
    "subprocess.Popen": Touches.command,
    "os.system": Touches.command,
    "os.posix_spawn": Touches.command,
    "os.forkpty": Touches.command,
    "mlops.read": Touches.library_read,
    "mlops.write": Touches.library_write,
    "mlops.watch": Touches.watch,
    "mlops.command": Touches.shell_command,
}

EVENTS = frozenset(_HANDLERS)
"""Audit events, and those of our own that the wrappers of libraries emit."""


def absolute(path: Any) -> str | None:
    """Absolute path of what was given to ``open``; None for handles. Runs no code of the user's."""
    kind = type(path)
    if kind is not str:
        if kind is bytes:
            path = os.fsdecode(path)
        elif kind.__module__ in {"pathlib", "pathlib._local"}:
            path = str(path)
        elif isinstance(path, str):  # numpy.str_ and the like
            path = str.__str__(path)
        else:
            return None
    if not path or "\0" in path:
        return None
    try:
        return str(os.path.abspath(path))
    except OSError:  # the current folder is gone
        return None


def side_file(path: str) -> tuple[int, int] | None:
    """Size and modification time (ns) of SQLite's write-ahead log beside a database, where there is one."""
    status = _stat(path + "-wal")
    return (status.st_size, status.st_mtime_ns) if status is not None and status.st_size else None


def _local(place: Any) -> str | None:
    if type(place) is str:
        if place.startswith(("file://", "local://")):
            place = place.split("://", 1)[1].removeprefix("localhost")
        elif place.startswith("file:"):
            place = place[5:].split("?", 1)[0]
        elif is_uri(place):
            return None
        elif place.startswith("~"):
            place = os.path.expanduser(place)
    return absolute(place)


def _stat(name: str) -> os.stat_result | None:
    try:
        return os.stat(name)
    except (OSError, ValueError):
        return None
