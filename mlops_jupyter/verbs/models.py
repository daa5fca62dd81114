"""``mlops models``: the registered models of MLflow, with where each version came from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlops_jupyter.entities import Digest, ExecutionId
from mlops_jupyter.errors import TargetNotFoundError, UsageError
from mlops_jupyter.store.registrations import Registration
from mlops_jupyter.tracking.registered import Registry, list_models, model_and_versions, open_registry, our_run
from mlops_jupyter.tracking.target import target_of
from mlops_jupyter.workspace import Workspace

if TYPE_CHECKING:
    from mlops_jupyter.tracking.registered import ModelVersion, RegisteredModel

_REFERENCE = re.compile(r"^(?P<name>[^@/:]+)(?:@(?P<alias>[^@/]+)|/(?P<version>\d+))?$")


@dataclass(frozen=True, slots=True)
class Reference:
    """``NAME``, ``NAME/VERSION`` or ``NAME@ALIAS``, as a person writes it."""

    name: str
    version: int | None = None
    alias: str | None = None


def parse_reference(text: str, *, whole: bool = True) -> Reference:
    """``text`` taken apart. ``whole``: a name alone will do.

    Raises:
        UsageError: it is none of the three.
    """
    found = _REFERENCE.match(text.strip().removeprefix("models:/").removeprefix("model:"))
    if found is None or (not whole and not (found["alias"] or found["version"])):
        forms = "NAME, NAME/VERSION or NAME@ALIAS" if whole else "model:NAME/VERSION or model:NAME@ALIAS"
        raise UsageError(f"{text!r} names no model version.", hint=f"Give {forms}.")
    version = found["version"]
    return Reference(found["name"], None if version is None else int(version), found["alias"])


def models_list(workspace: Workspace) -> dict[str, Any]:
    """All registered models; fits ``models-list.json``.

    Raises:
        UnreachableError: MLflow or its registry does not answer.
    """
    if _has_none_yet(workspace):
        return {"registry_uri": target_of(workspace.settings).key, "models": []}
    with open_registry(workspace.settings, workspace.store) as registry:
        return {
            "registry_uri": registry.shown,
            "models": [_summary(model) for model in list_models(registry)],
        }


def models_show(workspace: Workspace, text: str) -> dict[str, Any]:
    """One registered model with its versions, or only the version that was named; fits ``models-show.json``.

    Raises:
        TargetNotFoundError: no such model, version or alias.
        UsageError: the text names no model.
        UnreachableError: MLflow or its registry does not answer.
    """
    reference = parse_reference(text)
    if _has_none_yet(workspace):
        raise _no_model(reference.name)
    with open_registry(workspace.settings, workspace.store) as registry:
        model, versions = model_and_versions(registry, reference.name)
        if reference.version is not None or reference.alias is not None:
            versions = [pick(model, versions, reference)]
        return {
            **_summary(model),
            "registry_uri": registry.shown,
            "versions": [_version(registry, model, version) for version in versions],
        }


def pick(model: RegisteredModel, versions: list[ModelVersion], reference: Reference) -> ModelVersion:
    """The version that ``reference`` names.

    Raises:
        TargetNotFoundError: there is none.
    """
    wanted = reference.version
    if reference.alias is not None:
        aliases = {str(alias): int(number) for alias, number in model.aliases.items()}
        if reference.alias not in aliases:
            known = ", ".join(sorted(aliases)) or "none"
            raise TargetNotFoundError(
                f"The model {model.name!r} has no alias {reference.alias!r}.", hint=f"Its aliases: {known}."
            )
        wanted = aliases[reference.alias]
    found = next((v for v in versions if int(v.version) == wanted), None)
    if found is None:
        known = ", ".join(str(v.version) for v in versions[:20]) or "none"
        raise TargetNotFoundError(f"The model {model.name!r} has no version {wanted}.", hint=f"Its versions: {known}.")
    return found


def behind(workspace: Workspace, reference: Reference) -> Registration:
    """What a version was made from, as far as its tags in MLflow tell.

    Raises:
        TargetNotFoundError: no such model, version or alias.
        UnreachableError: MLflow or its registry does not answer.
    """
    if _has_none_yet(workspace):
        raise _no_model(reference.name)
    with open_registry(workspace.settings, workspace.store) as registry:
        model, versions = model_and_versions(registry, reference.name)
        version = pick(model, versions, reference)
        tags: Mapping[str, str] = version.tags or {}
        execution = tags.get("mlops.execution_id")
        return Registration(
            registration_id=tags.get("mlops.registration", ""),
            registry=registry.shown,
            name=reference.name,
            version=int(version.version),
            run_uid=our_run(registry, version),
            model_uid=tags.get("mlops.model_uid"),
            execution_id=ExecutionId(execution) if execution else None,
            file=tags.get("mlops.file"),
            digest=Digest(tags.get("mlops.digest", "")),
            model_id=tags.get("mlops.model_id"),
            at=(version.creation_timestamp or 0) / 1000,
        )


def _has_none_yet(workspace: Workspace) -> bool:
    """Whether the workspace's own MLflow was never used: looking for a model must not make it, which takes seconds."""
    target = target_of(workspace.settings)
    return (
        target.embedded
        and target.database is not None
        and not target.database.exists()
        and workspace.settings.registry_uri is None
    )


def _no_model(name: str) -> TargetNotFoundError:
    return TargetNotFoundError(
        f"There is no registered model {name!r}.", hint="Register one with: mlops register RUN --name NAME"
    )


def _summary(model: RegisteredModel) -> dict[str, Any]:
    latest = [int(version.version) for version in model.latest_versions or []]
    return {
        "name": model.name,
        "description": model.description or "",
        "latest_version": max(latest, default=None),
        "aliases": {str(alias): int(version) for alias, version in sorted(model.aliases.items())},
        "created": model.creation_timestamp,
        "updated": model.last_updated_timestamp,
    }


def _version(registry: Registry, model: RegisteredModel, version: ModelVersion) -> dict[str, Any]:
    tags: Mapping[str, str] = version.tags or {}
    number = int(version.version)
    return {
        "version": number,
        "uri": f"models:/{model.name}/{number}",
        "status": str(version.status),
        "aliases": sorted(str(alias) for alias, at in model.aliases.items() if int(at) == number),
        "description": version.description or "",
        "created": version.creation_timestamp,
        "run_id": our_run(registry, version),
        "mlflow_run_id": version.run_id or None,
        "model_id": tags.get("mlops.model_id"),
        "source": str(version.source),
        "class": tags.get("mlops.class"),
        "flavor": tags.get("mlops.flavor"),
        "format": tags.get("mlops.format"),
        "tags": dict(sorted(tags.items())),
    }
