"""A delivery that is killed after any of its steps leaves nothing behind and does nothing twice."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mlops_jupyter.tracking.faults import FAULT_POINTS

from .workspaces import EXPECTED, child_environment

AGAIN = (
    "run_created:3",
    "metrics_sent:2",
    "artifact_sent:2",
    "model_linked:2",
    "model_uploaded:2",
    "cursor_advanced:4",
)
"""Points where the second time differs from the first: one run, batch or model is complete, the next is not."""
POINTS = [f"{point}:1" for point in FAULT_POINTS] + list(AGAIN)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, template: Path) -> dict[str, Any]:
    program = Path(__file__).with_name("fault_matrix.py")
    folder = tmp_path_factory.mktemp("faults")
    done = subprocess.run(
        [sys.executable, str(program), str(folder), str(template), *POINTS],
        capture_output=True, text=True, timeout=300, check=False,
        env=child_environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("point", POINTS)
def test_killed_there_and_delivered_once(results: dict[str, Any], point: str) -> None:
    result = results[point]
    assert result["died_of"] == signal.SIGKILL, "the delivery never came to this point"
    assert (result["error"], result["pending"], result["dead"]) == ("", 0, 0)
    assert result["found"] == json.loads(json.dumps(EXPECTED))
