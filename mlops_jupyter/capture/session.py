"""One kernel's capture: hooks around cells, and one transaction a cell.

Responsibilities: attach to and detach from a shell, know which cell is open (a nested ``run_cell`` is part
of it), build its ``CellExecution``, hand it to the store together with what was observed. What a run
records is in ``track``.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import platform
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_jupyter.config import Settings, load_settings
from mlops_jupyter.entities import (
    CellExecution,
    Digest,
    EntityVersion,
    ExecutionId,
    ExecutionStatus,
    Origin,
    RunUid,
    Session,
    SessionId,
    Used,
)
from mlops_jupyter.errors import MlopsError
from mlops_jupyter.store import FileLock, SQLiteConnection
from mlops_jupyter.store import executions as records

from ._file_hook import unobserved
from .environment import read_environment
from .faults import Faults
from .files import SCRIPTS, FileAccess, FileTracker, to_lineage
from .headless import TrackRequests
from .hooks import Hooks
from .minting import new_uid
from .notebook_path import actor, notebook_path
from .options import find_track_line
from .sink import Sink
from .snapshots import CLOSE_SECONDS, SnapshotKeeper
from .track import Tracker

if TYPE_CHECKING:
    from mlops_jupyter.analysis import CellAnalysis

    from .observer import Observer


@dataclass(slots=True)
class OpenCell:
    """The cell that runs now."""

    info: Any
    """IPython's ``ExecutionInfo``."""
    execution_id: ExecutionId
    python_source: str
    started_at: float = 0.0
    clock: float = 0.0
    depth: int = 0
    """How many nested ``run_cell`` are open inside of it."""
    added: str = ""
    """The line of ``%%track`` that a headless run asks for beside the cell's text, with its line break."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A cell that has run, with all that was observed of it."""

    execution: CellExecution
    analysis: CellAnalysis
    result: Any
    """IPython's ``ExecutionResult``, or None where the cell was cancelled."""
    versions: list[EntityVersion] = field(default_factory=list)
    uses: list[Used] = field(default_factory=list)
    access: FileAccess = field(default_factory=FileAccess)


class CaptureSession:
    """Capture of one shell from ``attach`` to ``close``."""

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self.session_id = SessionId(new_uid())
        self.faults = Faults(self.session_id)
        self.started_at = time.time()
        self.pid = os.getpid()
        self.settings = self._settings()
        self.origin = _origin()
        self.notebook = notebook_path(self.settings.root, os.environ, shell.user_ns)
        self.folder_tag = _folder_tag(self.settings.root, self.notebook)
        self.user = actor(self.settings.root, os.environ)
        self.parent_run = RunUid(os.environ["MLOPS_PARENT_RUN"]) if os.environ.get("MLOPS_PARENT_RUN") else None
        self.sink = Sink(self.settings, self.faults)
        self._hide_secrets()
        self.cell: OpenCell | None = None
        self._requests = TrackRequests(shell)
        self.position = 0
        self.files = FileTracker(
            self.settings.root,
            self.session_id,
            exclude=(self.settings.home, self.settings.state),
            journal=None if self.sink.in_memory else self.settings.state / "digests.json",
        )
        self.tracker = Tracker(self)
        self.snapshots = SnapshotKeeper(
            sink=self.sink,
            exchange=self.tracker.exchange,
            history=self.tracker.history,
            root_rules=self.files.rules,
            faults=self.faults,
            limit=self.settings.snapshot_limit,
            total=self.settings.snapshot_total,
        )
        self._hooks = Hooks(self)
        self._lock = FileLock(self.settings.locks / f"session-{self.session_id}.lock")
        self._closed = False
        self._delivery_checked = 0.0
        self._start()

    @property
    def store(self) -> SQLiteConnection:
        """The store of this session, with all that was recorded; in memory where the workspace cannot be written."""
        self.sink.settle()
        return self.sink.store

    @cached_property
    def observer(self) -> Observer:
        """What sees reads and writes of the namespace. Made for the first cell: loading must be quick."""
        from .observer import Observer

        return Observer(self.session_id)

    def _settings(self) -> Settings:
        try:
            return load_settings()
        except MlopsError as error:
            self.faults.report("reading the settings", error)
            nowhere = Path(os.devnull) / ".mlops"
            return Settings(
                root=Path.cwd(), home=nowhere, state=nowhere, store_url=None, data_url=None, tracking_uri="",
                registry_uri=None, embedded_mlflow=True, experiment=None, deliver=False,
            )  # fmt: skip

    def _hide_secrets(self) -> None:
        """Keep the values of secret parameters of a headless run out of all records: by value, at every write."""
        names = os.environ.get("MLOPS_SECRETS", "")
        if not names:
            return
        from mlops_jupyter.analysis.scrubbing import Scrubber
        from mlops_jupyter.analysis.secrets import hide

        scrub = Scrubber(os.environ.get(name, "") for name in names.split(","))
        if scrub:
            hide(scrub.text)
            self.sink.store.scrub = scrub.text

    def _start(self) -> None:
        environment = read_environment()
        session = Session(
            session_id=self.session_id,
            origin=self.origin,
            host=socket.gethostname(),
            pid=self.pid,
            user=self.user,
            notebook=self.notebook,
            python=platform.python_version(),
            environment=environment.digest,
            started_at=self.started_at,
        )
        try:
            if not self.sink.in_memory:
                self._lock.acquire()
            self.sink.write(lambda store: records.start_session(store, session, environment=environment.document))
        except Exception as error:  # noqa: BLE001 - the user's kernel must start whatever is wrong with ours
            self.faults.report("starting the session", error)
        atexit.register(self.close)

    def attach(self) -> None:
        """Install hooks, transformers and magics; the cell that loads the extension counts from here on."""
        self._hooks.install()
        try:
            self.files.install()
            result = self.shell.displayhook.exec_result
            if result is not None and not result.info.silent and _does_more_than_load(result.info.raw_cell):
                self.before_cell(result.info)
        except Exception as error:  # noqa: BLE001 - capture never breaks a cell
            self.faults.report("loading", error)

    def detach(self) -> None:
        """Put the shell back as it was."""
        try:
            if self.cell is not None:
                self.cell = None
                self.files.end(ExecutionId(""))
            self.tracker.stop()
            self.files.uninstall()
        except Exception as error:  # noqa: BLE001 - as above
            self.faults.report("unloading", error)
        self._hooks.remove()

    def close(self) -> None:
        """Say that the session ended, write what waits, release the store. Idempotent."""
        if self._closed or self.pid != os.getpid():
            return
        self._closed = True
        atexit.unregister(self.close)
        try:
            self.tracker.stop()
            self.snapshots.wait(CLOSE_SECONDS)
            self.sink.write(lambda store: records.end_session(store, self.session_id))
            self.sink.close()
        except Exception as error:  # noqa: BLE001 - the interpreter may be half gone
            self.faults.report("ending the session", error)
        finally:
            self._lock.release()

    # -- cells
    # ------------------------------------------------------------------------------------------------------

    def before_cell(self, info: Any) -> None:
        """IPython is about to run a cell."""
        if self.pid != os.getpid():
            return
        cell = self.cell
        if cell is not None:
            if not (info.cell_id and cell.info.cell_id and info.cell_id != cell.info.cell_id and info.store_history):
                cell.depth += 1
                return
            self.after_cell(None)  # the end of the other cell was never told
        source = getattr(info, "transformed_cell", None)
        if source is None:
            try:
                source = self.shell.transform_cell(info.raw_cell)
            except Exception:  # noqa: BLE001 - a cell that cannot be transformed is recorded as failed, later
                source = info.raw_cell
        cell = OpenCell(info, ExecutionId(new_uid()), source)
        self.cell = cell
        cell.started_at = time.time()
        found = find_track_line(info.raw_cell.splitlines())
        if found is None and self.origin is Origin.HEADLESS:
            asked = self._requests.take()
            if asked is not None:
                cell.added, found = f"%%track {asked}".rstrip() + "\n", (0, asked)
        self.tracker.before(cell, found)
        self.files.begin()
        try:
            self.observer.before(source, self.shell.user_ns)
            self._scripts()
        finally:
            cell.clock = time.perf_counter()

    def _scripts(self) -> None:
        """A script of another interpreter goes to it as its input, where no hook sees the files that it names."""
        analysis = self.observer.analysis
        for magic in analysis.magics if analysis is not None else ():
            if magic.body is not None and magic.name in SCRIPTS:
                self.files.script(f"{magic.line}\n{magic.body}")

    def after_cell(self, result: Any) -> None:
        """IPython has run a cell; ``result`` is None where it was cancelled."""
        clock = time.perf_counter()
        cell = self.cell
        if cell is None or self.pid != os.getpid():
            return
        info = None if result is None else result.info
        if info is not None and info is not cell.info:
            if not info.raw_cell or info.raw_cell.isspace():
                return  # IPython tells the end of an empty cell, not its beginning
            if cell.depth:
                cell.depth -= 1
                return
            if info.raw_cell != cell.info.raw_cell:
                return
        self.cell = None
        finished = self._observe(cell, result, clock - cell.clock)
        self._record(cell, finished)

    def _observe(self, cell: OpenCell, result: Any, duration: float) -> Finished:
        from mlops_jupyter.analysis import analyze, redact

        status, error = _outcome(result)
        text = redact(cell.added + cell.info.raw_cell)
        execution = CellExecution(
            execution_id=cell.execution_id,
            session_id=self.session_id,
            position=self.position,
            execution_count=None if result is None else result.execution_count,
            cell_id=cell.info.cell_id,
            notebook=self.notebook,
            source=text,
            source_digest=Digest("sha256:" + hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()),
            started_at=cell.started_at,
            duration=duration,
            status=status,
            error=error,
            run_uid=self.tracker.run_of_cell(),
        )
        self.position += 1
        versions: list[EntityVersion] = []
        uses: list[Used] = []
        access = FileAccess()
        words: frozenset[str] = frozenset()
        try:
            observed = self.observer.after(self.shell.user_ns, execution_id=cell.execution_id, error=_raised(result))
            versions += observed.versions
            uses += observed.uses
            words = observed.words
        except Exception as fault:  # noqa: BLE001 - capture never breaks a cell
            self.faults.report("looking at the variables", fault)
        try:
            looked = analyze(cell.python_source)
            access = self.files.end(cell.execution_id, words=words, named=[path.text for path in looked.path_literals])
            if access.reads or access.writes or access.states:
                file_versions, file_uses = to_lineage(
                    access, self.store, session_id=self.session_id, execution_id=cell.execution_id
                )
                versions += file_versions
                uses += file_uses
            for text in self.files.faults:
                self.faults.report("looking at the files", MlopsError(text))
            self.files.faults.clear()
        except Exception as fault:  # noqa: BLE001 - as above
            self.faults.report("looking at the files", fault)
        return Finished(execution, analyze(cell.python_source), result, versions, uses, access)

    def _record(self, cell: OpenCell, finished: Finished) -> None:
        try:
            record = self.tracker.after(cell, finished)
        except Exception as fault:  # noqa: BLE001 - as above
            self.faults.report("recording the run", fault)
            record = self.tracker.abandon(finished)

        def write(store: SQLiteConnection) -> None:
            records.append_execution(store, finished.execution, versions=finished.versions, uses=finished.uses)
            if record is not None:
                record.write(store)

        def write_least(store: SQLiteConnection) -> None:
            records.append_execution(store, finished.execution)
            if record is not None:
                record.write_end(store)

        def store_all() -> None:
            try:
                self.sink.write(write)
            except Exception as fault:  # noqa: BLE001 - as above; a value that the store refuses must not cost the rest
                self.faults.report("writing the record", fault)
                self._store_least(write_least)

        if record is None:
            self.sink.later(write, store_all)
        else:
            store_all()
            record.show(self.shell, self.store)
        self._keep_snapshots(finished)
        self._deliver()
        if self.faults.pending:
            self.sink.flush()

    def _keep_snapshots(self, finished: Finished) -> None:
        execution = finished.execution
        try:
            self.snapshots.cell_ended(
                execution.execution_id, finished.access, execution.source, run_uid=execution.run_uid
            )
        except Exception as fault:  # noqa: BLE001 - as above
            self.faults.report("keeping what the run read", fault)

    def _store_least(self, write: Callable[[SQLiteConnection], None]) -> None:
        try:
            self.sink.write(write)
        except Exception as fault:  # noqa: BLE001 - as above; in a thread nobody would see it
            self.faults.report("writing the record", fault)

    def _deliver(self) -> None:
        """See to it that a delivery process runs, without waiting for it; looked at every few seconds."""
        now = time.monotonic()
        if not self.settings.deliver or self.sink.in_memory or now - self._delivery_checked < 5.0:
            return
        self._delivery_checked = now
        import threading

        threading.Thread(target=self._ensure_delivery, name="mlops-delivery", daemon=True).start()

    def _ensure_delivery(self) -> None:
        try:
            from mlops_jupyter.store.delivery_process import ensure_delivery

            with unobserved():
                ensure_delivery(self.settings)
        except Exception as error:  # noqa: BLE001 - the next process delivers what is left
            self.faults.report("starting the delivery", error)


def _folder_tag(root: Path, notebook: str | None) -> dict[str, str]:
    """Where the kernel started, from the workspace's root, unless that is the notebook's folder."""
    try:
        here = os.path.relpath(os.getcwd(), root)  # noqa: PTH109 - of the kernel, as it is now
    except (OSError, ValueError):
        return {}
    usual = os.path.dirname(notebook) or "." if notebook else "."  # noqa: PTH120 - a name, no path of this machine
    return {} if here == os.path.normpath(usual) else {"mlops.cwd": here.replace(os.sep, "/")}


def _origin() -> Origin:
    try:
        return Origin(os.environ.get("MLOPS_ORIGIN", Origin.INTERACTIVE))
    except ValueError:
        return Origin.INTERACTIVE


def _raised(result: Any) -> BaseException | None:
    """What the cell raised, before or while it ran."""
    if result is None:
        return KeyboardInterrupt()
    error: BaseException | None = result.error_before_exec or result.error_in_exec
    return error


def _outcome(result: Any) -> tuple[ExecutionStatus, str | None]:
    if result is None:
        return ExecutionStatus.INTERRUPTED, "cancelled"
    error = _raised(result)
    if error is None:
        return ExecutionStatus.OK, None
    if isinstance(error, KeyboardInterrupt):
        return ExecutionStatus.INTERRUPTED, "KeyboardInterrupt"
    try:
        text = " ".join(str(error).split())
    except Exception:  # noqa: BLE001 - a user's __str__ may raise anything
        text = "(its text cannot be shown)"
    from mlops_jupyter.analysis import redact

    return ExecutionStatus.ERROR, redact(f"{type(error).__name__}: {text}"[:500])


def _does_more_than_load(raw_cell: str) -> bool:
    """Whether the cell that loads the extension has code that later cells may depend on."""
    ours = ("%load_ext", "%reload_ext", "import mlops_jupyter", "from mlops_jupyter", "#")
    return any(line.strip() and not line.strip().startswith(ours) for line in raw_cell.splitlines())
