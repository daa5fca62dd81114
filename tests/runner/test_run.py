"""Headless runs in real kernels: every end state, and what is left on disk and in the store."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_markdown_cell

from mlops_jupyter.entities import RunStatus
from mlops_jupyter.runner import Cancellation, RunResult, State, run_notebook
from mlops_jupyter.store import runs
from mlops_jupyter.workspace import Workspace

from .conftest import make, outputs, tagged

Execute = Callable[..., RunResult]


def test_a_run_succeeds_and_is_recorded(execute: Execute, workspace: Workspace, folder: Path) -> None:
    seen: list[tuple[int, int, str, str]] = []
    printed: list[tuple[str, str]] = []
    result = execute(
        new_markdown_cell("# Title"),
        tagged("lr = 0.1  # learning rate\nepochs: int = 3\nname = 'a'", "parameters"),
        "import os\nprint(lr, epochs, name)",
        "print('one'); print('two')\nos.getcwd()",
        "",
        tagged("never", "skip-execution"),
        tagged("1 / 0", "raises-exception"),
        "from IPython import get_ipython\n[k for k in globals() if 'capture' in k.lower() or 'mlops' in k.lower()]",
        parameters=[("epochs", "5"), ("name", "1")],
        on_cell=lambda *event: seen.append(event),
        on_output=lambda name, text: printed.append((name, text)),
    )
    assert (result.state, result.exit_code, result.error) == (State.SUCCEEDED, 0, None)
    assert result.parameters == {"lr": 0.1, "epochs": 5, "name": "1"}
    assert result.count(State.SUCCEEDED) == 6
    assert result.count(State.SKIPPED) == 2
    document = nbformat.read(result.output, as_version=4)
    assert document.cells[2].source == "# Parameters\nepochs = 5\nname = '1'"
    texts = outputs(result.output)
    assert texts[2] == "0.1 5 1\n"
    assert texts[3] == f"one\ntwo\n{str(folder)!r}"
    assert texts[6] == "ZeroDivisionError"
    assert texts[7] == "[]", "capture leaves no name in the notebook's namespace"
    assert document.cells[4].outputs[0].text == "one\ntwo\n", "pieces of one stream are joined"
    assert document.metadata.papermill.parameters == {"epochs": 5, "name": "1"}
    assert document.metadata.papermill.duration > 0
    assert document.metadata.papermill.exception is None
    assert [cell.metadata.papermill.status for cell in document.cells] == (
        ["completed"] * 5 + ["skipped"] * 2 + ["completed"] * 2
    )
    assert seen[0] == (0, 8, State.RUNNING, "lr = 0.1  # learning rate")
    assert seen[-1][:3] == (7, 8, State.SUCCEEDED)
    assert ("stdout", "0.1 5 1\n") in printed
    run = runs.get_run(workspace.store, result.run_id)
    assert run.status is RunStatus.FINISHED
    assert run.params == {"lr": "0.1", "epochs": "5", "name": "1"}
    details = {p.key: (p.type_name, str(p.source)) for p in runs.run_params(workspace.store, result.run_id)}
    assert details == {"lr": ("float", "literal"), "epochs": ("int", "injected"), "name": ("str", "injected")}
    assert run.tags["mlops.origin"] == "headless"
    assert run.tags["mlflow.source.name"] == run.notebook == "nb.ipynb"
    (artifact,) = runs.run_artifacts(workspace.store, result.run_id)
    assert (artifact.path, artifact.size) == ("notebook/out.ipynb", result.output.stat().st_size)
    left = sorted(path.name for path in (workspace.settings.runs / result.run_id).iterdir())
    assert left == ["events.jsonl", "kernel.log"]
    assert not list(folder.glob(".mlops-*")), "no temporary file is left"


def test_a_failing_cell_stops_the_run(execute: Execute, workspace: Workspace) -> None:
    result = execute("x = 1", "print('before')\nraise ValueError('<b>bad</b>\\nmore')", "x = 2")
    assert (result.state, result.exit_code) == (State.FAILED, 1)
    assert [cell.state for cell in result.cells] == [State.SUCCEEDED, State.FAILED, State.NEVER_RAN]
    assert result.failed_cell is not None
    assert (result.failed_cell.index, result.failed_cell.error) == (1, "ValueError: <b>bad</b>")
    assert result.failed_cell.source_preview == "print('before')"
    document = nbformat.read(result.output, as_version=4)
    banner, first, anchor, failed, never = document.cells
    assert "&lt;b&gt;bad" in banner.source
    assert "<b>bad" not in banner.source
    assert 'href="#mlops-stopped-here"' in banner.source
    assert 'id="mlops-stopped-here"' in anchor.source
    assert [c.metadata.papermill.status for c in (first, failed, never)] == ["completed", "failed", "pending"]
    assert document.metadata.papermill.exception is True
    assert failed.outputs[0].text == "before\n"
    assert runs.get_run(workspace.store, result.run_id).status is RunStatus.FAILED
    again = run_notebook(workspace, result.output, result.output.with_name("again.ipynb"))
    assert len(nbformat.read(again.output, as_version=4).cells) == 5, "an old banner does not pile up"


@pytest.mark.parametrize(
    ("last", "state", "words"),
    [
        ("import sys; sys.exit(0)", State.SUCCEEDED, None),
        ("exit()", State.SUCCEEDED, None),
        ("import sys; sys.exit(3)", State.FAILED, "SystemExit: 3"),
        ("raise SystemExit('stop')", State.FAILED, "SystemExit: stop"),
    ],
)
def test_exit_in_the_last_cell(execute: Execute, last: str, state: State, words: str | None) -> None:
    result = execute("1", last, "", new_markdown_cell("end"))
    assert (result.state, result.error) == (state, words)
    assert result.exit_code == (0 if state is State.SUCCEEDED else 1)


@pytest.mark.parametrize("source", ["import sys; sys.exit(0)", "exit()"])
def test_exit_before_the_last_cell_is_no_success(execute: Execute, source: str) -> None:
    result = execute(source, "2", "3")
    assert (result.state, result.exit_code) == (State.FAILED, 1)
    assert "2 code cells after it never ran" in (result.error or "")
    assert [cell.state for cell in result.cells] == [State.FAILED, State.NEVER_RAN, State.NEVER_RAN]


def test_a_killed_kernel_is_told_with_signal_and_memory(execute: Execute, workspace: Workspace) -> None:
    result = execute(
        "print('kept')",
        # Earlier tests had larger children, so the peak is the one that was noted while the kernel lived.
        "import os, time\nx = bytearray(200 * 2**20)\nprint('said', flush=True)\n"
        "time.sleep(2.5)\nos.kill(os.getpid(), 9)",
        "3",
    )
    assert (result.state, result.exit_code) == (State.KERNEL_DIED, 75)
    assert result.death is not None
    assert result.death.signal == signal.SIGKILL
    assert result.death.peak_memory is not None
    assert result.death.peak_memory > 200 * 2**20
    assert "SIGKILL" in (result.error or "")
    assert [cell.state for cell in result.cells] == [State.SUCCEEDED, State.KERNEL_DIED, State.NEVER_RAN]
    assert outputs(result.output)[0] == "kept\n"
    assert runs.get_run(workspace.store, result.run_id).status is RunStatus.FAILED


def test_a_kernel_that_ends_by_itself(execute: Execute) -> None:
    result = execute("import os; os._exit(7)")
    assert (result.state, result.death and result.death.exit_code) == (State.KERNEL_DIED, 7)
    assert result.error is not None
    assert "exit code 7" in result.error


def test_a_cell_that_takes_too_long(execute: Execute) -> None:
    began = time.monotonic()
    result = execute("print('started')\nimport time\ntime.sleep(60)", "2", cell_timeout=0.7)
    assert (result.state, result.exit_code) == (State.TIMED_OUT, 124)
    assert "0.7 seconds" in (result.error or "")
    assert outputs(result.output)[0] == "started\nKeyboardInterrupt"
    assert time.monotonic() - began < 10


def test_a_cell_that_ignores_the_interrupt_is_killed(execute: Execute, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlops_jupyter.runner.cells.INTERRUPT_GRACE", 0.5)
    source = "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: time.sleep(0.1)"
    result = execute(source, timeout=2.0)
    assert (result.state, result.exit_code) == (State.TIMED_OUT, 124)
    assert "the run did not end" in (result.error or "").lower()


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_cancels_the_run(execute: Execute, workspace: Workspace, signum: signal.Signals, code: int) -> None:
    before = signal.getsignal(signum)
    timer: list[threading.Timer] = []

    def strike(index: int, _total: int, _state: State, _preview: str, /) -> None:
        if index == 1 and not timer:
            timer.append(threading.Timer(0.3, os.kill, (os.getpid(), signum)))
            timer[0].start()

    result = execute("print('done')", "import time\nprint('part', flush=True)\ntime.sleep(60)", "3", on_cell=strike)
    timer[0].join()
    assert (result.state, result.exit_code) == (State.CANCELLED, code)
    assert [cell.state for cell in result.cells] == [State.SUCCEEDED, State.CANCELLED, State.NEVER_RAN]
    assert outputs(result.output)[:2] == ["done\n", "part\nKeyboardInterrupt"]
    assert runs.get_run(workspace.store, result.run_id).status is RunStatus.KILLED
    assert signal.getsignal(signum) is before, "the handler is given back"


def test_cancelled_from_another_thread_and_run_outside_the_main_one(execute: Execute) -> None:
    cancellation = Cancellation()
    results: list[RunResult] = []
    cells = ("import time; time.sleep(60)",)

    def started(*_event: object) -> None:
        cancellation.request()

    worker = threading.Thread(
        target=lambda: results.append(execute(*cells, on_cell=started, cancellation=cancellation))
    )
    worker.start()
    worker.join(timeout=30)
    assert [result.state for result in results] == [State.CANCELLED]


def test_displays_are_updated_across_cells_and_widget_state_is_dropped(execute: Execute, folder: Path) -> None:
    source = make(
        folder / "nb.ipynb",
        "from IPython.display import display, clear_output\nhandle = display('old', display_id=True)",
        "print('x'); clear_output(); print('y')",
        "handle.update('new')",
    )
    document = nbformat.read(source, as_version=4)
    document.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": {}}}
    nbformat.write(document, source)
    result = execute(*document.cells)
    assert outputs(result.output) == ["'new'", "y\n", ""]
    assert "widgets" not in nbformat.read(result.output, as_version=4).metadata


def test_the_kernel_sees_the_cell_and_the_run(execute: Execute) -> None:
    result = execute(
        "import os\nseen = []\nget_ipython().events.register('pre_run_cell', lambda info: seen.append(info.cell_id))",
        "print(seen == [CELL])".replace("CELL", "get_ipython().get_parent()['metadata']['cellId']"),
        "print(os.environ['MLOPS_PARENT_RUN'], os.environ['MLOPS_ORIGIN'], os.environ['MLOPS_NOTEBOOK'])",
    )
    texts = outputs(result.output)
    assert texts[1] == "True\n"
    assert texts[2] == f"{result.run_id} headless nb.ipynb\n"


def test_large_output_odd_text_and_odd_paths(workspace: Workspace, folder: Path) -> None:
    source = make(
        folder / "mit Leerzeichen" / "Übung ☃.ipynb",
        "for _ in range(50): print('0123456789abcde\\n' * 65536)",
        "print('\\udc80 lone', '\\x1b[31m', '\\u2028')",
        "open('beside.txt', 'w').write('x')",
    )
    began = time.monotonic()
    result = run_notebook(workspace, source, folder / "aus gabe.ipynb")
    assert result.state is State.SUCCEEDED
    assert time.monotonic() - began < 30
    assert result.output.stat().st_size > 50 * 2**20
    texts = outputs(result.output)
    assert len(texts[0]) == 50 * (16 * 65536 + 1)
    assert texts[1] == "\ufffd lone \x1b[31m \u2028\n"
    assert (source.parent / "beside.txt").exists(), "the notebook's folder is the working folder"


def test_working_folder_and_default_output(workspace: Workspace, folder: Path) -> None:
    (folder / "elsewhere").mkdir()
    source = make(folder / "nb.ipynb", "import os; print(os.getcwd())")
    result = run_notebook(workspace, source, cwd=folder / "elsewhere")
    assert result.output == workspace.settings.runs / result.run_id / "nb.ipynb"
    assert outputs(result.output) == [f"{folder / 'elsewhere'}\n"]


def test_the_output_keeps_nothing_of_an_earlier_run(workspace: Workspace, folder: Path) -> None:
    source = make(folder / "nb.ipynb", "raise SystemExit(1)", "print('old')")
    document = nbformat.read(source, as_version=4)
    document.cells[1].outputs = [nbformat.v4.new_output("stream", text="stale\n")]
    document.cells[1].execution_count = 9
    nbformat.write(document, source)
    before = source.read_bytes()
    result = run_notebook(workspace, source, folder / "out.ipynb")
    assert outputs(result.output)[1] == ""
    assert source.read_bytes() == before, "the notebook itself is not touched"


def test_capture_runs_in_the_kernel_and_tracked_cells_are_children(execute: Execute, workspace: Workspace) -> None:
    result = execute(
        "%load_ext mlops_jupyter", "rate = 0.5", "%%track fit\naccuracy = rate * 1.8\nprint('tracked')", "accuracy"
    )
    assert (result.state, result.lineage, result.warnings) == (State.SUCCEEDED, "full", ())
    assert outputs(result.output)[2].startswith("tracked\n")
    assert outputs(result.output)[3] == "0.9"
    rows = workspace.store.execute(
        "SELECT name, parent_uid, status FROM runs WHERE run_uid != ? AND deleted_at IS NULL", (result.run_id,)
    )
    assert rows == [("fit", result.run_id, "FINISHED")]
    document = nbformat.read(result.output, as_version=4)
    recorded = workspace.store.execute("SELECT cell_id, notebook FROM executions ORDER BY position")
    assert set(recorded) <= {(cell.id, "nb.ipynb") for cell in document.cells}
    assert (document.cells[2].id, "nb.ipynb") in recorded
    assert workspace.store.execute("SELECT COUNT(*) FROM sessions WHERE ended_at IS NULL") == [(0,)]
