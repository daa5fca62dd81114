"""The document of ``mlops sync`` and the exit code that it ends with; a delivery that goes on through an outage."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from mlops_jupyter.config import Settings
from mlops_jupyter.entities import Artifact, Digest
from mlops_jupyter.errors import MlopsError, RunTimeoutError, TransientError, UnreachableError, UsageError
from mlops_jupyter.store import Connection, FileLock, outbox, runs
from mlops_jupyter.store.delivery_process import delivery_lock
from mlops_jupyter.tracking import SyncReport
from mlops_jupyter.tracking.report import read_status, wake_path
from mlops_jupyter.tracking.syncing import Watch
from mlops_jupyter.tracking.target import target_of
from mlops_jupyter.verbs.sync import document, exit_code, sync
from mlops_jupyter.workspace import Workspace

from .workspaces import new_run


def test_the_document(settings: Settings, store: Connection) -> None:
    run_uid = new_run(store)
    lost = Artifact(path="lost.txt", digest=Digest("sha256:" + "0" * 64), size=4)
    runs.add_artifact(store, run_uid, lost)
    found = sync(Workspace(settings, store))
    (letter,) = found.pop("dead_letters")
    assert found == {
        "target": settings.tracking_uri,
        "delivered": {"runs": 1},
        "remaining": {},
        "killed": [],
        "error": None,
    }
    assert (letter["stream"], letter["run_id"], letter["attempts"]) == ("artifacts", run_uid, 1)
    json.dumps(letter)
    assert exit_code(found | {"dead_letters": [letter]}) == 0
    assert sync(Workspace(settings, store))["dead_letters"][0]["attempts"] == 2


@pytest.mark.parametrize(
    ("error", "remaining", "code"),
    [
        (None, {}, 0),
        (None, {"params": 1}, 75),
        (UnreachableError("down"), {"params": 1}, 5),
        (TransientError("busy"), {"params": 1}, 75),
        (RunTimeoutError("slow"), {"params": 1}, 75),
        (UsageError("no MLflow"), {"params": 1}, 2),
    ],
)
def test_exit_codes(error: MlopsError | None, remaining: dict[str, int], code: int) -> None:
    assert exit_code(document(SyncReport(target="t", remaining=remaining, error=error))) == code


def test_a_watching_delivery_goes_on_through_an_outage(settings: Settings, store: Connection) -> None:
    """The database is no database for a while; asked to try again, it delivers at once."""
    database = settings.state / "mlflow.db"
    good = database.read_bytes()
    database.write_bytes(b"broken" * 1000)
    run_uid = new_run(store)
    lease = FileLock(delivery_lock(settings))
    watch = Watch(store, settings, idle_time=1.0)
    assert lease.acquire()
    worker = threading.Thread(target=watch.run)
    worker.start()
    try:
        wait_for(lambda: (status := read_status(settings)) is not None and status.error is not None)
        assert outbox.backlog(store, target_of(settings).key).pending == 1
        database.write_bytes(good)
        wake_path(settings).touch()
        wait_for(lambda: runs.get_run(store, run_uid).mlflow_run_id is not None)
        status = read_status(settings)
        assert status is not None
        assert (status.error, status.delivered["runs"]) == (None, 1)
    finally:
        database_gone(settings)
        worker.join(timeout=30)
        lease.release()
    assert not worker.is_alive(), "it did not end when idle"


def database_gone(settings: Settings) -> None:
    """The watch ends when its workspace was removed, whatever happened to the test."""
    settings.database.rename(settings.database.with_suffix(".gone"))


def wait_for(condition: object, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def test_a_workspace_that_was_removed_ends_the_delivery(settings: Settings, store: Connection, tmp_path: Path) -> None:
    database_gone(settings)
    before = time.monotonic()
    Watch(store, settings, forever=True).run()
    assert time.monotonic() - before < 5
