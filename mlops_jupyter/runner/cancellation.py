"""Asking a run to stop: by SIGINT or SIGTERM, or from another thread."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class Cancellation:
    """A request to stop that a poller can wait for.

    As a context manager it takes SIGINT and SIGTERM over (main thread only) and gives them back at the end.
    The first signal asks the kernel to stop, a second one kills it.
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._previous: dict[int, Any] = {}
        self.received: int | None = None
        """The signal that was received first, or None."""
        self.repeated = False

    @property
    def descriptor(self) -> int:
        """Readable from the first request on."""
        return self._read

    def request(self, signum: int = signal.SIGINT) -> None:
        """Ask the run to stop, as if ``signum`` had been received."""
        if self.received is None:
            self.received = signum
            os.write(self._write, b"\0")
        else:
            self.repeated = True

    def _handle(self, signum: int, _frame: FrameType | None) -> None:
        self.request(signum)

    def __enter__(self) -> Cancellation:
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGINT, signal.SIGTERM):
                self._previous[signum] = signal.signal(signum, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for signum, handler in self._previous.items():
            # None: a handler that was not installed from Python and cannot be put back.
            signal.signal(signum, signal.SIG_DFL if handler is None else handler)
        self._previous.clear()
        os.close(self._read)
        os.close(self._write)
