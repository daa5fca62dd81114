"""Retention removes what nothing refers to and nobody waits for, and nothing else."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlops_jupyter.data.exchange import open_exchange
from mlops_jupyter.entities import Artifact, Digest, Run, RunStatus
from mlops_jupyter.errors import UsageError
from mlops_jupyter.store import FileLock, executions, outbox, runs, snapshots
from mlops_jupyter.store.changes import current_cursor
from mlops_jupyter.verbs.gc import gc
from mlops_jupyter.workspace import Workspace, open_workspace
from tests.schemas import check
from tests.store import make


@pytest.fixture
def workspace(home: Path) -> Iterator[Workspace]:
    with open_workspace(home) as opened:
        yield opened


def _aged(path: Path, *, days: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_bytes(b"x" * 10)
    at = time.time() - days * 86_400
    os.utime(path, (at, at))
    return path


def _object(workspace: Workspace, content: bytes, *, days: float) -> tuple[Digest, Path]:
    key = hashlib.sha256(content).hexdigest()
    path = workspace.settings.cache / "sha256" / key[:2] / key[2:]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return Digest(f"sha256:{key}"), _aged(path, days=days)


def _deliver_everything(workspace: Workspace, target: str = "mlflow") -> None:
    for stream in outbox.STREAMS:
        ((last,),) = workspace.store.execute(f"SELECT COALESCE(MAX(seq), 0) FROM {stream}")
        outbox.advance(workspace.store, target, stream, last)


def _deleted_run(workspace: Workspace) -> Run:
    run = make.run(params={"a": "1"}, tags={"t": "1"})
    runs.start_run(workspace.store, run)
    runs.log_metrics(workspace.store, run.run_uid, [make.metric("m", 1.0), make.metric("n", 1.0)])
    runs.end_run(workspace.store, run.run_uid, RunStatus.FINISHED)
    runs.delete_run(workspace.store, run.run_uid)
    return run


def _rows(workspace: Workspace, run: Run, table: str) -> int:
    ((count,),) = workspace.store.execute(f"SELECT COUNT(*) FROM {table} WHERE run_uid = ?", (run.run_uid,))
    return int(count)


TABLES = ("runs", "run_events", "params", "metrics", "latest_metrics", "tags")


def test_a_deleted_run_goes_once_every_target_was_told(workspace: Workspace) -> None:
    run = _deleted_run(workspace)
    kept = make.run(params={"a": "1"}, tags={"t": "1"})
    runs.start_run(workspace.store, kept)
    runs.log_metrics(workspace.store, kept.run_uid, [make.metric("m", 2.0)])
    document = gc(workspace, older_than_days=0)
    assert (document["removed"]["runs"], document["kept"]["undelivered_runs"]) == (0, 1)

    _deliver_everything(workspace)
    outbox.advance(workspace.store, "postgresql", "metrics", 1)
    assert gc(workspace, older_than_days=0)["kept"]["undelivered_runs"] == 1, "one target lacks a part"
    _deliver_everything(workspace, "postgresql")
    assert gc(workspace, older_than_days=1)["removed"]["runs"] == 0, "deleted only just now"
    planned = gc(workspace, older_than_days=0, dry_run=True)
    assert (planned["removed"]["runs"], _rows(workspace, run, "runs")) == (1, 1)

    document = gc(workspace, older_than_days=0)
    check(document, "gc")
    assert document["removed"]["runs"] == 1
    assert {table: _rows(workspace, run, table) for table in TABLES} == dict.fromkeys(TABLES, 0)
    assert all(_rows(workspace, kept, table) for table in TABLES)


def test_positions_never_come_again(workspace: Workspace) -> None:
    run = _deleted_run(workspace)
    _deliver_everything(workspace)
    cursor = current_cursor(workspace.store)
    gc(workspace, older_than_days=0)
    assert current_cursor(workspace.store) == cursor
    other = make.run()
    runs.start_run(workspace.store, other)
    runs.log_metrics(workspace.store, other.run_uid, [make.metric("m", 1.0)])
    (item,) = outbox.pending(workspace.store, "mlflow", "metrics")
    assert item.run_uid == other.run_uid
    assert _rows(workspace, run, "metrics") == 1, "the last row of the stream"
    _deliver_everything(workspace)
    gc(workspace, older_than_days=0)
    assert _rows(workspace, run, "metrics") == 0


def test_objects_that_a_record_names_stay(workspace: Workspace) -> None:
    run = make.run()
    runs.start_run(workspace.store, run)
    named, named_path = _object(workspace, b"named", days=90)
    runs.add_artifact(workspace.store, run.run_uid, Artifact(path="a", digest=named, size=5))
    _, unnamed = _object(workspace, b"unnamed", days=90)
    _, fresh = _object(workspace, b"fresh", days=0.01)
    _, recent = _object(workspace, b"recent", days=3)
    leftover = _aged(workspace.settings.cache / "tmp" / "1-ab", days=60)
    document = gc(workspace)
    assert (named_path.exists(), unnamed.exists(), fresh.exists(), recent.exists()) == (
        True,
        False,
        True,
        True,
    )
    assert not leftover.exists()
    assert document["bytes"] == len(b"unnamed") + 10
    gc(workspace, older_than_days=0)
    assert (recent.exists(), fresh.exists()) == (False, True), "an hour is always left"


def test_what_an_undelivered_deleted_run_names_stays(workspace: Workspace) -> None:
    run = _deleted_run(workspace)
    digest, path = _object(workspace, b"model", days=90)
    runs.add_artifact(workspace.store, run.run_uid, Artifact(path="a", digest=digest, size=5))
    gc(workspace, older_than_days=0)
    assert path.exists()


def test_locks_of_sessions_that_live_or_died_unseen_stay(workspace: Workspace) -> None:
    locks = workspace.settings.locks
    for name, ended in (("ended", 2.0), ("died", None)):
        executions.start_session(workspace.store, make.session(session_id=name, ended_at=ended))
        _aged(locks / f"session-{name}.lock", days=2)
    living = FileLock(locks / "session-living.lock")
    assert living.acquire()
    _aged(living.path, days=2)
    other = _aged(locks / "delivery.lock", days=2)
    try:
        document = gc(workspace, older_than_days=1)
    finally:
        living.release()
    left = {path.name for path in locks.iterdir()}
    assert {"session-died.lock", "session-living.lock", other.name} <= left
    assert "session-ended.lock" not in left
    assert document["removed"]["session_locks"] == 1


def test_old_logs_and_run_folders_go(workspace: Workspace, tmp_path: Path) -> None:
    home = workspace.settings.home
    old_log = _aged(home / "logs" / "delivery.log.1", days=40)
    new_log = _aged(home / "logs" / "delivery.log", days=1)
    old = _aged(home / "runs" / "aaa" / "out.ipynb", days=40)
    half_new = _aged(home / "runs" / "bbb" / "out.ipynb", days=40)
    _aged(half_new.with_name("events.jsonl"), days=1)
    running = make.run()
    runs.start_run(workspace.store, running)
    still = _aged(home / "runs" / running.run_uid / "out.ipynb", days=40)
    outside = _aged(tmp_path / "elsewhere" / "mine.txt", days=40)
    (home / "runs" / "link").symlink_to(outside.parent)
    planned = gc(workspace, dry_run=True)
    assert old.exists()
    document = gc(workspace)
    assert (old_log.exists(), new_log.exists()) == (False, True)
    assert (old.parent.exists(), half_new.exists(), still.exists(), outside.exists()) == (
        False,
        True,
        True,
        True,
    )
    assert planned == {**document, "dry_run": True}


def test_an_empty_workspace_has_nothing_to_remove(workspace: Workspace) -> None:
    document = gc(workspace)
    check(document, "gc")
    assert document["bytes"] == 0
    for age in (-1.0, float("nan")):
        with pytest.raises(UsageError):
            gc(workspace, older_than_days=age)


def test_an_object_that_is_put_again_is_young_again(workspace: Workspace) -> None:
    """Between putting it and writing the record that names it nothing refers to it."""
    exchange = open_exchange(workspace.settings)
    digest, path = _object(workspace, b"put again", days=90)
    assert exchange.put_bytes(b"put again") == digest
    gc(workspace, older_than_days=0)
    assert path.exists()


def test_snapshots_stay_as_long_as_their_run(workspace: Workspace) -> None:
    digest, path = _object(workspace, b"data", days=90)
    run = _deleted_run(workspace)
    snapshots.add_snapshots(
        workspace.store,
        [
            snapshots.Snapshot(
                run_uid=run.run_uid, name="data.csv", digest=digest, object=digest, state=snapshots.SnapshotState.KEPT
            )
        ],
    )
    gc(workspace, older_than_days=30)
    assert path.exists(), "the run is deleted, but not for long enough"
    _deliver_everything(workspace)
    assert gc(workspace, older_than_days=0)["removed"]["runs"] == 1
    gc(workspace, older_than_days=30)
    assert not path.exists()
