"""The run that the logging functions write to, in a notebook, a worker process or a script."""

from __future__ import annotations

import atexit
import os
import platform
import socket
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops_jupyter import capture
from mlops_jupyter.config import load_settings
from mlops_jupyter.data.exchange import Exchange, open_exchange
from mlops_jupyter.entities import Origin, Run, RunStatus, RunUid, Session, SessionId
from mlops_jupyter.store import FileLock
from mlops_jupyter.store import executions as records
from mlops_jupyter.store import runs as store_runs

from .environment import read_environment
from .faults import Faults
from .minting import new_uid
from .notebook_path import actor
from .sink import Sink


@dataclass(frozen=True, slots=True)
class Target:
    """Where records go."""

    run_uid: RunUid
    sink: Sink
    exchange: Exchange


@dataclass(slots=True)
class _Process:
    """The run of a process without a notebook."""

    pid: int
    target: Target
    lock: FileLock | None


_process: _Process | None = None
_guard = threading.Lock()


def target() -> Target:
    """The run to write to; started where there is none."""
    session = capture.current()
    if session is not None:
        return Target(session.tracker.for_logging(), session.sink, session.tracker.exchange)
    process = _process
    if process is not None and process.pid == os.getpid():
        return process.target
    return _open_process()


def target_or_none() -> Target | None:
    """The run to write to, or None where there is none yet."""
    session = capture.current()
    if session is not None:
        run = session.tracker.current()
        return None if run is None else Target(run.run_uid, session.sink, session.tracker.exchange)
    if _process is not None or _given_run() is not None:
        return target()
    return None


def _given_run() -> RunUid | None:
    """The run that whoever started this process wants its records in."""
    given = os.environ.get("MLOPS_RUN_UID") or os.environ.get("MLOPS_PARENT_RUN")
    return RunUid(given) if given else None


def _open_process() -> Target:
    global _process
    with _guard:
        if _process is not None:
            if _process.pid == os.getpid():
                return _process.target
            # A forked child goes on with its parent's run and ends nothing.
            _process = _Process(os.getpid(), _process.target, None)
            return _process.target
        settings = load_settings()
        session_id = SessionId(new_uid())
        sink = Sink(settings, Faults(session_id))
        exchange = open_exchange(settings)
        given = _given_run()
        if given is not None:
            _process = _Process(os.getpid(), Target(given, sink, exchange), None)
            return _process.target
        run_uid = RunUid(new_uid())
        lock = FileLock(settings.locks / f"session-{session_id}.lock")
        if not sink.in_memory:
            lock.acquire()
        _process = _Process(os.getpid(), Target(run_uid, sink, exchange), lock)
        user = actor(settings.root, os.environ)
        environment = read_environment()
        script = _script_name(settings.root)
        now = time.time()
        session = Session(
            session_id=session_id,
            origin=Origin.SCRIPT,
            host=socket.gethostname(),
            pid=os.getpid(),
            user=user,
            notebook=None,
            python=platform.python_version(),
            environment=environment.digest,
            started_at=now,
        )
        run = Run(
            run_uid=run_uid,
            name=f"{Path(script).stem}-{run_uid[:8]}",
            experiment=settings.experiment or script,
            status=RunStatus.RUNNING,
            started_at=now,
            session_id=session_id,
            user=user,
            tags={
                "mlflow.user": user,
                "mlflow.source.name": script,
                "mlflow.source.type": "LOCAL",
                "mlops.environment": environment.digest,
                "mlops.origin": str(Origin.SCRIPT),
            },
        )
        sink.write(lambda store: records.start_session(store, session, environment=environment.document))
        sink.write(lambda store: store_runs.start_run(store, run))
        atexit.register(_close_process, session_id)
        if settings.deliver and not sink.in_memory:
            _deliver(sink, settings)
        return _process.target


def _deliver(sink: Sink, settings: Any) -> None:
    from mlops_jupyter.store.delivery_process import ensure_delivery

    try:
        ensure_delivery(settings)
    except Exception as error:  # noqa: BLE001 - what is not delivered now is delivered by the next process
        sink.faults.report("starting the delivery", error)


def _script_name(root: Path) -> str:
    script = sys.argv[0] if sys.argv and sys.argv[0] not in ("", "-c", "-m") else ""
    if not script:
        return "python"
    path = Path(script).absolute()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def _close_process(session_id: SessionId) -> None:
    process = _process
    if process is None or process.pid != os.getpid() or process.lock is None:
        return
    # The interpreter leaves the exception that ended the script here.
    failed = isinstance(getattr(sys, "last_value", None), Exception)
    status = RunStatus.FAILED if failed else RunStatus.FINISHED
    run_uid, sink = process.target.run_uid, process.target.sink
    try:
        sink.write(lambda store: _end(store, run_uid, status, session_id))
        sink.close()
    finally:
        process.lock.release()


def _end(store: Any, run_uid: RunUid, status: RunStatus, session_id: SessionId) -> None:
    store_runs.end_run(store, run_uid, status)
    records.end_session(store, session_id)


class ActiveRun:
    """The run that goes on, read from the store when it is asked for. ``info`` and ``data`` as MLflow's."""

    def __init__(self, at: Target) -> None:
        self._at = at

    @property
    def info(self) -> RunInfo:
        """Id, name, state and times."""
        run = self._run()
        return RunInfo(
            run_id=run.run_uid,
            run_name=run.name,
            status=str(run.status),
            experiment=run.experiment,
            user_id=run.user,
            start_time=int(run.started_at * 1000),
            end_time=None if run.ended_at is None else int(run.ended_at * 1000),
            mlflow_run_id=run.mlflow_run_id,
        )

    @property
    def data(self) -> RunData:
        """Parameters, latest metrics and tags that are recorded so far."""
        run = self._run()
        return RunData(dict(run.params), dict(run.metrics), dict(run.tags))

    def _run(self) -> Run:
        return store_runs.get_run(self._at.sink.store, self._at.run_uid)

    def __repr__(self) -> str:
        return f"<ActiveRun {self._at.run_uid}>"


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What ``active_run().info`` shows."""

    run_id: str
    run_name: str
    status: str
    experiment: str
    user_id: str
    start_time: int
    """Milliseconds since the epoch."""
    end_time: int | None
    mlflow_run_id: str | None


@dataclass(frozen=True, slots=True)
class RunData:
    """What ``active_run().data`` shows."""

    params: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]
