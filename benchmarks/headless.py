"""Headless runs side by side: ours with capture, bare nbclient, and papermill, on the same notebooks.

    python benchmarks/headless.py [--quick] [--rounds N]

Each round runs every tool once, in a process of its own and in turning order, from a notebook file to an executed
notebook file; kernel start and stop included, imports of the tool not. A ratio is taken within a round, because a busy
machine slows both; the median of the rounds is what is judged, the least and the largest show the noise. Besides the
time on the clock there is the time on the processor (runner and kernel together), which other work disturbs less.
``ours`` records the run and its lineage; delivery to a tracking server is not part of it (another process does that).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

TOOLS = ("ours", "nbclient", "papermill")
TARGETS = {
    ("30 trivial cells", "papermill"): 1.00,
    ("300 trivial cells", "nbclient"): 1.15,
    ("300 cells x 100 kB", "nbclient"): 1.10,
}
"""Largest allowed median of our time over a peer's."""


def notebook(count: int, source: str) -> nbformat.NotebookNode:
    """``count`` cells with ``source``, ``{i}`` replaced by the cell's number."""
    cells = [new_code_cell(source.replace("{i}", str(i))) for i in range(count)]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return new_notebook(cells=cells, metadata=metadata)


@dataclass(frozen=True, slots=True)
class Spent:
    """What one execution took, in seconds."""

    clock: float
    processor: float


def run_tool(tool: str, source: Path, target: Path) -> Spent:
    """Execute with one tool; its imports are not counted."""
    if tool == "ours":
        from mlops_jupyter.runner import run_notebook
        from mlops_jupyter.workspace import open_workspace

        meter = Meter()
        with open_workspace(source.parent) as workspace:
            result = run_notebook(workspace, source, target)
        spent = meter.read()
        if result.exit_code != 0 or result.lineage != "full":
            raise SystemExit(f"the run is not comparable: {result.state}, {result.lineage}, {result.warnings}")
        return spent
    if tool == "nbclient":
        from nbclient import NotebookClient

        meter = Meter()
        document = nbformat.read(source, as_version=4)
        NotebookClient(document, resources={"metadata": {"path": str(source.parent)}}).execute()
        nbformat.write(document, target)
        return meter.read()
    import papermill

    meter = Meter()
    papermill.execute_notebook(str(source), str(target), progress_bar=False, cwd=str(source.parent))
    return meter.read()


class Meter:
    """Time on the clock and on the processor since it was made, ended child processes included."""

    def __init__(self) -> None:
        self._clock, self._processor = time.perf_counter(), self._used()

    def read(self) -> Spent:
        """What was spent."""
        return Spent(time.perf_counter() - self._clock, self._used() - self._processor)

    @staticmethod
    def _used() -> float:
        used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return sum(each.ru_utime + each.ru_stime for each in used)


def measure(source: Path, rounds: int, tools: tuple[str, ...]) -> dict[str, list[Spent]]:
    """What each tool spent in each round."""
    spent: dict[str, list[Spent]] = {tool: [] for tool in tools}
    for number in range(rounds):
        for tool in tools if number % 2 == 0 else reversed(tools):
            command = [sys.executable, __file__, "--one", tool, str(source), str(source.parent / f"{tool}.ipynb")]
            done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment())
            spent[tool].append(Spent(*json.loads(done.stdout.strip().splitlines()[-1])))
    return spent


def environment() -> dict[str, str]:
    """This environment, with nothing that points to a workspace or server of the user's."""
    unwanted = ("MLOPS_", "MLFLOW_")
    return {key: value for key, value in os.environ.items() if not key.startswith(unwanted)} | {
        "MLOPS_DELIVER": "false"
    }


def main() -> int:
    """Print the table; 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rounds, papermill on the small notebook alone")
    parser.add_argument("--rounds", type=int, help="rounds of each notebook (default 5, with --quick 3)")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of a table")
    parser.add_argument("--one", nargs=3, metavar=("TOOL", "IN", "OUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        tool, source, target = options.one
        spent = run_tool(tool, Path(source), Path(target))
        print(json.dumps([spent.clock, spent.processor]))
        return 0
    rounds = options.rounds or (3 if options.quick else 5)
    large = TOOLS[:2] if options.quick else TOOLS
    trivial = "x{i} = {i}\nx{i} + 1"
    cases = {
        "30 trivial cells": (notebook(30, trivial), TOOLS),
        "300 trivial cells": (notebook(300, trivial), large),
        "300 cells x 100 kB": (notebook(300, "print(('{i} ' + 'o' * 95 + '\\n') * 1000)"), large),
    }
    spent = {}
    with tempfile.TemporaryDirectory(prefix="headless-") as folder:
        for name, (document, tools) in cases.items():
            workspace = Path(folder) / name.replace(" ", "-")
            workspace.mkdir()
            (workspace / "mlops.toml").touch()
            source = workspace / "in.ipynb"
            nbformat.write(document, source)
            spent[name] = measure(source, rounds, tools)
    compared = [compare(name, peer, spent[name]) for name in cases for peer in TOOLS[1:] if peer in spent[name]]
    if options.json:
        print(json.dumps({"rounds": rounds, "compared": compared}))
    else:
        show(compared)
    return int(any(row["missed"] for row in compared))


def compare(name: str, peer: str, spent: dict[str, list[Spent]]) -> dict[str, Any]:
    """Ours against a peer, round by round."""
    pairs = list(zip(spent["ours"], spent[peer], strict=True))
    clock = [ours.clock / theirs.clock for ours, theirs in pairs]
    ratio, limit = statistics.median(clock), TARGETS.get((name, peer))
    return {
        "notebook": name,
        "peer": peer,
        "ours": statistics.median(ours.clock for ours, _ in pairs),
        "theirs": statistics.median(theirs.clock for _, theirs in pairs),
        "ratio": ratio,
        "least": min(clock),
        "largest": max(clock),
        "processor": statistics.median(ours.processor / theirs.processor for ours, theirs in pairs),
        "limit": limit,
        "missed": limit is not None and ratio > limit,
    }


def show(compared: list[dict[str, Any]]) -> None:
    """A table of the comparisons."""
    print(
        f"{'notebook':20} {'against':10} {'ours':>8} {'theirs':>8} {'ratio':>7} {'least':>7} {'largest':>8} "
        f"{'processor':>10} {'limit':>6}"
    )
    for row in compared:
        limit = "" if row["limit"] is None else f"{row['limit']:.2f}"
        print(
            f"{row['notebook']:20} {row['peer']:10} {row['ours']:7.2f}s {row['theirs']:7.2f}s {row['ratio']:7.2f} "
            f"{row['least']:7.2f} {row['largest']:8.2f} {row['processor']:10.2f} {limit:>6}"
            f"{'  MISSED' if row['missed'] else ''}"
        )


if __name__ == "__main__":
    raise SystemExit(main())
