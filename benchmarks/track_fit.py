"""What ``%%track`` adds to a cell that fits a LogisticRegression, against the same cell in bare IPython."""

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
took = []
for _ in range(25):
    source = ("%%track\\n" if tracked else "") + body
    before = time.perf_counter()
    assert shell.run_cell(source, store_history=True).success
    took.append(time.perf_counter() - before)
print(json.dumps(took[3:]))
"""


def main() -> None:
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"MLOPS_HOME": f"{folder}/.mlops", "MLOPS_DELIVER": "false"}
        for kind in ("bare", "tracked"):
            out = subprocess.run(
                [sys.executable, "-W", "ignore", "-c", CODE, kind],
                env=environment,
                cwd=folder,
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            figures[kind] = median(json.loads(out.splitlines()[-1])) * 1e3
    report(
        "track_fit",
        [
            ("LogisticRegression cell, bare", figures["bare"], "ms", ""),
            ("%%track adds before the cell returns", figures["tracked"] - figures["bare"], "ms", "aim <= 10"),
        ],
    )


if __name__ == "__main__":
    main()
