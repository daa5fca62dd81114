"""``log_metric``: ours against ``mlflow.log_metric`` on SQLite, in one process, median of single calls.

Run with ``python benchmarks/log_metric.py``. Ours writes each value to the local store before it returns; MLflow's
commits it to its database. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def median_call(call: Callable[[int], None], count: int) -> float:
    """Median duration of ``count`` calls, in seconds."""
    durations = []
    for step in range(count):
        before = time.perf_counter()
        call(step)
        durations.append(time.perf_counter() - before)
    return statistics.median(durations)


def ours(folder: Path, count: int) -> float:
    """Median of one ``mlops.log_metric`` in a script, in seconds."""
    os.environ.update(MLOPS_HOME=str(folder / ".mlops"), MLOPS_DELIVER="false")
    import mlops_jupyter as mlops

    mlops.log_metric("warm", 0.0)
    return median_call(lambda step: mlops.log_metric("loss", 1.0 / (step + 1), step=step), count)


def theirs(folder: Path, count: int) -> float:
    """Median of one ``mlflow.log_metric`` on a fresh SQLite database, in seconds."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    with mlflow.start_run():
        mlflow.log_metric("warm", 0.0)
        return median_call(lambda step: mlflow.log_metric("loss", 1.0 / (step + 1), step=step), count)


def main() -> int:
    """Measure and print; 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="calls of ours")
    parser.add_argument("--mlflow-count", type=int, default=300, help="calls of MLflow's")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        ours_seconds = ours(Path(folder), options.count)
        theirs_seconds = theirs(Path(folder), options.mlflow_count)
    ratio = theirs_seconds / ours_seconds
    print(
        json.dumps(
            {
                "log_metric_us": round(ours_seconds * 1e6, 1),
                "mlflow_log_metric_us": round(theirs_seconds * 1e6, 1),
                "ratio": round(ratio, 1),
                "target": {"log_metric_us": 50, "ratio": 100},
            }
        )
    )
    return 0 if ours_seconds <= 50e-6 and ratio >= 100 else 1


if __name__ == "__main__":
    sys.exit(main())
