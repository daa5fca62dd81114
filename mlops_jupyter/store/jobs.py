"""Jobs: written before the cluster is asked, changed only forwards."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from mlops_jupyter.entities import Digest, Job, JobState, Resources, RunUid
from mlops_jupyter.errors import TargetNotFoundError, UsageError

from .connection import Connection, Row

_COLUMNS = "job_id, state, reason, created_at, started_at, ended_at, run_uid, exit_code, spec, result"
_SPEC = (
    "name", "notebook", "address", "local", "session", "parameters", "manifest", "sent_files", "sent_bytes", "submitter"
)  # fmt: skip
_ENDS = ",".join(f"'{state}'" for state in JobState if state.is_end)


def add_job(connection: Connection, job: Job) -> None:
    """Record a job, whatever its state; one that is there already is left as it is."""
    spec: dict[str, Any] = {name: getattr(job, name) for name in _SPEC}
    spec["parameters"] = dict(job.parameters)
    spec["resources"] = asdict(job.resources)
    connection.execute(
        f"INSERT INTO jobs ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING",
        (
            job.job_id, job.state, job.reason, job.created_at, job.started_at, job.ended_at, job.run_uid,
            job.exit_code, json.dumps(spec), json.dumps(dict(job.result)),
        ),
    )  # fmt: skip


def advance_job(
    connection: Connection, job_id: str, state: JobState, *, reason: str = "", started_at: float | None = None
) -> bool:
    """Say where a job is that is not over; whether anything changed.

    A job that is over stays as it is, and one that is to be cancelled only ends. So a slow observer never undoes
    what a faster one has seen.
    """
    asked = "" if state is JobState.CANCEL_REQUESTED else f" AND state <> '{JobState.CANCEL_REQUESTED}'"
    rows = connection.execute(
        "UPDATE jobs SET state = ?, reason = ?, started_at = COALESCE(started_at, ?) "
        f"WHERE job_id = ? AND state NOT IN ({_ENDS}){asked} AND (state <> ? OR reason <> ?) RETURNING job_id",
        (state, reason, started_at, job_id, state, reason),
    )
    return bool(rows)


def end_job(
    connection: Connection,
    job_id: str,
    state: JobState,
    *,
    at: float,
    reason: str = "",
    started_at: float | None = None,
    run_uid: RunUid | None = None,
    exit_code: int | None = None,
    result: dict[str, Any] | None = None,
) -> bool:
    """Say how a job ended; whether this was the first to say so. Belongs into the transaction that keeps its results.

    Raises:
        UsageError: the state is not an end.
    """
    if not state.is_end:
        raise UsageError(f"{state} is not the end of a job.")
    rows = connection.execute(
        "UPDATE jobs SET state = ?, reason = ?, started_at = COALESCE(?, started_at), ended_at = ?, run_uid = ?, "
        f"exit_code = ?, result = ? WHERE job_id = ? AND state NOT IN ({_ENDS}) RETURNING job_id",
        (state, reason, started_at, at, run_uid, exit_code, json.dumps(result or {}), job_id),
    )
    return bool(rows)


def get_job(connection: Connection, job_id: str) -> Job:
    """The job.

    Raises:
        TargetNotFoundError: there is none of that id.
    """
    rows = connection.execute(f"SELECT {_COLUMNS} FROM jobs WHERE job_id = ?", (job_id,))
    if not rows:
        raise TargetNotFoundError(f"There is no job {job_id!r}.", hint="List jobs with: mlops jobs")
    return _job(rows[0])


def resolve_job(connection: Connection, text: str) -> Job:
    """The job that ``text`` names: its id or a unique prefix of at least 8 characters.

    Raises:
        TargetNotFoundError: no job fits.
        UsageError: the prefix is too short or fits several.
    """
    prefix = text.lower()
    if prefix and all(c in "0123456789abcdef" for c in prefix):
        if len(prefix) < 8:
            raise UsageError(f"The job id {text!r} is too short.", hint="Give at least 8 characters of it.")
        rows = connection.execute(
            f"SELECT {_COLUMNS} FROM jobs WHERE job_id >= ? AND job_id < ? LIMIT 2", (prefix, prefix + "g")
        )
        if len(rows) > 1:
            raise UsageError(f"Several jobs begin with {text!r}.", hint="Give more characters of the id.")
        if rows:
            return _job(rows[0])
    raise TargetNotFoundError(f"There is no job {text!r}.", hint="List jobs with: mlops jobs")


def list_jobs(connection: Connection, *, limit: int = 50) -> list[Job]:
    """Jobs, latest first."""
    rows = connection.execute(f"SELECT {_COLUMNS} FROM jobs ORDER BY created_at DESC, job_id LIMIT {int(limit)}")
    return [_job(row) for row in rows]


def count_jobs(connection: Connection) -> int:
    """How many jobs there are."""
    return int(connection.execute("SELECT COUNT(*) FROM jobs")[0][0])


def open_jobs(connection: Connection) -> list[Job]:
    """Jobs that are not over, oldest first."""
    rows = connection.execute(f"SELECT {_COLUMNS} FROM jobs WHERE state NOT IN ({_ENDS}) ORDER BY created_at, job_id")
    return [_job(row) for row in rows]


def _job(row: Row) -> Job:
    job_id, state, reason, created_at, started_at, ended_at, run_uid, exit_code, spec_text, result = row
    spec = json.loads(spec_text)
    manifest = spec["manifest"]
    return Job(
        job_id=job_id, state=JobState(state), reason=reason, created_at=created_at, started_at=started_at,
        ended_at=ended_at, run_uid=None if run_uid is None else RunUid(run_uid), exit_code=exit_code,
        result=json.loads(result), resources=Resources(**spec["resources"]), name=spec["name"],
        notebook=spec["notebook"], address=spec["address"], local=spec["local"], session=spec["session"],
        parameters=spec["parameters"], manifest=None if manifest is None else Digest(manifest),
        sent_files=spec["sent_files"], sent_bytes=spec["sent_bytes"], submitter=spec["submitter"],
    )  # fmt: skip
