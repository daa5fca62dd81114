"""Places that cannot take what is written there: a file for a folder, a full disk, a server that is down."""

from __future__ import annotations

import errno
import json
import time
from pathlib import Path

import nbformat
import pytest

from mlops_jupyter.errors import TransientError
from mlops_jupyter.runner import run as runner

from .conftest import Command

NOWHERE = "http://127.0.0.1:9"


def _notebook(path: Path) -> None:
    cells = [nbformat.v4.new_code_cell("print(1)")]
    spec = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=spec), path)


def test_a_file_where_the_workspace_folder_should_be_is_bad_input(home: Path, mlops: Command) -> None:
    (home / "file").write_text("")
    for verb in (["runs", "list"], ["sync"]):
        ended = mlops(*verb, MLOPS_HOME=str(home / "file"))
        assert ended.returncode == 2
        assert "a file stands where a folder must be" in ended.stderr and "Traceback" not in ended.stderr


def test_a_run_does_not_wait_long_for_a_server_that_is_down(home: Path, mlops: Command) -> None:
    _notebook(home / "nb.ipynb")
    began = time.monotonic()
    ended = mlops("run", "nb.ipynb", MLFLOW_TRACKING_URI=NOWHERE)
    assert time.monotonic() - began < 40, "not the minute that --require-sync may take"
    assert ended.returncode == 0
    warnings = [line for line in ended.stderr.splitlines() if line.startswith("mlops: ")]
    assert len(warnings) == 1
    assert "does not answer: Connection refused. Nothing is lost" in warnings[0]
    synced = mlops("sync", MLFLOW_TRACKING_URI=NOWHERE)
    assert synced.returncode == 5
    assert synced.stderr.count("\n") == 1 and "Connection refused" in synced.stderr


def test_a_run_that_cannot_begin_leaves_no_folder(home: Path, mlops: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    _notebook(home / "nb.ipynb")

    def full(_: object) -> bytes:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(runner, "render_notebook", full)
    from mlops_jupyter.verbs.run import run

    with pytest.raises(TransientError, match="No space left on device"):
        run(home / "nb.ipynb")
    folder = home / ".mlops" / "runs"
    assert not folder.exists() or not list(folder.iterdir())
    assert json.loads(mlops("runs", "list", "--json").stdout)["total"] == 0
