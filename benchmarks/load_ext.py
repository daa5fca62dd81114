"""What ``%load_ext mlops_jupyter`` costs in a fresh kernel: milliseconds and resident memory beyond IPython's own.

Each figure is the median over processes. The peer is ``import mlflow`` in the same kind of process: what a notebook
pays that logs to it directly.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile

from _report import median, report

CODE = """
import json, resource, sys, time
from ipykernel.zmqshell import ZMQInteractiveShell
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.run_cell("x = 1")
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20
before, memory = time.perf_counter(), resident()
shell.run_cell(sys.argv[1])
took, memory = time.perf_counter() - before, resident() - memory
names = "mlflow ray pandas numpy papermill sklearn pyarrow plotly".split()
heavy = [name for name in names if name in sys.modules]
print(json.dumps([took * 1e3, memory, heavy]))
"""


def measure(statement: str, rounds: int) -> tuple[float, float, set[str]]:
    """Milliseconds and MiB of a statement in a fresh shell (medians), and the heavy libraries that it imported."""
    times, memories, heavy = [], [], set()
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"MLOPS_HOME": f"{folder}/.mlops", "MLOPS_DELIVER": "false"}
        for number in range(rounds + 1):
            out = subprocess.run(
                [sys.executable, "-c", CODE, statement],
                env=environment,
                cwd=folder,
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            took, memory, modules = json.loads(out.splitlines()[-1])
            if number:  # the first one makes the workspace and fills the file cache
                times.append(took)
                memories.append(memory)
            heavy |= set(modules)
    return median(times), median(memories), heavy


def main(rounds: int = 7) -> None:
    took, memory, heavy = measure("%load_ext mlops_jupyter", rounds)
    peer_took, peer_memory, _ = measure("import mlflow", 3)
    report(
        "load_ext",
        [
            ("%load_ext mlops_jupyter, beyond IPython", took, "ms", "aim <= 100"),
            ("resident memory, beyond IPython", memory, "MiB", "aim <= 15"),
            (f"heavy libraries imported {sorted(heavy)}", len(heavy), "", "aim 0"),
            ("import mlflow, beyond IPython", peer_took, "ms", ""),
            ("its resident memory", peer_memory, "MiB", ""),
            ("import mlflow / %load_ext, time", peer_took / took, "times", ""),
        ],
    )


if __name__ == "__main__":
    main()
