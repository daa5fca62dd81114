"""``mlops runs``: list, show, compare, note, delete. Every document fits its schema in ``mlops_jupyter/schemas/``."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from mlops_jupyter.entities import CellExecution, Digest, Run, RunUid
from mlops_jupyter.errors import UsageError
from mlops_jupyter.store import Connection, open_team_store
from mlops_jupyter.store import executions as lineage
from mlops_jupyter.store import runs as store_runs
from mlops_jupyter.store.reproductions import latest_reproduction
from mlops_jupyter.store.search import search_runs
from mlops_jupyter.workspace import Workspace

Document = dict[str, Any]
_T = TypeVar("_T")

HISTORY_LIMIT = 10_000
"""Most values of one metric in ``show_run``; of more the last ones are shown."""


def list_runs(
    workspace: Workspace,
    *,
    filter: str = "",  # noqa: A002 - the name of the flag and of MLflow
    order_by: Sequence[str] | str = (),
    limit: int | None = 100,
    offset: int = 0,
    team: bool = False,
) -> Document:
    """One page of the runs that fit ``filter``: ``{"runs": [...], "total": n}``, ``total`` without the paging.

    ``filter`` and ``order_by`` are MLflow's grammar (see ``store.search``); latest first by default. ``team`` reads
    the PostgreSQL at ``store_url`` instead of the local store.

    Raises:
        UsageError: a wrong filter or order; ``team`` without a ``store_url``.
        UnreachableError: the team's store cannot be reached.
    """
    with _reading(workspace, team=team) as store:
        uids, total = search_runs(store, filter=filter, order_by=order_by, limit=limit, offset=offset)
        return {"runs": [run_document(run) for run in store_runs.load_runs(store, uids)], "total": total}


def show_run(workspace: Workspace, run_id: str, *, team: bool = False) -> Document:
    """Everything of one run. ``run_id``: ours, MLflow's, or a unique prefix of at least 8 characters.

    Raises:
        TargetNotFoundError: there is no such run.
        UsageError: the prefix fits several; ``team`` without a ``store_url``.
        UnreachableError: the team's store cannot be reached.
    """
    with _reading(workspace, team=team) as store:
        uid = store_runs.resolve_run(store, run_id)
        document = run_document(store_runs.get_run(store, uid))
        document["param_details"] = [
            {"key": p.key, "value": p.value, "type": p.type_name, "source": str(p.source)}
            for p in store_runs.run_params(store, uid)
        ]
        document["metric_history"] = {
            key: [
                {"value": number(m.value), "step": m.step, "timestamp": m.timestamp} for m in history[-HISTORY_LIMIT:]
            ]
            for key, history in store_runs.metric_histories(store, uid).items()
        }
        document["datasets"] = [
            {
                "name": d.name, "digest": d.digest, "source": d.source, "context": d.context,
                "shape": list(d.shape), "schema": _parsed(d.schema),
            }
            for d in store_runs.run_datasets(store, uid)
        ]  # fmt: skip
        document["models"] = [
            {
                "model_id": m.model_uid, "name": m.name, "class": m.class_name, "flavor": m.flavor,
                "digest": m.digest, "size": m.size, "requirements": list(m.requirements), "error": m.error,
            }
            for m in store_runs.run_models(store, uid)
        ]  # fmt: skip
        document["artifacts"] = [
            {"path": a.path, "digest": a.digest, "size": a.size} for a in store_runs.run_artifacts(store, uid)
        ]
        document["executions"] = [_execution(e) for e in lineage.run_executions(store, uid)]
        document["children"] = list(store_runs.child_runs(store, uid))
        reproduced = latest_reproduction(store, uid)
        document["reproduced"] = (
            None if reproduced is None else {"at": _milliseconds(reproduced.at), "verdict": reproduced.verdict}
        )
        return document


def compare_runs(workspace: Workspace, run_ids: Sequence[str], *, team: bool = False) -> Document:
    """Two or more runs side by side: values by key and run, and which keys, code, data and packages differ.

    Raises:
        UsageError: fewer than two different runs, an ambiguous prefix, ``team`` without a ``store_url``.
        TargetNotFoundError: one of them does not exist.
        UnreachableError: the team's store cannot be reached.
    """
    with _reading(workspace, team=team) as store:
        uids = list(dict.fromkeys(store_runs.resolve_run(store, text) for text in run_ids))
        if len(uids) < 2:
            raise UsageError("Comparing needs two different runs.", hint="mlops runs compare ID ID")
        runs = store_runs.load_runs(store, uids)
        params = _side_by_side(runs, lambda run: run.params)
        metrics = _side_by_side(runs, lambda run: {k: number(v) for k, v in run.metrics.items()})
        data = _side_by_side(runs, lambda run: _data(store, run.run_uid))
        code = {run.run_uid: _code(store, run.run_uid) for run in runs}
        environments = {run.run_uid: _environment(store, run) for run in runs}
        packages = _side_by_side(runs, lambda run: environments[run.run_uid][1])
    digests = {uid: digest for uid, (digest, _) in environments.items()}
    return {
        "runs": [run_document(run) for run in runs],
        "params": params,
        "metrics": metrics,
        "differing_params": _differing(params, uids),
        "differing_metrics": _differing(metrics, uids),
        "code": code,
        "code_differs": len(set(code.values())) > 1,
        "data": data,
        "differing_data": _differing(data, uids),
        "environment": digests,
        "environment_differs": len(set(digests.values())) > 1,
        "differing_packages": {key: packages[key] for key in _differing(packages, uids)},
    }


def note_run(workspace: Workspace, run_id: str, text: str) -> Document:
    """Replace the note of a run (Markdown) and return the run. Raises as ``show_run``."""
    uid = store_runs.resolve_run(workspace.store, run_id)
    store_runs.set_note(workspace.store, uid, text)
    return run_document(store_runs.get_run(workspace.store, uid))


def delete_run(workspace: Workspace, run_id: str) -> Document:
    """Mark a run as deleted, here and with the next delivery in MLflow, and return it. Raises as ``show_run``.

    Its records stay until ``mlops gc``.
    """
    uid = store_runs.resolve_run(workspace.store, run_id)
    store_runs.delete_run(workspace.store, uid)
    return run_document(store_runs.get_run(workspace.store, uid))


def run_document(run: Run) -> Document:
    """A run as JSON, in MLflow's words; fits ``run.json``."""
    return {
        "run_id": run.run_uid,
        "mlflow_run_id": run.mlflow_run_id,
        "name": run.name,
        "experiment": run.experiment,
        "status": str(run.status),
        "start_time": _milliseconds(run.started_at),
        "end_time": None if run.ended_at is None else _milliseconds(run.ended_at),
        "duration": None if run.ended_at is None else max(0.0, run.ended_at - run.started_at),
        "deleted_time": None if run.deleted_at is None else _milliseconds(run.deleted_at),
        "parent_run_id": run.parent_uid,
        "notebook": run.notebook,
        "user": run.user,
        "note": run.note,
        "session_id": run.session_id,
        "execution_id": run.execution_id,
        "params": dict(run.params),
        "metrics": {key: number(value) for key, value in run.metrics.items()},
        "tags": dict(run.tags),
    }


def number(value: float) -> float | str:
    """``value`` for JSON, which has no word for these three: ``"NaN"``, ``"Infinity"``, ``"-Infinity"``."""
    if math.isfinite(value):
        return value
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


@contextmanager
def _reading(workspace: Workspace, *, team: bool) -> Iterator[Connection]:
    if not team:
        yield workspace.store
        return
    store = open_team_store(workspace.settings)
    try:
        yield store
    finally:
        store.close()


def _execution(e: CellExecution) -> Document:
    return {
        "execution_id": e.execution_id,
        "cell_id": e.cell_id,
        "notebook": e.notebook,
        "position": e.position,
        "execution_count": e.execution_count,
        "source": e.source,
        "status": str(e.status),
        "error": e.error,
        "start_time": _milliseconds(e.started_at),
        "duration": e.duration,
    }


def _side_by_side(runs: Sequence[Run], values: Callable[[Run], Mapping[str, _T]]) -> dict[str, dict[str, _T]]:
    """``{key: {run_id: value}}`` in the order in which the keys are met; a run without a key is left out of it."""
    table: dict[str, dict[str, _T]] = {}
    for run in runs:
        for key, value in values(run).items():
            table.setdefault(key, {})[run.run_uid] = value
    return table


def _differing(table: Mapping[str, Mapping[str, object]], uids: Sequence[RunUid]) -> list[str]:
    """Keys that some run has another value for, or none."""
    missing = object()
    return [key for key, row in table.items() if len({row.get(uid, missing) for uid in uids}) > 1]


def _code(store: Connection, uid: RunUid) -> str | None:
    """One digest for the sources that the run and its children executed, in order; None where there are none."""
    uids = [uid, *store_runs.child_runs(store, uid)]
    digests = [e.source_digest for each in uids for e in lineage.run_executions(store, each)]
    if len(digests) <= 1:
        return digests[0] if digests else None
    return "sha256:" + hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _data(store: Connection, uid: RunUid) -> dict[str, str]:
    """Digests of the data sets by ``name (context)``."""
    found: dict[str, list[str]] = {}
    for d in store_runs.run_datasets(store, uid):
        found.setdefault(f"{d.name} ({d.context})" if d.context else d.name, []).append(d.digest)
    return {key: ", ".join(sorted(digests)) for key, digests in found.items()}


def _environment(store: Connection, run: Run) -> tuple[str | None, dict[str, str]]:
    """Digest of the run's environment and the versions in it."""
    digest = run.tags.get("mlops.environment")
    if digest is None and run.session_id is not None:
        session = lineage.get_session(store, run.session_id)
        digest = session.environment if session else None
    document = _parsed(lineage.environment(store, Digest(digest)) or "") if digest else None
    if not isinstance(document, dict):
        return digest, {}
    packages = document.get("distributions")
    versions = {str(k): str(v) for k, v in packages.items()} if isinstance(packages, dict) else {}
    return digest, {**{k: str(document[k]) for k in ("python", "platform") if k in document}, **versions}


def _parsed(text: str) -> Any:
    """JSON text as a value; None where it is empty or no JSON."""
    try:
        return json.loads(text) if text else None
    except ValueError:
        return None


def _milliseconds(at: float) -> int:
    # Cut off and not rounded, as delivery does for MLflow and search for filters: one run has one start time.
    return int(at * 1000)
