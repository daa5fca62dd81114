"""Cursors, deliveries and dead letters, on both databases."""

from __future__ import annotations

import threading
import uuid

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlops_jupyter.entities import Artifact, Digest, RunUid
from mlops_jupyter.errors import UsageError
from mlops_jupyter.store import Connection, executions, outbox, runs

from . import make
from .conftest import Opener


def _run_with_values(store: Connection, count: int) -> RunUid:
    run = make.run()
    runs.start_run(store, run)
    for step in range(count):
        runs.log_metrics(store, run.run_uid, [make.metric("m", float(step), step=step)])
    return run.run_uid


def test_each_target_reads_every_row_once(store: Connection) -> None:
    uid = _run_with_values(store, 5)
    seen = []
    while items := outbox.pending(store, "mlflow", "metrics", 2):
        seen += [(item.run_uid, item.data["value"]) for item in items]
        outbox.advance(store, "mlflow", "metrics", items[-1].position)
    assert seen == [(uid, float(n)) for n in range(5)]
    assert len(outbox.pending(store, "postgresql", "metrics")) == 5


def test_items_hold_the_row_decoded(store: Connection) -> None:
    run = make.run(tags={"a": "b"})
    runs.start_run(store, run)
    runs.log_metrics(store, run.run_uid, [make.metric("m", float("nan"))])
    runs.add_artifact(store, run.run_uid, Artifact(path="a", digest=Digest("sha256:1"), size=3))
    executions.append_execution(store, make.execution(0))
    started, tag = outbox.pending(store, "t", "run_events")
    assert (started.data["kind"], tag.data["payload"]) == ("started", {"key": "a", "value": "b"})
    (metric,) = outbox.pending(store, "t", "metrics")
    assert metric.data["value"] != metric.data["value"]
    (artifact,) = outbox.pending(store, "t", "artifacts")
    assert artifact.data == {"run_uid": run.run_uid, "path": "a", "digest": "sha256:1", "size": 3}
    (execution,) = outbox.pending(store, "t", "executions")
    assert (execution.run_uid, execution.data["position"]) == (None, 0)


def test_a_cursor_never_goes_back(store: Connection) -> None:
    outbox.advance(store, "t", "metrics", 7)
    outbox.advance(store, "t", "metrics", 3)
    assert outbox.position(store, "t", "metrics") == 7
    assert outbox.position(store, "t", "params") == 0


def test_dead_letters_count_attempts_and_can_be_revived(store: Connection) -> None:
    uid = _run_with_values(store, 2)
    item = outbox.pending(store, "t", "metrics")[0]
    outbox.bury(store, "t", item, "no")
    outbox.bury(store, "t", item, "still no")
    outbox.advance(store, "t", "metrics", item.position)
    (letter,) = outbox.dead_letters(store, "t", run_uid=uid)
    assert (letter.attempts, letter.error, letter.stream) == (2, "still no", "metrics")
    assert outbox.dead_item(store, letter) == item
    assert outbox.dead_letters(store, "other") == []
    backlog = outbox.backlog(store, "t")
    assert (backlog.dead, backlog.by_stream["metrics"]) == (1, 1)
    outbox.revive(store, letter)
    assert outbox.dead_letters(store) == []


def test_a_dead_letter_outlives_its_row(store: Connection) -> None:
    _run_with_values(store, 1)
    item = outbox.pending(store, "t", "metrics")[0]
    outbox.bury(store, "t", item, "no")
    store.execute("DELETE FROM metrics")
    assert outbox.dead_item(store, outbox.dead_letters(store)[0]) is None


def test_what_the_other_side_calls_it(store: Connection) -> None:
    assert outbox.remote_id(store, "t", "run", "a") is None
    outbox.remember(store, "t", "run", "a", "1")
    outbox.remember(store, "t", "run", "a", "2")
    assert outbox.remote_id(store, "t", "run", "a") == "2"
    assert outbox.remote_id(store, "other", "run", "a") is None
    outbox.forget(store, "t", "run", "a")
    assert outbox.remote_id(store, "t", "run", "a") is None


def test_an_unknown_stream_is_refused(store: Connection) -> None:
    for call in (
        lambda: outbox.pending(store, "t", "runs; DROP TABLE runs"),
        lambda: outbox.position(store, "t", "nonsense"),
        lambda: outbox.advance(store, "t", "nonsense", 1),
    ):
        with pytest.raises(UsageError, match="no stream"):
            call()


def test_a_row_that_is_committed_late_is_not_stepped_over(opener: Opener) -> None:
    """On PostgreSQL a row can get a lower position than one that is visible already."""
    reader, early, late = opener(), opener(), opener()
    if reader.dialect == "sqlite":
        uid = _run_with_values(early, 2)
        assert [i.run_uid for i in outbox.pending(reader, "t", "metrics")] == [uid, uid]
        return
    first, second = make.run(), make.run()
    runs.start_run(early, first)
    runs.start_run(early, second)
    found: list[list[outbox.Item]] = []
    with early.transaction():
        runs.log_metrics(early, first.run_uid, [make.metric("m", 1.0)])
        runs.log_metrics(late, second.run_uid, [make.metric("m", 2.0)])
        thread = threading.Thread(target=lambda: found.append(outbox.pending(reader, "t", "metrics")))
        thread.start()
        thread.join(0.2)
        assert thread.is_alive(), "it must wait for the open transaction"
    thread.join()
    assert [item.run_uid for item in found[0]] == [first.run_uid, second.run_uid]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 5), st.booleans()), max_size=8))
def test_no_row_is_lost_whatever_crashes(store: Connection, steps: list[tuple[int, int, bool]]) -> None:
    """A target that forgets to advance sees rows again; what it got in the end is everything, in order."""
    target = uuid.uuid4().hex  # one that has nothing yet
    got: dict[int, None] = {}
    for written, limit, crashed in steps:
        _run_with_values(store, written)
        items = outbox.pending(store, target, "metrics", limit)
        got.update((item.position, None) for item in items)
        if items and not crashed:
            outbox.advance(store, target, "metrics", items[-1].position)
    while items := outbox.pending(store, target, "metrics"):
        got.update((item.position, None) for item in items)
        outbox.advance(store, target, "metrics", items[-1].position)
    assert list(got) == [row[0] for row in store.execute("SELECT seq FROM metrics ORDER BY seq")]
