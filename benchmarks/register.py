"""Registering a fitted scikit-learn pipeline: ours from the recorded run, against MLflow's own defaults.

Both in one process, with scikit-learn and MLflow imported before, each into an MLflow database of its own that exists.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _report import median, report

ROUNDS = 5
PEER_ROUNDS = 2
"""MLflow starts a process that imports the model to guess its requirements, which takes many seconds."""

SETUP = """
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
X, y = load_breast_cancer(return_X_y=True, as_frame=True)
"""
TRACKED = """%%track
model = make_pipeline(StandardScaler(), LogisticRegression(C={c})).fit(X, y)
accuracy = model.score(X, y)
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {
            "MLOPS_HOME": f"{folder}/.mlops", "MLOPS_DELIVER": "false", "IPYTHONDIR": f"{folder}/ipython",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }  # fmt: skip
        os.chdir(folder)
        from IPython.core.interactiveshell import InteractiveShell
        from traitlets.config import Config

        # The folder is gone when the shell ends, so its history must not be in it.
        shell = InteractiveShell.instance(config=Config({"HistoryManager": {"hist_file": ":memory:"}}))
        shell.run_line_magic("load_ext", "mlops_jupyter")
        assert shell.run_cell(SETUP, store_history=True).success
        ours, with_delivery = measure_ours(shell)
        peer = measure_mlflow(shell.user_ns["model"], Path(folder))
        shell.run_line_magic("unload_ext", "mlops_jupyter")
        os.chdir(tempfile.gettempdir())  # the shell asks for the current folder when it ends
    report(
        "register",
        [
            ("mlops register, run delivered before", median(ours), "s", "aim <= 1"),
            ("mlops register, run delivered with it", median(with_delivery), "s", ""),
            ("mlflow.sklearn.log_model(registered_model_name=)", median(peer), "s", ""),
            ("MLflow's defaults over ours", median(peer) / median(ours), "x", ""),
        ],
    )


def measure_ours(shell: Any) -> tuple[list[float], list[float]]:
    """Seconds of ``register`` for runs that MLflow has already, and for runs that it lacks."""
    from mlops_jupyter.tracking import sync
    from mlops_jupyter.verbs.register import register
    from mlops_jupyter.workspace import open_workspace

    times: tuple[list[float], list[float]] = ([], [])
    with open_workspace() as workspace:
        for number in range(2 * ROUNDS + 1):
            assert shell.run_cell(TRACKED.format(c=number + 1), store_history=True).success
            ((run,),) = workspace.store.execute("SELECT run_uid FROM runs ORDER BY seq DESC LIMIT 1")
            delivered = number % 2 == 1
            if delivered:
                sync(workspace.settings)
            began = time.perf_counter()
            document = register(workspace, run, name="cancer")
            if number:  # the first one imports MLflow and makes its database
                times[0 if delivered else 1].append(time.perf_counter() - began)
            assert (document["version"], document["format"]) == (number + 1, "skops"), document
    return times


def measure_mlflow(model: Any, folder: Path) -> list[float]:
    """Seconds of MLflow's own way with its defaults."""
    import logging
    import warnings

    import mlflow

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'peer.db'}")
    mlflow.set_experiment("peer")
    times = []
    for _ in range(PEER_ROUNDS):
        with mlflow.start_run():
            began = time.perf_counter()
            mlflow.sklearn.log_model(model, name="model", registered_model_name="cancer")
            times.append(time.perf_counter() - began)
    return times


if __name__ == "__main__":
    sys.exit(main())
