"""``mlops jobs``: what became of submitted notebooks. Each verb first asks the clusters."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

from mlops_jupyter.compute.folders import job_folder, job_log, read_log
from mlops_jupyter.compute.protocol import CANCEL
from mlops_jupyter.compute.reconcile import reconcile
from mlops_jupyter.config import Settings
from mlops_jupyter.data.exchange import open_exchange
from mlops_jupyter.data.mailbox import post
from mlops_jupyter.entities import Job, JobState
from mlops_jupyter.errors import UnreachableError
from mlops_jupyter.store.jobs import advance_job, count_jobs, get_job, list_jobs, resolve_job
from mlops_jupyter.workspace import Workspace

_PATIENCE = 10.0
"""Seconds that ``cancel`` stays to see a job end."""


def jobs_list(workspace: Workspace, *, limit: int = 50) -> dict[str, Any]:
    """Jobs, latest first: ``{"jobs": […], "total"}``, fits ``jobs-list.json``."""
    reconcile(workspace.settings, workspace.store)
    found = list_jobs(workspace.store, limit=limit)
    return {
        "jobs": [job_document(job, workspace.settings) for job in found],
        "total": count_jobs(workspace.store),
    }


def jobs_show(workspace: Workspace, job_id: str) -> dict[str, Any]:
    """One job with what came back, fits ``jobs-show.json``.

    Raises:
        TargetNotFoundError: there is no such job.
        UsageError: too few characters of the id, or several jobs fit.
    """
    job = _up_to_date(workspace, job_id)
    folder = job_folder(workspace.settings, job.job_id) / "files"
    result = dict(job.result)
    return {
        "job": job_document(job, workspace.settings),
        "manifest": job.manifest,
        "sent": {"files": job.sent_files, "bytes": job.sent_bytes},
        "run": result.get("document"),
        "files": [
            {"path": file["path"], "digest": file["digest"], "size": file["size"], "at": str(folder / file["path"])}
            for file in result.get("files", [])
        ],
        "warnings": list(result.get("warnings", [])),
    }


def jobs_logs(workspace: Workspace, job_id: str) -> dict[str, Any]:
    """All that the job has printed so far, fits ``jobs-logs.json``. Raises as ``jobs_show``."""
    job = _up_to_date(workspace, job_id)
    return {
        "job_id": job.job_id,
        "state": str(job.state),
        "log": read_log(job_log(workspace.settings, job.job_id))[0],
    }


def jobs_cancel(workspace: Workspace, job_id: str) -> dict[str, Any]:
    """Stop a job, also one that waits; what became of it so far, fits ``job.json``.

    A job that is over stays as it is. One that runs gets half a minute to save what it has; the document says
    ``CANCEL_REQUESTED`` where that takes longer than this call stays.

    Where cluster or exchange do not answer, the wish is kept, and every later verb insists on it.

    Raises:
        TargetNotFoundError, UsageError: as ``jobs_show``.
    """
    settings, store = workspace.settings, workspace.store
    job = _up_to_date(workspace, job_id)
    if not job.state.is_end:
        with suppress(UnreachableError):  # then the cluster alone has to stop it
            post(open_exchange(settings), job.job_id, CANCEL, f"{time.time()}".encode())
        advance_job(store, job.job_id, JobState.CANCEL_REQUESTED, reason="asked to stop")
        deadline = time.monotonic() + _PATIENCE
        while not (job := _refreshed(workspace, job.job_id)).state.is_end and time.monotonic() < deadline:
            time.sleep(0.3)
    return job_document(job, settings)


def job_document(job: Job, settings: Settings) -> dict[str, Any]:
    """A job as strict JSON with stable keys; times in milliseconds since the epoch, durations in seconds."""
    end = job.ended_at
    began = job.started_at
    return {
        "job_id": job.job_id,
        "name": job.name,
        "state": str(job.state),
        "reason": job.reason,
        "notebook": job.notebook,
        "address": job.address,
        "local": job.local,
        "resources": {"cpus": job.resources.cpus, "gpus": job.resources.gpus, "memory": job.resources.memory},
        "parameters": dict(job.parameters),
        "submitter": job.submitter,
        "submit_time": _milliseconds(job.created_at),
        "start_time": _milliseconds(began),
        "end_time": _milliseconds(end),
        "duration": None if end is None or began is None else max(0.0, end - began),
        "run_id": job.run_uid,
        "exit_code": job.exit_code,
        "log": str(job_log(settings, job.job_id)),
    }


def _up_to_date(workspace: Workspace, job_id: str) -> Job:
    return _refreshed(workspace, resolve_job(workspace.store, job_id).job_id)


def _refreshed(workspace: Workspace, job_id: str) -> Job:
    reconcile(workspace.settings, workspace.store, only=[job_id])
    return get_job(workspace.store, job_id)


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds * 1000)
