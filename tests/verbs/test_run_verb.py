"""``mlops run``: the verb with the real store, delivery and command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlops_jupyter.errors import TargetNotFoundError, UsageError
from mlops_jupyter.verbs.run import run
from tests.runner.conftest import ROOT, make, tagged


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a fresh workspace."""
    (tmp_path / "mlops.toml").touch()
    return tmp_path


def command_line(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """``mlops run …`` as a user runs it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "mlops_jupyter", "run", *map(str, arguments)],
        capture_output=True, text=True, timeout=120, cwd=cwd, env=environment,
    )  # fmt: skip


def test_the_command_line_prints_one_document_and_delivers(folder: Path) -> None:
    source = make(
        folder / "nb.ipynb", tagged("lr = 0.1\nbad = float('nan')", "parameters"), "import sys\nprint(lr)", "1 / 0", "2"
    )
    done = command_line(source, folder / "out.ipynb", "-p", "lr", "0.5", "--json", cwd=folder)
    document = json.loads(done.stdout, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert done.returncode == document["exit_code"] == 1
    assert document["state"] == "failed"
    assert document["parameters"] == {"lr": 0.5, "bad": "NaN"}
    assert document["cells"]["total"] == 5
    assert (document["cells"]["succeeded"], document["cells"]["failed"], document["cells"]["never_ran"]) == (3, 1, 1)
    assert document["failed_cell"]["error"] == "ZeroDivisionError: division by zero"
    assert document["lineage"] == "full", document["warnings"]
    assert document["delivered"] is True, document["warnings"]
    assert "cell 4/5 failed" in done.stderr


def test_progress_words_and_delivery_to_a_server_that_is_away(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setattr("mlops_jupyter.runner.run.DELIVERY_TIMEOUT", 1.0)
    seen: list[tuple[int, int, str, str]] = []
    document = run(make(folder / "nb.ipynb", "1"), require_sync=True, on_cell=lambda *event: seen.append(event))
    assert seen == [(0, 1, "started", "1"), (0, 1, "succeeded", "1")]
    assert (document["state"], document["exit_code"], document["delivered"]) == ("succeeded", 75, False)
    assert any("delivered" in warning for warning in document["warnings"])
    assert Path(document["output"]).exists()


def test_bad_input_makes_no_workspace(tmp_path: Path) -> None:
    with pytest.raises(TargetNotFoundError, match="no notebook"):
        run(tmp_path / "missing.ipynb")
    with pytest.raises(UsageError, match="is a folder"):
        run(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_errors_on_the_command_line_are_one_sentence(folder: Path) -> None:
    source = make(folder / "nb.ipynb", tagged("lr = 0.1", "parameters"))
    done = command_line(source, "-p", "epochs", "3", cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert "'epochs' is not a parameter of this notebook" in done.stderr
    assert "Known: lr (float)." in done.stderr
    assert "Traceback" not in done.stderr
