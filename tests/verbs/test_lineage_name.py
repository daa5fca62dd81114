"""``mlops.lineage`` is the function, whatever parts of the package were imported before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    "first",
    [
        "",
        "import mlops_jupyter.verbs.lineage",
        "from mlops_jupyter.provenance import LineageGraph",
        "import mlops_jupyter.verbs.current",
    ],
)
def test_lineage_is_the_function_whatever_was_imported_before(tmp_path: Path, first: str) -> None:
    program = f"""
import mlops_jupyter as mlops
{first}
from mlops_jupyter.provenance import LineageGraph
try:
    mlops.lineage("nothing")
except LookupError as error:
    print(error)
"""
    (tmp_path / ".mlops").mkdir()
    root = Path(__file__).parents[2]

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=tmp_path, env={"PYTHONPATH": str(root), "HOME": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.stderr == ""
    assert "No recorded cell wrote 'nothing'" in done.stdout
