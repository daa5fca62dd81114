"""Runs: parameters, metrics, tags, artifacts, data sets, models, and the events that deliver them."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mlops_jupyter.entities import (
    Artifact,
    DatasetVersion,
    Metric,
    ModelRecord,
    Param,
    ParamSource,
    Run,
    RunStatus,
    RunUid,
)
from mlops_jupyter.errors import TargetNotFoundError, UsageError

from .connection import Connection, Row, storable

_RUN = (
    "run_uid, name, experiment, status, started_at, ended_at, parent_uid, session_id, execution_id, notebook, actor, "
    "mlflow_run_id, note, deleted_at"
)


def start_run(connection: Connection, run: Run) -> None:
    """Record a run that starts, with the parameters and tags that it already has."""
    with connection.transaction():
        connection.execute(
            f"INSERT INTO runs ({_RUN}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
            (
                run.run_uid, run.name, run.experiment, run.status, run.started_at, run.ended_at, run.parent_uid,
                run.session_id, run.execution_id, run.notebook, run.user, run.mlflow_run_id, run.note, run.deleted_at,
            ),
        )  # fmt: skip
        _event(connection, run.run_uid, "started", run.started_at)
        set_tags(connection, run.run_uid, run.tags)
        log_params(connection, run.run_uid, [Param(key=k, value=v) for k, v in run.params.items()])


def end_run(connection: Connection, run_uid: RunUid, status: RunStatus, *, at: float | None = None) -> bool:
    """Record how a run ended; whether it was still running (a second end changes nothing)."""
    at = time.time() if at is None else at
    with connection.transaction():
        ended = connection.execute(
            "UPDATE runs SET status = ?, ended_at = ? WHERE run_uid = ? AND status = 'RUNNING' RETURNING run_uid",
            (status, at, run_uid),
        )
        if ended:
            _event(connection, run_uid, "ended", at, status=str(status))
    return bool(ended)


def log_params(connection: Connection, run_uid: RunUid, params: Iterable[Param], *, found: bool = False) -> None:
    """Add parameters. As in MLflow a parameter cannot change.

    ``found``: they were found rather than logged by the user; one that is there already is kept without a word.

    Raises:
        UsageError: a parameter exists with another value; nothing is added.
    """
    rows = [(run_uid, p.key, p.value, p.type_name, p.source) for p in params]
    with connection.transaction():
        if not found:
            _refuse_changes(connection, run_uid, rows)
        connection.executemany(
            "INSERT INTO params (run_uid, key, value, type_name, source) VALUES (?,?,?,?,?) "
            "ON CONFLICT (run_uid, key) DO NOTHING",
            rows,
        )


def _refuse_changes(connection: Connection, run_uid: RunUid, rows: Sequence[Row]) -> None:
    existing: dict[str, str] = {}
    for start in range(0, len(rows), 500):
        keys = [row[1] for row in rows[start : start + 500]]
        marks = ",".join("?" * len(keys))
        found = connection.execute(
            f"SELECT key, value FROM params WHERE run_uid = ? AND key IN ({marks})", (run_uid, *keys)
        )
        existing.update(dict(found))
    for _, key, value, *_ in rows:
        # What the database holds went through ``storable``.
        before = existing.setdefault(storable(key), storable(value))
        if before != storable(value):
            raise UsageError(
                f"Parameter {key!r} of this run is {before!r} and cannot become {value!r}.",
                hint="Log it under another name, or start another run.",
            )


_METRIC = "INSERT INTO metrics (run_uid, key, value, step, timestamp) VALUES (?,?,?,?,?)"


def log_metrics(connection: Connection, run_uid: RunUid, metrics: Sequence[Metric]) -> None:
    """Append metric values, all or nothing; the database moves the latest value of each. NaN is kept as NULL.

    One value is one statement that commits by itself: this is what a training loop calls.
    """
    rows = [
        # A NaN is the one value that differs from itself.
        (run_uid, m.key, m.value if m.value == m.value else None, m.step, m.timestamp)
        for m in metrics
    ]
    if len(rows) == 1:
        connection.execute(_METRIC, rows[0])
    elif rows:
        connection.executemany(_METRIC, rows)


def set_tags(connection: Connection, run_uid: RunUid, tags: Mapping[str, str]) -> None:
    """Set tags; a later value replaces an earlier one."""
    with connection.transaction():
        for key, value in tags.items():
            connection.execute(
                "INSERT INTO tags (run_uid, key, value) VALUES (?,?,?) "
                "ON CONFLICT (run_uid, key) DO UPDATE SET value = excluded.value",
                (run_uid, key, value),
            )
            _event(connection, run_uid, "tag", time.time(), key=key, value=value)


def add_artifact(connection: Connection, run_uid: RunUid, artifact: Artifact) -> None:
    """Add a file whose bytes are in the exchange. A later one at the same path replaces it."""
    connection.execute(
        "INSERT INTO artifacts (run_uid, path, digest, size) VALUES (?,?,?,?)",
        (run_uid, artifact.path, artifact.digest, artifact.size),
    )


def add_dataset(connection: Connection, run_uid: RunUid, dataset: DatasetVersion) -> None:
    """Add a data set that the run used; the same one twice counts once."""
    connection.execute(
        "INSERT INTO datasets (run_uid, name, digest, source, context, shape, schema) VALUES (?,?,?,?,?,?,?) "
        "ON CONFLICT DO NOTHING",
        (
            run_uid, dataset.name, dataset.digest, dataset.source, dataset.context,
            json.dumps(dataset.shape), dataset.schema,
        ),
    )  # fmt: skip


def add_model(connection: Connection, run_uid: RunUid, model: ModelRecord) -> None:
    """Add a model that the run fitted."""
    connection.execute(
        "INSERT INTO models (model_uid, run_uid, name, class_name, flavor, digest, size, signature, input_example, "
        "requirements, error) VALUES (?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING",
        (
            model.model_uid, run_uid, model.name, model.class_name, model.flavor, model.digest, model.size,
            model.signature, model.input_example, json.dumps(list(model.requirements)), model.error,
        ),
    )  # fmt: skip


def set_note(connection: Connection, run_uid: RunUid, text: str) -> None:
    """Replace the note of a run (Markdown; MLflow's ``mlflow.note.content``)."""
    with connection.transaction():
        connection.execute("UPDATE runs SET note = ? WHERE run_uid = ?", (text, run_uid))
        _event(connection, run_uid, "note", time.time(), text=text)


def delete_run(connection: Connection, run_uid: RunUid) -> None:
    """Mark a run as deleted (as in MLflow it is only gone after garbage collection)."""
    with connection.transaction():
        at = time.time()
        gone = connection.execute(
            "UPDATE runs SET deleted_at = ? WHERE run_uid = ? AND deleted_at IS NULL RETURNING run_uid",
            (at, run_uid),
        )
        if gone:
            _event(connection, run_uid, "deleted", at)


def set_mlflow_run_id(connection: Connection, run_uid: RunUid, mlflow_run_id: str) -> None:
    """Remember under which id MLflow holds the run."""
    with connection.transaction():
        connection.execute("UPDATE runs SET mlflow_run_id = ? WHERE run_uid = ?", (mlflow_run_id, run_uid))
        _event(connection, run_uid, "mirrored", time.time(), mlflow_run_id=mlflow_run_id)


def get_run(connection: Connection, run_uid: RunUid) -> Run:
    """One run with parameters, latest metrics and tags.

    Raises:
        TargetNotFoundError: there is no such run.
    """
    runs = load_runs(connection, [run_uid])
    if not runs:
        raise TargetNotFoundError(f"There is no run {run_uid!r}.", hint="List runs with: mlops runs list")
    return runs[0]


def load_runs(connection: Connection, run_uids: Sequence[RunUid]) -> list[Run]:
    """These runs, complete, in the order given; unknown ids are left out."""
    rows: dict[str, Row] = {}
    params: dict[str, dict[str, str]] = {}
    metrics: dict[str, dict[str, float]] = {}
    tags: dict[str, dict[str, str]] = {}
    for start in range(0, len(run_uids), 500):
        chunk = run_uids[start : start + 500]
        marks = ",".join("?" * len(chunk))
        for row in connection.execute(f"SELECT {_RUN} FROM runs WHERE run_uid IN ({marks})", chunk):
            rows[row[0]] = row
        for uid, key, value in connection.execute(
            f"SELECT run_uid, key, value FROM params WHERE run_uid IN ({marks}) ORDER BY seq", chunk
        ):
            params.setdefault(uid, {})[key] = value
        for uid, key, number in connection.execute(
            f"SELECT run_uid, key, value FROM latest_metrics WHERE run_uid IN ({marks}) ORDER BY key", chunk
        ):
            metrics.setdefault(uid, {})[key] = math.nan if number is None else number
        for uid, key, value in connection.execute(
            f"SELECT run_uid, key, value FROM tags WHERE run_uid IN ({marks}) ORDER BY key", chunk
        ):
            tags.setdefault(uid, {})[key] = value
    return [
        _run(rows[uid], params.get(uid, {}), metrics.get(uid, {}), tags.get(uid, {})) for uid in run_uids if uid in rows
    ]


def resolve_run(connection: Connection, text: str) -> RunUid:
    """The run that ``text`` names: our id, MLflow's id, or a unique prefix of at least 8 characters.

    Raises:
        TargetNotFoundError: no run fits.
        UsageError: the prefix is too short or fits several.
    """
    rows = connection.execute("SELECT run_uid FROM runs WHERE run_uid = ? OR mlflow_run_id = ?", (text, text))
    if rows:
        return RunUid(rows[0][0])
    if text and all(c in "0123456789abcdef" for c in text.lower()):
        if len(text) < 8:
            raise UsageError(f"The run id {text!r} is too short.", hint="Give at least 8 characters of it.")
        first, after = (
            text.lower(),
            text.lower() + "g",
        )  # a range that an index serves; "g" follows all digits
        rows = connection.execute(
            "SELECT run_uid FROM runs WHERE run_uid >= ? AND run_uid < ? "
            "UNION SELECT run_uid FROM runs WHERE mlflow_run_id >= ? AND mlflow_run_id < ? LIMIT 2",
            (first, after, first, after),
        )
        if len(rows) > 1:
            raise UsageError(f"Several runs begin with {text!r}.", hint="Give more characters of the id.")
        if rows:
            return RunUid(rows[0][0])
    raise TargetNotFoundError(f"There is no run {text!r}.", hint="List runs with: mlops runs list")


def run_params(connection: Connection, run_uid: RunUid) -> list[Param]:
    """Parameters of a run with type and source, in the order in which they were found."""
    return [
        Param(key=k, value=v, type_name=t, source=ParamSource(s))
        for k, v, t, s in connection.execute(
            "SELECT key, value, type_name, source FROM params WHERE run_uid = ? ORDER BY seq", (run_uid,)
        )
    ]


def metric_history(connection: Connection, run_uid: RunUid, key: str) -> list[Metric]:
    """All values of one metric, by step and time."""
    return [
        Metric(key=key, value=math.nan if v is None else v, step=s, timestamp=t)
        for v, s, t in connection.execute(
            "SELECT value, step, timestamp FROM metrics WHERE run_uid = ? AND key = ? ORDER BY step, timestamp, seq",
            (run_uid, key),
        )
    ]


def metric_histories(connection: Connection, run_uid: RunUid) -> dict[str, list[Metric]]:
    """All values of all metrics of a run, each by step and time."""
    histories: dict[str, list[Metric]] = {}
    for key, value, step, timestamp in connection.execute(
        "SELECT key, value, step, timestamp FROM metrics WHERE run_uid = ? ORDER BY key, step, timestamp, seq",
        (run_uid,),
    ):
        number = math.nan if value is None else value
        histories.setdefault(key, []).append(Metric(key=key, value=number, step=step, timestamp=timestamp))
    return histories


def child_runs(connection: Connection, run_uid: RunUid) -> list[RunUid]:
    """Runs whose parent this is and that are not deleted, by start."""
    rows = connection.execute(
        "SELECT run_uid FROM runs WHERE parent_uid = ? AND deleted_at IS NULL ORDER BY started_at, run_uid",
        (run_uid,),
    )
    return [RunUid(uid) for (uid,) in rows]


def run_artifacts(connection: Connection, run_uid: RunUid) -> list[Artifact]:
    """Files of a run; of several at one path the last."""
    rows = connection.execute("SELECT path, digest, size FROM artifacts WHERE run_uid = ? ORDER BY seq", (run_uid,))
    return list({path: Artifact(path=path, digest=digest, size=size) for path, digest, size in rows}.values())


def run_datasets(connection: Connection, run_uid: RunUid) -> list[DatasetVersion]:
    """Data sets that a run used."""
    return [
        DatasetVersion(name=n, digest=d, source=s, context=c, shape=tuple(json.loads(shape)), schema=schema)
        for n, d, s, c, shape, schema in connection.execute(
            "SELECT name, digest, source, context, shape, schema FROM datasets WHERE run_uid = ? ORDER BY seq",
            (run_uid,),
        )
    ]


def run_models(connection: Connection, run_uid: RunUid) -> list[ModelRecord]:
    """Models that a run fitted."""
    return [
        ModelRecord(
            model_uid=r[0], name=r[1], class_name=r[2], flavor=r[3], digest=r[4], size=r[5], signature=r[6],
            input_example=r[7], requirements=tuple(json.loads(r[8])), error=r[9],
        )
        for r in connection.execute(
            "SELECT model_uid, name, class_name, flavor, digest, size, signature, input_example, requirements, error "
            "FROM models WHERE run_uid = ? ORDER BY seq",
            (run_uid,),
        )
    ]  # fmt: skip


def _event(connection: Connection, run_uid: RunUid, kind: str, at: float, **payload: Any) -> None:
    # JSON would carry NUL and lone surrogates past the connection as escapes, to a target that refuses them.
    payload = {name: storable(value) if isinstance(value, str) else value for name, value in payload.items()}
    connection.execute(
        "INSERT INTO run_events (run_uid, kind, at, payload) VALUES (?,?,?,?)",
        (run_uid, kind, at, json.dumps(payload)),
    )


def _run(r: Row, params: dict[str, str], metrics: dict[str, float], tags: dict[str, str]) -> Run:
    return Run(
        run_uid=r[0], name=r[1], experiment=r[2], status=RunStatus(r[3]), started_at=r[4], ended_at=r[5],
        parent_uid=r[6], session_id=r[7], execution_id=r[8], notebook=r[9], user=r[10], mlflow_run_id=r[11],
        note=r[12], deleted_at=r[13], params=params, metrics=metrics, tags=tags,
    )  # fmt: skip
