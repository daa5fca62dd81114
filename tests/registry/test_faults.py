"""A registration that is killed after any of its steps and repeated has made one version, whole."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mlops_jupyter.tracking.faults import REGISTRATION_POINTS
from tests.tracking.workspaces import child_environment


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, template: Path) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("faults")
    done = subprocess.run(
        [sys.executable, "-m", "tests.registry.fault_matrix", str(folder), str(template)],
        capture_output=True, text=True, timeout=280, check=False,
        env=child_environment(), cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("point", REGISTRATION_POINTS)
def test_killed_there_and_registered_once(results: dict[str, Any], point: str) -> None:
    result = results[point]
    assert result["died_of"] == signal.SIGKILL, "the registration never came to this point"
    assert result["versions"] == [1, 1]
    assert result["in_mlflow"] == [1]
    assert result["logged"] == [["READY", '[{"name": "delay", "version": 1}]']]
    assert result["audit"] == ["model:delay/1"]
    assert result["mirrored"] == [["delay", 1, 1]]
    assert result["predicts"] == [0, 1]
