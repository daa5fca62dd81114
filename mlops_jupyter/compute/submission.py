"""Sending a notebook to a cluster: what travels, the record, the request. In that order, so that nothing is lost."""

from __future__ import annotations

import os
import shlex
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops_jupyter.config import Settings
from mlops_jupyter.data.exchange import Exchange, open_exchange
from mlops_jupyter.data.mailbox import shared_url
from mlops_jupyter.entities import Job, JobState, Resources
from mlops_jupyter.errors import MlopsError, UsageError
from mlops_jupyter.store import Connection
from mlops_jupyter.store.jobs import add_job, advance_job, end_job, get_job

from .capacity import check_request, refuse_impossible, wanted
from .client import RayClient
from .head import ensure_head, find_head, local_capacity, require_ray
from .inputs import Input
from .options import RayOptions, cluster_token, dashboard_url, is_loopback
from .package import build_package, source_folder
from .protocol import EXCHANGE_VARIABLE, ID_VARIABLE, MANIFEST_VARIABLE, Manifest, SentFile, encode

Tell = Callable[[str], None]
"""Gets one line of progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a job goes, checked as far as it can be without starting anything."""

    address: str | None
    """None: the cluster on this machine, which may have to be started."""
    token: str | None = None


def check_target(settings: Settings, options: RayOptions, resources: Resources, address: str | None) -> Target:
    """Where the job goes; refuses what cannot be before anything is started, sent or written.

    Raises:
        UsageError: a request that no node can serve, an address that is none, no Ray here, no shared exchange.
        UnreachableError: the cluster does not answer.
    """
    check_request(resources)
    # An empty address is a variable that was not set, and no wish for a cluster on this machine.
    chosen = options.address or None if address is None else address
    if chosen is None:
        head = find_head(settings)
        if head is None:
            require_ray()
            refuse_impossible(resources, [local_capacity(options)], where="this machine")
        else:
            with RayClient(head.address, head.token) as client:
                refuse_impossible(resources, [node.total for node in client.nodes()], where="this machine")
        return Target(address=None)
    url = dashboard_url(chosen)
    if settings.data_url is None and not is_loopback(url):
        raise UsageError(
            f"The cluster {url} is another machine and needs a place that both sides reach.",
            hint="Set MLOPS_DATA_URL (or data_url) to one, for example s3://BUCKET/PREFIX or a shared folder.",
        )
    token = cluster_token(options)
    with RayClient(url, token) as client:
        client.session()
        if not options.autoscales:
            refuse_impossible(resources, [node.total for node in client.nodes()], where=url)
    return Target(address=url, token=token)


def check_size(inputs: Iterable[Input], limit: int) -> int:
    """Bytes of all files.

    Raises:
        UsageError: more than the limit, with the largest file.
    """
    files = list(inputs)
    total = sum(file.size for file in files)
    if total > limit:
        largest = max(files, key=lambda file: file.size)
        raise UsageError(
            f"The job would take {shown_size(total)} along, and the limit is {shown_size(limit)}; the largest file is "
            f"{largest.path} with {shown_size(largest.size)} ({largest.reason}).",
            hint="Read it from a URL in the notebook, or raise ray.input_limit (MLOPS_RAY_INPUT_LIMIT, in bytes).",
        )
    return total


def submit_job(
    settings: Settings,
    store: Connection,
    options: RayOptions,
    target: Target,
    *,
    notebook: str,
    inputs: Iterable[Input],
    resources: Resources,
    name: str,
    parameters: Mapping[str, Any],
    parameters_yaml: str,
    submitter: str,
    tell: Tell,
) -> Job:
    """Send the job. The record is written before the cluster is asked, and the cluster knows the job by our id.

    Raises:
        UnreachableError: the exchange or the cluster; the record says that the job failed.
        UsageError: the cluster refused it.
        TransientError: Ray did not come up here, or the cluster failed.
    """
    files = list(inputs)
    exchange = open_exchange(settings)
    exchange.preflight()
    address, token, session, local = _open(settings, target, tell)
    job_id = uuid.uuid4().hex
    sent = tuple(_send(exchange, file) for file in files)
    manifest = exchange.put_bytes(
        encode(
            Manifest(
                job_id=job_id, notebook=notebook, files=sent, parameters=parameters_yaml, submitter=submitter,
                environment=_shared_settings(settings), output_limit=options.output_limit,
            )
        )
    )  # fmt: skip
    exchange.push([*(file.digest for file in sent), manifest])
    job = Job(
        job_id=job_id, name=name, notebook=notebook, address=address, local=local, session=session,
        resources=resources, parameters=parameters, manifest=manifest, sent_files=len(sent),
        sent_bytes=sum(file.size for file in sent), submitter=submitter, created_at=time.time(),
    )  # fmt: skip
    add_job(store, job)
    try:
        with RayClient(address, token) as client:
            client.submit(job_id, _request(options, client, job, shared_url(exchange)))
    except MlopsError as error:
        end_job(store, job_id, JobState.FAILED, at=time.time(), exit_code=error.exit_code, reason=str(error)[:500])
        raise
    advance_job(store, job_id, JobState.QUEUED, reason="about to start")
    return get_job(store, job_id)


def shown_size(size: int) -> str:
    """Bytes for people."""
    amount = float(size)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if amount < 1024 or unit == "GiB":
            break
        amount /= 1024
    return f"{size} bytes" if unit == "bytes" else f"{amount:.3g} {unit}"


def _open(settings: Settings, target: Target, tell: Tell) -> tuple[str, str | None, str, bool]:
    if target.address is not None:
        with RayClient(target.address, target.token) as client:
            return target.address, target.token, client.session(), False
    if find_head(settings) is None:
        tell("starting Ray on this machine (about ten seconds)")
    head, _ = ensure_head(settings)
    return head.address, head.token, head.session, True


def _send(exchange: Exchange, file: Input) -> SentFile:
    return SentFile(path=file.path, digest=exchange.put_file(file.source), size=file.size)


def _shared_settings(settings: Settings) -> dict[str, str]:
    shared = {
        "MLOPS_CAPTURE_MODELS": "true" if settings.capture_models else "false",
        "MLOPS_MODEL_SIZE_LIMIT": str(settings.model_size_limit),
        "MLOPS_DATA_SNAPSHOT_LIMIT": str(settings.snapshot_limit),
    }
    if settings.experiment is not None:
        shared["MLFLOW_EXPERIMENT_NAME"] = settings.experiment
    return shared


def _request(options: RayOptions, client: RayClient, job: Job, exchange: str) -> dict[str, Any]:
    """The body of the request. Nothing of the user's is in the command: that is a line for a shell."""
    variables = {
        ID_VARIABLE: job.job_id, MANIFEST_VARIABLE: str(job.manifest), EXCHANGE_VARIABLE: exchange,
        "RAY_JOB_STOP_WAIT_TIME_S": "10",
    }  # fmt: skip
    environment: dict[str, Any] = {"env_vars": variables}
    python = sys.executable if job.local else options.python
    if job.local:
        package = source_folder()
        if package is not None:
            variables["PYTHONPATH"] = os.pathsep.join([str(package), *filter(None, [os.environ.get("PYTHONPATH")])])
    else:
        name, content = build_package()
        if not client.has_package(name):
            client.put_package(name, content)
        environment["py_modules"] = [f"gcs://{name}"]
    amounts = wanted(job.resources)
    request: dict[str, Any] = {
        "entrypoint": f"{shlex.quote(python)} -P -m mlops_jupyter.verbs.job",
        "runtime_env": environment,
        "metadata": {"name": _line(job.name), "notebook": _line(job.notebook), "submitter": _line(job.submitter)},
        "entrypoint_num_cpus": amounts.get("CPU", 0),
    }
    if "GPU" in amounts:
        request["entrypoint_num_gpus"] = amounts["GPU"]
    if "memory" in amounts:
        request["entrypoint_memory"] = int(amounts["memory"])
    return request


def _line(text: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)[:200]


def notebook_name(root: Path, notebook: Path) -> str:
    """The notebook's path in the workspace.

    Raises:
        UsageError: it lies outside.
    """
    try:
        return notebook.relative_to(root).as_posix()
    except ValueError:
        raise UsageError(
            f"{notebook} lies outside of the workspace {root}.", hint="Move it there, or unset MLOPS_HOME."
        ) from None
