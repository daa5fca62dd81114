"""What ``%%track`` adds to a cell that fits a LogisticRegression, against the same cell in bare IPython."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile

from _report import median, report

ROUNDS = 40
"""Bare and tracked take turns, so that what else the machine does falls on both."""

CODE = """
import json, sys, time
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
tracked = sys.argv[1] == "tracked"
if tracked:
    shell.run_line_magic("load_ext", "mlops_jupyter")
shell.run_cell('''
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.metrics import accuracy_score
X, y = load_breast_cancer(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
''', store_history=True)
body = '''model = LogisticRegression(C=0.5, max_iter=50, solver="liblinear").fit(X_train, y_train)
accuracy = accuracy_score(y_test, model.predict(X_test))'''
source = ("%%track\\n" if tracked else "") + body
for line in sys.stdin:
    clock, before = time.process_time(), time.perf_counter()
    assert shell.run_cell(source, store_history=True).success
    print(json.dumps([time.perf_counter() - before, time.process_time() - clock]), flush=True)
"""


def main() -> None:
    seen: dict[str, list[list[float]]] = {"bare": [], "tracked": []}
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ, "MLOPS_HOME": f"{folder}/.mlops", "MLOPS_DELIVER": "false", "IPYTHONDIR": f"{folder}/ipython",
        }  # fmt: skip
        workers = {
            kind: subprocess.Popen(
                [sys.executable, "-W", "ignore", "-c", CODE, kind],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment,
                cwd=folder,
            )
            for kind in seen
        }
        for _ in range(ROUNDS):
            for kind, worker in workers.items():
                assert worker.stdin and worker.stdout
                worker.stdin.write("\n")
                worker.stdin.flush()
                line = worker.stdout.readline()
                while not line.startswith("["):  # what the tracked cell displays
                    line = worker.stdout.readline()
                seen[kind].append(json.loads(line))
        for worker in workers.values():
            assert worker.stdin
            worker.stdin.close()
            worker.wait()
    rows = []
    for place, clock in enumerate(("", ", CPU time")):
        bare, tracked = (median([took[place] for took in seen[kind][3:]]) * 1e3 for kind in seen)
        rows.append((f"LogisticRegression cell, bare{clock}", bare, "ms", ""))
        rows.append((f"%%track adds before the cell returns{clock}", tracked - bare, "ms", "aim <= 10"))
    report("track_fit", rows)


if __name__ == "__main__":
    main()
