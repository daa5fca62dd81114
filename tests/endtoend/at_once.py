"""Rounds of three kernels that load the extension at the same instant in an empty folder: ``at_once.py ROUNDS``.

A process of its own forks the kernels after IPython is imported, so that a round takes a fraction of a second and the
three truly start together. Prints one line for each round that went wrong, and how many went well.
"""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from IPython.core.interactiveshell import InteractiveShell

KERNELS = 3
COUNTS = """SELECT (SELECT COUNT(*) FROM sessions), (SELECT COUNT(*) FROM runs WHERE status = 'FINISHED'),
    (SELECT COUNT(*) FROM executions), (SELECT COUNT(*) FROM metrics), (SELECT COUNT(*) FROM faults)"""


def kernel(folder: str, barrier: Any) -> None:
    """Load the extension, track a cell, end."""
    os.chdir(folder)
    shell = InteractiveShell.instance()
    shell.history_manager.enabled = False
    barrier.wait()
    shell.run_line_magic("load_ext", "mlops_jupyter")
    result = shell.run_cell("%%track\nx = sum([1, 2])", store_history=True)
    from mlops_jupyter import capture

    session = capture.current()
    fine = result.success and session is not None and not session.sink.in_memory
    capture.unload(shell)
    os._exit(0 if fine else 1)


def main(rounds: int) -> int:
    context = multiprocessing.get_context("fork")
    well = 0
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            barrier = context.Barrier(KERNELS)
            kernels = [context.Process(target=kernel, args=(folder, barrier)) for _ in range(KERNELS)]
            for process in kernels:
                process.start()
            for process in kernels:
                process.join(60)
            codes = [process.exitcode for process in kernels]
            with closing(sqlite3.connect(Path(folder) / ".mlops" / "lineage.db")) as store:
                counts = store.execute(COUNTS).fetchone()
            if codes == [0] * KERNELS and counts == (KERNELS, KERNELS, KERNELS, KERNELS, 0):
                well += 1
            else:
                print(f"round {number}: exit codes {codes}, sessions, runs, executions, metrics, faults {counts}")
    print(f"{well} of {rounds} rounds went well")
    return 0 if well == rounds else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
