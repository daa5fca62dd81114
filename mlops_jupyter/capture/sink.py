"""The store as a kernel needs it: never waits long, never loses a record, never raises into a cell."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable

from mlops_jupyter.config import Settings
from mlops_jupyter.entities import Metric, RunUid
from mlops_jupyter.errors import MlopsError, TransientError
from mlops_jupyter.store import SQLiteConnection, open_workspace_store
from mlops_jupyter.store import runs as store_runs

from .faults import Faults
from .memory_sink import open_memory_store

Write = Callable[[SQLiteConnection], None]

_BUSY_MILLISECONDS = 250
"""How long a cell may wait for another writer; beyond it the record is kept and written after the next
cell."""
_GATHERING_SECONDS = 0.03
"""How long the thread lets tasks gather, so that cells which follow each other at once are written together: a thread
that writes after each of them takes the interpreter's lock from the next one."""
_PENDING_LIMIT = 100_000


class Sink:
    """Writes to the workspace's store, or to memory where that cannot be had.

    ``write`` runs a function over the store in one transaction. Where the store is busy or the disk is full
    it keeps the function, in order, and tries again at the next write.

    ``later`` hands a write to a thread, so that a cell of which only the lineage is recorded does not wait for SQLite:
    each statement gives up the interpreter's lock, and getting it back from IPython's own history thread takes longer
    than the statement. What was handed over is written before anything else is written or read.
    """

    def __init__(self, settings: Settings, faults: Faults) -> None:
        self.faults = faults
        self._pid = os.getpid()
        self._pending: deque[Write] = deque()
        self._lock = threading.RLock()
        self._tasks: deque[tuple[Write, Callable[[], None]]] = deque()
        self._in_task = False
        self._wake = threading.Event()
        self._writer: threading.Thread | None = None
        self.in_memory = False
        self.store = self._open(settings)

    def _open(self, settings: Settings) -> SQLiteConnection:
        try:
            store = open_workspace_store(settings)
            store.execute(f"PRAGMA busy_timeout={_BUSY_MILLISECONDS}")
            # A store that can be read but not written (a read-only mount) only says so when it is written to.
            with store.transaction():
                store.execute("DELETE FROM faults WHERE seq < 0")
        except TransientError as error:
            if error.hint.startswith("Another process"):
                return store
            return self._memory(error)
        except (MlopsError, OSError) as error:
            return self._memory(error)
        return store

    def _memory(self, error: Exception) -> SQLiteConnection:
        self.in_memory = True
        self.faults.report("opening the workspace", error, warn=False)
        self.faults.warn(f"records are kept in memory only and end with this kernel: {error}")
        return open_memory_store()

    @property
    def foreign(self) -> bool:
        """Whether this is a forked child of the process that opened the sink."""
        return self._pid != os.getpid()

    def write(self, function: Write) -> bool:
        """Run ``function`` over the store, all or nothing; whether it is written already.

        Raises:
            UsageError: the store refuses the statement for good.
        """
        if self.foreign:
            return self._write_from_child(function)
        with self._lock:
            self.settle()
            return self._write(function)

    def later(self, function: Write, alone: Callable[[], None]) -> None:
        """Write soon, in order, and before the next write or read: together with what else waits, all or nothing.

        Where that fails ``alone`` is called, which writes this by itself and raises nothing.
        """
        if self.foreign or self.in_memory:
            alone()
            return
        self._tasks.append((function, alone))
        if self._writer is None:
            self._writer = threading.Thread(target=self._work, name="mlops-store", daemon=True)
            self._writer.start()
        self._wake.set()

    def settle(self) -> None:
        """Do what ``later`` was given, now; what the thread is just doing is done when this returns."""
        if self.foreign or not (self._tasks or self._in_task):
            return
        with self._lock:
            if self._in_task:
                return  # a task writes: those behind it come after it
            self._in_task = True
            try:
                self._do_tasks()
            finally:
                self._in_task = False

    def _do_tasks(self) -> None:
        while self._tasks:
            batch = [self._tasks.popleft() for _ in range(len(self._tasks))]
            if not self._write_together(batch):
                for _, alone in batch:
                    alone()

    def _write_together(self, batch: list[tuple[Write, Callable[[], None]]]) -> bool:
        if self._pending:
            return False  # what was kept comes first
        try:
            with self.store.transaction():
                for function, _ in batch:
                    function(self.store)
        except Exception:  # noqa: BLE001 - which of them it was is found, and told, when each is written alone
            return False
        except BaseException:  # interrupted: what was rolled back is done again
            self._tasks.extendleft(reversed(batch))
            raise
        return True

    def _work(self) -> None:
        while True:
            self._wake.wait()
            time.sleep(_GATHERING_SECONDS)
            self._wake.clear()
            self.settle()

    def _write_from_child(self, function: Write) -> bool:
        """In a forked child: straight to the store, for nobody would flush what waits."""
        if self.in_memory:
            return False  # the parent's memory cannot be reached from here
        with self.store.transaction():
            function(self.store)
        return True

    def _write(self, function: Write) -> bool:
        if self._pending and not self.flush():
            self._keep(function)
            return False
        try:
            with self.store.transaction():
                function(self.store)
        except TransientError as error:
            self._keep(function)
            self.faults.report("writing to the store", error, warn=not error.hint.startswith("Another process"))
            return False
        return True

    def append_metric(self, run_uid: RunUid, key: str, value: float, step: int, timestamp: int) -> None:
        """Write one metric value, committed when it returns; as ``write``, without what a general write
        costs."""
        metric = Metric(key=key, value=value, step=step, timestamp=timestamp)
        self.write(lambda store: store_runs.log_metrics(store, run_uid, [metric]))

    def _keep(self, function: Write) -> None:
        if len(self._pending) >= _PENDING_LIMIT:
            self.faults.warn("too many records wait for the store; the oldest are dropped.")
            self._pending.popleft()
        self._pending.append(function)

    def flush(self, *, timeout: float | None = None) -> bool:
        """Write what waits; whether nothing waits any more. ``timeout``: seconds to wait for another
        writer."""
        with self._lock:
            self.settle()
            return self._flush(timeout)

    def _flush(self, timeout: float | None) -> bool:
        if timeout is not None:
            self.store.execute(f"PRAGMA busy_timeout={int(timeout * 1000)}")
        try:
            while self._pending:
                function = self._pending[0]
                try:
                    with self.store.transaction():
                        function(self.store)
                except TransientError:
                    return False
                except MlopsError as error:
                    self.faults.report("writing to the store", error)
                self._pending.popleft()
            self.faults.flush(self.store)
        except TransientError:
            return False
        finally:
            if timeout is not None:
                self.store.execute(f"PRAGMA busy_timeout={_BUSY_MILLISECONDS}")
        return True

    def close(self) -> None:
        """Write what waits, for at most five seconds, and close the store."""
        if not self.foreign:
            self.flush(timeout=5.0)
            self.store.close()
