"""Following along with a cursor, on both databases."""

from __future__ import annotations

import pytest

from mlops_jupyter.entities import Param, RunStatus
from mlops_jupyter.errors import UsageError
from mlops_jupyter.store import Connection, executions, runs
from mlops_jupyter.store.changes import Changes, changed_since, current_cursor

from . import make


def test_nothing_changed_keeps_the_cursor(store: Connection) -> None:
    cursor = current_cursor(store)
    assert changed_since(store, cursor) == Changes(cursor)


def test_every_kind_of_change_to_a_run_is_seen(store: Connection) -> None:
    one, two = make.run(), make.run()
    runs.start_run(store, one)
    runs.start_run(store, two)
    for change in (
        lambda: runs.log_metrics(store, two.run_uid, [make.metric("m", 1.0)]),
        lambda: runs.log_params(store, two.run_uid, [Param(key="p", value="1")]),
        lambda: runs.set_tags(store, two.run_uid, {"t": "1"}),
        lambda: runs.set_note(store, two.run_uid, "n"),
        lambda: runs.end_run(store, two.run_uid, RunStatus.FINISHED),
        lambda: runs.set_mlflow_run_id(store, two.run_uid, "f" * 32),
        lambda: runs.delete_run(store, two.run_uid),
    ):
        cursor = current_cursor(store)
        change()
        changes = changed_since(store, cursor)
        assert (changes.run_ids, changes.executions) == ((two.run_uid,), False)
        assert changes.cursor == current_cursor(store)


def test_executions_are_seen_with_and_without_a_run(store: Connection) -> None:
    cursor = current_cursor(store)
    executions.append_execution(store, make.execution(0))
    changes = changed_since(store, cursor)
    assert (changes.run_ids, changes.executions) == ((), True)
    run = make.run()
    executions.append_execution(store, make.execution(1, run_uid=run.run_uid))
    changes = changed_since(store, changes.cursor)
    assert (changes.run_ids, changes.executions) == ((run.run_uid,), True)


def test_a_cursor_of_another_database_gives_everything(store: Connection) -> None:
    run = make.run()
    runs.start_run(store, run)
    assert changed_since(store, "9.9.9.9.9.9.9").run_ids == (run.run_uid,)


@pytest.mark.parametrize("cursor", ["", "1", "a.b.c.d.e.f.g", "1.2.3.4.5.6.-7", "1.2.3.4.5.6.7.8", "9" * 500])
def test_what_is_not_a_cursor_is_refused(store: Connection, cursor: str) -> None:
    with pytest.raises(UsageError, match="not a cursor"):
        changed_since(store, cursor)
