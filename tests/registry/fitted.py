"""Recorded runs that fitted a real model, made as the kernel records them."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from mlops_jupyter.config import Settings
from mlops_jupyter.data.exchange import open_exchange
from mlops_jupyter.entities import (
    CellExecution,
    DatasetVersion,
    Digest,
    EntityKind,
    EntityVersion,
    ExecutionId,
    ExecutionStatus,
    Grade,
    RunStatus,
    RunUid,
    SessionId,
    VersionId,
)
from mlops_jupyter.store import Connection, executions, runs
from tests.tracking.workspaces import new_model, new_run, new_session

X = np.array([[0.0, 1.0], [1.0, 0.0], [0.2, 0.9], [0.8, 0.1]] * 10)
Y = np.array([0, 1, 0, 1] * 10)
PINNED = tuple(f"{name}=={version(name)}" for name in ("cloudpickle", "numpy", "scikit-learn", "scipy"))
SIGNATURE = json.dumps(
    {
        "inputs": '[{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 2]}}]',
        "outputs": '[{"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}]',
    }
)


def classifier(**params: Any) -> LogisticRegression:
    """A small fitted classifier."""
    return LogisticRegression(**({"C": 0.5} | params)).fit(X, Y)


def record_run(
    settings: Settings, store: Connection, models: dict[str, Any], *, session: SessionId | None = None, **fields: Any
) -> RunUid:
    """A finished run of one cell that fitted ``models`` (variable -> estimator)."""
    exchange = open_exchange(settings)
    session = session or new_session(store)
    run_uid = new_run(store, fields.pop("name", "train"), session_id=session, notebook="train.ipynb", **fields)
    source = "%%track\n" + "\n".join(f"{name} = fit()" for name in models)
    cell = append_cell(store, session, source, [*models], run_uid=run_uid)
    runs.set_tags(store, run_uid, {"mlflow.source.git.commit": "c0ffee", "mlops.git.dirty": "false"})
    runs.add_dataset(
        store, run_uid,
        DatasetVersion(
            name="X", digest=Digest("xxh3:" + "ab" * 16), source="data.csv", context="training", shape=X.shape
        ),
    )  # fmt: skip
    example = exchange.put_bytes(json.dumps({"inputs": X[:3].tolist()}).encode())
    for name, value in models.items():
        values = {"requirements": PINNED, "signature": SIGNATURE, "input_example": example}
        runs.add_model(store, run_uid, new_model(settings, value, name=name, **values))
    runs.end_run(store, run_uid, RunStatus.FINISHED)
    assert cell.run_uid == run_uid
    return run_uid


def append_cell(
    store: Connection, session: SessionId, source: str, variables: Sequence[str] = (), *,
    files: dict[str, Digest] | None = None, run_uid: RunUid | None = None,
) -> CellExecution:  # fmt: skip
    """Record a cell that assigned ``variables`` and wrote ``files``."""
    ((position,),) = store.execute("SELECT COUNT(*) FROM executions WHERE session_id = ?", (session,))
    cell = CellExecution(
        execution_id=ExecutionId(uuid.uuid4().hex), session_id=session, position=position, execution_count=position + 1,
        cell_id=f"c{position}", notebook="train.ipynb", source=source, source_digest=Digest(f"sha256:{hash(source)}"),
        started_at=time.time(), duration=0.1, status=ExecutionStatus.OK, run_uid=run_uid,
    )  # fmt: skip
    made = [(EntityKind.VARIABLE, name, None) for name in variables]
    made += [(EntityKind.FILE, name, digest) for name, digest in (files or {}).items()]
    versions = [
        EntityVersion(
            version_id=VersionId(uuid.uuid4().int >> 66), kind=kind, name=name, session_id=session, strong=True,
            execution_id=cell.execution_id, grade=Grade.EXACT, reason="assigned", at=time.time(), digest=digest,
        )
        for kind, name, digest in made
    ]  # fmt: skip
    executions.append_execution(store, cell, versions=versions)
    return cell
