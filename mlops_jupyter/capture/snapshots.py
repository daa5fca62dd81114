"""What a run read is kept in the exchange: its data files, and the modules and scripts of the user's own.

All copying is done by a thread, after the cell has ended; the cell only hands over which files it read. A file that
has changed by then is not kept, and that is recorded.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from types import ModuleType
from typing import TYPE_CHECKING, Any

from mlops_jupyter.data.exchange import Exchange
from mlops_jupyter.entities import Digest, ExecutionId, RunUid
from mlops_jupyter.errors import MlopsError
from mlops_jupyter.store import SQLiteConnection
from mlops_jupyter.store.snapshots import Snapshot, SnapshotState, add_snapshots, kept_bytes

from ._file_hook import unobserved
from ._file_paths import PathRules
from .faults import Faults
from .files import FileAccess
from .history import History
from .sink import Sink

if TYPE_CHECKING:
    from collections.abc import Callable

CLOSE_SECONDS = 2.0
"""Seconds that the end of the kernel waits for copies; Jupyter ends a kernel that takes longer than 5."""

CODE_LIMIT = 1024 * 1024
"""Bytes: a larger source file is recorded by its digest alone."""

_DELAY = 0.02
"""Seconds that the thread lets pass after a cell before it begins."""

_MODULES_LIMIT = 2_000
_SCRIPT = re.compile(r"^\s*(?:%run|[!%]\w*\s*python[\d.]*)\s+(?:-\S+\s+)*[\"']?([^\"'\s]+\.(?:py|ipy))\b", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class _Read:
    """A file that one execution found, as it was then."""

    key: str
    path: str
    digest: Digest
    size: int


@dataclass(frozen=True, slots=True)
class _Code:
    """A source file as it was when it was loaded."""

    key: str
    module: str
    digest: Digest
    object: Digest | None
    size: int


class SnapshotKeeper:
    """Copies what the runs of one session read. Nothing here raises into a cell or makes it wait."""

    def __init__(
        self, *, sink: Sink, exchange: Exchange, history: History, root_rules: PathRules, faults: Faults, limit: int,
        total: int,
    ) -> None:  # fmt: skip
        """``limit``: bytes a file, 0 keeps nothing; ``total``: bytes of all snapshots of the workspace."""
        self._sink = sink
        self._exchange = exchange
        self._history = history
        self._rules = root_rules
        self._faults = faults
        self._limit = limit
        self._total = total
        self._pid = os.getpid()
        self._reads: dict[ExecutionId, tuple[_Read, ...]] = {}
        self._own: set[tuple[str, Digest]] = set()
        """What cells of this session wrote: it is made again and needs no copy."""
        self._done: dict[RunUid, set[Any]] = {}
        self._code: dict[str, _Code] = {}
        self._specs: dict[str, Any] = {}
        """Import spec of each module that was looked at; a reload replaces it."""
        self._modules_seen = 0
        self._tasks: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._hurry = threading.Event()

    def cell_ended(self, execution_id: ExecutionId, access: FileAccess, source: str, *, run_uid: RunUid | None) -> None:
        """A cell has run. Costs microseconds; ``run_uid`` is the run it belongs to, where it is tracked."""
        if self._sink.in_memory or self._pid != os.getpid():
            return
        reads = tuple(self._reads_of(access))
        if reads:
            self._reads[execution_id] = reads
        self._own |= {(w.key, w.digest) for w in access.writes if w.digest is not None}
        if "python" in source or "%run" in source:
            for found in _SCRIPT.finditer(source):
                self._put(partial(self._look_at_script, os.path.abspath(found[1])))  # noqa: PTH100 - as of now
        if run_uid is not None:
            self._put(partial(self._keep, run_uid, execution_id))
        elif len(sys.modules) != self._modules_seen:
            self._put(self._look_at_modules)
        self._modules_seen = len(sys.modules)

    def wait(self, seconds: float) -> bool:
        """Wait until everything handed over so far is copied; whether it is."""
        if self._thread is None or self._pid != os.getpid():
            return True
        done = threading.Event()
        self._hurry.set()
        self._tasks.put(done.set)
        try:
            return done.wait(seconds)
        finally:
            self._hurry.clear()

    def _reads_of(self, access: FileAccess) -> Iterator[_Read]:
        if not self._limit:
            return
        records = [*access.reads, *(w.before for w in access.writes if w.before is not None)]
        for record in records:
            # What an installed distribution brings is there with the distribution.
            if record.path is None or record.digest is None or record.key.startswith("package:"):
                continue
            if (record.key, record.digest) not in self._own:
                yield _Read(record.key, record.path, record.digest, record.size or 0)

    def _put(self, task: Callable[[], None]) -> None:
        self._tasks.put(task)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="mlops-snapshots", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        with unobserved():
            while True:
                task = self._tasks.get()
                # The cell's answer goes out first: for the interpreter's lock it would wait longer than all this takes.
                self._hurry.wait(_DELAY)
                self._try(task)

    def _try(self, task: Callable[[], None]) -> None:
        try:
            task()
        except Exception as error:  # noqa: BLE001 - a run without snapshots is a run all the same
            self._faults.report("keeping what the run read", error, warn=False)

    def _keep(self, run_uid: RunUid, execution_id: ExecutionId) -> None:
        done = self._done.setdefault(run_uid, set())
        self._try(self._look_at_modules)
        snapshots: list[Snapshot] = []
        for code in self._code.values():
            if code not in done:
                done.add(code)
                snapshots.append(self._code_snapshot(run_uid, code))
        room: int | None = None
        for each in self._history.executions_of(execution_id):
            if each in done:
                continue
            done.add(each)
            for read in self._reads.get(each, ()):
                if room is None:
                    room = self._total - kept_bytes(self._sink.store)
                snapshot = self._file_snapshot(run_uid, read, room)
                room -= snapshot.size if snapshot.object is not None else 0
                snapshots.append(snapshot)

        def write(store: SQLiteConnection) -> None:
            add_snapshots(store, snapshots)

        if snapshots:
            self._sink.write(write)

    def _file_snapshot(self, run_uid: RunUid, read: _Read, room: int) -> Snapshot:
        state, kept = SnapshotState.KEPT, None
        if read.size > self._limit:
            state = SnapshotState.TOO_LARGE
        elif read.size > room:
            state = SnapshotState.NO_ROOM
        else:
            try:
                kept = self._exchange.keep(read.path, read.digest)
            except FileNotFoundError:
                kept = None
            except (OSError, MlopsError):
                state = SnapshotState.UNREADABLE
            if kept is None and state is SnapshotState.KEPT:
                state = SnapshotState.CHANGED
        return Snapshot(
            run_uid=run_uid, name=read.key, digest=read.digest, state=state, object=kept, size=read.size
        )  # fmt: skip

    def _code_snapshot(self, run_uid: RunUid, code: _Code) -> Snapshot:
        state = SnapshotState.KEPT
        if code.object is None:
            state = SnapshotState.TOO_LARGE if self._limit else SnapshotState.OFF
        return Snapshot(
            run_uid=run_uid, name=code.key, digest=code.digest, state=state, module=code.module, object=code.object,
            size=code.size,
        )  # fmt: skip

    def _look_at_modules(self) -> None:
        """Find the user's modules that were imported or reloaded since the last look, and read their source."""
        for name, module in list(sys.modules.items()):
            spec = _spec(module)
            if spec is None or self._specs.get(name) is spec or len(self._code) >= _MODULES_LIMIT:
                continue
            self._specs[name] = spec
            origin = getattr(spec, "origin", None)
            if type(origin) is str and origin.endswith(".py") and getattr(spec, "has_location", False):
                self._read_code(os.path.abspath(origin), str(spec.name))  # noqa: PTH100 - no Path objects are needed

    def _look_at_script(self, path: str) -> None:
        self._read_code(path, "")

    def _read_code(self, path: str, module: str) -> None:
        key = self._rules.key(path)
        if key is None:
            return
        try:
            with open(path, "rb") as file:  # noqa: PTH123 - as above
                content = file.read()
        except OSError:
            return
        digest = Digest("sha256:" + hashlib.sha256(content).hexdigest())
        keep = self._limit and len(content) <= CODE_LIMIT
        kept = self._exchange.put_bytes(content, durable=False) if keep else None
        self._code[key] = _Code(key, module, digest, kept, len(content))


_module_dict: Any = vars(ModuleType)["__dict__"]


def _spec(module: Any) -> Any:
    """The import spec of a module, without waking up one that is loaded lazily."""
    # By its type: what stands in sys.modules may say of itself that it is a module.
    if not issubclass(type(module), ModuleType):
        return None
    return _module_dict.__get__(module).get("__spec__")
