"""Three kernels that start at the same instant in an empty folder all work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_three_kernels_at_once_in_an_empty_folder_a_hundred_times(repository: Path) -> None:
    path = os.pathsep.join(filter(None, [str(repository), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(Path(__file__).with_name("at_once.py")), "100"],
        capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "100 of 100 rounds went well" in done.stdout
