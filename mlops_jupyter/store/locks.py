"""Locks between processes that vanish with their holder, however it dies.

POSIX record locks, because a forked worker does not inherit them: a kernel that was killed is seen as dead even
while one of its worker processes lives on. Their trap is that *any* close of the file by the holder drops the lock,
so this module alone opens lock files, and remembers which ones this process holds.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path
from types import TracebackType

from mlops_jupyter.errors import TransientError

try:
    import fcntl
except ImportError:  # Windows: runs capture and headless without liveness
    fcntl = None  # type: ignore[assignment]

_guard = threading.Lock()
_held: dict[str, int] = {}
"""Locks of this process by real path, with their open file."""


def _start_anew() -> None:
    """A forked child holds no lock, and another thread of its parent may have been inside ``_guard``."""
    global _guard
    _guard = threading.Lock()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)


class FileLock:
    """An exclusive lock on ``path``, held from ``acquire`` until ``release`` or the end of the process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._key = os.path.realpath(path)

    def acquire(self, *, timeout: float = 0.0) -> bool:
        """Take the lock within ``timeout`` seconds; whether it was taken. Creates the file and its folder.

        Raises:
            TransientError: the lock file cannot be created.
        """
        deadline = time.monotonic() + timeout
        while True:
            if self._try():
                return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.01)

    def _try(self) -> bool:
        with _guard:
            if self._key in _held:
                return False
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            except OSError as error:
                raise TransientError(
                    f"The lock file {self.path} cannot be opened: {error.strerror or error}.",
                    hint="Make the folder writable or set MLOPS_HOME to a folder that is.",
                ) from error
            if fcntl is not None:
                try:
                    fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError as error:
                    os.close(descriptor)
                    if error.errno in (errno.EACCES, errno.EAGAIN):
                        return False
                    raise
            _held[self._key] = descriptor
            return True

    def release(self) -> None:
        """Give the lock back. Idempotent. The file stays: removing it would race with another taker."""
        with _guard:
            descriptor = _held.pop(self._key, None)
            if descriptor is not None:
                os.close(descriptor)

    def __enter__(self) -> FileLock:
        if not self.acquire(timeout=30.0):
            raise TransientError(f"{self.path} is locked by another process.", hint="Try again in a moment.")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def is_held(path: Path) -> bool:
    """Whether a living process (this one included) holds the lock on ``path``."""
    with _guard:
        if os.path.realpath(path) in _held:
            return True
        if fcntl is None:
            return False
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(descriptor)
        return False
