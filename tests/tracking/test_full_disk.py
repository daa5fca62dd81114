"""A disk without room is no fault of the record: it waits, however long that takes."""

from __future__ import annotations

import errno

import pytest

from mlops_jupyter.config import Settings
from mlops_jupyter.errors import TransientError
from mlops_jupyter.store import Connection
from mlops_jupyter.store import runs as store_runs
from mlops_jupyter.tracking import passes, sync
from tests.store import make


def test_a_disk_that_is_full_while_delivering_costs_no_record(
    settings: Settings, store: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make.run()
    store_runs.start_run(store, run)
    store_runs.log_metrics(store, run.run_uid, [make.metric("m", 1.0)])

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("mlops_jupyter.tracking.passes._GROUPED", {**passes._GROUPED, "metrics": full})
    for _ in range(6):  # more often than a record that is refused for its own sake would be tried
        report = sync(settings)
        assert isinstance(report.error, TransientError) and "The disk is full" in report.error.message
        assert report.remaining["metrics"] == 1
        assert not report.dead_letters
    monkeypatch.undo()
    report = sync(settings)
    assert report.error is None and not report.remaining and not report.dead_letters
