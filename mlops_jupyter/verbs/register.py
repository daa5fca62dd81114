"""``mlops register``: a recorded run's model, or one in a file, becomes a version of a registered model in MLflow."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlops_jupyter.entities import RunUid
from mlops_jupyter.errors import TargetNotFoundError, TransientError, UsageError
from mlops_jupyter.store import Connection, FileLock, audit, outbox
from mlops_jupyter.store.control import open_control
from mlops_jupyter.store.registrations import Registration, put_registration
from mlops_jupyter.store.runs import resolve_run
from mlops_jupyter.tracking import sync
from mlops_jupyter.tracking.faults import fault_point
from mlops_jupyter.tracking.target import target_of
from mlops_jupyter.workspace import Workspace

from ._targets import file_names

LOCK_TIMEOUT = 300.0
"""Seconds to wait for another registration in this workspace."""
DELIVERY_TIMEOUT, PATIENCE = 120.0, 10.0
"""Seconds that the delivery before a registration may take, and those for MLflow to answer at all."""
_RUN_ID = re.compile(r"[0-9a-fA-F]{8,32}")


def register(
    workspace: Workspace,
    target: str,
    *,
    name: str,
    model: str | None = None,
    description: str | None = None,
    trust: Collection[str] = (),
    on_step: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Register a model; fits ``register.json``. Repeating it, also after an interruption, gives the same version.

    Args:
        workspace: the open workspace.
        target: a run (our id, MLflow's, a prefix of at least 8 characters, ``run:ID``), a ``.skops``, ``.pkl``,
            ``.pickle`` or ``.joblib`` file, or an MLflow model folder.
        name: of the registered model, made where it does not exist.
        model: the variable that held the model, where the run has several.
        description: of the version.
        trust: ``pickle`` allows to load a pickle; every other word is a type that a skops file may make.
        on_step: called with a sentence before each step that takes time.

    Raises:
        TargetNotFoundError: no such run, file or model.
        UsageError: a bad name, several models, a model that cannot be registered, or a file that is not trusted.
        UnreachableError: MLflow, its registry, or the team's store does not answer.
        TransientError: a store is busy.
    """
    from mlops_jupyter.registry.prepare import check_name, of_path, of_run
    from mlops_jupyter.tracking.registered import Wanted, open_registry, register_version

    began = time.perf_counter()
    say = on_step or (lambda _: None)
    settings, store = workspace.settings, workspace.store
    check_name(name)
    run_uid = _run(store, target)
    with _control(workspace) as control, _one_at_a_time(workspace):
        if run_uid is not None:
            say("Reading the recorded model.")
            prepared = of_run(store, settings, run_uid, name=name, variable=model, trust=trust)
        else:
            if model is not None:
                raise UsageError("--model names a variable of a run, and a file was given.")
            path = Path(target).expanduser()
            say(f"Reading {target}.")
            prepared = of_path(store, settings, path, name=name, trust=trust, names=file_names(workspace, target))
        run = prepared.facts.run
        if run is not None:
            _deliver(workspace, say)
        say("Registering.")
        with open_registry(settings, store) as registry:
            wanted = Wanted(
                registration_id=prepared.registration_id,
                name=name,
                title=prepared.title,
                run_uid=run.run_uid if run is not None else None,
                experiment=settings.experiment or "Default",
                tags=prepared.tags(),
                description=description,
            )
            done = register_version(registry, wanted, prepared.write_all, size=prepared.size)
            shown, tracking = registry.shown, registry.link.target.key
        execution = prepared.facts.execution
        kept = Registration(
            registration_id=prepared.registration_id,
            registry=shown,
            name=name,
            version=done.version,
            run_uid=run.run_uid if run is not None else None,
            model_uid=prepared.model_uid,
            execution_id=execution.execution_id if execution is not None else None,
            file=prepared.file,
            digest=prepared.digest,
            model_id=done.model_id,
            at=time.time(),
        )
        _record(control, workspace, kept)
        put_registration(store, kept)
        fault_point("registration_kept")
    uri = f"models:/{name}/{done.version}"
    loader = prepared.flavor if prepared.flavor in ("sklearn", "xgboost", "lightgbm", "catboost") else "pyfunc"
    return {
        "registration_id": prepared.registration_id,
        "name": name,
        "version": done.version,
        "uri": uri,
        "created": done.created,
        "class": prepared.class_name,
        "flavor": prepared.flavor,
        "format": prepared.format,
        "digest": prepared.digest,
        "variable": prepared.title if prepared.model_uid else None,
        "file": prepared.file,
        "run_id": kept.run_uid,
        "mlflow_run_id": done.mlflow_run_id,
        "model_id": done.model_id,
        "execution_id": kept.execution_id,
        "signature": prepared.has_signature,
        "input_example": prepared.has_example,
        "requirements": list(prepared.requirements),
        "notes": list(prepared.notes),
        "tags": prepared.tags(),
        "source": done.source,
        "tracking_uri": tracking,
        "registry_uri": shown,
        "load": f"mlflow.{loader}.load_model({uri!r})",
        "duration": round(time.perf_counter() - began, 3),
    }


def _run(store: Connection, target: str) -> RunUid | None:
    """The run that ``target`` names, or None where it is a path."""
    if target.startswith("run:"):
        return resolve_run(store, target.removeprefix("run:"))
    if not target.strip():
        raise UsageError("The target is empty.", hint="Give a run's id or a file: mlops register RUN --name NAME")
    if not _RUN_ID.fullmatch(target) and Path(target).expanduser().exists():
        return None
    try:
        return resolve_run(store, target)
    except TargetNotFoundError:
        if Path(target).expanduser().exists():
            return None
        if os.sep in target or Path(target).suffix:
            raise TargetNotFoundError(f"There is no file {target}.", hint="Check the path.") from None
        raise TargetNotFoundError(
            f"There is neither a run nor a file {target!r}.", hint="List runs with: mlops runs list"
        ) from None


def _deliver(workspace: Workspace, say: Callable[[str], None]) -> None:
    """Bring what is recorded to MLflow first: a version must not point to a run that is not there."""
    store, settings = workspace.store, workspace.settings
    if not outbox.backlog(store, target_of(settings).key).pending:
        return
    say("Delivering what was recorded to MLflow.")
    report = sync(settings, timeout=DELIVERY_TIMEOUT, patience=PATIENCE)
    if report.error is not None:
        raise report.error


def _record(control: Connection, workspace: Workspace, kept: Registration) -> None:
    """One entry in the audit record for each version, however often the registration is repeated."""
    from mlops_jupyter.registry.actor import actor

    subject = f"model:{kept.name}/{kept.version}"
    with control.transaction(durable=True):
        known = control.execute("SELECT detail FROM audit WHERE action = ? AND subject = ?", ("register", subject))
        if not any(kept.registration_id in str(detail) for (detail,) in known):
            who, source = actor(control, workspace.settings.root)
            detail = {
                "registration_id": kept.registration_id, "registry": kept.registry, "run_id": kept.run_uid,
                "model_uid": kept.model_uid, "execution_id": kept.execution_id, "file": kept.file,
                "digest": kept.digest,
            }  # fmt: skip
            audit.append(control, who, source, "register", subject, detail)
    fault_point("registration_audited")


@contextmanager
def _control(workspace: Workspace) -> Iterator[Connection]:
    """The place of control records, opened before anything is made: without it nothing is registered."""
    connection = open_control(workspace.settings)
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def _one_at_a_time(workspace: Workspace) -> Iterator[None]:
    """Two registrations of one workspace do not overlap, so that neither makes what the other is making."""
    lock = FileLock(workspace.settings.state / "register.lock")
    if not lock.acquire(timeout=LOCK_TIMEOUT):
        raise TransientError("Another registration is at work in this workspace.", hint="Try again in a minute.")
    try:
        yield
    finally:
        lock.release()
