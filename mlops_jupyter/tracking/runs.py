"""Runs in MLflow: made once, found again, nested, with parameters, metrics, tags and an end."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mlops_jupyter.entities import Run, RunUid
from mlops_jupyter.store import outbox
from mlops_jupyter.store import runs as store_runs

from .failures import missing
from .faults import fault_point
from .link import Link
from .names import escape_key

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun

RUN_UID_TAG = "mlops.run_uid"
"""Our id of a run; what it is found by."""
MADE_TAG = "mlops.delivered"
"""On runs that the delivery made, not on those that it took over."""
PARENT_TAG = "mlflow.parentRunId"
NOTE_TAG = "mlflow.note.content"

PARAM_LIMIT = 6000
"""Characters of a parameter's value that MLflow keeps."""
TAG_LIMIT = 5000
"""Characters of a tag's value that every MLflow server keeps."""
NAME_LIMIT = 250
_EXPERIMENT_LIMIT = 500

_log = logging.getLogger(__name__)


def mlflow_run(link: Link, run_uid: str) -> str:
    """MLflow's id of our run; the run is made there, after its parent, where it does not exist yet.

    A run that MLflow already has under our tag, or under the id that the kernel noted, is taken over.
    """
    known = link.run_ids.get(run_uid) or outbox.remote_id(link.store, link.target.key, "run", run_uid)
    if known is None:
        run = store_runs.get_run(link.store, RunUid(run_uid))
        known = _adopted(link, run) or _created(link, run)
        with link.store.transaction():
            outbox.remember(link.store, link.target.key, "run", run_uid, known)
            if run.mlflow_run_id != known:
                store_runs.set_mlflow_run_id(link.store, run.run_uid, known)
        fault_point("run_remembered")
    link.run_ids[run_uid] = known
    return known


def _adopted(link: Link, run: Run) -> str | None:
    if run.mlflow_run_id is not None:
        try:
            found = link.client.get_run(run.mlflow_run_id)
        except Exception as error:
            if not missing(error):
                raise
        else:
            if found.data.tags.get(RUN_UID_TAG) != run.run_uid:
                link.client.set_tag(run.mlflow_run_id, RUN_UID_TAG, run.run_uid)
            return run.mlflow_run_id
    matches = _tagged(link, run)
    # Ours first: what an earlier delivery made must not be made again beside a run of the user's own mlflow.
    ours = [match for match in matches if MADE_TAG in match.data.tags]
    return str((ours or matches)[0].info.run_id) if matches else None


def _tagged(link: Link, run: Run) -> list[MlflowRun]:
    """Runs in MLflow that carry our id, oldest first: ours, and those of the user's own mlflow."""
    from mlflow.entities import ViewType

    wanted = {experiment_id(link, run.experiment), "0"}
    if link.target.database is not None:
        # The user's mlflow may be in any experiment; in a file of this machine looking at all is cheap.
        wanted |= {experiment.experiment_id for experiment in link.client.search_experiments()}
    # Deleted runs too: one that a person deleted in MLflow must not come back under another id.
    found: Sequence[MlflowRun] = link.client.search_runs(
        sorted(wanted),
        f"tags.`{RUN_UID_TAG}` = '{run.run_uid}'",
        run_view_type=ViewType.ALL,
        order_by=["attributes.start_time ASC"],
    )
    return list(found)


def _created(link: Link, run: Run) -> str:
    tags: dict[str, str] = {RUN_UID_TAG: run.run_uid, MADE_TAG: "true"}
    if run.parent_uid is not None and _exists(link, run.parent_uid):
        tags[PARENT_TAG] = mlflow_run(link, run.parent_uid)
    if run.user:
        tags["mlflow.user"] = _cut(run.user, TAG_LIMIT)
    if run.notebook:
        tags["mlflow.source.name"] = _cut(run.notebook, TAG_LIMIT)
        tags["mlflow.source.type"] = "NOTEBOOK"
    made = link.client.create_run(
        experiment_id(link, run.experiment),
        start_time=int(run.started_at * 1000),
        tags=tags,
        run_name=_cut(run.name, NAME_LIMIT) or None,
    )
    fault_point("run_created")
    return str(made.info.run_id)


def _exists(link: Link, run_uid: str) -> bool:
    return bool(store_runs.load_runs(link.store, [RunUid(run_uid)]))


def experiment_id(link: Link, name: str) -> str:
    """MLflow's id of the experiment, made where there is none.

    An experiment that was deleted in MLflow keeps its name there and is not brought back behind the deleter's
    back: new runs go to ``NAME (2)`` and so on.
    """
    known = link.experiment_ids.get(name)
    if known is None:
        known = link.experiment_ids[name] = _experiment_id(
            link, _cut(name.strip(), _EXPERIMENT_LIMIT - 10) or "Default"
        )
    return known


def _experiment_id(link: Link, name: str) -> str:
    from mlflow.exceptions import MlflowException

    for number in range(1, 100):
        candidate = name if number == 1 else f"{name} ({number})"
        experiment = link.client.get_experiment_by_name(candidate)
        if experiment is None:
            try:
                made = link.client.create_experiment(candidate, artifact_location=_artifact_location(link, candidate))
            except MlflowException as error:
                if str(error.error_code) != "RESOURCE_ALREADY_EXISTS":
                    raise
                experiment = link.client.get_experiment_by_name(candidate)  # another process was faster
            else:
                fault_point("experiment_created")
                return str(made)
        if experiment is not None and experiment.lifecycle_stage == "active":
            return str(experiment.experiment_id)
        _log.warning("experiment %r is deleted in MLflow; restore it there to have its runs together", candidate)
    return "0"


def _artifact_location(link: Link, name: str) -> str | None:
    """Absolute folder for the embedded database's artifacts; a server decides that itself."""
    if not link.target.embedded:
        return None
    import hashlib

    readable = "".join(c if c.isalnum() or c in "-_" else "-" for c in name).strip("-")[:40]
    return (link.settings.artifacts / f"{readable}-{hashlib.sha256(name.encode()).hexdigest()[:8]}").as_uri()


def send_params(link: Link, run_id: str, rows: Sequence[outbox.Item]) -> None:
    """At most 100 parameters. MLflow takes all or none, and the same value again without a word."""
    from mlflow.entities import Param

    params = [Param(escape_key(row.data["key"]), cut_value(row.data["value"], PARAM_LIMIT)) for row in rows]
    link.client.log_batch(run_id, params=params)
    fault_point("params_sent")


def send_metrics(link: Link, run_id: str, rows: Sequence[outbox.Item]) -> None:
    """At most 1,000 values. Idempotent because timestamp, step and value were fixed at capture."""
    from mlflow.entities import Metric

    metrics = [
        Metric(escape_key(row.data["key"]), row.data["value"], row.data["timestamp"], row.data["step"]) for row in rows
    ]
    link.client.log_batch(run_id, metrics=metrics)
    fault_point("metrics_sent")


def send_tags(link: Link, run_id: str, rows: Sequence[outbox.Item]) -> None:
    """At most 100 tags, with the values of now: an old event sent again must not undo a newer one."""
    from mlflow.entities import RunTag

    run_uid = str(rows[0].run_uid)
    current: dict[str, str] = dict(link.store.execute("SELECT key, value FROM tags WHERE run_uid = ?", (run_uid,)))
    wanted = {row.data["payload"]["key"]: row.data["payload"]["value"] for row in rows}
    tags = [RunTag(escape_key(key), cut_value(current.get(key, value), TAG_LIMIT)) for key, value in wanted.items()]
    link.client.log_batch(run_id, tags=tags)
    fault_point("tags_sent")


def send_note(link: Link, run_id: str, rows: Sequence[outbox.Item]) -> None:
    """The run's note as it is now."""
    link.client.set_tag(run_id, NOTE_TAG, cut_value(_row(link, rows).note, TAG_LIMIT))
    fault_point("note_sent")


def send_end(link: Link, run_id: str, rows: Sequence[outbox.Item]) -> None:
    """How and when the run ended; runs that the user's own mlflow made in it become its children."""
    run = _row(link, rows)
    for other in _tagged(link, run):
        if other.info.run_id != run_id and PARENT_TAG not in other.data.tags:
            link.client.set_tag(other.info.run_id, PARENT_TAG, run_id)
    ended = None if run.ended_at is None else int(run.ended_at * 1000)
    link.client.set_terminated(run_id, status=str(run.status), end_time=ended)
    fault_point("status_sent")


def send_deletion(link: Link, run_id: str, rows: Sequence[outbox.Item]) -> None:
    """Delete the run, as MLflow does: marked, and gone after its garbage collection."""
    if _row(link, rows).deleted_at is not None:
        link.client.delete_run(run_id)
    fault_point("run_deleted")


def gone(link: Link, run_uid: str) -> str | None:
    """Why MLflow takes nothing for this run any more, or None where it does."""
    run_id = link.run_ids.get(run_uid)
    if run_id is None:
        return None
    try:
        stage = link.client.get_run(run_id).info.lifecycle_stage
    except Exception as error:
        if missing(error):
            return "MLflow no longer has the run."
        raise
    return None if stage == "active" else "The run was deleted in MLflow."


def is_deleted(link: Link, run_uid: str) -> bool:
    """Whether our store says that the run is deleted."""
    return any(run.deleted_at is not None for run in store_runs.load_runs(link.store, [RunUid(run_uid)]))


def _row(link: Link, rows: Sequence[outbox.Item]) -> Run:
    return store_runs.get_run(link.store, RunUid(str(rows[0].run_uid)))


def cut_value(value: Any, limit: int) -> str:
    """``value`` in at most ``limit`` characters; where it is cut it says so and how long it was."""
    text = str(value)
    if len(text) <= limit:
        return text
    mark = f"… ({len(text)} characters)"
    return text[: limit - len(mark)] + mark


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
