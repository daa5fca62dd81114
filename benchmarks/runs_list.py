"""Listing runs: ours against ``mlflow.search_runs``, the same 10,000 runs, filtered and sorted.

    python benchmarks/runs_list.py [RUNS]

The filter takes a sixth of them; a page of 100 is loaded with parameters, metrics and tags.
"""

from __future__ import annotations

import logging
import os
import random
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from _report import median, report

from mlops_jupyter.config import load_settings
from mlops_jupyter.entities import Metric, Run, RunStatus, RunUid
from mlops_jupyter.store import runs as store_runs
from mlops_jupyter.verbs.runs import list_runs
from mlops_jupyter.workspace import Workspace, open_workspace

FILTER = "metrics.accuracy > 0.5 AND params.model = 'tree'"
ORDER = ["metrics.accuracy DESC"]
PAGE = 100
START = 1_700_000_000_000


def values(number: int) -> dict[str, Any]:
    """What run ``number`` has: five parameters, five metrics, three tags."""
    chance = random.Random(number)
    return {
        "uid": f"{chance.getrandbits(128):032x}",
        "start": START + number * 1000,
        "params": {"model": chance.choice(["tree", "forest", "linear"]), **{f"p{n}": str(n) for n in range(4)}},
        "metrics": {"accuracy": chance.random(), **{f"m{n}": chance.random() for n in range(4)}},
        "tags": {f"t{n}": str(n) for n in range(3)},
    }


def fill_ours(workspace: Workspace, count: int) -> None:
    """Write the runs through the functions that capture uses."""
    with workspace.store.transaction():
        for number in range(count):
            row = values(number)
            uid = RunUid(row["uid"])
            run = Run(
                run_uid=uid, name=f"run {number}", experiment="Default", status=RunStatus.RUNNING,
                started_at=row["start"] / 1000, params=row["params"], tags=row["tags"],
            )  # fmt: skip
            store_runs.start_run(workspace.store, run)
            store_runs.log_metrics(
                workspace.store,
                uid,
                [Metric(key=k, value=v, step=0, timestamp=row["start"]) for k, v in row["metrics"].items()],
            )
            store_runs.end_run(workspace.store, uid, RunStatus.FINISHED, at=row["start"] / 1000 + 1)


def fill_mlflow(uri: str, folder: Path, count: int) -> str:
    """Write the same runs into MLflow's own tables; its client would take minutes. Returns the experiment's id."""
    from mlflow.store.tracking.dbmodels.models import SqlLatestMetric, SqlMetric, SqlParam, SqlRun, SqlTag
    from mlflow.tracking import MlflowClient
    from sqlalchemy import create_engine, insert

    experiment = MlflowClient(uri).create_experiment("benchmark", artifact_location=folder.as_uri())
    tables: dict[Any, list[dict[str, Any]]] = {SqlRun: [], SqlParam: [], SqlMetric: [], SqlLatestMetric: [], SqlTag: []}
    for number in range(count):
        row = values(number)
        uid, start = row["uid"], row["start"]
        tables[SqlRun].append(
            {
                "run_uuid": uid, "name": f"run {number}", "source_type": "NOTEBOOK", "source_name": "", "user_id": "a",
                "status": "FINISHED", "start_time": start, "end_time": start + 1000, "lifecycle_stage": "active",
                "artifact_uri": folder.as_uri(), "experiment_id": int(experiment), "entry_point_name": "",
                "source_version": "",
            }
        )  # fmt: skip
        tables[SqlParam] += [{"run_uuid": uid, "key": k, "value": v} for k, v in row["params"].items()]
        tags = {**row["tags"], "mlflow.runName": f"run {number}"}
        tables[SqlTag] += [{"run_uuid": uid, "key": k, "value": v} for k, v in tags.items()]
        for table in (SqlMetric, SqlLatestMetric):
            tables[table] += [
                {"run_uuid": uid, "key": k, "value": v, "timestamp": start, "step": 0, "is_nan": False}
                for k, v in row["metrics"].items()
            ]
    engine = create_engine(uri)
    with engine.begin() as connection:
        for table, rows in tables.items():
            connection.execute(insert(table), rows)
    engine.dispose()
    return experiment


def timed(call: Callable[[], Any], *, times: int) -> tuple[float, Any]:
    """Median duration in milliseconds, after one call that is not counted, and the last result."""
    result = call()
    durations = []
    for _ in range(times):
        start = time.perf_counter()
        result = call()
        durations.append((time.perf_counter() - start) * 1000)
    return median(durations), result


def main() -> None:
    """Measure and print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(prefix="mlops-bench-") as name:
        folder = Path(name)
        (folder / "mlops.toml").touch()
        settings = load_settings(folder, {})
        with open_workspace(settings.root) as workspace:
            fill_ours(workspace, count)
            ours, page = timed(lambda: list_runs(workspace, filter=FILTER, order_by=ORDER, limit=PAGE), times=20)
            plain, _ = timed(lambda: list_runs(workspace, limit=PAGE), times=20)
        import mlflow
        from mlflow.tracking import MlflowClient

        uri = f"sqlite:///{folder / 'mlflow.db'}"
        experiment = fill_mlflow(uri, folder, count)
        client = MlflowClient(uri)
        entities, theirs = timed(
            lambda: client.search_runs([experiment], FILTER, order_by=ORDER, max_results=PAGE), times=3
        )
        mlflow.set_tracking_uri(uri)
        frame, _ = timed(
            lambda: mlflow.search_runs([experiment], filter_string=FILTER, order_by=ORDER, max_results=PAGE), times=3
        )
        if [run["run_id"] for run in page["runs"]] != [run.info.run_id for run in theirs]:
            raise SystemExit("the two lists differ")
    report(
        f"runs_list ({count} runs)",
        [
            (f"mlops: {PAGE} of {page['total']} that fit, filtered and sorted", ours, "ms", "<= 50"),
            (f"mlops: latest {PAGE}, no filter", plain, "ms", ""),
            ("MlflowClient.search_runs, the same page", entities, "ms", ""),
            ("mlflow.search_runs (data frame), the same page", frame, "ms", ""),
            ("mlflow.search_runs / mlops", frame / ours, "times", ""),
        ],
    )


if __name__ == "__main__":
    main()
