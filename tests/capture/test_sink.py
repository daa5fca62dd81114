"""The sink: what is handed to its thread is written in order, and before anything else is written or read."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell

from mlops_jupyter import capture
from mlops_jupyter.capture.faults import Faults
from mlops_jupyter.capture.sink import Sink
from mlops_jupyter.config import load_settings
from tests.capture.support import run


@pytest.fixture
def sink(workspace: Path) -> Iterator[Sink]:
    made = Sink(load_settings(workspace), Faults("0" * 32))
    made.store.execute("CREATE TABLE seen (seq INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT)")
    yield made
    made.close()


def add(sink: Sink, name: str) -> None:
    sink.write(lambda store: store.execute("INSERT INTO seen (name) VALUES (?)", (name,)) and None)


def seen(sink: Sink) -> list[str]:
    return [name for (name,) in sink.store.execute("SELECT name FROM seen ORDER BY seq")]


def test_later_comes_before_what_is_written_after_it(sink: Sink) -> None:
    for number in range(50):
        sink.later(lambda number=number: add(sink, f"later {number}"))
    add(sink, "now")
    assert seen(sink) == [*(f"later {number}" for number in range(50)), "now"]


def test_settled_is_written(sink: Sink) -> None:
    sink.later(lambda: add(sink, "one"))
    sink.later(lambda: add(sink, "two"))
    sink.settle()
    assert seen(sink) == ["one", "two"]


def test_settling_waits_for_what_the_thread_is_just_writing(sink: Sink) -> None:
    began, go_on = threading.Event(), threading.Event()

    def slow() -> None:
        began.set()
        go_on.wait(5)
        add(sink, "slow")

    sink.later(slow)
    assert began.wait(5)
    threading.Timer(0.05, go_on.set).start()
    sink.settle()
    assert seen(sink) == ["slow"]


def test_a_forked_child_writes_by_itself_and_not_what_its_parent_has_to_write(sink: Sink) -> None:
    with sink._lock:  # the thread cannot take the task before the fork
        sink.later(lambda: add(sink, "parent"))
        child = os.fork()
        if child == 0:
            sink.later(lambda: add(sink, "child"))
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
