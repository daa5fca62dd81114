"""The delivery process: starts by itself, alone, cheaply; notices dead kernels; ends when idle."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from mlops_jupyter.config import Settings
from mlops_jupyter.entities import Metric, RunStatus
from mlops_jupyter.errors import TransientError
from mlops_jupyter.store import (
    Connection,
    FileLock,
    delivery_process,
    executions,
    is_held,
    open_workspace_store,
    outbox,
    runs,
)
from mlops_jupyter.store.delivery_process import delivery_lock, delivery_log, ensure_delivery
from mlops_jupyter.tracking import sync
from mlops_jupyter.tracking.reaper import living_sessions, reap
from mlops_jupyter.tracking.report import read_status
from mlops_jupyter.tracking.target import target_of

from .servers import free_port
from .workspaces import child_environment, new_run, new_session, settings_of

KERNEL = """
import sys, time, uuid
from pathlib import Path
from mlops_jupyter.entities import Metric, Origin, Run, RunStatus, Session
from mlops_jupyter.store import FileLock, executions, open_workspace_store, runs
from mlops_jupyter.config import load_settings
settings = load_settings()
session, run = uuid.uuid4().hex, uuid.uuid4().hex
lock = FileLock(settings.locks / f"session-{session}.lock")
assert lock.acquire()
store = open_workspace_store(settings)
import os, socket
executions.start_session(store, Session(session_id=session, origin=Origin.INTERACTIVE, host=socket.gethostname(),
    pid=os.getpid(), user="ada", notebook=None, python="3.11", environment=None, started_at=time.time()))
runs.start_run(store, Run(run_uid=run, name="loop", experiment="e", status=RunStatus.RUNNING, started_at=time.time(),
    session_id=session))
print(run, flush=True)
step = 0
while True:
    runs.log_metrics(store, run, [Metric(key="step", value=float(step), step=step, timestamp=int(time.time() * 1000))])
    print(step, flush=True)
    step += 1
    time.sleep(0.001)
"""


def until(condition: Callable[[], Any], seconds: float = 40.0) -> Any:
    """Wait for something that another process does."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


@pytest.fixture
def kernel(settings: Settings) -> Iterator[subprocess.Popen[str]]:
    """A process that logs in a tracked loop for ever, as a kernel would."""
    process = subprocess.Popen(
        [sys.executable, "-c", KERNEL], stdout=subprocess.PIPE, text=True, env=environment(settings)
    )
    yield process
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def environment(settings: Settings) -> dict[str, str]:
    return child_environment(MLOPS_HOME=str(settings.home))


@pytest.fixture
def started(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Settings under which a delivery process may be started; it is ended after the test."""
    monkeypatch.setenv("PYTHONPATH", child_environment()["PYTHONPATH"])
    yield replace(settings, deliver=True)
    for pid in list(delivery_process._children):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        delivery_process._children.remove(pid)


def test_a_recorded_run_is_delivered_by_itself(started: Settings, store: Connection) -> None:
    run_uid = new_run(store)
    runs.end_run(store, run_uid, RunStatus.FINISHED)
    assert ensure_delivery(started)
    assert not ensure_delivery(started), "a second one was started"
    run_id = until(lambda: runs.get_run(store, run_uid).mlflow_run_id)
    until(lambda: not outbox.backlog(store, target_of(started).key).pending)
    assert MlflowClient(tracking_uri=started.tracking_uri).get_run(run_id).info.status == "FINISHED"
    assert is_held(delivery_lock(started))

    before = time.perf_counter()
    for _ in range(200):
        assert not ensure_delivery(started)
    assert (time.perf_counter() - before) / 200 < 0.002

    later = new_run(store)
    waited = sync(started, timeout=30)
    assert (waited.error, waited.remaining) == (None, {})
    assert waited.delivered.get("run_events", 0) <= 3  # the other process may have been faster than the question
    assert runs.get_run(store, later).mlflow_run_id is not None
    status = read_status(started)
    assert status is not None
    assert status.pid in delivery_process._children
    assert "Traceback" not in delivery_log(started).read_text()


def test_it_ends_when_idle_and_leaves_the_lock_free(settings: Settings, store: Connection) -> None:
    run_uid = new_run(store)
    done = subprocess.run(
        [sys.executable, "-m", "mlops_jupyter.tracking", "--home", str(settings.home), "--idle", "0.5"],
        env=environment(settings), cwd=settings.root, timeout=60, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert runs.get_run(store, run_uid).mlflow_run_id is not None, done.stderr
    assert not is_held(delivery_lock(settings))


def test_a_second_one_ends_at_once(settings: Settings) -> None:
    settings.locks.mkdir(parents=True)
    with FileLock(delivery_lock(settings)):
        before = time.monotonic()
        subprocess.run(
            [sys.executable, "-m", "mlops_jupyter.tracking", "--home", str(settings.home)],
            env=environment(settings), cwd=settings.root, timeout=60, check=True,
        )  # fmt: skip
    assert time.monotonic() - before < 10


def test_a_killed_kernel_loses_one_value_at_most_and_is_killed_in_mlflow(
    settings: Settings, store: Connection, kernel: subprocess.Popen[str]
) -> None:
    assert kernel.stdout is not None
    run_uid = kernel.stdout.readline().strip()
    for line in kernel.stdout:
        if int(line) >= 50:
            break
    report = sync(settings)
    assert (report.error, report.killed) == (None, ())
    client = MlflowClient(tracking_uri=settings.tracking_uri)
    run_id = runs.get_run(store, run_uid).mlflow_run_id
    assert client.get_run(run_id).info.status == "RUNNING"

    os.kill(kernel.pid, signal.SIGKILL)
    last = int([line, *kernel.stdout.readlines()][-1])
    kernel.wait()
    report = sync(settings)
    assert report.killed == (run_uid,)
    run = client.get_run(run_id)
    assert run.info.status == "KILLED"
    values = client.get_metric_history(run_id, "step")
    assert len(values) >= last + 1
    assert abs(run.info.end_time - max(value.timestamp for value in values)) <= 1
    assert executions.open_sessions(store) == []
    assert sync(settings).killed == ()


def test_a_stopped_kernel_is_not_a_dead_one(
    settings: Settings, store: Connection, kernel: subprocess.Popen[str]
) -> None:
    assert kernel.stdout is not None
    run_uid = kernel.stdout.readline().strip()
    store.execute("PRAGMA busy_timeout=200")
    for _ in range(50):
        os.kill(kernel.pid, signal.SIGSTOP)
        try:
            store.execute("UPDATE sessions SET started_at = started_at - 100000")
            break
        except TransientError:  # it was stopped while it wrote, so nobody else can write
            os.kill(kernel.pid, signal.SIGCONT)
            time.sleep(0.01)
    assert sync(settings).killed == ()
    assert len(living_sessions(store, settings)) == 1
    assert runs.get_run(store, run_uid).status == RunStatus.RUNNING
    os.kill(kernel.pid, signal.SIGCONT)


def test_a_run_that_its_session_left_behind_is_killed(settings: Settings, store: Connection) -> None:
    session = new_session(store)
    left, ended = (new_run(store, session_id=session) for _ in range(2))
    runs.end_run(store, ended, RunStatus.FINISHED)
    executions.end_session(store, session)
    assert reap(store, settings) == [left]
    assert runs.get_run(store, ended).status == RunStatus.FINISHED


def test_a_sync_ends_while_a_kernel_goes_on_logging(
    settings: Settings, store: Connection, kernel: subprocess.Popen[str]
) -> None:
    assert kernel.stdout is not None
    run_uid = kernel.stdout.readline().strip()
    runs.log_metrics(store, run_uid, [Metric(key="last", value=1.0, step=0, timestamp=1)])
    report = sync(settings)
    assert (report.error, report.remaining) == (None, {})
    run_id = runs.get_run(store, run_uid).mlflow_run_id
    assert MlflowClient(tracking_uri=settings.tracking_uri).get_run(run_id).data.metrics["last"] == 1.0


def test_a_session_that_is_just_starting_is_not_dead(settings: Settings, store: Connection) -> None:
    new_run(store, session_id=new_session(store))
    assert reap(store, settings) == []


def test_a_run_without_a_session_is_left_alone(settings: Settings, store: Connection) -> None:
    new_run(store, started_at=time.time() - 100_000)
    assert reap(store, settings) == []


def test_a_dead_server_costs_a_cell_nothing(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, MLFLOW_TRACKING_URI=f"http://127.0.0.1:{free_port()}")
    store = open_workspace_store(settings)
    run_uid = new_run(store)
    before = time.perf_counter()
    for step in range(200):
        runs.log_metrics(store, run_uid, [Metric(key="m", value=1.0, step=step, timestamp=step)])
    assert time.perf_counter() - before < 1.0
    store.close()


def test_one_that_keeps_dying_is_started_ever_more_rarely(
    started: Settings, store: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_process, "_start", lambda settings: None)
    clock = [1000.0]
    monkeypatch.setattr(delivery_process.time, "time", lambda: clock[0])
    starts = []
    for _ in range(2000):
        clock[0] += 1.0
        if ensure_delivery(started):
            starts.append(clock[0])
    pauses = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert pauses[:4] == [10.0, 20.0, 40.0, 80.0]
    assert max(pauses) <= 600.0
    delivery_process.delivery_lives(started)
    assert ensure_delivery(started), "a healthy one that ended must be followed at once"


def test_without_mlflow_it_is_a_fault_and_no_error(
    started: Settings, store: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_process.importlib.util, "find_spec", lambda name: None)
    assert not ensure_delivery(started)
    assert not ensure_delivery(started)
    ((place, message),) = store.execute("SELECT place, message FROM faults")
    assert place == "delivery"
    assert "mlops sync" in message


def test_it_never_raises_into_a_cell(started: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(settings: Settings) -> None:
        raise OSError("no more processes")

    monkeypatch.setattr(delivery_process, "_start", broken)
    assert not ensure_delivery(started)


def test_it_can_be_turned_off(settings: Settings) -> None:
    assert not ensure_delivery(replace(settings, deliver=False))


def test_starting_it_imports_nothing_heavy() -> None:
    program = (
        "import sys, json; import mlops_jupyter.store.delivery_process; "
        "print(json.dumps([m for m in ('mlflow', 'numpy', 'pandas', 'sqlalchemy', 'requests') if m in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=child_environment(), check=True, capture_output=True, text=True
    )
    assert json.loads(done.stdout) == []


def test_importing_the_verb_does_not_import_mlflow() -> None:
    program = "import sys; import mlops_jupyter.verbs.sync; print('mlflow' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], env=child_environment(), check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "False"
