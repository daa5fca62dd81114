"""The papermill engine ``mlops``, through papermill's own interface and command line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import nbformat
import pytest
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat.v4 import new_markdown_cell
from papermill.engines import papermill_engines
from papermill.exceptions import PapermillExecutionError
from papermill.execute import execute_notebook

from mlops_jupyter.entities import RunStatus
from mlops_jupyter.runner.engine import MlopsEngine
from mlops_jupyter.store import runs
from mlops_jupyter.workspace import open_workspace

from .conftest import ROOT, make, outputs, tagged

pytestmark = pytest.mark.peer


@pytest.fixture(autouse=True)
def registered() -> None:
    """The engine under its name, as the entry point registers it where the package is installed."""
    papermill_engines.register("mlops", MlopsEngine)


def papermill(source: Path, out: Path, **options: object) -> nbformat.NotebookNode:
    """Execute with our engine."""
    options.setdefault("progress_bar", False)
    return execute_notebook(str(source), str(out), engine_name="mlops", cwd=str(source.parent), **options)


def recorded(folder: Path) -> list[tuple[RunStatus, str]]:
    """(status, end state) of the runs of a workspace."""
    with open_workspace(folder) as workspace:
        uids = [row[0] for row in workspace.store.execute("SELECT run_uid FROM runs ORDER BY seq")]
        return [(run.status, run.tags["mlops.state"]) for run in runs.load_runs(workspace.store, uids)]


def statuses(out: Path) -> list[str]:
    """Papermill's status of each cell, banners left out."""
    document = nbformat.read(out, as_version=4)
    return [c.metadata.papermill.status for c in document.cells if "papermill" in c.metadata]


def test_success_with_parameters(folder: Path) -> None:
    source = make(
        folder / "nb.ipynb", new_markdown_cell("text"), tagged("lr = 0.1\nn = 1", "parameters"), "print(lr, n)", ""
    )
    out = folder / "out.ipynb"
    document = papermill(source, out, parameters={"n": 5}, progress_bar=True, log_output=True)
    assert outputs(out)[2] == "0.1 5\n"
    assert statuses(out) == ["completed"] * 4 + ["skipped"]
    assert document.metadata.papermill.exception is None
    assert document.metadata.papermill.duration > 0
    with open_workspace(folder) as workspace:
        ((uid,),) = workspace.store.execute("SELECT run_uid FROM runs")
        run = runs.get_run(workspace.store, uid)
    assert (run.status, run.params, run.notebook) == (RunStatus.FINISHED, {"lr": "0.1", "n": "5"}, "nb.ipynb")


def test_a_failing_cell(folder: Path) -> None:
    out = folder / "out.ipynb"
    with pytest.raises(PapermillExecutionError, match="bad"):
        papermill(make(folder / "nb.ipynb", "1", "raise ValueError('bad')", "3"), out)
    assert statuses(out) == ["completed", "failed", "pending"]
    assert recorded(folder) == [(RunStatus.FAILED, "failed")]


def test_exit_is_no_success_while_cells_remain(folder: Path) -> None:
    out = folder / "out.ipynb"
    with pytest.raises(PapermillExecutionError, match="never ran"):
        papermill(make(folder / "nb.ipynb", "import sys; sys.exit(0)", "2"), out)
    assert statuses(out) == ["failed", "pending"]


def test_a_dead_kernel_and_a_time_out_are_not_called_completed(folder: Path) -> None:
    out = folder / "out.ipynb"
    with pytest.raises(DeadKernelError, match="SIGKILL"):
        papermill(make(folder / "nb.ipynb", "1", "import os; os.kill(os.getpid(), 9)", "3"), out)
    assert statuses(out) == ["completed", "failed", "pending"]
    assert nbformat.read(out, as_version=4).metadata.papermill.exception is True
    with pytest.raises(CellTimeoutError, match="1 seconds"):
        papermill(make(folder / "nb.ipynb", "import time; time.sleep(60)", "3"), out, execution_timeout=1)
    assert statuses(out) == ["failed", "pending"]
    assert recorded(folder) == [(RunStatus.FAILED, "kernel_died"), (RunStatus.FAILED, "timed_out")]


def test_papermills_command_line_finds_the_engine_and_sigterm_ends_it_well(folder: Path, tmp_path: Path) -> None:
    entry_points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["papermill.engine"]
    information = tmp_path / "site" / "mlops_jupyter-0.0.0.dist-info"
    information.mkdir(parents=True)
    lines = "".join(f"{name} = {target}\n" for name, target in entry_points.items())
    (information / "entry_points.txt").write_text(f"[papermill.engine]\n{lines}")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), str(ROOT)])}
    source = make(folder / "nb.ipynb", "open('started', 'w').close()", "import time; time.sleep(60)", "3")
    command = [sys.executable, "-m", "papermill", "--engine", "mlops", str(source), str(folder / "out.ipynb")]
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 30
        while not (folder / "started").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 143, said
    assert statuses(folder / "out.ipynb") == ["completed", "failed", "pending"]
    assert recorded(folder) == [(RunStatus.KILLED, "cancelled")]
