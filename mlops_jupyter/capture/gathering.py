"""At the end of a tracked cell: from what was observed to the records of the run."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mlops_jupyter.analysis.secrets import redact
from mlops_jupyter.entities import (
    Artifact,
    DatasetVersion,
    EntityKind,
    ExecutionStatus,
    Grade,
    Metric,
    ModelRecord,
    ParamSource,
)
from mlops_jupyter.store import SQLiteConnection
from mlops_jupyter.store import runs as store_runs

from . import estimators
from .environment import read_environment
from .estimators import Fitted, Sightings
from .findings import Found, found_metrics, literal_params, scalar, settle_params
from .git import GitState
from .models import spool_model
from .runs import RunRecord

if TYPE_CHECKING:
    from .session import CaptureSession, Finished
    from .track import OpenRun


def gather_record(
    session: CaptureSession, run: OpenRun, finished: Finished, sightings: Sightings, images: list[bytes]
) -> RunRecord:
    """Everything that one cell adds to ``run``. A part that fails is a fault; the others are still
    recorded."""
    from .track import outcome_status

    record = RunRecord(
        run_uid=run.run_uid,
        name=run.name,
        experiment=run.experiment,
        status=outcome_status(finished.execution.status),
        ended_at=finished.execution.started_at + finished.execution.duration,
        visible=run.kind in ("cell", "implicit"),
    )
    if finished.execution.status is not ExecutionStatus.OK:
        run.failed = True
    namespace: dict[str, Any] = session.shell.user_ns

    def part(place: str, add: Callable[[], None]) -> None:
        try:
            add()
        except Exception as error:  # noqa: BLE001 - capture never breaks a cell
            session.faults.report(place, error)

    if run.kind == "cell":
        part("looking for fitted models", lambda: _unseen_fits(sightings, finished, namespace))
        part("recording models", lambda: record.models.extend(_models(session, sightings, namespace)))
        part("recording artifacts", lambda: record.artifacts.extend(_artifacts(session, finished, images)))
        part("recording the state of git", lambda: _git(session, run, record))
    elif run.kind == "steps":
        part("looking for fitted models", lambda: _unseen_fits(sightings, finished, namespace))
        part("recording models", lambda: record.models.extend(_models(session, sightings, namespace)))
        part("recording figures", lambda: record.artifacts.extend(_figures(session, finished, images)))
        if run.cells == 1:
            part("recording the state of git", lambda: _git(session, run, record))
    if run.kind in ("cell", "steps"):
        part("recording parameters", lambda: record.params.extend(_params(session, run, finished, sightings)))
        part("recording metrics", lambda: record.metrics.extend(_metrics(session, run, finished, sightings)))
        part("recording data sets", lambda: record.datasets.extend(_datasets(session, finished, sightings)))
    record.headline = _headline(sightings)
    return record


def _params(session: CaptureSession, run: OpenRun, finished: Finished, sightings: Sightings) -> list[Any]:
    namespace = session.shell.user_ns
    declared: list[Found] = []
    for name in run.options.params:
        if name in namespace:
            declared.append(Found(name, namespace[name], ParamSource.DECLARED))
        else:
            session.faults.warn(f"%%track -p {name}: there is no variable of that name at the end of the cell.")
    if run.options.seed is not None:
        declared.append(Found("seed", run.options.seed, ParamSource.DECLARED))
    literals = literal_params(session.tracker.history.slice_of(finished.execution.execution_id))
    fitted = [found for item in _told(sightings) for found in item.params]
    return settle_params([*declared, *literals, *fitted, *sightings.extra_params])


def _told(sightings: Sightings) -> list[Fitted]:
    """The fitted estimators whose parameters count: of those of one class that a loop made, the ones still there."""
    alive = [item for item in sightings.fitted.values() if item.reference() is not None]
    classes = {item.qualified_name for item in alive}
    gone = {item.qualified_name: item for item in sightings.fitted.values() if item.qualified_name not in classes}
    return [*alive, *gone.values()]


def _metrics(session: CaptureSession, run: OpenRun, finished: Finished, sightings: Sightings) -> list[Metric]:
    namespace = session.shell.user_ns
    assigned = {
        version.name: namespace[version.name]
        for version in finished.versions
        if version.kind is EntityKind.VARIABLE
        and version.execution_id == finished.execution.execution_id
        and version.strong  # an item put into a dict of an earlier cell gives this run none of the other items
        and not version.deleted
        and version.name in namespace
    }
    result = finished.result
    found = found_metrics(
        finished.analysis, assigned, None if result is None else result.result, scored=sightings.scored
    )
    for name in run.options.metrics:
        value = scalar(namespace.get(name))
        if value is None:
            session.faults.warn(f"%%track -m {name}: there is no number of that name at the end of the cell.")
        else:
            found[name] = value
    # What the cell logged itself under a name stands; a second value under it would be one too many.
    logged = session.store.execute(
        "SELECT DISTINCT key FROM metrics WHERE run_uid = ? AND seq > ?", (run.run_uid, run.metrics_before)
    )
    for (key,) in logged:
        found.pop(key, None)
    now, step = int(time.time() * 1000), max(run.cells - 1, 0)
    own = [Metric(key=key, value=value, step=step, timestamp=now) for key, value in found.items()]
    return own + sightings.metrics


def _datasets(session: CaptureSession, finished: Finished, sightings: Sightings) -> list[DatasetVersion]:
    history, execution_id = session.tracker.history, finished.execution.execution_id
    found = []
    for dataset in sightings.datasets.values():
        source = history.origin_file(execution_id, dataset.name)
        found.append(dataset if source is None else replace(dataset, source=source))
    return found


def _unseen_fits(sightings: Sightings, finished: Finished, namespace: dict[str, Any]) -> None:
    """Estimators that the cell bound or changed and that look fitted, though no probe saw the call.

    One that is only assumed to have changed (it holds on to data that a call was given, and cannot be looked into)
    was fitted by an earlier cell: a fit that no probe saw shows in its value.
    """
    for version in finished.versions:
        if version.kind is not EntityKind.VARIABLE or version.execution_id != finished.execution.execution_id:
            continue
        if version.grade is Grade.ASSUMED:
            continue
        value = namespace.get(version.name)
        if value is None or id(value) in sightings.fitted or version.name.startswith("_"):
            continue
        if estimators.looks_fitted(value):
            kind = type(value)
            sightings.fitted[id(value)] = Fitted(
                lambda value=value: value,  # type: ignore[misc]
                kind.__name__,
                f"{kind.__module__}.{kind.__qualname__}",
                estimators.hyper_parameters(value),
            )


def _models(session: CaptureSession, sightings: Sightings, namespace: dict[str, Any]) -> list[ModelRecord]:
    if not session.settings.capture_models or not sightings.fitted:
        return []
    names: dict[int, str] = {}
    for name, value in list(namespace.items()):
        if not name.startswith("_"):
            names.setdefault(id(value), name)
    found = []
    for fitted in sightings.fitted.values():
        estimator = fitted.reference()
        model = spool_model(
            fitted,
            name=names.get(id(estimator), ""),
            exchange=session.tracker.exchange,
            size_limit=session.settings.model_size_limit,
            distributions=read_environment().distributions,
        )
        if model is not None:
            found.append(model)
    return found


def _headline(sightings: Sightings) -> str:
    """The class of the model that was fitted last, one that predicts where there is one."""
    for fitted in reversed(sightings.fitted.values()):
        estimator = fitted.reference()
        if estimator is not None and hasattr(type(estimator), "predict"):
            return fitted.class_name
    return next((fitted.class_name for fitted in reversed(sightings.fitted.values())), "")


def _artifacts(session: CaptureSession, finished: Finished, images: list[bytes]) -> list[Artifact]:
    return [
        _put(session, "code/cell.py", finished.execution.source.encode("utf-8", "replace")),
        _put(session, "environment/requirements.txt", read_environment().requirements.encode()),
        *_figures(session, finished, images),
    ]


def _figures(session: CaptureSession, finished: Finished, images: list[bytes]) -> list[Artifact]:
    position = finished.execution.position
    return [_put(session, f"figures/cell-{position}-{index}.png", image) for index, image in enumerate(images, 1)]


def _put(session: CaptureSession, path: str, content: bytes) -> Artifact:
    return Artifact(path=path, digest=session.tracker.exchange.put_bytes(content, durable=False), size=len(content))


def _git(session: CaptureSession, run: OpenRun, record: RunRecord) -> None:
    watch = run.git
    if watch is None:
        return
    state = watch.state
    if state is not None:
        tags, artifact = _git_findings(session, state)
        record.tags.update(tags)
        record.artifacts.extend(artifact)
        return

    def add(late: GitState) -> None:
        try:
            tags, artifacts = _git_findings(session, late)

            def write(store: SQLiteConnection) -> None:
                store_runs.set_tags(store, run.run_uid, tags)
                for artifact in artifacts:
                    store_runs.add_artifact(store, run.run_uid, artifact)

            session.sink.write(write)
        except Exception as error:  # noqa: BLE001 - a thread of ours
            session.faults.report("recording the state of git", error)

    watch.when_ready(add)  # no cell waits for git


def _git_findings(session: CaptureSession, state: GitState) -> tuple[dict[str, str], list[Artifact]]:
    if state.commit is None:
        return {}, []
    tags = {"mlflow.source.git.commit": state.commit, "mlops.git.dirty": "true" if state.dirty else "false"}
    if not state.diff:
        return tags, []
    return tags, [_put(session, "git/dirty.diff", redact(state.diff).encode("utf-8", "replace"))]
