"""What capture adds to a cell, against bare IPython in the same run: two shells in two processes, measured in turn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile

from _report import median, report

CODE = """
import json, sys, time
from IPython.core.interactiveshell import InteractiveShell
loaded = sys.argv[1] == "loaded"
shell = InteractiveShell.instance()
if loaded:
    shell.run_line_magic("load_ext", "mlops_jupyter")
def measure(source, rounds, setup=None):
    took = []
    for number in range(rounds):
        if setup:
            shell.run_cell(setup)
        text = source.replace("NUMBER", str(number))
        before = time.perf_counter()
        result = shell.run_cell(text, store_history=True)
        took.append(time.perf_counter() - before)
        assert result.success, result
    return took
for line in sys.stdin:
    task = json.loads(line)
    if task.get("setup"):
        assert shell.run_cell(task["setup"], store_history=True).success
    print(json.dumps(measure(task["source"], task["rounds"])), flush=True)
"""

TASKS: list[tuple[str, dict[str, object], str]] = [
    ("trivial cell, 10 names", {"source": "value = NUMBER", "rounds": 200}, "aim <= 1 ms more"),
    (
        "trivial cell, 1,000 names",
        {
            "setup": "globals().update({f'name_{i}': [i] for i in range(1000)})",
            "source": "value = NUMBER",
            "rounds": 200,
        },
        "aim <= 1 ms more",
    ),
    (
        "1e6-iteration loop",
        {"source": "total = 0\nfor i in range(1_000_000):\n    total += i", "rounds": 9},
        "aim <= 2 % more",
    ),
    (
        "2e5 calls of a notebook function",
        {"setup": "def half(x):\n    return x / 2", "source": "for i in range(200_000):\n    half(i)", "rounds": 9},
        "aim <= 10 % more",
    ),
    (
        "trivial cell, 10,000 names",
        {
            "setup": "globals().update({f'name_{i}': [i] for i in range(10000)})",
            "source": "value = NUMBER",
            "rounds": 100,
        },
        "aim <= 8 ms more",
    ),
]


def main() -> None:
    rows: list[tuple[str, float, str, str]] = []
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"MLOPS_HOME": f"{folder}/.mlops", "MLOPS_DELIVER": "false"}
        workers = {
            kind: subprocess.Popen(
                [sys.executable, "-c", CODE, kind],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment,
                cwd=folder,
            )
            for kind in ("bare", "loaded")
        }
        for name, task, aim in TASKS:
            figures = {}
            for kind, worker in workers.items():
                assert worker.stdin and worker.stdout
                worker.stdin.write(json.dumps(task) + "\n")
                worker.stdin.flush()
                figures[kind] = median(json.loads(worker.stdout.readline()))
            more = (figures["loaded"] - figures["bare"]) * 1e3
            if aim.endswith("% more"):
                rows.append((name, 100 * more / (figures["bare"] * 1e3), "%", aim))
            else:
                rows.append((f"{name} (bare {figures['bare'] * 1e3:.2f} ms)", more, "ms", aim))
        for worker in workers.values():
            assert worker.stdin
            worker.stdin.close()
            worker.wait()
    report("cell_overhead", rows)


if __name__ == "__main__":
    main()
