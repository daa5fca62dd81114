"""How long a conversion without verification takes, the start of the process included.

    python benchmarks/convert.py [--cells 200] [--rounds 5]

A session is recorded of a notebook with as many cells, in the proportions of real ones: a third of them only show
something, the others load, clean, fit and score, some again and again after an edit.
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
from typing import Any

from _report import median, report

AIM = 2.0


def cells(count: int) -> list[str]:
    """Text of the cells of a notebook about ``count // 10`` models of one table."""
    made = [
        "%load_ext mlops_jupyter",
        "import json\nfrom pathlib import Path",
        "rows = 40  # how many\nseed = 7",
        "import random\nrandom.seed(seed)\ntable = [{'a': random.random(), 'b': i % 3} for i in range(rows)]",
        "def fit(data, max_depth=3, learning_rate=0.1):\n"
        "    return sum(r['a'] * learning_rate for r in data if r['b'] < max_depth)",
    ]
    block = [
        "part_{n} = [dict(r, c=r['a'] * {n}) for r in table if r['b'] != {n} % 3]",
        "part_{n}[:2]",
        "for row in part_{n}:\n    row['a'] = round(row['a'], 6)",
        "len(part_{n})",
        "print(part_{n}[0])",
        "model_{n} = fit(part_{n}, max_depth={n} % 4, learning_rate=0.{n})",
        "score_{n} = round(model_{n} / len(part_{n}), 8)",
        "score_{n}",
        "%%track model-{n}\nfinal_{n} = fit(part_{n}, max_depth={n} % 3) + score_{n}",
        "Path('score_{n}.json').write_text(json.dumps(final_{n}))",
    ]
    number = 1
    while len(made) < count:
        made += [text.replace("{n}", str(number)) for text in block]
        number += 1
    return made[:count]


def record(folder: Path, texts: list[str]) -> Path:
    """Play the notebook in a shell with capture and write its file."""
    notebook = folder / "work.ipynb"
    document: dict[str, Any] = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    for number, text in enumerate(texts):
        if number % 10 == 5:
            heading = {
                "cell_type": "markdown",
                "id": f"m{number}",
                "metadata": {},
                "source": f"## Part {number}\n\nText.",
            }
            document["cells"].append(heading)
        code = {"cell_type": "code", "id": f"c{number}", "metadata": {}, "source": text, "outputs": []}
        document["cells"].append({**code, "execution_count": None})
    notebook.write_text(json.dumps(document))
    play = (
        "import json, sys\n"
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "from traitlets.config import Config\n"
        "from mlops_jupyter import capture\n"
        "shell = InteractiveShell.instance(config=Config({'HistoryManager': {'enabled': False}}))\n"
        "capture.load(shell)\n"
        "for number, text in enumerate(json.load(sys.stdin)):\n"
        "    shell.run_cell(text, store_history=True, cell_id=f'c{number}').raise_error()\n"
        "capture.unload(shell)\n"
    )
    subprocess.run(
        [sys.executable, "-c", play], input=json.dumps(texts), text=True, check=True, cwd=folder,
        env=environment(notebook), stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return notebook


def environment(notebook: Path) -> dict[str, str]:
    """For processes of this checkout."""
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith(("MLOPS_", "MLFLOW_"))}, "PYTHONPATH": path,
        "MLOPS_DELIVER": "false", "JPY_SESSION_NAME": str(notebook),
    }  # fmt: skip


def convert(notebook: Path, out: str) -> tuple[float, float, float]:
    """Seconds of the whole command, of the conversion as it tells itself, and of the processor for the whole."""
    before, began = os.times(), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "mlops_jupyter", "convert", notebook.name, "-o", out, "--verify", "none", "--json"],
        capture_output=True, text=True, check=True, cwd=notebook.parent, env=environment(notebook),
    )  # fmt: skip
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - began, float(json.loads(done.stdout)["duration"]), used


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--cells", type=int, default=200)
    arguments.add_argument("--rounds", type=int, default=5)
    asked = arguments.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "mlops.toml").write_text("")
        notebook = record(folder, cells(asked.cells))
        convert(notebook, "out.ipynb")
        timed = [convert(notebook, "out.ipynb") for _ in range(asked.rounds)]
        (folder / ".mlops" / "lineage.db").unlink()
        static = [convert(notebook, "static.ipynb") for _ in range(asked.rounds)]
    report(
        f"convert, {asked.cells} cells",
        [
            (f"{what}: {part}", median([t[index] for t in times]), "s", aim)
            for what, times in (("recorded", timed), ("never tracked", static))
            for index, part, aim in (
                (0, "the whole command", f"aim <= {AIM}"),
                (1, "the conversion in it", ""),
                (2, "processor time of the command", ""),
            )
        ],
    )


if __name__ == "__main__":
    main()
