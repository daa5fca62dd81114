"""The sink: what is handed to its thread is written in order, and before anything else is written or read."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell

from mlops_jupyter import capture
from mlops_jupyter.capture.faults import Faults
from mlops_jupyter.capture.sink import Sink
from mlops_jupyter.config import load_settings
from mlops_jupyter.store import SQLiteConnection, open_workspace_store
from tests.capture.support import run


@pytest.fixture
def sink(workspace: Path) -> Iterator[Sink]:
    made = Sink(load_settings(workspace), Faults("0" * 32))
    made.store.execute("CREATE TABLE seen (seq INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT)")
    yield made
    made.close()


def add(sink: Sink, name: str) -> None:
    sink.write(lambda store: store.execute("INSERT INTO seen (name) VALUES (?)", (name,)) and None)


def later(sink: Sink, name: str) -> None:
    """Hand over a row; as a session does it."""
    sink.later(
        lambda store: store.execute("INSERT INTO seen (name) VALUES (?)", (name,)) and None, lambda: add(sink, name)
    )


def seen(sink: Sink) -> list[str]:
    return [name for (name,) in sink.store.execute("SELECT name FROM seen ORDER BY seq")]


def test_later_comes_before_what_is_written_after_it(sink: Sink) -> None:
    for number in range(50):
        later(sink, f"later {number}")
    add(sink, "now")
    assert seen(sink) == [*(f"later {number}" for number in range(50)), "now"]


def test_settled_is_written(sink: Sink) -> None:
    later(sink, "one")
    later(sink, "two")
    sink.settle()
    assert seen(sink) == ["one", "two"]


def test_settling_waits_for_what_the_thread_is_just_writing(sink: Sink) -> None:
    began, go_on = threading.Event(), threading.Event()

    def slow(store: SQLiteConnection) -> None:
        began.set()
        go_on.wait(5)
        store.execute("INSERT INTO seen (name) VALUES ('slow')")

    sink.later(slow, lambda: None)
    assert began.wait(5)
    threading.Timer(0.05, go_on.set).start()
    sink.settle()
    assert seen(sink) == ["slow"]


def test_one_that_fails_among_several_costs_the_others_nothing(sink: Sink) -> None:
    failed: list[str] = []
    with sink._lock:  # all of them in one batch
        later(sink, "before")
        sink.later(lambda store: store.execute("INSERT INTO nowhere VALUES (1)") and None, lambda: failed.append("it"))
        later(sink, "after")
        sink.settle()
    assert (seen(sink), failed) == (["before", "after"], ["it"])


def test_what_an_interrupt_stopped_is_written_after_it(sink: Sink) -> None:
    def interrupted(store: SQLiteConnection) -> None:
        if not interrupts:
            interrupts.append(1)
            raise KeyboardInterrupt
        store.execute("INSERT INTO seen (name) VALUES ('second')")

    interrupts: list[int] = []
    with sink._lock:
        later(sink, "first")
        sink.later(interrupted, lambda: None)
        with pytest.raises(KeyboardInterrupt):
            sink.settle()
        later(sink, "third")
    sink.settle()
    assert seen(sink) == ["first", "second", "third"]


def test_what_waits_for_a_busy_store_stays_first(sink: Sink, workspace: Path) -> None:
    with closing(open_workspace_store(load_settings(workspace))) as other:
        sink.store.execute("PRAGMA busy_timeout=1")
        with other.transaction():
            add(sink, "kept")
            later(sink, "later")
            sink.settle()
    later(sink, "last")
    sink.settle()
    assert seen(sink) == ["kept", "later", "last"]


def test_a_forked_child_writes_by_itself_and_not_what_its_parent_has_to_write(sink: Sink) -> None:
    with sink._lock:  # the thread cannot take the task before the fork
        later(sink, "parent")
        child = os.fork()
        if child == 0:
            later(sink, "child")
            sink.settle()
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    sink.settle()
    assert sorted(seen(sink)) == ["child", "parent"]


def test_a_cell_that_was_just_run_is_there_for_who_asks(ipython: InteractiveShell) -> None:
    session = capture.current()
    assert session is not None
    for number in range(20):
        run(ipython, f"x = {number}")
        assert session.store.execute("SELECT COUNT(*) FROM executions") == [(number + 1,)]
