"""Bringing our records of jobs in line with what the clusters say: whoever looks at jobs calls this first."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import suppress

from mlops_jupyter.config import Settings
from mlops_jupyter.data.exchange import open_exchange
from mlops_jupyter.data.mailbox import collect
from mlops_jupyter.entities import Job, JobState
from mlops_jupyter.errors import MlopsError, TransientError, UnreachableError
from mlops_jupyter.store import Connection, FileLock
from mlops_jupyter.store.jobs import advance_job, end_job, get_job, open_jobs

from .capacity import waiting_reason
from .client import RayClient
from .folders import copy_log, job_folder, job_log, log_is_due, read_log
from .head import find_head
from .options import cluster_token, load_options
from .protocol import CANCEL
from .results import INFRASTRUCTURE_FAILED, fetch_result, take_result

_ARRIVES = 60.0
"""Seconds that a job which was recorded has to arrive at its cluster."""
STOP_SECONDS = 30.0
"""Seconds that a job which is to be cancelled gets to save what it has, before the cluster ends it."""
_STOPPED = 130
_NOT_FOUND = 127


def reconcile(settings: Settings, store: Connection, *, only: Iterable[str] | None = None) -> list[Job]:
    """Bring the jobs that are not over up to date; those jobs as they are now.

    Copies what they printed, takes in results, insists on cancellations, and tells jobs whose cluster is gone. Safe
    for many processes at once: each job is looked after by one of them. A cluster that does not answer leaves its
    jobs as they are, with the reason.
    """
    wanted = None if only is None else set(only)
    jobs = [job for job in open_jobs(store) if wanted is None or job.job_id in wanted]
    for job in jobs:
        lock = FileLock(job_folder(settings, job.job_id) / "lock")
        if not lock.acquire():
            continue
        try:
            current = get_job(store, job.job_id)
            if not current.state.is_end:
                _look_after(settings, store, current)
        except (TransientError, UnreachableError) as error:
            advance_job(store, job.job_id, current.state, reason=str(error)[:500])
        finally:
            lock.release()
    return [get_job(store, job.job_id) for job in jobs]


def connect(settings: Settings, job: Job) -> RayClient | None:
    """A connection to the job's cluster; None where it was ours and is gone.

    Raises:
        UsageError: the token for it cannot be read.
    """
    if not job.local:
        return RayClient(job.address, cluster_token(load_options(settings)))
    head = find_head(settings)
    if head is None or head.session != job.session:
        return None
    return RayClient(head.address, head.token)


def _look_after(settings: Settings, store: Connection, job: Job) -> None:
    client = connect(settings, job)
    if client is None:
        _gone(settings, store, job, "the cluster on this machine ended")
        return
    with client:
        try:
            info = client.info(job.job_id)
        except UnreachableError:
            # A cluster of ours that is about to end holds its lock for some seconds more.
            if _take(settings, store, job) or (job.local and not _is_alive(settings)):
                return
            raise
        if info is None:
            _unknown(settings, store, job, client)
            return
        if log_is_due(job_log(settings, job.job_id)) or info.get("status") in _RAY_ENDS:
            with suppress(MlopsError):
                copy_log(job_log(settings, job.job_id), client.logs(job.job_id))
        _follow(settings, store, job, client, info)


_RAY_ENDS = {"SUCCEEDED": JobState.SUCCEEDED, "FAILED": JobState.FAILED, "STOPPED": JobState.STOPPED}


def _follow(settings: Settings, store: Connection, job: Job, client: RayClient, info: dict[str, object]) -> None:
    status = str(info.get("status"))
    if status in _RAY_ENDS:
        if not _take(settings, store, job):
            _ended_without_result(settings, store, job, _RAY_ENDS[status], info)
        return
    if job.state is JobState.CANCEL_REQUESTED:
        if not _take(settings, store, job):
            _insist(settings, store, job, client, waits=status == "PENDING")
        return
    if status == "RUNNING":
        advance_job(store, job.job_id, JobState.RUNNING, started_at=time.time())
        return
    others = [other for other in open_jobs(store) if other.address == job.address]
    with suppress(MlopsError):
        advance_job(store, job.job_id, JobState.QUEUED, reason=waiting_reason(job, client.nodes(), others))


def _insist(settings: Settings, store: Connection, job: Job, client: RayClient, *, waits: bool) -> None:
    """See to it that a job ends which is to be cancelled.

    The note in its mailbox lets it save what it has, and keeps one that waits from running anything once it starts:
    Ray itself does not stop those. So one that waits is over for us. One that does not heed the note is killed.
    """
    noted = _cancel_noted(settings, job)
    if waits and noted is not None:
        end_job(
            store, job.job_id, JobState.STOPPED, at=time.time(), exit_code=_STOPPED, reason="cancelled before it began"
        )
    elif noted is None or time.time() - noted > STOP_SECONDS:
        client.stop(job.job_id)


def _cancel_noted(settings: Settings, job: Job) -> float | None:
    """When the note was left (seconds since the epoch), or None where there is none."""
    try:
        content = collect(open_exchange(settings), job.job_id, CANCEL)
        return None if content is None else float(content)
    except (UnreachableError, ValueError):
        return None


def _take(settings: Settings, store: Connection, job: Job) -> bool:
    content = fetch_result(settings, job)
    if content is None:
        return False
    take_result(settings, store, job, content)
    return True


def _unknown(settings: Settings, store: Connection, job: Job, client: RayClient) -> None:
    if job.state is JobState.SUBMITTING and time.time() - job.created_at < _ARRIVES:
        return
    session = client.session()
    what = "it never arrived at the cluster" if session == job.session else "its cluster was started anew"
    _gone(settings, store, job, what)


def _gone(settings: Settings, store: Connection, job: Job, what: str) -> None:
    if job.state is JobState.SUBMITTING and time.time() - job.created_at < _ARRIVES and job.session:
        return
    if not _take(settings, store, job):
        if job.state is JobState.CANCEL_REQUESTED:
            end_job(
                store, job.job_id, JobState.STOPPED, at=time.time(), exit_code=_STOPPED, reason=f"cancelled; {what}"
            )
            return
        end_job(
            store, job.job_id, JobState.LOST, at=time.time(), exit_code=INFRASTRUCTURE_FAILED,
            reason=f"{what}, and the job left no result",
        )  # fmt: skip


def _ended_without_result(
    settings: Settings, store: Connection, job: Job, state: JobState, info: dict[str, object]
) -> None:
    """A job whose wrapper could not say what became of it: killed, or it never came as far as the exchange."""
    code = info.get("driver_exit_code")
    text, _ = read_log(job_log(settings, job.job_id))
    said = next((line[7:] for line in reversed(text.splitlines()) if line.startswith("mlops: ")), "")
    if state is JobState.STOPPED or job.state is JobState.CANCEL_REQUESTED:
        state, exit_code, reason = JobState.STOPPED, _STOPPED, "cancelled"
    elif said:
        state, exit_code, reason = JobState.FAILED, code if isinstance(code, int) else INFRASTRUCTURE_FAILED, said
    elif code == _NOT_FOUND:
        state, exit_code = JobState.FAILED, 2
        reason = "the cluster does not have the interpreter: set ray.python to the path of one that has mlflow"
    elif "No module named" in text:
        missing = text.rpartition("No module named")[2].splitlines()[0].strip()
        state, exit_code = JobState.FAILED, 2
        reason = f"the interpreter of the cluster has no module {missing}: install what mlops-jupyter needs there"
    else:
        message = str(info.get("message") or "it left no result").splitlines()[0]
        state, exit_code, reason = JobState.FAILED, INFRASTRUCTURE_FAILED, message[:500]
    end_job(store, job.job_id, state, at=time.time(), exit_code=exit_code, reason=reason)


def _is_alive(settings: Settings) -> bool:
    head = find_head(settings)
    if head is None:
        return False
    try:
        os.kill(head.pid, 0)
    except OSError:
        return False
    return True
