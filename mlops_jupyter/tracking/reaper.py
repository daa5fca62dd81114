"""Runs whose kernel is gone end as KILLED. Knows no MLflow: the end is delivered like any other.

A kernel holds a lock as long as it lives, however long its cell takes or however long it is stopped, and
loses it with its process. So a free lock is death, and nothing here goes by time.
"""

from __future__ import annotations

import socket
import time
from pathlib import Path

from mlops_jupyter.config import Settings, is_network_filesystem
from mlops_jupyter.entities import RunStatus, RunUid, Session, SessionId
from mlops_jupyter.store import Connection, is_held
from mlops_jupyter.store import executions as store_executions
from mlops_jupyter.store import runs as store_runs

from .faults import fault_point

GRACE = 10.0
"""Seconds that a session without a lock file may be starting."""


def living_sessions(store: Connection, settings: Settings) -> list[Session]:
    """Sessions that have not ended and whose process lives, as far as this host can tell."""
    return [s for s in store_executions.open_sessions(store) if not _is_dead(s, settings)]


def reap(store: Connection, settings: Settings) -> list[RunUid]:
    """End the running runs of sessions that are dead or have ended; the runs that were ended here."""
    dead = [s.session_id for s in store_executions.open_sessions(store) if _is_dead(s, settings)]
    killed = [run for session_id in dead for run in _end_runs(store, session_id)]
    for session_id in dead:
        store_executions.end_session(store, session_id, at=_last_sign(store, session_id))
        fault_point("killed_session_ended")
    ended = store.execute(
        "SELECT DISTINCT r.session_id FROM runs r JOIN sessions s ON s.session_id = r.session_id "
        "WHERE r.status = 'RUNNING' AND s.ended_at IS NOT NULL"
    )
    for (session_id,) in ended:
        if not is_held(_lock(settings, session_id)):
            killed += _end_runs(store, SessionId(session_id))
    return killed


def _is_dead(session: Session, settings: Settings) -> bool:
    lock = _lock(settings, session.session_id)
    if is_held(lock):
        return False
    if session.host != socket.gethostname() and is_network_filesystem(settings.state):
        return False  # a lock of another host cannot be seen from here
    return lock.exists() or time.time() - session.started_at > GRACE


def _lock(settings: Settings, session_id: str) -> Path:
    return settings.locks / f"session-{session_id}.lock"


def _end_runs(store: Connection, session_id: SessionId) -> list[RunUid]:
    rows = store.execute("SELECT run_uid FROM runs WHERE session_id = ? AND status = 'RUNNING'", (session_id,))
    killed: list[RunUid] = []
    for (run_uid,) in rows:
        if store_runs.end_run(store, RunUid(run_uid), RunStatus.KILLED, at=_last_sign_of_run(store, run_uid)):
            killed.append(RunUid(run_uid))
            fault_point("killed_run_ended")
    return killed


def _last_sign_of_run(store: Connection, run_uid: str) -> float:
    """When the run last recorded something, in seconds since the epoch: nobody saw when it really died."""
    ((seconds,),) = store.execute(
        "SELECT MAX(at) FROM (SELECT MAX(at) AS at FROM run_events WHERE run_uid = ? "
        "UNION ALL SELECT MAX(timestamp) / 1000.0 FROM metrics WHERE run_uid = ? "
        "UNION ALL SELECT MAX(started_at + duration) FROM executions WHERE run_uid = ? "
        "UNION ALL SELECT started_at FROM runs WHERE run_uid = ?) AS signs",
        (run_uid, run_uid, run_uid, run_uid),
    )
    return min(float(seconds), time.time())


def _last_sign(store: Connection, session_id: str) -> float:
    ((seconds,),) = store.execute(
        "SELECT MAX(at) FROM (SELECT started_at AS at FROM sessions WHERE session_id = ? "
        "UNION ALL SELECT MAX(started_at + duration) FROM executions WHERE session_id = ? "
        "UNION ALL SELECT MAX(ended_at) FROM runs WHERE session_id = ?) AS signs",
        (session_id, session_id, session_id),
    )
    return min(float(seconds), time.time())
