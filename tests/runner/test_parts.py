"""The parts of a headless run that need no kernel: rendering, the log, the throttle, memory, papermill's marks."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from mlops_jupyter.errors import TransientError
from mlops_jupyter.runner import memory, record
from mlops_jupyter.runner.document import read_notebook, render_notebook
from mlops_jupyter.runner.record import CELLS, EVENTS, EventLog, Output, Throttle
from mlops_jupyter.runner.result import KernelDeath, preview

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def notebook(text: str, data: Any) -> nbformat.NotebookNode:
    """A notebook with every kind of output."""
    cell = new_code_cell(text)
    cell.outputs = [
        new_output("stream", name="stdout", text=text),
        new_output("display_data", data={"text/plain": text, "application/json": data}, metadata={"k": data}),
        new_output("error", ename="E", evalue=text, traceback=[text, ""]),
    ]
    return new_notebook(cells=[cell, new_markdown_cell(text)], metadata={"x": data})


@given(st.text(), JSON)
def test_rendering_is_what_nbformat_writes(text: str, data: Any) -> None:
    document = notebook(text, data)
    assert render_notebook(document).decode() == nbformat.writes(document) + "\n"


def test_long_text_is_rendered_as_its_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlops_jupyter.runner.document._BLOCK", 3)
    for text in ("", "\n", "abc", "abc\n", "a\r\nbcd\r\n\r\nef", "ab\u2028cdef\x0bg\n\n\nh", "abcdefgh\\n\ni" * 5):
        document = new_notebook(cells=[new_code_cell("1", id="a", outputs=[new_output("stream", text=text)])])
        assert json.loads(render_notebook(document))["cells"][0]["outputs"][0]["text"] == text.splitlines(True)
        assert render_notebook(document).decode() == nbformat.writes(document) + "\n"


def test_a_lone_surrogate_survives(tmp_path: Path) -> None:
    path = tmp_path / "nb.ipynb"
    path.write_bytes(render_notebook(notebook("x", "a\ud800b")))
    assert read_notebook(path).metadata["x"] == "a\ud800b"


def test_cells_without_ids_get_the_same_ones_each_time(tmp_path: Path) -> None:
    cell = {"cell_type": "code", "source": ["1"], "metadata": {}, "outputs": [], "execution_count": None}
    path = tmp_path / "old.ipynb"
    path.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 2, "metadata": {}, "cells": [cell, cell]}))
    first, second = read_notebook(path), read_notebook(path)
    nbformat.validate(first)
    assert [c.id for c in first.cells] == [c.id for c in second.cells]
    assert len({c.id for c in first.cells}) == 2


def test_the_log_ignores_a_torn_line(tmp_path: Path) -> None:
    from mlops_jupyter.runner.recover import _lines

    log = EventLog(tmp_path)
    log.event("started", run_id="é\ud800")
    log.cell(0, notebook("a\nb", None).cells[0])
    log.close(complete=False)
    with (tmp_path / EVENTS).open("ab") as stream:
        stream.write(b'{"event": "half')
    assert [line["event"] for line in _lines(tmp_path / EVENTS)] == ["started"]
    (line,) = _lines(tmp_path / CELLS)
    assert line["cell"]["outputs"][0]["text"] == "a\nb"


def test_the_throttle_keeps_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(record.time, "monotonic", lambda: now)
    throttle = Throttle()
    spent = 0.0

    def costly() -> None:
        nonlocal now, spent
        now += 2.0
        spent += 2.0

    for _ in range(1000):
        now += 0.5
        throttle.offer(costly)
    assert 0 < spent <= 2.0 + record.SHARE * (now - 100.0)


def test_an_output_that_cannot_be_written_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.ipynb"
    path.write_text("before")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(record.os, "fsync", full)
    with pytest.raises(TransientError, match="No space left"):
        Output(path, "0" * 32).write(notebook("x", 1))
    assert [p.name for p in tmp_path.iterdir()] == ["out.ipynb"]
    assert path.read_text() == "before"


@pytest.mark.parametrize(
    ("kills", "peak", "signum", "expected"),
    [
        ((0, 1), 10, signal.SIGKILL, True),
        ((0, 0), 10, signal.SIGKILL, False),
        ((0, 0), 95, signal.SIGKILL, True),
        ((None, None), 10, signal.SIGKILL, None),
        ((0, 1), 95, signal.SIGSEGV, False),
        ((0, 1), 95, None, False),
    ],
)
def test_out_of_memory(
    monkeypatch: pytest.MonkeyPatch,
    kills: tuple[int | None, int | None],
    peak: int,
    signum: int | None,
    expected: object,
) -> None:
    monkeypatch.setattr(memory, "oom_kills", lambda: kills[1])
    monkeypatch.setattr(memory, "memory_limit", lambda: 100)
    assert memory.ran_out_of_memory(kills[0], peak=peak, signum=signum) is expected


def test_how_a_kernel_died_in_words() -> None:
    death = KernelDeath(exit_code=None, signal=9, peak_memory=3 * 2**30, out_of_memory=True)
    assert str(death) == "The kernel was killed by SIGKILL (peak memory 3,072 MiB, likely out of memory)."
    assert str(KernelDeath(exit_code=3, signal=None, peak_memory=None, out_of_memory=False)) == (
        "The kernel ended with exit code 3."
    )


def test_preview() -> None:
    assert preview("# comment\n\n  x = 1\ny") == "x = 1"
    assert preview("# only") == "# only"
    assert preview("") == ""
    assert len(preview("x" * 500)) == 80
