"""Loading, unloading, and one execution recorded for each cell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell

from mlops_jupyter import capture
from mlops_jupyter.capture.session import CaptureSession
from mlops_jupyter.config import load_settings
from mlops_jupyter.entities import CellExecution, EntityKind, ExecutionStatus
from mlops_jupyter.store import executions as records
from mlops_jupyter.store import is_held, open_store
from tests.capture.support import Kernel, run, shell


def session() -> CaptureSession:
    """The session of this process."""
    found = capture.current()
    assert found is not None
    return found


def recorded() -> list[CellExecution]:
    """Executions of the session of this process."""
    return records.session_executions(session().store, session().session_id)


HEAVY = ("mlflow", "ray", "pandas", "numpy", "papermill", "sklearn", "pyarrow", "plotly", "matplotlib", "fsspec")


def test_load_imports_nothing_heavy_and_is_quick(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    code = f"""
        import json, resource, sys, time
        from IPython.core.interactiveshell import InteractiveShell
        shell = InteractiveShell.instance()
        shell.run_cell("1")
        def size():
            return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 2**20
        before = size()
        began = time.process_time()
        shell.run_cell("%load_ext mlops_jupyter")
        seconds, grown = time.process_time() - began, size() - before
        shell.run_cell("x = 1")
        print()
        print(json.dumps([seconds, grown, [name for name in {HEAVY!r} if name in sys.modules]]))
    """
    cached = tmp_path_factory.mktemp("bytecode")  # what is installed has its bytecode beside it
    environ = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environ |= {"PYTHONPYCACHEPREFIX": str(cached), "PYTHONPATH": str(Path(__file__).parents[2])}
    best = []
    for _ in range(4):
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)],
            capture_output=True, text=True, env=environ, check=True,
        )  # fmt: skip
        best.append(json.loads(done.stdout.splitlines()[-1]))
    assert min(seconds for seconds, _, _ in best[1:]) <= 0.1
    assert min(grown for _, grown, _ in best[1:]) <= 15
    assert best[-1][2] == []


def test_cells_are_recorded_in_order_with_outcome(ipython: InteractiveShell) -> None:
    run(ipython, "x = 1", cell_id="aa")
    run(ipython, "x + nope", cell_id="bb")
    run(ipython, "y = (", cell_id="cc")
    run(ipython, "")
    run(ipython, "y = x + 1", cell_id="dd")
    found = recorded()
    assert [e.position for e in found] == [0, 1, 2, 3]
    assert [e.cell_id for e in found] == ["aa", "bb", "cc", "dd"]
    assert [e.source for e in found] == ["x = 1", "x + nope", "y = (", "y = x + 1"]
    assert [e.status for e in found] == [
        ExecutionStatus.OK, ExecutionStatus.ERROR, ExecutionStatus.ERROR, ExecutionStatus.OK,
    ]  # fmt: skip
    assert found[1].error == "NameError: name 'nope' is not defined"
    assert found[0].duration >= 0
    versions = records.versions_generated(session().store, [found[3].execution_id])
    assert [(v.kind, v.name) for v in versions] == [(EntityKind.VARIABLE, "y")]
    uses = records.uses_by(session().store, [found[3].execution_id])
    used = records.get_versions(session().store, [use.version_id for use in uses])
    assert [(v.name, v.execution_id) for v in used] == [("x", found[0].execution_id)]


def test_silent_cells_are_not_recorded_and_nested_ones_belong_to_the_outer(ipython: InteractiveShell) -> None:
    ipython.run_cell("hidden = 1", silent=True)
    run(ipython, "for i in range(2):\n    get_ipython().run_cell(f'inner{i} = {i}', store_history=True)\nlast = 3")
    run(ipython, "after = 4")
    assert [e.source.split("\n")[0] for e in recorded()] == ["for i in range(2):", "after = 4"]


def test_secrets_are_redacted(ipython: InteractiveShell) -> None:
    run(ipython, "api_key = 'sk-aaaaaaaaaaaaaaaaaaaaaaaaaaaa'")
    (found,) = recorded()
    assert "aaaa" not in found.source


def test_interrupt_is_recorded_as_such(ipython: InteractiveShell) -> None:
    run(ipython, "raise KeyboardInterrupt")
    assert recorded()[0].status is ExecutionStatus.INTERRUPTED


def test_load_twice_and_reload(ipython: InteractiveShell) -> None:
    first = session()
    run(ipython, "%load_ext mlops_jupyter")
    capture.load(ipython)
    assert session() is first
    run(ipython, "a = 1")
    run(ipython, "%reload_ext mlops_jupyter")
    run(ipython, "b = 2")
    assert [e.source for e in recorded()][-1] == "b = 2"
    assert len([e for e in recorded() if e.source == "b = 2"]) == 1


def _installed(made: InteractiveShell) -> dict[str, Any]:
    return {
        "events": {name: list(found) for name, found in made.events.callbacks.items()},
        "cleanup": list(made.input_transformers_cleanup),
        "post": list(made.input_transformers_post),
        "ast": list(made.ast_transformers),
        "line": set(made.magics_manager.magics["line"]),
        "cell": set(made.magics_manager.magics["cell"]),
        "system": made.system,
        "getoutput": made.getoutput,
        "environ": dict(os.environ),
        "meta_path": list(sys.meta_path),
        "namespace": {name for name in made.user_ns if not name.startswith("_")},
    }


def test_unload_puts_everything_back(workspace: Path) -> None:
    with shell(captured=False) as made:
        run(made, "import mlops_jupyter")
        before = _installed(made)
        run(made, "%load_ext mlops_jupyter")
        assert _installed(made) != before
        run(made, "x = 1")
        run(made, "%unload_ext mlops_jupyter")
        del made.user_ns["x"]
        assert _installed(made) == before
        assert run(made, "1 + 1").result == 2
    assert capture.current() is None


def test_session_row_lock_and_end(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (workspace / "sub").mkdir()
    monkeypatch.setenv("JPY_SESSION_NAME", str(workspace / "sub" / "n.ipynb"))
    monkeypatch.setenv("JUPYTERHUB_USER", "ada")
    with shell():
        found = session()
        row = records.get_session(found.store, found.session_id)
        lock = found.settings.locks / f"session-{found.session_id}.lock"
        assert row is not None
        assert (row.notebook, row.user, row.pid, row.ended_at) == ("sub/n.ipynb", "ada", os.getpid(), None)
        document = records.environment(found.store, row.environment) if row.environment else None
        assert document is not None and json.loads(document)["distributions"]["ipython"]
        assert is_held(lock)
    assert not is_held(lock)
    store = open_store(load_settings().database)
    ended = records.get_session(store, row.session_id)
    store.close()
    assert ended is not None and ended.ended_at is not None


def test_load_cell_with_other_code_is_recorded(workspace: Path) -> None:
    with shell(captured=False) as made:
        run(made, "%load_ext mlops_jupyter\nimport json\nbase = 1")
        run(made, "y = base + 1")
        assert [e.source.splitlines()[-1] for e in recorded()] == ["base = 1", "y = base + 1"]
        capture.unload(made)


def test_load_alone_is_not_recorded(workspace: Path) -> None:
    with shell(captured=False) as made:
        run(made, "%load_ext mlops_jupyter\nimport mlops_jupyter as mlops")
        run(made, "x = 1")
        assert [e.source for e in recorded()] == ["x = 1"]


def test_await_interrupt_and_async_cells_in_a_kernel(workspace: Path, start_kernel: Callable[..., Kernel]) -> None:
    kernel = start_kernel()
    kernel.execute("%load_ext mlops_jupyter")
    assert kernel.execute("%%track\nimport asyncio, time\nvalue = await asyncio.sleep(0, 5)\nvalue").result == "5"
    # Otherwise the kernel aborts what comes in the moment after the interrupt.
    message_id = kernel.client.execute("print('started', flush=True)\ntime.sleep(60)", stop_on_error=False)
    while kernel.client.get_iopub_msg(timeout=30)["msg_type"] != "stream":
        pass
    kernel.manager.interrupt_kernel()
    assert kernel.reply_to(message_id) == "error"
    assert kernel.execute("after = 1").status == "ok"
    rows: list[tuple[str, str]] = []
    deadline = time.monotonic() + 10  # the cells that are not tracked are written a moment after they ended
    while len(rows) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
        with closing(open_store(workspace / ".mlops" / "lineage.db")) as store:
            rows = store.execute(
                "SELECT s.text, e.status FROM executions e JOIN sources s ON s.digest = e.source_digest"
            )
    assert [(text.splitlines()[-1], status) for text, status in rows] == [
        ("value", "ok"), ("time.sleep(60)", "interrupted"), ("after = 1", "ok"),
    ]  # fmt: skip


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_help_and_completion(ipython: InteractiveShell) -> None:
    assert "%%track" in ipython.complete("%%tra")[1]
    assert "%track" in ipython.complete("%trac")[1]
    doc = ipython.find_cell_magic("track").__doc__
    assert doc is not None and "--seed N" in doc
