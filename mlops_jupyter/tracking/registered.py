"""Registered models in MLflow: a version is made once, whatever is interrupted, and read back.

A registration has an id of ours, derived from what is registered under which name. It is a tag of the logged model
and of the version, and is looked up before either is made: repeating an interrupted registration finishes it, and
repeating a finished one gives the version that there is.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_jupyter.config import Settings
from mlops_jupyter.entities import RunUid
from mlops_jupyter.errors import MlopsError, TargetNotFoundError, UsageError
from mlops_jupyter.store import Connection

from .embedded import prepare_database
from .failures import Failure, classify, first_line, missing, target_error
from .faults import fault_point
from .files import upload_environment
from .link import Link, open_link
from .models import described, logged_name
from .runs import experiment_id, mlflow_run
from .target import Target, absolute_uri, mlflow_environment, public_uri, sqlite_path

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion as ModelVersion
    from mlflow.entities.model_registry import RegisteredModel as RegisteredModel
    from mlflow.models import Model

REGISTRATION_TAG = "mlops.registration"
"""Our id of a registration; what a version is found by."""
_VERSIONS_TAG = "mlflow.modelVersions"
_PATIENCE = 30
"""Seconds that a registry may take to make a version ready."""
_PAGE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A version that is to exist."""

    registration_id: str
    name: str
    """Of the registered model."""
    title: str
    """Of the logged model, which MLflow shows beside the run."""
    run_uid: str | None
    """Our run that made the model, where one did."""
    experiment: str
    """Where the logged model goes that no run made."""
    tags: Mapping[str, str]
    description: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """A version that exists."""

    version: int
    created: bool
    """False where it was there already."""
    model_id: str | None
    """MLflow's id of the logged model behind it."""
    mlflow_run_id: str | None
    source: str


@dataclass(frozen=True, slots=True)
class Registry:
    """An open MLflow with its registry, which may be another server than the one that has the runs."""

    link: Link
    client: MlflowClient
    uri: str
    """As given to MLflow."""

    @property
    def shown(self) -> str:
        """The address without user and password."""
        return public_uri(self.uri)


@contextmanager
def open_registry(settings: Settings, store: Connection) -> Iterator[Registry]:
    """Connect to MLflow and its registry; what fails inside becomes one of our errors.

    Raises:
        UnreachableError: the server of the runs or that of the registry does not answer.
        UsageError: MLflow is not installed, a database cannot be used, or MLflow refuses what was asked for.
        TransientError: a database is being set up by another process.
    """
    link = open_link(settings, store)
    uri = absolute_uri(settings.registry_uri, settings.root) if settings.registry_uri else link.target.uri
    shown = public_uri(uri)
    with mlflow_environment():
        from mlflow import MlflowClient

        try:
            if uri != link.target.uri and sqlite_path(uri) is not None:
                prepare_database(Target(uri, shown, sqlite_path(uri), embedded=False), settings.artifacts)
            client = MlflowClient(tracking_uri=link.target.uri, registry_uri=uri)
            client.search_registered_models(max_results=1)
        except Exception as error:
            raise target_error(error, shown) from error
        try:
            yield Registry(link, client, uri)
        except MlopsError:
            raise
        except Exception as error:
            raise _told(error, shown) from error


def _told(error: Exception, shown: str) -> Exception:
    from mlflow.exceptions import MlflowException

    if not isinstance(error, MlflowException) and classify(error) is Failure.REFUSED:
        return error  # a fault of ours, not MLflow's answer
    if classify(error) is Failure.REFUSED:
        return UsageError(f"MLflow at {shown} refuses it: {first_line(error)}")
    return target_error(error, shown)


def register_version(
    registry: Registry, wanted: Wanted, build: Callable[[Path, Model], None], *, size: int = 0
) -> Registered:
    """The version that is ``wanted``, made where it does not exist; a half-made one is finished.

    ``build`` writes the package into the empty folder that it is given; it is called only where there is something
    to upload. ``size``: about how many bytes that will be.
    """
    link, client = registry.link, registry.client
    run_id = None if wanted.run_uid is None else mlflow_run(link, wanted.run_uid)
    found = find_registration(registry, wanted.registration_id, wanted.name)
    created = found is None
    if found is None:
        model = _logged_model(link, wanted, run_id)
        if str(model.status) not in ("READY", "LoggedModelStatus.READY"):
            with tempfile.TemporaryDirectory(prefix="mlops-") as folder, upload_environment(size):
                build(Path(folder), described(run_id, model))
                link.client.log_model_artifacts(model.model_id, folder)
            fault_point("registration_uploaded")
            link.client.finalize_logged_model(model.model_id, "READY")
            fault_point("registration_finalized")
        _ensure_name(client, wanted.name)
        found = _made(registry, wanted, model, run_id)
    elif wanted.description is not None and wanted.description != (found.description or ""):
        found = client.update_model_version(wanted.name, str(found.version), wanted.description)
    model_id = found.tags.get("mlops.model_id")
    if model_id is not None:
        _link(link, model_id, wanted.name, int(found.version))
    return Registered(
        version=int(found.version),
        created=created,
        model_id=model_id,
        mlflow_run_id=found.run_id or run_id,
        source=str(found.source),
    )


def find_registration(registry: Registry, registration_id: str, name: str) -> ModelVersion | None:
    """The version that a registration made, the oldest where there are several."""
    found = registry.client.search_model_versions(f"tags.`{REGISTRATION_TAG}` = '{registration_id}'")
    return min((v for v in found if v.name == name), key=lambda v: int(v.version), default=None)


def _made(registry: Registry, wanted: Wanted, model: LoggedModel, run_id: str | None) -> ModelVersion:
    remote = registry.uri.startswith(("http:", "https:"))
    made = registry.client.create_model_version(
        wanted.name,
        model.artifact_location,
        run_id,
        tags={**wanted.tags, REGISTRATION_TAG: wanted.registration_id, "mlops.model_id": model.model_id},
        description=wanted.description,
        await_creation_for=_PATIENCE,
        # A server checks by it that the files are the model's; a database would look it up in the default MLflow.
        model_id=model.model_id if remote else None,
    )
    fault_point("version_created")
    first = find_registration(registry, wanted.registration_id, wanted.name)
    if first is not None and int(first.version) < int(made.version):
        # Somebody else registered the same at the same time and was faster.
        registry.client.delete_model_version(wanted.name, str(made.version))
        return first
    return made


def _logged_model(link: Link, wanted: Wanted, run_id: str | None) -> LoggedModel:
    """The logged model that carries the files: that of an earlier attempt, or a new one."""
    if run_id is not None:
        experiment = str(link.client.get_run(run_id).info.experiment_id)
    else:
        experiment = experiment_id(link, wanted.experiment)
    matches: Sequence[LoggedModel] = link.client.search_logged_models(
        [experiment], f"tags.`{REGISTRATION_TAG}` = '{wanted.registration_id}'", max_results=1
    )
    if matches:
        return matches[0]
    tags = {key: value[:5000] for key, value in wanted.tags.items()}
    made = link.client.create_logged_model(
        experiment,
        name=logged_name(wanted.title) or "model",
        source_run_id=run_id,
        tags={**tags, REGISTRATION_TAG: wanted.registration_id},
    )
    fault_point("registration_model_created")
    return made


def _ensure_name(client: MlflowClient, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.get_registered_model(name)
    except Exception as error:
        if not missing(error):
            raise
        try:
            client.create_registered_model(name)
        except MlflowException as late:
            if str(late.error_code) != "RESOURCE_ALREADY_EXISTS":
                raise
        fault_point("registered_model_created")


def _link(link: Link, model_id: str, name: str, version: int) -> None:
    """Note on the logged model which versions it has, as MLflow's own registration does; its pages show it."""
    try:
        model = link.client.get_logged_model(model_id)
    except Exception as error:
        if missing(error):
            return  # deleted since; the version has its own record
        raise
    known = json.loads(model.tags.get(_VERSIONS_TAG) or "[]")
    entry = {"name": name, "version": version}
    if entry not in known:
        link.client.set_logged_model_tags(model_id, {_VERSIONS_TAG: json.dumps([*known, entry])})
    fault_point("version_linked")


def list_models(registry: Registry) -> list[RegisteredModel]:
    """All registered models, by name. Prompts, which MLflow keeps beside them, are left out."""
    found: list[RegisteredModel] = []
    token: str | None = None
    while True:
        page = registry.client.search_registered_models(max_results=_PAGE, order_by=["name ASC"], page_token=token)
        found += [model for model in page if "mlflow.prompt.is_prompt" not in (model.tags or {})]
        token = page.token
        if not token:
            return found


def model_and_versions(registry: Registry, name: str) -> tuple[RegisteredModel, list[ModelVersion]]:
    """A registered model and all its versions, latest first.

    Raises:
        TargetNotFoundError: there is no model of that name.
    """
    try:
        model = registry.client.get_registered_model(name)
    except Exception as error:
        if missing(error):
            import difflib

            close = difflib.get_close_matches(name, [m.name for m in list_models(registry)], n=3)
            hint = f"Did you mean {' or '.join(map(repr, close))}?" if close else "List them with: mlops models list"
            raise TargetNotFoundError(f"There is no registered model {name!r}.", hint=hint) from None
        raise
    found: list[ModelVersion] = []
    token: str | None = None
    quote = "'" if "'" not in name else '"'
    # A name with both quotes cannot be said in a filter.
    wanted = "" if '"' in name and "'" in name else f"name = {quote}{name}{quote}"
    while True:
        page = registry.client.search_model_versions(wanted, max_results=_PAGE, page_token=token)
        found += [version for version in page if version.name == name]
        token = page.token
        if not token:
            return model, sorted(found, key=lambda v: -int(v.version))


def our_run(registry: Registry, version: ModelVersion) -> RunUid | None:
    """Our id of the run that a version was made by: from its tag, else by MLflow's run."""
    told = version.tags.get("mlops.run_uid")
    if told:
        return RunUid(told)
    if version.run_id:
        rows = registry.link.store.execute("SELECT run_uid FROM runs WHERE mlflow_run_id = ?", (version.run_id,))
        return RunUid(rows[0][0]) if rows else None
    return None
