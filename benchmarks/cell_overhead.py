"""What capture adds to a cell, against bare IPython in the same run: two shells in two processes that take turns."""

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
numbers = iter(range(10**9))
def measure(source, rounds):
    wall, processor = [], []
    for _ in range(rounds):
        text = source.replace("NUMBER", str(next(numbers)))
        clock, before = time.thread_time(), time.perf_counter()
        result = shell.run_cell(text, store_history=True)
        wall.append(time.perf_counter() - before)
        processor.append(time.thread_time() - clock)
        assert result.success, result
    return wall, processor
for line in sys.stdin:
    task = json.loads(line)
    if task.get("setup"):
        assert shell.run_cell(task["setup"], store_history=True).success
        measure(task["source"], 3)
    print(json.dumps(measure(task["source"], task["rounds"])), flush=True)
"""

BODY = """
def body(x, scale=2.0):
    total = 0.0
    for item in (x / scale, x + 1, x * 2):
        total += item * item
    return total
"""
REPEATS = 8
"""Bare and loaded take turns, so that what else the machine does falls on both."""

TASKS: list[tuple[str, dict[str, object], str]] = [
    ("trivial cell, 10 names", {"source": "value = NUMBER", "rounds": 25}, "aim <= 1 ms more"),
    (
        "trivial cell, 1,000 names",
        {
            "setup": "globals().update({f'name_{i}': [i] for i in range(1000)})",
            "source": "value = NUMBER",
            "rounds": 25,
        },
        "aim <= 1 ms more",
    ),
    (
        "1e6-iteration loop",
        {"source": "total = 0\nfor i in range(1_000_000):\n    total += i", "rounds": 1},
        "aim <= 2 % more",
    ),
    (
        "2e5 calls of a function of the notebook",
        {"setup": BODY, "source": "for i in range(200_000):\n    body(i)", "rounds": 1},
        "aim <= 10 % more",
    ),
    (
        "2e5 calls of one that only divides",
        {"setup": "def half(x):\n    return x / 2", "source": "for i in range(200_000):\n    half(i)", "rounds": 1},
        "",
    ),
    (
        "trivial cell, 10,000 names",
        {
            "setup": "globals().update({f'name_{i}': [i] for i in range(10000)})",
            "source": "value = NUMBER",
            "rounds": 15,
        },
        "aim <= 8 ms more",
    ),
]


def main() -> None:
    rows: list[tuple[str, float, str, str]] = []
    with tempfile.TemporaryDirectory() as folder:
        environment = (
            os.environ
            | {"MLOPS_HOME": f"{folder}/.mlops", "MLOPS_DELIVER": "false"}
            | {"IPYTHONDIR": f"{folder}/ipython"}
        )
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
            seen: dict[str, tuple[list[float], list[float]]] = {kind: ([], []) for kind in workers}
            for repeat in range(REPEATS):
                for kind, worker in workers.items():
                    assert worker.stdin and worker.stdout
                    worker.stdin.write(json.dumps(task if repeat == 0 else {**task, "setup": None}) + "\n")
                    worker.stdin.flush()
                    for kept, new in zip(seen[kind], json.loads(worker.stdout.readline()), strict=True):
                        kept += new
            for clock, place in (("", 0), (", CPU time", 1)):
                bare, loaded = (median(seen[kind][place]) for kind in ("bare", "loaded"))
                what = f"{name}{clock} (bare {bare * 1e3:.2f} ms)"
                if "loop" in name or "calls" in name:
                    rows.append((what, 100 * (loaded - bare) / bare, "%", aim))
                else:
                    rows.append((what, (loaded - bare) * 1e3, "ms", aim))
        for worker in workers.values():
            assert worker.stdin
            worker.stdin.close()
            worker.wait()
    report("cell_overhead", rows)


if __name__ == "__main__":
    main()
