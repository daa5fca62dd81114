"""Headless runs side by side: ours with capture, bare nbclient, and papermill, on the same notebooks.

    python benchmarks/headless.py [--quick]

Each figure is the best of several rounds, taken alternately in processes of their own, in seconds from a notebook
file to an executed notebook file; kernel start and stop included. ``ours`` records the run and its lineage; delivery
to a tracking server is not part of it (another process does that).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

TOOLS = ("ours", "nbclient", "papermill")
TARGETS = {"300 trivial cells": 1.15, "300 cells x 100 kB": 1.10}
"""Largest allowed time of ours over bare nbclient."""


def notebook(count: int, source: str) -> nbformat.NotebookNode:
    """``count`` cells with ``source``, ``{i}`` replaced by the cell's number."""
    cells = [new_code_cell(source.replace("{i}", str(i))) for i in range(count)]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return new_notebook(cells=cells, metadata=metadata)


def run_tool(tool: str, source: Path, target: Path) -> float:
    """Seconds that one execution takes, imports not counted."""
    if tool == "ours":
        from mlops_jupyter.runner import run_notebook
        from mlops_jupyter.workspace import open_workspace

        began = time.perf_counter()
        with open_workspace(source.parent) as workspace:
            result = run_notebook(workspace, source, target)
        seconds = time.perf_counter() - began
        if result.exit_code != 0 or result.lineage != "full":
            raise SystemExit(f"the run is not comparable: {result.state}, {result.lineage}, {result.warnings}")
        return seconds
    if tool == "nbclient":
        from nbclient import NotebookClient

        began = time.perf_counter()
        document = nbformat.read(source, as_version=4)
        NotebookClient(document, resources={"metadata": {"path": str(source.parent)}}).execute()
        nbformat.write(document, target)
        return time.perf_counter() - began
    import papermill

    began = time.perf_counter()
    papermill.execute_notebook(str(source), str(target), progress_bar=False, cwd=str(source.parent))
    return time.perf_counter() - began


def measure(source: Path, rounds: int, tools: tuple[str, ...]) -> dict[str, float]:
    """Best seconds of each tool, taken in turns so that a busy moment meets all of them."""
    best: dict[str, float] = {}
    for _ in range(rounds):
        for tool in tools:
            command = [sys.executable, __file__, "--one", tool, str(source), str(source.parent / f"{tool}.ipynb")]
            done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment())
            seconds = float(done.stdout.strip().splitlines()[-1])
            best[tool] = min(seconds, best.get(tool, seconds))
    return best


def environment() -> dict[str, str]:
    """This environment, with nothing that points to a workspace or server of the user's."""
    unwanted = ("MLOPS_", "MLFLOW_")
    return {key: value for key, value in os.environ.items() if not key.startswith(unwanted)} | {
        "MLOPS_DELIVER": "false"
    }


def main() -> int:
    """Print the table; 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round, without papermill on the large notebook")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of a table")
    parser.add_argument("--one", nargs=3, metavar=("TOOL", "IN", "OUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        tool, source, target = options.one
        print(run_tool(tool, Path(source), Path(target)))
        return 0
    rounds = 1 if options.quick else 3
    cases = {
        "30 trivial cells": (notebook(30, "x{i} = {i}\nx{i} + 1"), rounds, TOOLS),
        "300 trivial cells": (notebook(300, "x{i} = {i}\nx{i} + 1"), rounds, TOOLS),
        "300 cells x 100 kB": (
            notebook(300, "print(('{i} ' + 'o' * 95 + '\\n') * 1000)"),
            rounds,
            TOOLS[:2] if options.quick else TOOLS,
        ),
    }
    figures = {}
    with tempfile.TemporaryDirectory(prefix="headless-") as folder:
        for name, (document, count, tools) in cases.items():
            workspace = Path(folder) / name.replace(" ", "-")
            workspace.mkdir()
            (workspace / "mlops.toml").touch()
            source = workspace / "in.ipynb"
            nbformat.write(document, source)
            figures[name] = measure(source, count if "kB" not in name else min(count, 2), tools)
    missed = report(figures, as_json=options.json)
    return 1 if missed else 0


def report(figures: dict[str, dict[str, float]], *, as_json: bool) -> list[str]:
    """Print the figures; the names of the cases whose target was missed."""
    missed = [name for name, limit in TARGETS.items() if figures[name]["ours"] / figures[name]["nbclient"] > limit]
    small = figures["30 trivial cells"]
    if small["ours"] > small["papermill"]:
        missed.append("30 trivial cells")
    if as_json:
        print(json.dumps({"seconds": figures, "targets": TARGETS, "missed": missed}))
        return missed
    print(f"{'notebook':20} {'ours':>8} {'nbclient':>9} {'papermill':>10} {'ours/nbclient':>14} {'papermill/ours':>15}")
    for name, best in figures.items():
        ours, bare, papermill = best["ours"], best["nbclient"], best.get("papermill")
        theirs = f"{papermill:9.2f}s {ours / bare:14.2f} {papermill / ours:15.1f}" if papermill else f"{'-':>10}"
        rest = theirs if papermill else f"{theirs} {ours / bare:14.2f} {'-':>15}"
        print(f"{name:20} {ours:7.2f}s {bare:8.2f}s {rest}{'  MISSED' if name in missed else ''}")
    return missed


if __name__ == "__main__":
    raise SystemExit(main())
