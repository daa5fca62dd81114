"""Whatever happens to the store, cells run, the user hears of it once, and what can be kept is kept."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell

from mlops_jupyter.store import is_held, open_store
from tests.capture.support import Kernel, run, shell
from tests.capture.test_session import recorded, session

ROOT = str(Path(__file__).parents[2])


def test_fault_in_a_hook_warns_once_and_is_recorded(ipython: InteractiveShell, monkeypatch: pytest.MonkeyPatch) -> None:
    run(ipython, "x = 1")

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("capture is broken")

    monkeypatch.setattr(session().observer, "after", broken)
    shown = [run(ipython, f"%%track\ny{i} = x + {i}\ny{i}") for i in range(3)]
    assert [one.result for one in shown] == [1, 2, 3]
    assert shown[0].stderr.count("\n") == 1
    assert "capture failed while looking at the variables" in shown[0].stderr
    assert "mlops doctor" in shown[0].stderr
    assert [one.stderr for one in shown[1:]] == ["", ""]
    assert len(recorded()) == 4
    rows = session().store.execute("SELECT place, message, detail FROM faults")
    assert len(rows) == 3
    assert rows[0][0] == "looking at the variables"
    assert "in broken" in rows[0][2]


def test_fault_while_a_cell_begins(ipython: InteractiveShell, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("capture is broken")

    run(ipython, "x = 1")
    monkeypatch.setattr(session().observer, "before", broken)
    monkeypatch.setattr(session().observer, "transform_ast", broken)
    shown = run(ipython, "%%track\ndef f():\n    return x + 1\nf()")
    assert (shown.result, shown.error) == (2, None)
    assert shown.stderr.count("\n") == 1


def test_workspace_that_cannot_be_written(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocker = workspace / "file"
    blocker.write_text("not a folder")
    monkeypatch.setenv("MLOPS_HOME", str(blocker / ".mlops"))
    with shell(captured=False) as made:
        shown = run(made, "%load_ext mlops_jupyter")
        assert shown.error is None
        assert shown.stderr.count("\n") == 1
        assert "memory only" in shown.stderr
        shown = run(
            made,
            "%%track\nimport mlops_jupyter as mlops\nmlops.log_metric('a', 2)\nmlops.active_run().data.metrics['a']",
        )
        assert (shown.result, shown.error, shown.stderr) == (2.0, None, "")
        assert "memory only" in run(made, "%track status").stdout
        assert len(recorded()) == 2


def test_read_only_workspace(workspace: Path, without_privileges: Callable[[list[str]], list[str]]) -> None:
    (workspace / ".mlops").mkdir(mode=0o500)
    code = """
        from tests.capture.support import run, shell
        with shell(captured=False) as made:
            print(run(made, "%load_ext mlops_jupyter").stderr, run(made, "20 + 22").result)
    """
    done = subprocess.run(
        without_privileges([sys.executable, "-c", textwrap.dedent(code)]),
        env={**os.environ, "PYTHONPATH": ROOT}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "memory only" in done.stdout
    assert done.stdout.rstrip().endswith(" 42")
    assert list((workspace / ".mlops").iterdir()) == []


def test_broken_settings_file(workspace: Path) -> None:
    (workspace / "mlops.toml").write_text("this is = not [toml")
    with shell(captured=False) as made:
        shown = run(made, "%load_ext mlops_jupyter\nx = 1")
        assert shown.error is None
        assert shown.stderr.count("\n") == 1
        assert "not valid TOML" in shown.stderr
        assert run(made, "%%track\nx + 1").result == 2


def test_busy_store_keeps_records_for_the_next_cell(workspace: Path, ipython: InteractiveShell) -> None:
    run(ipython, "import mlops_jupyter as mlops")
    other = sqlite3.connect(workspace / ".mlops" / "lineage.db", isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        shown = run(ipython, "%%track waits\nmlops.log_metric('m', 1)\nvalue = sum([1, 2])\nvalue")
        assert (shown.result, shown.error, shown.stderr) == (3, None, "")
        assert other.execute("SELECT COUNT(*) FROM runs").fetchone() == (0,)
        other.execute("ROLLBACK")
    finally:
        other.close()
    run(ipython, "after = 1")
    assert [e.position for e in recorded()] == [0, 1, 2]
    rows = session().store.execute("SELECT key, value FROM latest_metrics ORDER BY key")
    assert rows == [("m", 1.0), ("value", 3.0)]
    assert session().store.execute("SELECT name, status FROM runs") == [("waits", "FINISHED")]


def test_forked_child_logs_into_the_run_and_ends_nothing(workspace: Path, ipython: InteractiveShell) -> None:
    code = """
        %%track parent
        import os, mlops_jupyter as mlops
        child = os.fork()
        if child == 0:
            try:
                mlops.log_metric("from_child", 7)
            finally:
                os._exit(0)
        status = os.waitpid(child, 0)[1]
        mlops.log_metric("from_parent", 8)
        status
    """
    shown = run(ipython, textwrap.dedent(code).strip())
    assert (shown.result, shown.error, shown.stderr) == (0, None, "")
    metrics = dict(session().store.execute("SELECT key, value FROM latest_metrics"))
    assert (metrics["from_child"], metrics["from_parent"]) == (7.0, 8.0)
    assert session().store.execute("SELECT ended_at FROM sessions") == [(None,)]


def test_killed_kernel_loses_at_most_the_last_value(workspace: Path, start_kernel: Callable[..., Kernel]) -> None:
    kernel = start_kernel()
    kernel.execute("%load_ext mlops_jupyter\nimport mlops_jupyter as mlops, os")
    (pid,) = (int(kernel.execute("os.getpid()").result or 0),)
    code = "%%track\nfor i in range(10**9):\n    mlops.log_metric('loss', i, step=i)\n    print(i, flush=True)"
    message = kernel.client.execute(code)
    printed = -1
    while printed < 500:
        received = kernel.client.get_iopub_msg(timeout=30)
        if received["parent_header"].get("msg_id") == message and received["msg_type"] == "stream":
            printed = int((received["content"]["text"].split() or [printed])[-1])
    kernel.manager.provisioner.process.poll()  # type: ignore[union-attr]
    os.kill(pid, signal.SIGKILL)
    kernel.manager.provisioner.process.wait()  # type: ignore[union-attr]
    store = open_store(workspace / ".mlops" / "lineage.db")
    steps = [step for (step,) in store.execute("SELECT step FROM metrics ORDER BY seq")]
    (state,) = store.execute("SELECT r.status, s.session_id, s.ended_at FROM runs r JOIN sessions s USING (session_id)")
    store.close()
    assert steps == list(range(len(steps)))
    assert len(steps) > printed
    assert (state[0], state[2]) == ("RUNNING", None)
    assert not is_held(workspace / ".mlops" / "locks" / f"session-{state[1]}.lock")


def test_three_kernels_at_once_in_an_empty_folder(workspace: Path) -> None:
    code = """
        from IPython.core.interactiveshell import InteractiveShell
        shell = InteractiveShell.instance()
        shell.run_cell("%load_ext mlops_jupyter")
        shell.run_cell("%%track\\nx = sum([1, 2])")
    """
    environ = {**os.environ, "PYTHONPATH": ROOT, "MLOPS_DELIVER": "false"}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code)], env=environ, cwd=workspace, stderr=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    errors = [process.communicate()[1] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0]
    assert errors == ["", "", ""]
    store = open_store(workspace / ".mlops" / "lineage.db")
    assert store.execute("SELECT status, COUNT(*) FROM runs GROUP BY status") == [("FINISHED", 3)]
    store.close()


def test_functions_of_the_notebook_run_in_workers_that_lack_the_package(ipython: InteractiveShell) -> None:
    code = """
        def train(value):
            class Model:
                def fit(self, X): return self
                def score(self, X, y): return X[0] + y[0]
            return Model().fit([1]).score([value], [2])
        train(1)
    """
    assert run(ipython, textwrap.dedent(code)).result == 3
    import cloudpickle  # type: ignore[import-untyped]

    packed = cloudpickle.dumps(ipython.user_ns["train"])
    worker = "import pickle, sys; print(pickle.loads(sys.stdin.buffer.read())(5), 'mlops_jupyter' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", worker], input=packed, capture_output=True, check=True, cwd="/")
    assert done.stdout.split() == [b"7", b"False"]
