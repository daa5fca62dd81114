"""Workspaces with recorded runs, and what must be in MLflow once they are delivered."""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
import uuid
from pathlib import Path
from typing import Any

import cloudpickle

import mlops_jupyter
from mlops_jupyter.config import Settings, load_settings
from mlops_jupyter.data.exchange import open_exchange
from mlops_jupyter.entities import (
    Artifact,
    CellExecution,
    DatasetVersion,
    Digest,
    EntityKind,
    EntityVersion,
    ExecutionId,
    ExecutionStatus,
    Grade,
    Metric,
    ModelRecord,
    Origin,
    Param,
    Run,
    RunStatus,
    RunUid,
    Session,
    SessionId,
    Used,
    VersionId,
)
from mlops_jupyter.store import Connection, executions, runs

METRICS = 1200
"""More than one batch."""


def settings_of(root: Path, **environ: str) -> Settings:
    """Settings of a workspace below ``root``, whatever the environment of the tests says."""
    return load_settings(root, {"MLOPS_HOME": str(root / ".mlops"), **environ})


def child_environment(**environ: str) -> dict[str, str]:
    """Environment of a process that imports the same package as these tests do."""
    package = str(Path(mlops_jupyter.__file__).parents[1])
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "MLFLOW_DISABLE_TELEMETRY": "true", **environ}


def use_template(settings: Settings, template: Path) -> None:
    """Put a fresh MLflow database there instead of spending seconds to make one."""
    settings.state.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(template, settings.state / "mlflow.db")


def new_run(store: Connection, name: str = "a run", **fields: Any) -> RunUid:
    """Record a running run; its id."""
    run_uid = RunUid(uuid.uuid4().hex)
    values = {"experiment": "train.ipynb", "status": RunStatus.RUNNING, "started_at": time.time(), "user": "ada"}
    runs.start_run(store, Run(run_uid=run_uid, name=name, **(values | fields)))
    return run_uid


def new_session(store: Connection, **fields: Any) -> SessionId:
    """Record a session that has not ended; its id."""
    session_id = SessionId(uuid.uuid4().hex)
    values = {
        "origin": Origin.INTERACTIVE, "host": socket.gethostname(), "pid": os.getpid(), "user": "ada",
        "notebook": "train.ipynb", "python": "3.11.4", "environment": None, "started_at": time.time(),
    }  # fmt: skip
    executions.start_session(store, Session(session_id=session_id, **(values | fields)))
    return session_id


def series(key: str, count: int) -> list[Metric]:
    """``count`` different values of one metric."""
    return [
        Metric(key=key, value=1 / (step + 1), step=step, timestamp=1_700_000_000_000 + step) for step in range(count)
    ]


class Doubler:
    """A model with ``predict``: cheap, and pickled by value with the test's code."""

    def predict(self, data: Any) -> Any:
        return data * 2


def new_model(settings: Settings, value: object, *, name: str = "model", **fields: Any) -> ModelRecord:
    """Spool a model as the kernel does."""
    exchange = open_exchange(settings)
    content = cloudpickle.dumps(value)
    values: dict[str, Any] = {
        "class_name": f"{type(value).__module__}.{type(value).__qualname__}", "flavor": "sklearn",
        "requirements": ("scikit-learn==1.5.0",),
    }  # fmt: skip
    return ModelRecord(
        model_uid=uuid.uuid4().hex,
        name=name,
        digest=exchange.put_bytes(content),
        size=len(content),
        **(values | fields),
    )


def new_execution(store: Connection, session_id: SessionId, run_uid: RunUid | None, source: str) -> CellExecution:
    """Record one execution of a cell that reads ``x`` and writes ``y``."""
    execution = CellExecution(
        execution_id=ExecutionId(uuid.uuid4().hex), session_id=session_id, position=0, execution_count=1,
        cell_id="c1", notebook="train.ipynb", source=source, source_digest=Digest(f"sha256:{hash(source)}"),
        started_at=time.time(), duration=0.5, status=ExecutionStatus.OK, run_uid=run_uid,
    )  # fmt: skip
    x, y = (
        EntityVersion(
            version_id=VersionId(uuid.uuid4().int >> 66), kind=EntityKind.VARIABLE, name=name, session_id=session_id,
            execution_id=execution.execution_id if name == "y" else None, strong=True, grade=Grade.EXACT,
            reason="assigned", at=time.time(),
        )
        for name in "xy"
    )  # fmt: skip
    used = Used(execution_id=execution.execution_id, version_id=x.version_id, grade=Grade.EXACT, reason="read")
    executions.append_execution(store, execution, versions=[x, y], uses=[used])
    return execution


def record_everything(settings: Settings, store: Connection) -> dict[str, RunUid]:
    """A workspace with one of everything that is delivered; the ids of its runs by role."""
    exchange = open_exchange(settings)
    session = new_session(store)
    dead = new_session(store, started_at=time.time() - 3600)
    parent = new_run(store, "parent", session_id=session, notebook="train.ipynb")
    child = new_run(store, "child", parent_uid=parent, session_id=session)
    doomed = new_run(store, "doomed")
    killed = new_run(store, "killed", session_id=dead)
    runs.log_params(store, parent, [Param(key=f"p{i}", value=str(i)) for i in range(3)])
    runs.log_params(store, parent, [Param(key="long", value="x" * 7000)])
    runs.log_metrics(store, parent, series("loss", METRICS))
    runs.log_metrics(store, child, series("accuracy", 3))
    runs.log_metrics(store, killed, series("loss", 2))
    runs.set_tags(store, child, {"stage": "one", "weird (name)": "two"})
    runs.set_tags(store, child, {"stage": "three"})
    for path in ("code/cell.py", "figures/plot.png"):
        content = path.encode()
        runs.add_artifact(store, child, Artifact(path=path, digest=exchange.put_bytes(content), size=len(content)))
    runs.add_dataset(
        store, child,
        DatasetVersion(name="iris.csv", digest=Digest("sha256:" + "ab" * 32), source="iris.csv", context="training"),
    )  # fmt: skip
    example = exchange.put_bytes(json.dumps({"inputs": [[1.0, 2.0]]}).encode())
    runs.add_model(store, parent, new_model(settings, Doubler(), name="first", input_example=example))
    runs.add_model(store, child, new_model(settings, Doubler(), name="second"))
    new_execution(store, session, child, "y = x + 1")
    runs.set_note(store, child, "**good**")
    runs.end_run(store, child, RunStatus.FINISHED)
    runs.end_run(store, doomed, RunStatus.FAILED)
    runs.delete_run(store, doomed)
    runs.end_run(store, parent, RunStatus.FINISHED)
    executions.end_session(store, session)
    return {"parent": parent, "child": child, "doomed": doomed, "killed": killed}


def in_mlflow(settings: Settings, store: Connection, ids: dict[str, RunUid]) -> dict[str, Any]:
    """What MLflow holds of these runs, as counts and texts that can be compared."""
    from mlflow import MlflowClient
    from mlflow.entities import ViewType

    client = MlflowClient(tracking_uri=settings.tracking_uri)
    experiments = [e.experiment_id for e in client.search_experiments()]
    found: dict[str, Any] = {"experiments": sorted(e.name for e in client.search_experiments())}
    for role, run_uid in ids.items():
        matches = client.search_runs(experiments, f"tags.`mlops.run_uid` = '{run_uid}'", run_view_type=ViewType.ALL)
        run = client.get_run(matches[0].info.run_id)
        models = client.search_logged_models(experiments, f"source_run_id = '{run.info.run_id}'")
        tags = {
            k: v
            for k, v in run.data.tags.items()
            if not k.startswith("mlflow.") and k not in ("mlops.run_uid", "mlops.delivered")
        }
        found[role] = {
            "runs": len(matches),
            "mirrored": runs.get_run(store, run_uid).mlflow_run_id == run.info.run_id,
            "name": run.info.run_name,
            "status": run.info.status,
            "stage": run.info.lifecycle_stage,
            "parent": run.data.tags.get("mlflow.parentRunId") == runs.get_run(store, ids["parent"]).mlflow_run_id,
            "note": run.data.tags.get("mlflow.note.content"),
            "params": {k: v[:10] for k, v in run.data.params.items()},
            "metrics": {k: len(client.get_metric_history(run.info.run_id, k)) for k in run.data.metrics},
            "tags": tags,
            "artifacts": sorted(_files(client, run.info.run_id)),
            "datasets": [(d.dataset.name, d.dataset.digest) for d in run.inputs.dataset_inputs],
            "models": [(m.name, str(m.status), len(m.metrics or [])) for m in models],
            "outputs": len(run.outputs.model_outputs),
        }
    return found


EXPECTED: dict[str, Any] = {
    "experiments": ["Default", "train.ipynb"],
    "parent": {
        "runs": 1, "mirrored": True, "name": "parent", "status": "FINISHED", "stage": "active", "parent": False,
        "note": None, "params": {"p0": "0", "p1": "1", "p2": "2", "long": "x" * 10}, "metrics": {"loss": METRICS},
        "tags": {}, "artifacts": ["mlops/full_values.json"], "datasets": [],
        "models": [("first", "READY", 1)], "outputs": 1,
    },
    "child": {
        "runs": 1, "mirrored": True, "name": "child", "status": "FINISHED", "stage": "active", "parent": True,
        "note": "**good**", "params": {}, "metrics": {"accuracy": 3},
        "tags": {"stage": "three", "weird _x28_name_x29_": "two"},
        "artifacts": ["code/cell.py", "figures/plot.png", "lineage/executions.json"],
        "datasets": [("iris.csv", "ab" * 16)], "models": [("second", "READY", 1)], "outputs": 1,
    },
    "doomed": {
        "runs": 1, "mirrored": True, "name": "doomed", "status": "FAILED", "stage": "deleted", "parent": False,
        "note": None, "params": {}, "metrics": {}, "tags": {}, "artifacts": [], "datasets": [], "models": [],
        "outputs": 0,
    },
    "killed": {
        "runs": 1, "mirrored": True, "name": "killed", "status": "KILLED", "stage": "active", "parent": False,
        "note": None, "params": {}, "metrics": {"loss": 2}, "tags": {}, "artifacts": [], "datasets": [], "models": [],
        "outputs": 0,
    },
}  # fmt: skip
"""What ``in_mlflow`` finds of ``record_everything`` when each thing is there exactly once."""


def _files(client: Any, run_id: str, folder: str | None = None) -> list[str]:
    found: list[str] = []
    for entry in client.list_artifacts(run_id, folder):
        found += _files(client, run_id, entry.path) if entry.is_dir else [entry.path]
    return found
